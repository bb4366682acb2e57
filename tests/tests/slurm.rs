//! A real Slurm gives the nodes, and takes them away again: `make test-slurm`.

#![allow(clippy::unwrap_used)]

use std::fs;

use tercet_tests::lab::slurm::Slurm;
use tercet_tests::lab::wait_until;
use tercet_tests::program::{Tercet, program, send};
use tercet_tests::scene::{Scene, assert_same_run};

const STEPS: u64 = 120;

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
        let mut command = std::process::Command::new(program("tercet"));
        command.env("OMP_NUM_THREADS", "1").arg("train").arg(&scene.recipe).args(["-n", "2", "--set"]);
        command.arg(format!("run_dir={}", scene.place.path("whole").display()));
        Tercet::through(command, 2).succeed();
        Some(Self { slurm, scene })
    }

    /// Submits the training on two nodes of one rank, with further options.
    fn submit(&self, run: &str, options: &[&str]) -> u32 {
        let mut command = self.slurm.head(program("tercet"));
        command.arg("submit").arg(&self.scene.recipe).args("--nodes 2 --gpus-per-node 0".split(' '));
        if !options.iter().any(|option| option.starts_with("--time")) {
            // Long before the limit: no signal but the test's.
            command.args(["--time=30", "--signal-secs=60"]);
        }
        command.arg("--set").arg(format!("run_dir={}", self.scene.place.path(run).display())).args(options);
        self.slurm.submit(&mut command)
    }

    /// Submits it and waits until it has recorded some steps.
    fn submit_and_wait(&self, run: &str, options: &[&str]) -> u32 {
        let job = self.submit(run, options);
        wait_until("steps", || self.num_steps(run) >= 5);
        job
    }

    fn num_steps(&self, run: &str) -> usize {
        fs::read_to_string(self.scene.place.path(run).join("metrics.jsonl")).map_or(0, |text| text.lines().count())
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
        let job = cluster.submit_and_wait(run, &[]);
        let ranks = cluster.slurm.lab.processes("tercet-worker");
        assert_eq!(ranks.len(), 2, "{ranks:?}");
        send(ranks[1], signal);
        cluster.comes_back_from_a_signal(run, job);
    }
    for (run, signal) in [("shell-usr1", "USR1"), ("shell-term", "TERM")] {
        let job = cluster.submit_and_wait(run, &[]);
        cluster.slurm.say(&format!("scancel --batch --signal={signal} {job}"));
        cluster.comes_back_from_a_signal(run, job);
    }
}

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn the_signal_before_the_time_limit_comes_in_time() {
    let Some(cluster) = Cluster::new(0) else { return };
    // The limit is a minute, and the signal may come as soon as the job runs.
    let job = cluster.submit("limit", &["--time=1", "--signal-secs=58"]);
    cluster.comes_back_from_a_signal("limit", job);
}

#[test]
#[ignore = "needs Slurm: make test-slurm"]
fn a_requeue_and_a_preemption_resume() {
    let Some(cluster) = Cluster::new(0) else { return };
    let job = cluster.submit_and_wait("requeued", &[]);
    cluster.slurm.say(&format!("scontrol requeue {job}"));
    cluster.comes_back_from_a_signal("requeued", job);

    let job = cluster.submit_and_wait("preempted", &["--partition=main"]);
    let sleep = cluster.scene.place.write("sleep.sh", "#!/bin/bash\nsleep 3\n");
    let mut urgent = cluster.slurm.head("/usr/bin/sbatch");
    let urgent =
        cluster.slurm.submit(urgent.args(["-p", "urgent", "-N3", "--exclusive", "-o", "/dev/null"]).arg(&sleep));
    cluster.comes_back_from_a_signal("preempted", job);
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
        let job = cluster.submit(run, &[]);
        let first = cluster.scene.checkpoint(run, 10);
        wait_until("checkpoint", || first.exists());
        // The batch script runs on the first node; its loss is Slurm's part.
        let nodes = cluster.slurm.say(&format!("scontrol show hostnames {}", cluster.slurm.field(job, "NodeList")));
        let node = nodes.lines().nth(1).unwrap().to_owned();
        fail(&cluster, &node);
        cluster.slurm.wait_for_restart(job, 1);
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
    let job = cluster.submit_and_wait("run", &[]);
    cluster.slurm.say(&format!("scancel {job}"));
    assert_eq!(cluster.slurm.wait_for_end(job), "CANCELLED");
    cluster.slurm.lab.wait_until_none(&["tercet-worker", "orted", "mpirun", "tercet"]);
    assert_eq!(cluster.slurm.field(job, "Restarts"), "0");
    // What it had is there to go on with.
    let job = cluster.submit("run", &[]);
    assert_eq!(cluster.slurm.wait_for_end(job), "COMPLETED", "{}", cluster.log("run", job));
    assert_same_run(&cluster.scene, "run", "whole", STEPS);
}
