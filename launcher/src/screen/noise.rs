//! Drops what `mpirun` prints around every failure, so that the user reads the worker's own error. Ranks often end by
//! an abort here, and `mpirun` has many lines for it. Everything that is not known boilerplate is kept.

/// Longest box that is dropped; a longer one has lost its end.
const BOX_LINES: usize = 16;

/// How a rank's error begins.
const WORKER: &str = "tercet-worker:";

/// A rank that a signal ended, as `mpirun` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Its rank.
    pub rank: String,
    /// The machine it ran on.
    pub node: String,
    /// The signal, as in `9 (Killed)`.
    pub signal: String,
}

/// Why ranks ended, as far as standard error tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The words of `mpirun`.
    pub death: Option<Death>,
    /// What the first rank that failed by itself says.
    pub error: Option<String>,
    /// `mpirun` has no daemon on a machine: it could not be started, or its remote shell has ended.
    pub no_daemon: bool,
    /// Why ranks could not be started, where no new start mends it, and what does.
    pub mistake: Option<&'static str>,
}

/// Reads `mpirun`'s standard error line by line.
#[derive(Debug, Default)]
pub struct NoiseFilter {
    state: State,
    cause: Cause,
    /// Open MPI has said that it cannot make a folder; why comes next.
    no_folder: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Outside,
    /// The line of dashes that may open a box, held back until the next line shows which.
    Opening(String),
    /// Inside a box that is dropped: lines it may still have.
    Dropping(usize),
}

impl NoiseFilter {
    /// The part of `line`, and of lines held back, that is shown.
    pub fn line(&mut self, line: &str) -> Option<String> {
        // The box about it stays: at a start it helps.
        let no_daemon =
            ["ORTE was unable to reliably start one or more", "An ORTE daemon has unexpectedly failed after launch"];
        self.cause.no_daemon |= no_daemon.iter().any(|begin| line.starts_with(begin));
        if let (None, Some(error)) = (&self.cause.error, line.strip_prefix(WORKER)) {
            self.cause.error = Some(error.trim().to_owned());
        }
        self.cause.mistake = self.cause.mistake.or_else(|| mistake_in(line)).or_else(|| self.folder_mistake_in(line));
        if let State::Dropping(left) = self.state {
            // Other ranks write while mpirun does.
            let worker = line.starts_with(WORKER);
            self.state = match left {
                _ if is_border(line) => State::Outside,
                0 => State::Outside,
                _ => State::Dropping(left - usize::from(!worker)),
            };
            return worker.then(|| line.to_owned());
        }
        if let State::Opening(border) = std::mem::take(&mut self.state) {
            if is_boilerplate(line) {
                self.cause.death = self.cause.death.take().or_else(|| death_in(line));
                self.state = State::Dropping(BOX_LINES);
                return None;
            }
            return Some(border + line);
        }
        if is_border(line) {
            self.state = State::Opening(line.to_owned());
            return None;
        }
        (!is_loose_boilerplate(line)).then(|| line.to_owned())
    }

    fn folder_mistake_in(&mut self, line: &str) -> Option<&'static str> {
        self.no_folder |= line.starts_with("A call to mkdir was unable to create the desired directory");
        let why = line.trim_start().strip_prefix("Error:").filter(|_| self.no_folder)?;
        let lasts = ["Permission denied", "Not a directory", "Read-only", "No such file"];
        lasts.iter().any(|word| why.contains(word)).then_some(
            "mpirun cannot make its folder for the ranks of a machine, as it says above: set TMPDIR to a folder that can be \
             written to",
        )
    }

    /// At the end of the output: what was held back, and why the ranks ended.
    pub fn finish(self) -> (Option<String>, Cause) {
        let held = if let State::Opening(border) = self.state { Some(border) } else { None };
        (held, self.cause)
    }
}

fn is_border(line: &str) -> bool {
    let line = line.trim_end();
    line.len() >= 60 && line.bytes().all(|byte| byte == b'-')
}

/// The first lines of the boxes that only repeat that a rank has failed (Open MPI 4 and 5).
fn is_boilerplate(line: &str) -> bool {
    line.starts_with("MPI_ABORT was invoked on rank")
        || line.starts_with("Primary job  terminated normally, but")
        || line.contains("run detected that one or more processes exited with non-zero status")
        || death_in(line).is_some()
}

/// Lines outside boxes that say the same.
fn is_loose_boilerplate(line: &str) -> bool {
    (line.contains("has sent help message") || line.contains("have sent help message")) && line.contains("mpi-abort")
        || line.contains("Set MCA parameter \"orte_base_help_aggregate\" to 0")
        || line.contains("ORTE_ERROR_LOG") && line.contains("show_help.c")
        || line.contains("total processes killed (some possibly by")
}

/// What lines at a start mean that no new start mends: those of ssh, of shells, of Slurm's `srun`, of `mpirun`.
fn mistake_in(line: &str) -> Option<&'static str> {
    if line.starts_with(WORKER) {
        return None;
    }
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if has(&["Could not resolve hostname"]) && !has(&["Temporary failure"]) {
        return Some(
            "a host's name is not known here: correct it in the file, or add it to ~/.ssh/config or /etc/hosts",
        );
    }
    // `user@host: Permission denied (publickey,password).`
    let denied =
        line.split_once(": Permission denied (").is_some_and(|(who, _)| who.contains('@') && !who.contains(' '));
    if denied || line.starts_with("Host key verification failed") {
        return Some(
            "ssh cannot log in to a host without asking: put this user's key there (ssh-copy-id), and accept the \
             host's (ssh once, by hand)",
        );
    }
    if has(&["orted: ", "prted: "]) && has(&["not found", "No such file"]) {
        return Some(
            "Open MPI's daemon is not found on a host: install the same Open MPI there, and have it in the PATH of \
             non-interactive shells, too",
        );
    }
    if has(&["run was unable to launch the specified application", "run was unable to find the specified executable"]) {
        return Some(
            "tercet-worker is not there, or may not be run, on the machine that mpirun names: every host needs the same \
             build under the same path",
        );
    }
    if line.starts_with("[mpiexec@")
        || has(&["unrecognized argument allow-run-as-root", "unrecognized argument oversubscribe"])
    {
        return Some(
            "the mpirun in PATH is MPICH's or Intel's: put the bin folder of the Open MPI that Tercet was built with first",
        );
    }
    if has(&["Error: unknown option"]) {
        return Some("the mpirun in PATH does not know these options: put that of Open MPI 4 or 5 first");
    }
    if has(&["run does not support recursive calls"]) {
        return Some("it was itself started by mpirun: start tercet without it");
    }
    if has(&["The value of the MCA parameter \"plm_rsh_agent\" was set to a path"]) {
        return Some("the remote shell that mpirun starts ranks with is not there: install ssh, or name another");
    }
    let refusals = [
        "Invalid job id specified",
        "Job/step already completing or completed",
        "Invalid generic resource",
        "Requested node configuration is not available",
        "Access/permission denied",
    ];
    (line.starts_with("srun: error:") && has(&refusals)).then_some(
        "Slurm starts no ranks in the job that SLURM_JOB_ID names: unset it if that job is over or another's, else ask \
         for no more than the nodes have",
    )
}

/// `mpirun noticed that process rank 1 with PID 0 on node gpu07 exited on signal 9 (Killed).`
fn death_in(line: &str) -> Option<Death> {
    let (rank, rest) = line.split_once("run noticed that process rank ")?.1.split_once(' ')?;
    let (node, signal) = rest.split_once(" on node ")?.1.split_once(" exited on signal ")?;
    Some(Death { rank: rank.into(), node: node.into(), signal: signal.trim_end().trim_end_matches('.').into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORDER: &str = "--------------------------------------------------------------------------\n";

    fn filtered(text: &str) -> (String, Cause) {
        let mut filter = NoiseFilter::default();
        let mut shown: String = text.split_inclusive('\n').filter_map(|line| filter.line(line)).collect();
        let (held, cause) = filter.finish();
        shown.extend(held);
        (shown, cause)
    }

    #[test]
    fn an_aborted_job_leaves_the_workers_words() {
        let text = format!(
            "tercet-worker: rank 1/2 a: bad row\n{BORDER}MPI_ABORT was invoked on rank 1 in communicator \
             MPI_COMM_WORLD\nwith errorcode 4.\n\ntercet-worker: rank 0/2 b: bad row\nNOTE: invoking MPI_ABORT \
             causes Open MPI to kill all MPI processes.\n{BORDER}[a:1] 1 more process has sent help message \
             help-mpi-api.txt / mpi-abort\nlast\n"
        );
        let expected = "tercet-worker: rank 1/2 a: bad row\ntercet-worker: rank 0/2 b: bad row\nlast\n";
        let cause = Cause { error: Some("rank 1/2 a: bad row".into()), ..Cause::default() };
        assert_eq!(filtered(&text), (expected.into(), cause));
    }

    #[test]
    fn a_killed_rank_is_named() {
        let text = format!(
            "{BORDER}Primary job  terminated normally, but 1 process returned\na non-zero exit code.\n{BORDER}{BORDER}\
             mpirun noticed that process rank 1 with PID 0 on node gpu07 exited on signal 9 (Killed).\n{BORDER}"
        );
        let death = Death { rank: "1".into(), node: "gpu07".into(), signal: "9 (Killed)".into() };
        assert_eq!(filtered(&text), (String::new(), Cause { death: Some(death), ..Cause::default() }));
    }

    #[test]
    fn what_no_new_start_mends_is_told_apart() {
        for (line, expected) in [
            ("ssh: Could not resolve hostname gpu99: Name or service not known\n", "name is not known"),
            ("me@gpu01: Permission denied (publickey,password).\n", "ssh-copy-id"),
            ("Host key verification failed.\n", "ssh once, by hand"),
            ("bash: line 1: orted: command not found\n", "Open MPI's daemon"),
            ("mpirun was unable to launch the specified application as it could not access\n", "tercet-worker"),
            ("[mpiexec@gpu01] match_arg (utils/args/args.c:166): unrecognized argument allow-run-as-root\n", "MPICH's"),
            ("srun: error: Unable to confirm allocation for job 7: Invalid job id specified\n", "SLURM_JOB_ID"),
            ("mpirun does not support recursive calls\n", "without it"),
            (
                "A call to mkdir was unable to create the desired directory:\n\n  Directory: /x\n  Error:     Permission denied\n",
                "TMPDIR",
            ),
        ] {
            let (shown, cause) = filtered(line);
            assert_eq!(shown, line);
            assert!(cause.mistake.is_some_and(|mistake| mistake.contains(expected)), "{line}: {cause:?}");
        }
        for line in [
            "ssh: Could not resolve hostname gpu01: Temporary failure in name resolution\n",
            "ssh: connect to host gpu01 port 22: Connection refused\n",
            "srun: error: Unable to create step for job 7: Required node not available (down, drained or reserved)\n",
            "A call to mkdir was unable to create the desired directory:\n  Error:     No space left on device\n",
            "tercet-worker: rank 0/2 a: Permission denied (os error 13)\n",
        ] {
            assert_eq!(filtered(line).1.mistake, None, "{line}");
        }
    }

    #[test]
    fn unknown_boxes_and_tables_are_kept_whole() {
        for text in [
            format!("{BORDER}ORTE has lost communication with a remote daemon.\n\n  HNP daemon: x\n{BORDER}"),
            format!("head\n{BORDER}1 2 3\n{BORDER}tail\n"),
            BORDER.to_owned(),
        ] {
            assert_eq!(filtered(&text), (text.clone(), Cause::default()));
        }
    }

    #[test]
    fn a_box_without_an_end_does_not_swallow_the_rest() {
        let text = format!("{BORDER}MPI_ABORT was invoked on rank 1\n{}", "line\n".repeat(40));
        assert!(filtered(&text).0.lines().count() > 20);
    }
}
