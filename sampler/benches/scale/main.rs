//! The cost of opening a plan and seeking in it, from a million rows to a thousand million.
//!
//! ```text
//! cargo bench -p tercet-sampler --bench scale -- [--rows N]… [--dir DIR] [--keep]
//! ```
//!
//! For each N it writes a synthetic store (lengths, no tokens: 12 bytes a row), opens it in a process of its own, plans
//! the paper's unsupervised batches over it, and jumps to steps all over 2,000 epochs. 1.2 billion rows take 14.4 GB in
//! DIR (default: the system's temporary folder), which are removed afterwards unless --keep is given. Figures are
//! medians and maxima over the steps; memory is what the process holds beside mapped files (`RssAnon`).

mod seek;
mod synthetic;

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut rows, mut dir, mut keep) = (Vec::new(), std::env::temp_dir(), false);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rows" => rows.push(value().replace('_', "").parse().expect("--rows takes a number")),
            "--dir" => dir = PathBuf::from(value()),
            "--keep" => keep = true,
            "--seek-in" => return seek::run(&PathBuf::from(value())),
            other => panic!("unknown argument {other}"),
        }
    }
    if rows.is_empty() {
        rows = vec![1_200_000, 12_000_000];
    }
    println!("{}", seek::HEADER);
    for num_rows in rows {
        let store = dir.join(format!("synthetic-{num_rows}"));
        if !store.join("manifest.json").exists() {
            synthetic::write(&store, num_rows);
        }
        // A process of its own, so that its memory is that of one store.
        let this = std::env::current_exe().expect("this program has a path");
        let status = Command::new(this).arg("--seek-in").arg(&store).status().expect("this program starts again");
        assert!(status.success(), "measuring {} failed", store.display());
        if !keep {
            std::fs::remove_dir_all(&store).expect("what was written can be removed");
        }
    }
}
