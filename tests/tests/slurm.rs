//! A real Slurm gives the nodes, and takes them away again: `make test-slurm`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tercet_tests::compare::{close, number};
use tercet_tests::hold::Hold;
use tercet_tests::lab::slurm::Slurm;
use tercet_tests::lab::wait_until;
use tercet_tests::program::{Tercet, program, send};
use tercet_tests::scene::{Scene, assert_same_run, metrics};

const STEPS: u64 = 24;

/// Where jobs are held until something has happened to them.
const HELD: u64 = 13;

/// Three nodes, of which a job gets two, and the run that nothing happened to.
struct Cluster {
    slurm: Slurm,
    scene: Scene,
}

impl Cluster {
    /// `every` steps the run takes a checkpoint; 0 for none but those that a signal asks for.
    fn new(every: u64) -> Option<Self> {
        let slurm = Slurm::start(3)?;
        let scene = Scene::new(STEPS, every);
        let mut command = Command::new(program("tercet"));
        command.env("OMP_NUM_THREADS", "1").arg("train").arg(&scene.recipe).args(["-n", "2", "--set"]);
        command.arg(format!("run_dir={}", scene.place.path("whole").display()));
        Tercet::through(command, 2).succeed();
        Some(Self { slurm, scene })
    }

    /// Where a run is held.
    fn hold(&self, run: &str) -> Hold {
        Hold::after(HELD, &self.scene.place.path(""), &format!("go-{run}"))
    }

    /// Submits the training on two nodes of one rank, with further options.
    fn submit(&self, run: &str, options: &[&str]) -> u32 {
        self.submit_in(self.slurm.head(program("tercet")), run, options)
    }

    /// Submits it from an environment, which jobs take over.
    fn submit_in(&self, mut command: Command, run: &str, options: &[&str]) -> u32 {
        command.arg("submit").arg(&self.scene.recipe).args("--nodes 2 --gpus-per-node 0".split(' '));
        // To stand still is not to hang.
        command.arg("--set=restart.hang_secs=900");
        if !options.iter().any(|option| option.starts_with("--time")) {
            // Long before the limit: no signal but the test's.
            command.args(["--time=30", "--signal-secs=60"]);
        }
        command.arg("--set").arg(format!("run_dir={}", self.scene.place.path(run).display())).args(options);
        self.slurm.submit(&mut command)
    }

    /// Submits it and waits until it stands still.
    fn submit_and_hold(&self, run: &str, options: &[&str]) -> u32 {
        let hold = self.hold(run);
        let (name, value) = hold.variable();
        let mut command = self.slurm.head(program("tercet"));
        command.env(name, value);
        let job = self.submit_in(command, run, options);
        wait_until("held ranks", || hold.has(2));
        job
    }

    /// The same, when it has a checkpoint of step `step`.
    fn submit_and_hold_after_a_checkpoint(&self, run: &str, step: u64, options: &[&str]) -> u32 {
        let job = self.submit_and_hold(run, options);
        let first = self.scene.checkpoint(run, step);
        wait_until("checkpoint", || first.exists());
        job
    }

    /// The job's node that its batch script, whose loss is Slurm's part, does not run on.
    fn second_node(&self, job: u32) -> String {
        let nodes = self.slurm.say(&format!("scontrol show hostnames {}", self.slurm.field(job, "NodeList")));
        nodes.lines().nth(1).unwrap().to_owned()
    }

    /// Checkpoints before the last step.
    fn early_checkpoints(&self, run: &str) -> Vec<u64> {
        let entries = fs::read_dir(self.scene.place.path(run)).unwrap().flatten();
        let steps = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok());
        steps.filter(|step| *step < STEPS).collect()
    }

    fn log(&self, run: &str, job: u32) -> String {
        fs::read_to_string(self.scene.place.path(run).join(format!("slurm-{job}.out"))).unwrap_or_default()
    }

    /// The job is queued again, resumes, and ends as the run that nothing happened to.
    fn comes_back(&self, run: &str, job: u32) {
        self.slurm.wait_for_restart(job, 1);
        self.hold(run).release();
        let state = self.slurm.wait_for_end(job);
        assert_eq!(state, "COMPLETED", "{}", self.log(run, job));
        assert_same_run(&self.scene, run, "whole", STEPS);
        self.slurm.lab.wait_until_none(&["tercet-worker", "orted", "mpirun", "tercet"]);
    }

    /// One checkpoint, of the step at which the signal was heard; then as above.
    fn comes_back_from_a_signal(&self, run: &str, job: u32) {
        self.comes_back(run, job);
        assert_eq!(self.early_checkpoints(run).len(), 1, "{}", self.log(run, job));
    }
}

fn num_steps(run_dir: &Path) -> usize {
    fs::read_to_string(run_dir.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// A file of the project.
fn of_project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// A script of cluster/slurm.
fn ready(name: &str) -> String {
    fs::read_to_string(of_project("cluster/slurm").join(name)).unwrap()
}

/// A graph of two stages: one that trains on two nodes of two ranks, and one that lacks its model.
const GRAPH: &str = r#"
import sys

sys.path.insert(0, "{pipelines}")
from stages import Pipeline


class Graph(Pipeline):
    def build(self):
        words = ["train", "recipe.toml", "--set", "precision=fp64"]
        self.add("trained", "train", words, out="--set run_dir=", reads=["recipe.toml"], steps={steps})
        self.add("refused", "eval", ["eval", "--model", "no-model", "--data", "no-data"], out="--out")


NODES = dict(mpi="tercet", nodes=2, tasks_per_node=2, cpus_per_task=1)
PIPELINE = Graph(dict(run="graph", machines=dict(trained=dict(ranks=4, resources=NODES))))


include: "{pipelines}/rules.smk"


rule all:
    input:
        [PIPELINE.done(stage) for stage in PIPELINE.stages.values()],
"#;

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_job_trains_as_one_machine_does() {
    let Some(cluster) = Cluster::new(0) else { return };
    let job = cluster.submit("run", &[]);
    assert_eq!(cluster.slurm.wait_for_end(job), "COMPLETED", "{}", cluster.log("run", job));
    assert_same_run(&cluster.scene, "run", "whole", STEPS);
}

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_signal_to_a_rank_or_to_the_batch_shell_is_a_checkpoint_and_a_requeue() {
    let Some(cluster) = Cluster::new(0) else { return };
    for (run, signal) in [("rank-usr1", libc::SIGUSR1), ("rank-term", libc::SIGTERM)] {
        let job = cluster.submit_and_hold(run, &[]);
        let ranks = cluster.slurm.lab.processes("tercet-worker");
        assert_eq!(ranks.len(), 2, "{ranks:?}");
        send(ranks[1], signal);
        cluster.hold(run).release();
        cluster.comes_back_from_a_signal(run, job);
    }
    for (run, signal) in [("shell-usr1", "USR1"), ("shell-term", "TERM")] {
        let job = cluster.submit_and_hold(run, &[]);
        cluster.slurm.say(&format!("scancel --batch --signal={signal} {job}"));
        cluster.comes_back_from_a_signal(run, job);
    }
}

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn the_signal_before_the_time_limit_comes_in_time() {
    let Some(cluster) = Cluster::new(0) else { return };
    // The limit is a minute, and Slurm looks at it every half minute.
    let settings = ["--time=1", "--signal-secs=58"];
    let job = cluster.submit_and_hold("limit", &settings);
    cluster.comes_back_from_a_signal("limit", job);
}

/// Slurm gives the ranks no time: a checkpoint that was there has to do.
#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_requeue_resumes() {
    let Some(cluster) = Cluster::new(3) else { return };
    let job = cluster.submit_and_hold_after_a_checkpoint("run", 12, &[]);
    cluster.slurm.say(&format!("scontrol requeue {job}"));
    cluster.comes_back("run", job);
}

/// In a partition with a grace time.
#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_preempted_job_takes_a_checkpoint_and_comes_back() {
    let Some(cluster) = Cluster::new(0) else { return };
    let job = cluster.submit_and_hold("run", &["--partition=main"]);
    let sleep = cluster.scene.place.write("sleep.sh", "#!/bin/bash\nsleep 3\n");
    let mut urgent = cluster.slurm.head("/usr/bin/sbatch");
    let urgent =
        cluster.slurm.submit(urgent.args(["-p", "urgent", "-N3", "--exclusive", "-o", "/dev/null"]).arg(&sleep));
    cluster.comes_back_from_a_signal("run", job);
    assert_eq!(cluster.slurm.wait_for_end(urgent), "COMPLETED");
}

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_node_that_fails_is_replaced() {
    let Some(cluster) = Cluster::new(10) else { return };
    /// Makes a node fail.
    type Fail = fn(&Cluster, &str);
    let fail: [(&str, Fail); 2] = [
        ("crashed", |cluster, node| cluster.slurm.lab.crash(node)),
        ("powered-off", |cluster, node| cluster.slurm.lab.power_off(node)),
    ];
    for (run, fail) in fail {
        let job = cluster.submit_and_hold_after_a_checkpoint(run, 10, &[]);
        let node = cluster.second_node(job);
        fail(&cluster, &node);
        cluster.slurm.wait_for_restart(job, 1);
        cluster.hold(run).release();
        let state = cluster.slurm.wait_for_end(job);
        assert_eq!(state, "COMPLETED", "{}", cluster.log(run, job));
        assert_same_run(&cluster.scene, run, "whole", STEPS);
        let number = node[1..].parse().unwrap();
        cluster.slurm.lab.boot(number);
        cluster.slurm.start_node(number);
        wait_until("three idle nodes", || cluster.slurm.say("sinfo -h -N -p main -t idle -o %N").lines().count() == 3);
    }
}

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_cancelled_job_ends_and_stays_so() {
    let Some(cluster) = Cluster::new(0) else { return };
    let job = cluster.submit_and_hold("run", &[]);
    cluster.slurm.say(&format!("scancel {job}"));
    assert_eq!(cluster.slurm.wait_for_end(job), "CANCELLED");
    cluster.slurm.lab.wait_until_none(&["tercet-worker", "orted", "mpirun", "tercet"]);
    assert_eq!(cluster.slurm.field(job, "Restarts"), "0");
    // What it had is there to go on with.
    cluster.hold("run").release();
    let job = cluster.submit("run", &[]);
    assert_eq!(cluster.slurm.wait_for_end(job), "COMPLETED", "{}", cluster.log("run", job));
    assert_same_run(&cluster.scene, "run", "whole", STEPS);
}

/// Slurm leaves the job its other node, and it trains on with that.
#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_job_that_may_goes_on_with_the_nodes_that_are_left() {
    let Some(cluster) = Cluster::new(10) else { return };
    let options = ["--no-kill", "--set=restart.min_world=1"];
    let job = cluster.submit_and_hold_after_a_checkpoint("run", 10, &options);
    cluster.slurm.lab.crash(&cluster.second_node(job));
    cluster.hold("run").release();
    assert_eq!(cluster.slurm.wait_for_end(job), "COMPLETED", "{}", cluster.log("run", job));
    assert_eq!(cluster.slurm.field(job, "Restarts"), "0", "{}", cluster.log("run", job));
    let (found, expected) = (metrics(&cluster.scene.place.path("run")), metrics(&cluster.scene.place.path("whole")));
    assert_eq!(found.len() as u64, STEPS);
    assert!(cluster.scene.checkpoint("run", STEPS).exists());
    for (found, expected) in found.iter().zip(&expected) {
        for key in ["step", "epoch", "length_group", "tokens", "learning_rate"] {
            assert_eq!(found[key], expected[key], "{key} of step {}", expected["step"]);
        }
    }
}

/// As a user changes array.sh: this recipe, this `tercet`, and one CPU in place of eight GPUs.
#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn the_tasks_of_an_array_are_runs_of_their_own() {
    let Some(cluster) = Cluster::new(0) else { return };
    let run_dir = |seed: &str| cluster.scene.place.path(&format!("seed-{seed}"));
    let tercet = format!("{} train {}", program("tercet").display(), cluster.scene.recipe.display());
    let log = cluster.scene.place.path("%A_%a.out");
    let mut script = ready("array.sh");
    for (ready, own) in [
        ("#SBATCH --gpus-per-node=8 ", "##"),
        ("tasks-per-node=8", "tasks-per-node=1"),
        ("--array=0-3", "--array=0-2"),
        ("slurm-%A_%a.out", log.to_str().unwrap()),
        ("tercet train configs/stage2.toml", &tercet),
        ("runs/stage2-seed-", run_dir("").to_str().unwrap()),
    ] {
        assert_eq!(script.matches(ready).count(), 1, "{ready}: {script}");
        script = script.replace(ready, own);
    }
    let script = cluster.scene.place.write("array.sh", &script);
    // One for all tasks.
    let hold = cluster.hold("array");
    let (name, value) = hold.variable();
    let job = cluster.slurm.submit(cluster.slurm.head("/usr/bin/sbatch").arg(&script).env(name, value));
    let task_1 = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| pair == b"SLURM_ARRAY_TASK_ID=1")
    };
    wait_until("steps of task 1", || num_steps(&run_dir("1")) as u64 == HELD);
    let rank = cluster.slurm.lab.processes("tercet-worker").into_iter().find(task_1).unwrap();
    send(rank, libc::SIGTERM);
    hold.release();
    let restarted = format!("{job}_1");
    cluster.slurm.wait_for_restart(&restarted, 1);
    for seed in ["0", "1", "2"] {
        let task = format!("{job}_{seed}");
        let log = || fs::read_to_string(cluster.scene.place.path(&format!("{task}.out"))).unwrap();
        assert_eq!(cluster.slurm.wait_for_end(&task), "COMPLETED", "{}", log());
        assert_eq!(cluster.slurm.field(&task, "Restarts"), if task == restarted { "1" } else { "0" });
        let whole = format!("whole-{seed}");
        cluster.scene.train(&whole, 1).env("OMP_NUM_THREADS", "1").set(format!("seed={seed}")).succeed();
        assert_same_run(&cluster.scene, &format!("seed-{seed}"), &whole, STEPS);
    }
}

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn slurm_takes_the_ready_scripts() {
    let Some(slurm) = Slurm::start(1) else { return };
    slurm.say("scontrol update NodeName=gpu[01-12] State=IDLE");
    let folder = of_project("cluster/slurm");
    for name in ["train.sh", "train-on-what-is-left.sh", "array.sh"] {
        let output = slurm.head("sbatch").args(["--test-only", "-p", "gpu"]).arg(folder.join(name)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("on nodes gpu"), "{name}: {said}");
    }
}

/// The jobs are Snakemake's, as those of `pipelines/m3` on a cluster.
#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_graphs_job_has_ranks_on_all_of_its_nodes_and_is_tried_again_unless_it_was_refused() {
    let Some(slurm) = Slurm::start(2) else { return };
    let scene = Scene::new(STEPS, 10);
    scene.train("whole", 4).env("OMP_NUM_THREADS", "1").set("precision=fp64").succeed();
    let pipelines = fs::canonicalize(of_project("pipelines")).unwrap();
    let graph = GRAPH.replace("{pipelines}", pipelines.to_str().unwrap()).replace("{steps}", &STEPS.to_string());
    scene.place.write("Snakefile", &graph);
    let hold = Hold::after(HELD, &scene.place.path(""), "go");
    let (name, value) = hold.variable();
    let installed = of_project(".deps/snakemake/bin/snakemake");
    assert!(installed.exists(), "{}: `make test-slurm` installs it", installed.display());
    let mut snakemake = slurm.head("env");
    snakemake.arg("--chdir").arg(scene.place.path("")).arg(installed);
    snakemake.arg("--workflow-profile").arg(pipelines.join("m3/profiles/slurm"));
    snakemake.args("--keep-going --slurm-status-command squeue --slurm-init-seconds-before-status-checks 2".split(' '));
    snakemake.args(["--default-resources", "slurm_partition=main", "runtime=30"]);
    snakemake.env(name, value).env("TERCET_PROGRAMS", program("tercet").parent().unwrap());
    let said = fs::File::create(scene.place.path("said.txt")).unwrap();
    let mut snakemake = snakemake.stdout(Stdio::null()).stderr(said).spawn().unwrap();
    // The executor's comment on a job names its rule.
    let jobs = |rule: &str| -> Vec<String> {
        let all = slurm.say("squeue --noheader --states=all --format=%i|%k");
        let named = all.lines().filter(|line| line.contains(rule));
        named.map(|line| line.split('|').next().unwrap().to_owned()).collect()
    };
    wait_until("held ranks", || hold.has(4));
    for node in ["n1", "n2"] {
        assert_eq!(slurm.lab.processes_of(node, "tercet-worker").len(), 2, "{node}");
    }
    slurm.say(&format!("scancel {}", jobs("trained")[0]));
    wait_until("a second try", || jobs("trained").len() == 2);
    hold.release();
    wait_until("end of the graph", || snakemake.try_wait().unwrap().is_some());
    let said = fs::read_to_string(scene.place.path("said.txt")).unwrap();
    assert_eq!((jobs("trained").len(), jobs("refused").len()), (2, 1), "{said}");
    let folders = fs::read_dir(scene.place.path("graph")).unwrap().map(|entry| entry.unwrap().file_name());
    let run = folders.map(|name| name.into_string().unwrap()).find(|name| name.starts_with("trained-")).unwrap();
    // Two ranks on each of two nodes add up in another order than four on one.
    let [found, expected] = [format!("graph/{run}"), "whole".into()].map(|run| metrics(&scene.place.path(&run)));
    assert_eq!((found.len() as u64, expected.len() as u64), (STEPS, STEPS));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found["tokens"], expected["tokens"], "step {}", expected["step"]);
        close("loss", number(&found["loss"]), number(&expected["loss"]), 1e-5);
    }
}
