//! Training over several hosts with their own names, addresses, processes and shared memory. Hosts crash and cables are
//! pulled: the run ends in words, and on all hosts.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use tercet_tests::compare::{all_close, close, number};
use tercet_tests::hold::Hold;
use tercet_tests::lab::Lab;
use tercet_tests::program::{Running, Tercet, program};
use tercet_tests::scene::{Scene, assert_same_run, metrics};
use tercet_tests::tensors;

const STEPS: u64 = 24;
const EVERY: u64 = 8;

/// What another order of summation may come to over all steps.
const TOLERANCE: f64 = 1e-5;

/// What a run consists of.
const PROGRAMS: [&str; 4] = ["tercet", "mpirun", "orted", "tercet-worker"];

/// Three hosts, what to train, and the run that nothing happened to, on one host.
struct Cluster<'a> {
    lab: Lab,
    scene: Scene,
    hosts: PathBuf,
    settings: &'a [&'a str],
}

impl<'a> Cluster<'a> {
    /// A scene of runs with `settings`.
    fn new(settings: &'a [&'a str]) -> Option<Self> {
        let lab = Lab::start(3)?;
        let scene = Scene::new(STEPS, EVERY);
        let hosts = scene.place.write("hosts", "# four ranks\nn1 slots=2\nn2 slots=1\nn3 slots=1\n");
        let mut command = std::process::Command::new(program("tercet"));
        command.env("OMP_NUM_THREADS", "1").arg("train").arg(&scene.recipe).args(["-n", "4", "--set"]);
        command.arg(format!("run_dir={}", scene.place.path("one").display()));
        with(Tercet::through(command, 4), settings).succeed();
        Some(Self { lab, scene, hosts, settings })
    }

    fn train(&self, run: &str) -> Tercet {
        let mut command = self.lab.tercet();
        command.arg("train").arg(&self.scene.recipe).arg("--hosts").arg(&self.hosts).arg("--set");
        command.arg(format!("run_dir={}", self.scene.place.path(run).display()));
        with(Tercet::through(command, 4), self.settings).set("restart.backoff_secs=0")
    }

    /// A run that has its first checkpoint and stands still, with its ranks on all hosts, until it is hurt.
    fn train_and_hurt(&self, run: &str, hurt: impl FnOnce(&Lab)) -> Running {
        let hold = Hold::after(EVERY + 2, &self.scene.place.path(""), &format!("go-{run}"));
        let mut running = hold.on(self.train(run)).start();
        hold.wait(&mut running, 4);
        let first = self.scene.checkpoint(run, EVERY);
        running.wait_until("checkpoint", |_| first.exists());
        for (host, ranks) in [("n1", 2), ("n2", 1), ("n3", 1)] {
            assert_eq!(self.lab.processes_of(host, "tercet-worker").len(), ranks, "{host}");
        }
        hurt(&self.lab);
        hold.release();
        running
    }

    /// Nothing is left anywhere, and the run goes on to the same end.
    fn ends_everywhere_and_resumes(&self, run: &str, mend: impl FnOnce(&Lab)) {
        self.lab.wait_until_none(&PROGRAMS);
        assert!(!self.scene.checkpoint(run, STEPS).exists(), "the run was over before anything happened to it");
        mend(&self.lab);
        self.train(run).arg("--resume").succeed();
        assert_same_run(&self.scene, run, "one", STEPS);
    }
}

fn with(command: Tercet, settings: &[&str]) -> Tercet {
    settings.iter().fold(command, |command, setting| command.set(setting))
}

/// One lab for all of it: it and the run on one host take longer than what is tested.
#[test]
fn three_hosts_compute_what_one_computes_and_a_lost_one_ends_the_run() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    cluster.train("three").succeed();
    assert_same_run(&cluster.scene, "three", "one", STEPS);
    let cores = |run: &str| {
        let log = fs::read_to_string(cluster.scene.place.path(run).join("train.log")).unwrap();
        log.lines().find_map(|line| Some(line.split_once("thread(s) on cores ")?.1.to_owned())).unwrap()
    };
    if std::thread::available_parallelism().unwrap().get() > 1 {
        assert_ne!(cores("three"), cores("one"), "the two ranks of n1 share its cores");
    }

    let words = ["lost the connection to a machine", "no answer from n2: the other hosts have 3 slots"];
    let running = cluster.train_and_hurt("crashed", |lab| lab.crash("n2"));
    running.wait().fails_with(3, &words);
    cluster.ends_everywhere_and_resumes("crashed", |lab| lab.boot(2));

    let running = cluster.train_and_hurt("cut", |lab| lab.cut("n2"));
    running.wait().fails_with(3, &words);
    cluster.ends_everywhere_and_resumes("cut", |lab| lab.heal("n2"));
}

/// Three ranks are left, which cannot share a batch of eight: two go on, with the same batches.
///
/// In float64 and without dropout, whose masks depend on which rank has a text.
#[test]
fn a_run_that_may_goes_on_with_fewer_ranks_and_comes_to_the_same_weights() {
    let settings = [
        "restart.min_world=2",
        "model.dropout=0",
        "precision=fp64",
        // Three ranks could share these, but not those of the only data set.
        "data.length_groups=[{max_len=64,global_batch=12}]",
        "data.sets=[{name=\"rows\",length_groups=[{max_len=20,global_batch=8},{max_len=64,global_batch=4}]}]",
    ];
    let Some(cluster) = Cluster::new(&settings) else { return };
    let running = cluster.train_and_hurt("fewer", |lab| lab.crash("n2"));
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    let words = "no answer from n2: the other hosts have 3 slots; going on with 2 ranks";
    assert!(ended.stderr().contains(words), "{}", ended.stderr());
    cluster.lab.wait_until_none(&PROGRAMS);

    let run_dir = |run: &str| cluster.scene.place.path(run);
    println!("{}", fs::read_to_string(run_dir("fewer").join("restarts.jsonl")).unwrap());
    let [found, expected] = ["fewer", "one"].map(|run| metrics(&run_dir(run)));
    assert_eq!(found.len() as u64, STEPS);
    for (found, expected) in found.iter().zip(&expected) {
        for key in ["step", "epoch", "dataset", "length_group", "tokens", "learning_rate"] {
            assert_eq!(found[key], expected[key], "{key} of step {}", expected["step"]);
        }
        close("loss", number(&found["loss"]), number(&expected["loss"]), TOLERANCE);
    }
    let [found, expected] = ["fewer", "one"]
        .map(|run| tensors::read(&cluster.scene.checkpoint(run, STEPS).join("model/model.safetensors")));
    assert!(found.keys().eq(expected.keys()));
    // A key's bias changes no attention weight: its gradient is all rounding, of which AdamW makes a step like any
    // other.
    for (name, expected) in expected.iter().filter(|(name, _)| !name.ends_with("attention.self.key.bias")) {
        all_close(name, &found[name], expected, TOLERANCE);
    }
}

/// What calls them is a script that notes their names and fails.
#[test]
fn each_host_is_called_by_the_name_that_stands_in_the_file() {
    let scene = Scene::new(2, 1);
    let called = scene.place.path("called");
    // The first that fails has mpirun end the others; so each waits for both (a minute at most).
    let agent = format!(
        "#!/bin/sh\necho \"$1\" >> '{0}'\ntries=0\n\
         while [ \"$(sort -u '{0}' | wc -l)\" -lt 2 ] && [ $tries -lt 600 ]; do sleep 0.1; tries=$((tries + 1)); done\n\
         exit 255\n",
        called.display()
    );
    let agent = scene.place.write("agent", &agent);
    fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for names in [["n1.rack1.example", "n1.rack2.example"], ["n1.example", "n2.example"], ["192.0.2.7", "192.0.2.8"]] {
        let hosts = scene.place.write("hosts", &names.map(|name| format!("{name} slots=2\n")).concat());
        let ended = Tercet::new("doctor").arg("--hosts").arg(&hosts).env("OMPI_MCA_plm_rsh_agent", &agent).run();
        ended.fails_with(3, &["lost the connection to a machine of this run, or never had one"]);
        assert!(!ended.stderr().contains("--resume"), "doctor has no such option: {}", ended.stderr());
        let mut found: Vec<String> = fs::read_to_string(&called).unwrap().lines().map(str::to_owned).collect();
        found.sort();
        found.dedup();
        assert_eq!(found, names);
        fs::remove_file(&called).unwrap();
    }
}

#[test]
fn a_file_of_hosts_with_a_mistake_is_refused_with_its_line() {
    let scene = Scene::new(2, 1);
    let hosts = scene.place.write("hosts", "n1 slots=2\nn2 slot=2\n");
    let ended = Tercet::new("train").arg(&scene.recipe).arg("--hosts").arg(&hosts).run();
    ended.fails_with(2, &["hosts: line 2: \"slot=2\" is unknown"]);
    let hosts = scene.place.write("hosts", "n1 slots=2\n");
    let ended = Tercet::new("train").arg(&scene.recipe).ranks(3).arg("--hosts").arg(&hosts).run();
    ended.fails_with(2, &["-n asks for 3 ranks, but 1 hosts have 2 slots"]);
    let hosts = scene.place.write("hosts", "n1 slots=2\nN1.site slots=2\n");
    let ended = Tercet::new("train").arg(&scene.recipe).arg("--hosts").arg(&hosts).run();
    ended.fails_with(2, &["hosts: line 2: N1.site and n1 on line 1 are names of one machine"]);
}
