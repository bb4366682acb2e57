//! The paper's whole graph (pipelines/m3) with a toy for a model: killed at random moments and started again, it ends
//! with the tables of one that nothing happened to.
//!
//! `make rehearse-m3` installs Snakemake and runs it. It fetches Debian's manual pages, as the demo does. Both graphs
//! have one text, because the training of its tokenizer gives other pieces each time.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tercet_tests::place::Place;
use tercet_tests::program::program;
use tercet_tests::random::Random;

const KILLS: usize = 12;

/// Starts the graph, all of it below `run`.
fn start(run: &Path) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let snakemake = root.join(".deps/snakemake/bin/snakemake");
    assert!(snakemake.exists(), "{}: `make rehearse-m3` installs it", snakemake.display());
    let folder = "pipelines/m3";
    let mut command = Command::new(snakemake);
    command.args(["--snakefile", &format!("{folder}/Snakefile"), "--config", &format!("run={}", run.display())]);
    command.args(["--workflow-profile", &format!("{folder}/profiles/local")]);
    command.args(["--configfile", &format!("{folder}/config/tiny.yaml")]);
    command.env("TERCET_PROGRAMS", program("tercet").parent().unwrap()).current_dir(root);
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
}

/// The figures of all evaluations, by their stages' names.
fn tables(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap());
    let evaluations = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with("eval_"));
    let table = |entry: fs::DirEntry| {
        // Behind it a hash of words, in which the run's folder stands.
        let name = entry.file_name().into_string().unwrap().rsplit_once('-').unwrap().0.to_owned();
        (name, fs::read(entry.path().join("metrics.json")).unwrap())
    };
    evaluations.map(table).collect()
}

#[test]
#[ignore = "takes many minutes; make rehearse-m3"]
fn killed_at_random_moments_it_ends_with_the_same_tables() {
    let place = Place::new();
    let (whole, hurt) = (place.path("whole"), place.path("hurt"));
    assert!(start(&whole).wait().unwrap().success(), "the undisturbed graph failed");
    fs::create_dir_all(hurt.join("done")).unwrap();
    for made in ["text", "done/text"] {
        let copied = Command::new("cp").arg("--archive").args([whole.join(made), hurt.join(made)]).status().unwrap();
        assert!(copied.success(), "{made} was not copied");
    }
    let mut random = Random::new(5);
    for kill in 0..KILLS {
        let mut snakemake = start(&hurt);
        // No wait for anything: it chooses the moment.
        sleep(Duration::from_millis(random.within(3_000..30_000) as u64));
        let id = snakemake.id() as libc::pid_t;
        // Snakemake alone, which its commands outlive for a moment, or everything of its process group at once.
        let target = if kill % 2 == 0 { id } else { -id };
        // SAFETY: kill has no memory effects; the process has not been waited for, so its id is its own.
        unsafe { libc::kill(target, libc::SIGKILL) };
        let ended = snakemake.wait().unwrap();
        eprintln!("kill {}: {} stages complete", kill + 1, fs::read_dir(hurt.join("done")).map_or(0, Iterator::count));
        if ended.signal().is_none() {
            break;
        }
    }
    assert!(start(&hurt).wait().unwrap().success(), "the graph that was killed does not go on");
    let tables_of_whole = tables(&whole);
    assert_eq!(tables_of_whole.len(), 3, "{:?}", tables_of_whole.keys());
    assert!(tables_of_whole == tables(&hurt), "the tables differ: {} and {}", whole.display(), hurt.display());
}
