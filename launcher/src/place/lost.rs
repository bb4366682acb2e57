//! Which hosts still answer, asked after ranks were lost.
//!
//! With a remote shell: whether the agent that would start the ranks can run `true` there. Inside Slurm: whether Slurm
//! counts the node as up, and its daemon takes a connection; Slurm alone may need minutes to notice.

use std::net::{TcpStream, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use crate::place::machine::ThisMachine;
use crate::place::placement::{Host, Launch, Placement, slots};

/// The longest time that a host may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// The time between two looks at a remote shell.
const POLL: Duration = Duration::from_millis(20);

/// The port of Slurm's daemon where the site has not chosen another.
const SLURMD_PORT: u16 = 6818;

/// What is left of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The hosts that do not answer.
    pub lost: Vec<String>,
    /// The others, with the placement's ranks as far as they have slots; `None` if nobody answers.
    pub rest: Option<Placement>,
}

impl Placement {
    /// Asks every host, all at once, and waits for a few seconds at most. Ask the placement that the run began with, so
    /// that a host that is back takes part again.
    pub fn without_lost(&self) -> Survey {
        let answers: Vec<bool> = thread::scope(|scope| {
            let asked: Vec<_> = self.hosts.iter().map(|host| scope.spawn(|| self.answers(host))).collect();
            // A host that cannot be asked does not answer.
            asked.into_iter().map(|thread| thread.join().unwrap_or(false)).collect()
        });
        self.keep(&answers)
    }

    fn keep(&self, answers: &[bool]) -> Survey {
        let (up, down): (Vec<_>, Vec<_>) = self.hosts.iter().zip(answers).partition(|(_, answers)| **answers);
        let lost: Vec<String> = down.into_iter().map(|(host, _)| host.name.clone()).collect();
        if lost.is_empty() {
            return Survey { lost, rest: Some(self.clone()) };
        }
        let hosts: Vec<Host> = up.into_iter().map(|(host, _)| host.clone()).collect();
        let num_ranks = std::num::NonZeroUsize::new(self.num_ranks.get().min(slots(&hosts)));
        let changes = self.changes.clone();
        Survey { lost, rest: num_ranks.map(|num_ranks| Self { launch: self.launch, hosts, num_ranks, changes }) }
    }

    fn answers(&self, host: &Host) -> bool {
        match self.launch {
            Launch::Here => true,
            // Open MPI starts no agent for the machine it runs on.
            Launch::RemoteShell => ThisMachine::new().is(&host.name) || shell_answers(&host.name),
            Launch::Slurm => slurm_answers(&host.name),
        }
    }
}

fn shell_answers(host: &str) -> bool {
    let mut command = match env::var("OMPI_MCA_plm_rsh_agent") {
        Ok(agent) if !agent.trim().is_empty() => {
            let mut words = agent.split_whitespace();
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words);
            command
        }
        _ => {
            let mut command = Command::new("ssh");
            // A question for a password would never be answered.
            command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=4"]);
            command
        }
    };
    ends_well(command.arg(host).arg("true"), DEADLINE).unwrap_or(false)
}

/// Whether `command` succeeds within `limit`.
fn ends_well(command: &mut Command, limit: Duration) -> io::Result<bool> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

fn slurm_answers(node: &str) -> bool {
    let shown = Command::new("scontrol").args(["--oneliner", "show", "node", node]).stderr(Stdio::null()).output();
    let Ok(shown) = shown else { return false };
    let text = String::from_utf8_lossy(&shown.stdout);
    if !is_up(&text) {
        return false;
    }
    let port = value(&text, "Port").and_then(|port| port.parse().ok()).unwrap_or(SLURMD_PORT);
    let addresses = (value(&text, "NodeAddr").unwrap_or(node), port).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(|address| TcpStream::connect_timeout(&address, DEADLINE).is_ok()))
}

/// Why no rank could be started in this process's job, if that is so because Slurm does not know it, or not any more:
/// `mpirun` passes on nothing that its `srun` says.
pub fn no_such_job() -> Option<&'static str> {
    let job = env::var("SLURM_JOB_ID").ok()?;
    let shown = Command::new("scontrol").args(["--oneliner", "show", "job", &job]).output().ok()?;
    is_gone(&String::from_utf8_lossy(&shown.stdout), &String::from_utf8_lossy(&shown.stderr)).then_some(
        "the job that SLURM_JOB_ID names is over, or none of the Slurm that is found here: unset SLURM_JOB_ID, so that ranks \
         run on this machine, or name the hosts with --hosts FILE",
    )
}

/// From what `scontrol` says of a job.
fn is_gone(stdout: &str, stderr: &str) -> bool {
    let over = |state: &str| !["RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING"].contains(&state);
    let unknown = ["Invalid job id", "Could not establish a configuration source"];
    value(stdout, "JobState").is_some_and(over) || unknown.iter().any(|words| stderr.contains(words))
}

/// `State=ALLOCATED+DRAIN` runs what it runs; `State=DOWN*` and `IDLE*`, which does not respond, do not.
fn is_up(node: &str) -> bool {
    let bad = |state: &str| ["DOWN", "FAIL", "POWERED_DOWN", "POWERING_DOWN", "REBOOT_ISSUED"].contains(&state);
    value(node, "State").is_some_and(|state| !state.contains('*') && !state.split('+').any(bad))
}

/// What stands behind `key=` in `scontrol`'s line.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn placement(num_ranks: usize) -> Placement {
        let host = |name: &str| Host { name: name.into(), slots: NonZeroUsize::new(4).unwrap() };
        let hosts = ["n1", "n2", "n3"].map(host).to_vec();
        let num_ranks = NonZeroUsize::new(num_ranks).unwrap();
        Placement { launch: Launch::RemoteShell, hosts, num_ranks, changes: Vec::new() }
    }

    #[test]
    fn the_rest_takes_the_ranks_as_far_as_it_has_slots() {
        let survey = placement(12).keep(&[true, false, true]);
        assert_eq!(survey.lost, ["n2"]);
        assert_eq!(survey.rest.unwrap().shares(), [("n1", 4), ("n3", 4)]);
        // A host that was spare stands in.
        let survey = placement(6).keep(&[false, true, true]);
        assert_eq!(survey.rest.unwrap().shares(), [("n2", 4), ("n3", 2)]);
        assert_eq!(placement(12).keep(&[false; 3]).rest, None);
        assert_eq!(placement(5).keep(&[true; 3]), Survey { lost: Vec::new(), rest: Some(placement(5)) });
    }

    #[test]
    fn slurms_states_are_read() {
        let up = |state: &str| is_up(&format!("NodeName=n1 Arch=x86_64 State={state} ThreadsPerCore=1"));
        assert!(["IDLE", "ALLOCATED", "MIXED+DRAIN", "ALLOCATED+COMPLETING"].iter().all(|state| up(state)));
        assert!(!["DOWN*", "IDLE*", "DOWN+DRAIN", "ALLOCATED*", "IDLE+FAIL"].iter().any(|state| up(state)));
        assert!(!is_up(""), "no answer is no node");
    }

    #[test]
    fn a_job_that_is_over_or_unknown_is_told_from_one_that_runs() {
        assert!(!is_gone("JobId=7 JobName=x JobState=RUNNING Reason=None", ""));
        assert!(is_gone("JobId=7 JobName=x JobState=CANCELLED Reason=None", ""));
        assert!(is_gone("", "slurm_load_jobs error: Invalid job id specified"));
        assert!(!is_gone("", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"));
    }

    #[test]
    fn a_command_that_hangs_or_fails_is_no_answer() {
        assert!(ends_well(&mut Command::new("true"), DEADLINE).unwrap());
        assert!(!ends_well(&mut Command::new("false"), DEADLINE).unwrap());
        assert!(!ends_well(Command::new("sleep").arg("600"), Duration::from_millis(50)).unwrap());
    }
}
