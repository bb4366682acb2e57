//! What a run must not do besides: listen on the network, or write down what it was not asked to.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tercet_tests::place::topic_rows;
use tercet_tests::program::{Tercet, program, send};
use tercet_tests::scene::{Scene, VOCABULARY};

const SECRET: &str = "a-token-that-nobody-may-see";

#[test]
fn ranks_of_one_machine_listen_on_no_port_and_write_down_no_environment() {
    let scene = Scene::new(1_000_000, 0);
    let run_dir = scene.place.path("run");
    let mut command = Command::new(program("tercet"));
    command.arg("train").arg(&scene.recipe).args(["-n", "2", "--set"]).arg(format!("run_dir={}", run_dir.display()));
    command.args(["--set", "restart.limit=0"]).env("HF_TOKEN", SECRET);
    let mut run = Tercet::through(command, 2).start();
    let workers = run.wait_for_processes("tercet-worker", 2);
    run.wait_until("a step", |_| fs::metadata(run_dir.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0));
    let listening = listening_sockets();
    for worker in workers.iter().copied() {
        let open = sockets_of(worker);
        assert!(!open.is_empty(), "a rank has connections, none of which is found");
        assert!(open.is_disjoint(&listening), "rank {worker} listens on a port");
    }
    send(workers[0], libc::SIGKILL);
    let ended = run.wait();
    assert!(!ended.stdout.contains(SECRET) && !ended.stderr().contains(SECRET));
    let files = files_below(&run_dir);
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{}", file.display());
    }
}

/// Languages of rows, and a recipe's name, that would lead elsewhere if they became the name of a file.
#[test]
fn names_do_not_lead_out_of_the_run_folder() {
    // Two folders up from a data set, and one up from a run folder, is the place that is looked at.
    let names = ["../../escaped", "../escaped", "/escaped", "a/../../escaped", "..", "escaped\nescaped", "escaped\0"];
    let mut rows = topic_rows((0..42).map(|i| 4 + i % 7), VOCABULARY);
    for (row, name) in rows.iter_mut().zip(names.into_iter().cycle()) {
        row["lang"] = name.into();
    }
    let scene = Scene::of(&rows, 2, 1);
    let before = files_below(&scene.place.path(""));
    let run_dir = scene.place.path("run");
    for name in names {
        let name = format!("name={}", serde_json::Value::from(name));
        scene.train("run", 1).set(&name).succeed();
        let script = ["--nodes", "1", "--gpus-per-node", "0", "--dry-run"];
        let submit = Tercet::new("submit").arg(&scene.recipe).set(&name).set(format!("run_dir={}", run_dir.display()));
        let script = script.into_iter().fold(submit, Tercet::arg).succeed();
        let job_names: Vec<&str> = script.lines().filter(|line| line.starts_with("#SBATCH --job-name=")).collect();
        assert!(matches!(job_names[..], [one] if !one.contains('/')), "{name}: {job_names:?}");
        assert!(!script.lines().any(|line| line.starts_with("escaped")), "{name}: {script}");
        fs::remove_dir_all(&run_dir).unwrap();
        assert_eq!(files_below(&scene.place.path("")), before, "{name}");
    }
    let rows = scene.place.path("rows.jsonl");
    for name in ["../escaped", "a/b", "..", ".hidden", "a\nb"] {
        let prepare = Tercet::new("prepare").arg("--tokenizer").arg(scene.place.path("model/tokenizer.json"));
        let prepare = prepare.arg("--out").arg(scene.place.path("store"));
        prepare.arg(format!("{name}={}", rows.display())).run().fails_with(2, &["tercet: "]);
        assert_eq!(files_below(&scene.place.path("")), before, "{name}");
    }
}

/// Inodes of this machine's TCP sockets that wait for connections.
fn listening_sockets() -> HashSet<String> {
    const LISTEN: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets =
        tables.iter().flat_map(|table| table.lines().skip(1)).map(|line| line.split_whitespace().collect::<Vec<_>>());
    sockets.filter(|fields| fields[3] == LISTEN).map(|fields| fields[9].to_owned()).collect()
}

fn sockets_of(pid: i32) -> HashSet<String> {
    let open =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let inode = |link: std::path::PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    open.filter_map(inode).collect()
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect();
    files.sort();
    files
}
