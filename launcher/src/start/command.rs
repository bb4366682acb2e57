//! The command line that starts the ranks. Running it and watching it is [`super::child`]'s part, its environment
//! [`super::environment`]'s.
//!
//! One rank on this machine is `tercet-worker` itself; anything else is `mpirun -n N … tercet-worker …`, which does the
//! same when typed by hand. Inside a Slurm allocation too: `mpirun` has `srun` start its daemons. What the worker is
//! given, and what is expected of it, is [`tercet_protocol`]'s.

use std::env;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::Command;

use tercet_configs::ExitCode;

use super::environment;
use crate::exit::Fail;
use crate::place::programs::{find_in_path, find_own};
use crate::place::{Launch, Placement};

/// The worker's program.
const WORKER: &str = "tercet-worker";

/// Open MPI settings, each unless the user has set it in the environment (`OMPI_MCA_…`).
const MCA: [(&str, &str); 5] = [
    // A machine that vanishes without a word (power, cable) is noticed within 5 s instead of about 8 minutes.
    ("oob_tcp_keepalive_time", "2"),
    ("oob_tcp_keepalive_intvl", "1"),
    ("oob_tcp_keepalive_probes", "3"),
    // When a rank dies the others have nothing to finish: they end at once, not after another second.
    ("odls_base_sigkill_timeout", "0"),
    // A rank that waits for the others lets those that compute have its core.
    ("mpi_yield_when_idle", "1"),
];

/// Open MPI's readers of what batch systems say of a job's nodes. The hosts are ours to choose.
const OTHERS_NODES: &str = "^slurm,tm,lsf,gridengine,alps";

/// The program and arguments that have ranks do `what` where `placement` says.
///
/// # Errors
/// [`Fail`] with [`ExitCode::Usage`] where `tercet-worker`, or `mpirun` if it is needed, is not installed.
pub fn command(placement: &Placement, what: &tercet_protocol::Command) -> Result<Command, Fail> {
    let (worker, words) = (find_own(WORKER)?, what.words());
    let ranks = placement.num_ranks();
    if ranks.get() == 1 && placement.launch() == Launch::Here {
        let mut command = Command::new(worker);
        command.args(words);
        return Ok(command);
    }
    let mpirun = find_in_path("mpirun").ok_or_else(|| {
        Fail::new(
            ExitCode::Usage,
            format!(
                "{ranks} ranks need mpirun, which is not in PATH: install Debian's package openmpi-bin \
                 (apt-get install openmpi-bin), or run one rank with -n 1"
            ),
        )
    })?;
    let mut command = Command::new(mpirun);
    let names: Vec<String> = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    command
        .args(mpirun_options(ranks, placement.launch() == Launch::Here))
        .args(place_options(placement, &names))
        .arg(worker)
        .args(words);
    environment::set(&mut command, placement, &names);
    Ok(command)
}

fn mpirun_options(ranks: NonZeroUsize, here: bool) -> Vec<OsString> {
    let mut options: Vec<OsString> = vec!["-n".into(), ranks.to_string().into()];
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        // mpirun refuses to run for root otherwise; in containers there is often no other user.
        options.push("--allow-run-as-root".into());
    }
    // How many ranks a machine takes is the user's choice (-n), not the number of its cores; and a worker uses
    // several threads, which must not be tied to one core.
    options.extend(["--oversubscribe".into(), "--bind-to".into(), "none".into()]);
    let mut mca = |name: &str, value: &str| {
        if env::var_os(format!("OMPI_MCA_{name}")).is_none() {
            options.extend(["--mca".into(), name.into(), value.into()]);
        }
    };
    for (name, value) in MCA {
        mca(name, value);
    }
    if here {
        // All ranks are on this machine and talk through its memory; whatever else Open MPI finds listens on network
        // ports.
        mca("btl", "self,vader");
        if find_in_path("ssh").or_else(|| find_in_path("rsh")).is_none() {
            // Nothing is started with it, but without any, as in containers, mpirun does not begin.
            mca("plm_rsh_agent", "/bin/sh");
        }
    }
    if !may_read_other_processes() {
        // Otherwise every large message between ranks of this machine fails first, with a warning, and is sent again.
        mca("btl_vader_single_copy_mechanism", "none");
    }
    options
}

/// Which host takes how many ranks, and what of the environment (`variables`) goes there.
fn place_options(placement: &Placement, variables: &[String]) -> Vec<OsString> {
    let mut words = match placement.launch() {
        // Inside a job Open MPI would otherwise look at the job's nodes, and go there.
        Launch::Here if environment::in_a_job(variables) => {
            let words = ["--mca", "plm", "^slurm,tm,lsf,alps", "--mca", "ras", OTHERS_NODES];
            return words.map(OsString::from).to_vec();
        }
        Launch::Here => return Vec::new(),
        // The hosts are the file's, also inside a job.
        Launch::RemoteShell => vec!["--mca", "plm", "rsh", "--mca", "ras", OTHERS_NODES],
        Launch::Slurm => vec!["--mca", "plm", "slurm"],
    };
    let hosts: Vec<String> = placement.shares().iter().map(|(name, ranks)| format!("{name}:{ranks}")).collect();
    let hosts = hosts.join(",");
    words.extend(["--host", &hosts, "--map-by", "slot"]);
    let travelling = variables.iter().filter(|name| environment::travels(name)).flat_map(|name| ["-x", name.as_str()]);
    words.into_iter().chain(travelling).map(OsString::from).collect()
}

/// Whether the kernel lets processes copy from each other (cross-memory attach); some containers forbid the call.
fn may_read_other_processes() -> bool {
    let (from, mut to) = (0u8, 1u8);
    let local = libc::iovec { iov_base: (&raw mut to).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: (&raw const from).cast_mut().cast(), iov_len: 1 };
    // SAFETY: both vectors describe one byte of this process that outlives the call; `from` is only read.
    unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mpirun_gets_the_ranks_and_no_binding() {
        let options = mpirun_options(NonZeroUsize::new(3).unwrap(), true).join(" ".as_ref()).into_string().unwrap();
        assert!(options.starts_with("-n 3 "), "{options}");
        assert!(options.contains("--oversubscribe --bind-to none"), "{options}");
        assert!(options.contains("--mca oob_tcp_keepalive_time 2"), "{options}");
        assert!(options.contains("--mca btl self,vader"), "no rank listens on a port: {options}");
    }

    #[test]
    fn inside_a_job_ranks_of_this_machine_stay_on_it() {
        let placement = Placement::here(NonZeroUsize::new(2).unwrap());
        let options = |name: &str| place_options(&placement, &[name.to_owned()]).join(" ".as_ref());
        assert_eq!(options("HOME"), "");
        for name in ["SLURM_JOBID", "SLURM_NODELIST", "PBS_NODEFILE"] {
            assert_eq!(options(name), format!("--mca plm ^slurm,tm,lsf,alps --mca ras {OTHERS_NODES}").as_str());
        }
    }
}
