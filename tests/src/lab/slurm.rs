//! A real Slurm over a lab's hosts: Debian's munge, slurmctld and a slurmd for each host. The jobs of one of
//! its two partitions (`urgent`) displace those of the other.
//!
//! Limits: there is no accounting, there are no control groups and no devices.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::lab::{Lab, script, skipped, wait_until};
use crate::place::Place;

/// Programs of Debian's packages slurm-wlm and munge.
const PROGRAMS: [&str; 4] = ["munged", "slurmctld", "slurmd", "sbatch"];

/// A lab whose hosts are Slurm's nodes `n1`, `n2`, …
pub struct Slurm {
    /// The hosts.
    pub lab: Lab,
    place: Place,
}

impl Slurm {
    /// Brings up `num_nodes` nodes; `None`, with a clear message, if the machine does not allow it.
    pub fn start(num_nodes: usize) -> Option<Self> {
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            skipped("Slurm's daemons need root");
            return None;
        }
        if let Some(missing) = PROGRAMS.iter().find(|program| !in_path(program)) {
            skipped(&format!("{missing} is not installed: make test-slurm installs it"));
            return None;
        }
        let slurm = Self { lab: Lab::start(num_nodes)?, place: Place::new() };
        let template = fs::read_to_string(script("slurm.conf")).unwrap();
        let folder = slurm.folder();
        let conf = template.replace("FOLDER", folder.to_str().unwrap()).replace("COUNT", &num_nodes.to_string());
        slurm.place.write("slurm.conf", &conf);
        slurm.place.write("cgroup.conf", "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n");
        slurm.place.write("gres.conf", "NodeName=gpu[01-12] Name=gpu Count=8\n");
        succeed(slurm.head(script("slurm.sh")).arg("head").arg(&folder));
        (1..=num_nodes).for_each(|number| slurm.start_node(number));
        wait_until("idle nodes", || slurm.say("sinfo -h -N -p main -t idle -o %N").lines().count() == num_nodes);
        Some(slurm)
    }

    /// Starts the daemon of a host that is up.
    pub fn start_node(&self, number: usize) {
        let daemon =
            format!("SLURM_CONF={0}/slurm.conf {1} node {0}", self.folder().display(), script("slurm.sh").display());
        self.lab.on(&format!("n{number}"), &format!("{daemon} > /dev/null 2>&1"));
    }

    fn folder(&self) -> PathBuf {
        self.place.path("slurm.conf").parent().unwrap().to_owned()
    }

    /// A program on the head that finds this Slurm.
    pub fn head(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.lab.head(program);
        command.env("SLURM_CONF", self.folder().join("slurm.conf"));
        command
    }

    /// Runs one of Slurm's commands, whose words have no blanks, and returns its output.
    pub fn say(&self, line: &str) -> String {
        let mut words = line.split(' ');
        succeed(self.head(words.next().unwrap()).args(words))
    }

    /// The same, but a refusal is not an error: the controller may be busy, or a job may have just ended.
    pub fn try_say(&self, line: &str) -> Output {
        let mut words = line.split(' ');
        self.head(words.next().unwrap()).args(words).output().unwrap()
    }

    /// Runs a command that submits a job, and returns the job's number.
    pub fn submit(&self, command: &mut Command) -> u32 {
        let said = succeed(command);
        let number = said.lines().find_map(|line| line.strip_prefix("Submitted batch job "));
        number.unwrap_or_else(|| panic!("no job in {said:?}")).parse().unwrap()
    }

    /// A field of `scontrol show job`, e.g. `JobState`; a task of an array is a job with a name like `7_1`.
    pub fn field(&self, job: impl Display, key: &str) -> String {
        let output = self.try_say(&format!("scontrol --oneliner show job {job}"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = text.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().to_owned()
    }

    /// Returns when the job has been requeued `times` times and runs, or has run.
    pub fn wait_for_restart(&self, job: impl Display, times: u32) {
        wait_until(&format!("restart {times} of job {job}"), || {
            self.field(&job, "Restarts") == times.to_string()
                && ["RUNNING", "COMPLETING", "COMPLETED"].contains(&self.field(&job, "JobState").as_str())
        });
    }

    /// Waits for the job's end, and returns its last state.
    pub fn wait_for_end(&self, job: impl Display) -> String {
        let mut state = String::new();
        wait_until(&format!("end of job {job}"), || {
            state = self.field(&job, "JobState");
            ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"].contains(&state.as_str())
        });
        state
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).is_file())
}
