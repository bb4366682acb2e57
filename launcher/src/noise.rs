//! Drops what `mpirun` prints around every failure (for us an abort is a usual way to end), so that the
//! worker's own error is what the user reads. Whatever is not known boilerplate is kept.

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
    /// What `mpirun` says.
    pub death: Option<Death>,
    /// What the first rank that failed by itself says.
    pub error: Option<String>,
    /// `mpirun` has no daemon on a machine: it could not be started, or its remote shell has ended.
    pub no_daemon: bool,
}

/// Reads `mpirun`'s standard error line by line.
#[derive(Debug, Default)]
pub struct NoiseFilter {
    state: State,
    cause: Cause,
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
    /// What of `line` (and of lines held back) is to be shown.
    pub fn line(&mut self, line: &str) -> Option<String> {
        // The box about it stays: at a start it helps.
        self.cause.no_daemon |= line.starts_with("ORTE was unable to reliably start one or more daemons");
        if let (None, Some(error)) = (&self.cause.error, line.strip_prefix(WORKER)) {
            self.cause.error = Some(error.trim().to_owned());
        }
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
