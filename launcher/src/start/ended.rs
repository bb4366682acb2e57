//! What it means how the ranks ended: their code, a signal, or what `mpirun` has said.

use std::os::unix::process::ExitStatusExt;

use tercet_configs::ExitCode;

use super::child::Ended;
use crate::exit::Fail;
use crate::screen::noise::{Cause, Death};

/// The code that mpirun ends with when it has lost a machine.
const LOST_MACHINE: i32 = 205;

/// Whether the ranks did what was asked. The codes of [`ExitCode`] pass through: the worker has said why. Everything
/// else is a machine's or a peer's failure, said here.
///
/// # Errors
/// [`Fail`] with the code to end with.
pub fn check(ended: &Ended, cause: &Cause) -> Result<(), Fail> {
    let machine = |message: String| Err(Fail::new(ExitCode::Machine, message));
    let own = [ExitCode::Usage, ExitCode::Machine, ExitCode::Data, ExitCode::Preempted, ExitCode::Bug];
    let code = ended.status.code();
    match (code, &cause.death, ended.status.signal()) {
        (Some(0), _, _) => Ok(()),
        (Some(75), _, _) => Err(Fail::said(75)),
        _ if ended.interrupted.is_some() => Err(interrupted(ended.interrupted.unwrap_or_default())),
        (_, Some(Death { rank, node, signal }), _) => {
            machine(format!("rank {rank} on {node} was ended by signal {signal}{}", why(signal)))
        }
        // mpirun's own code is then its remote shell's, whatever that is, or one that signals have, too.
        (_, None, _) if cause.mistake.is_some() && cause.error.is_none() => {
            let mistake = cause.mistake.unwrap_or_default();
            Err(Fail::new(ExitCode::Usage, format!("the ranks could not be started: {mistake}")))
        }
        (code, None, _) if cause.no_daemon || code == Some(LOST_MACHINE) => {
            machine("mpirun lost the connection to a machine of this run, or never had one".into())
        }
        (_, None, Some(signal)) => {
            let name = signal_name(signal);
            machine(format!("tercet-worker was ended by signal {name}{}", why(&name)))
        }
        // mpirun does not always name the rank.
        (Some(code @ (134..=137 | 139)), _, _) => {
            let name = signal_name(code - 128);
            machine(format!("a rank was ended by signal {name}{}", why(&name)))
        }
        (Some(code), _, _) if own.iter().any(|known| known.code() == code) => Err(Fail::said(code)),
        (code, _, _) => {
            machine(format!("the ranks ended with code {} and without a message", code.unwrap_or_default()))
        }
    }
}

/// The launcher was asked to stop, and the ranks did not stop in good order.
pub fn interrupted(signal: i32) -> Fail {
    let message = format!("stopped by signal {}", signal_name(signal));
    match signal {
        // Who sends it wants to go on elsewhere, from the newest checkpoint there is.
        libc::SIGUSR1 => Fail::new(ExitCode::Preempted, message),
        // The shell's way to say it; 3 would make a job script start again what was stopped on purpose.
        _ => Fail::with_code(128 + signal, message),
    }
}

fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("{signal} ({name})"),
        None => signal.to_string(),
    }
}

/// What a signal usually means for a process that computes.
fn why(signal: &str) -> &'static str {
    match signal.split(' ').next() {
        Some("9") => ": often the machine ran out of memory (see `dmesg`)",
        Some("4") => ": this processor lacks instructions that libtorch was built for",
        Some("7") => ": often /dev/shm or a memory-mapped file's disk is full",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn outcome(wait_status: i32, interrupted: Option<i32>, death: Option<&Death>) -> (i32, String) {
        let cause = Cause { death: death.cloned(), ..Cause::default() };
        let ended = Ended { status: ExitStatus::from_raw(wait_status), interrupted, taken_down: false };
        check(&ended, &cause).map_or_else(|fail| (fail.code(), fail.to_string()), |()| (0, String::new()))
    }

    #[test]
    fn the_workers_codes_pass_through_without_words() {
        for code in [0, 2, 3, 4, 75, 101] {
            assert_eq!(outcome(code << 8, None, None), (code, String::new()));
        }
    }

    #[test]
    fn signals_and_lost_machines_are_a_machines_failure() {
        let death = Death { rank: "1".into(), node: "gpu07".into(), signal: "9 (Killed)".into() };
        let (code, message) = outcome(137 << 8, None, Some(&death));
        assert_eq!(code, 3);
        assert!(message.starts_with("rank 1 on gpu07 was ended by signal 9 (Killed): often"), "{message}");
        assert_eq!(outcome(134 << 8, None, None), (3, "a rank was ended by signal 6 (SIGABRT)".into()));
        let (code, message) = outcome(libc::SIGSEGV, None, None);
        assert_eq!((code, message.as_str()), (3, "tercet-worker was ended by signal 11 (SIGSEGV)"));
        assert!(outcome(205 << 8, None, None).1.contains("lost the connection"));
        let ended = Ended { status: ExitStatus::from_raw(9 << 8), interrupted: None, taken_down: false };
        let cause = Cause { no_daemon: true, ..Cause::default() };
        assert!(check(&ended, &cause).unwrap_err().to_string().contains("lost the connection"));
        assert_eq!(outcome(1 << 8, None, None).0, 3);
    }

    #[test]
    fn a_mistake_in_what_was_to_be_started_is_the_users() {
        for code in [1, 2, 132, 205, 255] {
            let ended = Ended { status: ExitStatus::from_raw(code << 8), interrupted: None, taken_down: false };
            let cause = Cause { no_daemon: true, mistake: Some("no key"), ..Cause::default() };
            let fail = check(&ended, &cause).unwrap_err();
            assert_eq!((fail.code(), fail.to_string().as_str()), (2, "the ranks could not be started: no key"));
            let cause = Cause { error: Some("rank 0/2 a: said why".into()), ..cause };
            assert_ne!(check(&ended, &cause).unwrap_err().to_string(), "the ranks could not be started: no key");
        }
    }

    #[test]
    fn a_run_that_was_stopped_ends_as_shells_expect_unless_it_can_be_resumed() {
        assert_eq!(outcome(1 << 8, Some(libc::SIGINT), None).0, 130);
        assert_eq!(outcome(libc::SIGTERM, Some(libc::SIGTERM), None).0, 143);
        assert_eq!(outcome(75 << 8, Some(libc::SIGTERM), None).0, 75);
        assert_eq!(outcome(libc::SIGKILL, Some(libc::SIGUSR1), None).0, 75);
    }
}
