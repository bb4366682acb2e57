//! The command line that starts the ranks. Running it and watching it is [`crate::watch`]'s part.
//!
//! One rank on this machine is `tercet-worker` itself; anything else is `mpirun -n N … tercet-worker …`, which does the
//! same when typed by hand. Inside a Slurm allocation too: `mpirun` has `srun` start its daemons. What the worker is given ([`crate::worker_args`]):
//!
//! ```text
//! tercet-worker train RECIPE [--set KEY=VALUE]… [--resume] [--lock-wait-secs 60] --events
//! tercet-worker measure RECIPE [--set KEY=VALUE]… --text-len 256
//! tercet-worker doctor [RECIPE [--set KEY=VALUE]…]
//! tercet-worker bench RECIPE [--set KEY=VALUE]… --steps 5 --from 0
//! tercet-worker step RECIPE --model DIR (--rows FILE.jsonl | --tokens FILE.safetensors) [--dataset NAME]
//!               [--set KEY=VALUE]…
//! tercet-worker encode --model DIR --input (FILE.jsonl | FILE.txt | -) --out (FILE.safetensors | FILE.jsonl)
//!               --heads dense,lexical,multi_vector --max-len 8192 [--mcls N] [--pooling cls|mean]
//!               [--as query|passage] [--prefix=TEXT] --sub-batch-tokens 8192
//! tercet-worker eval --model DIR --data FOLDER [--data FOLDER]… [--out DIR] --query-max-len 512
//!               --passage-max-len 8192 [--mcls N] [--json FILE|-] [--keep-identical-ids] --split test
//!               [--query-prefix=TEXT] [--passage-prefix=TEXT] --sub-batch-tokens 8192
//! tercet-worker mine --model DIR --rows FILE.jsonl --out FILE.jsonl [--corpus FILE] --negatives 7 --range 10-100
//!               --query-max-len 512 --passage-max-len 8192 --seed 42 [--query-prefix=TEXT] [--passage-prefix=TEXT]
//!               --sub-batch-tokens 8192
//! ```
//!
//! and what is expected of it:
//! - only rank 0 writes to standard output, but for signs of life: for `train --events` one JSON object a line
//!   ([`crate::events`]), for `step`, `bench`, `doctor`
//!   and `measure` one JSON object, for the others what the user shall see;
//! - an error is said once, on standard error, as `tercet-worker: rank 3/8 gpu07: …`, and the process ends with one
//!   of [`tercet_configs::ExitCode`]'s codes (through `MPI_Abort` where there are several ranks);
//! - with `--input -`, rank 0 has the standard input; the other ranks have none.

use std::env;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use tercet_configs::{ExitCode, VisibleDevices};

use crate::exit::Fail;
use crate::place::{Launch, Placement};
use crate::screen::Screen;

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

/// Variables that every rank must have as they are here, by name or by beginning: what they compute, log and exchange
/// with. A list, because the whole environment may hold secrets; `mpirun` is given the names, never the values.
const TRAVELLING: [&str; 17] = [
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "FI_",
    "KMP_",
    "LD_LIBRARY_PATH",
    "LIBTORCH",
    "MALLOC_CONF",
    "MKL_",
    "NCCL_",
    "OMP_",
    "PYTORCH_",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TERCET_",
    "TORCH_",
    "UCX_",
    "_RJEM_MALLOC_CONF",
];

/// Open MPI's readers of what batch systems say of a job's nodes. The hosts are ours to choose.
const OTHERS_NODES: &str = "^slurm,tm,lsf,gridengine,alps";

/// Beginnings of variables that a job of a batch system has.
const BATCH_SYSTEMS: [&str; 6] = ["SLURM_JOB", "SLURM_NODELIST", "PBS_", "LSB_", "PE_HOSTFILE", "COBALT_"];

/// What an `mpirun`, or an `srun` that knows PMIx, gives to what it starts, by name or by beginning. A second `mpirun`
/// would take itself for one of the first one's ranks.
const OF_A_RANK: [&str; 18] = [
    "OMPI_APP_CTX_NUM_PROCS",
    "OMPI_COMM_WORLD_",
    "OMPI_FILE_LOCATION",
    "OMPI_FIRST_RANKS",
    "OMPI_MCA_ess",
    "OMPI_MCA_ess_",
    "OMPI_MCA_initial_wdir",
    "OMPI_MCA_orte_app_num",
    "OMPI_MCA_orte_ess_",
    "OMPI_MCA_orte_hnp_uri",
    "OMPI_MCA_orte_jobfam_session_dir",
    "OMPI_MCA_orte_launch",
    "OMPI_MCA_orte_local_daemon_uri",
    "OMPI_MCA_orte_num_nodes",
    "OMPI_MCA_orte_top_session_dir",
    "OMPI_MCA_pmix",
    "OMPI_UNIVERSE_SIZE",
    "PMIX_",
];

/// The program and arguments that run `worker_args` where `placement` says.
///
/// # Errors
/// [`Fail`] with [`ExitCode::Usage`] where `tercet-worker`, or `mpirun` if it is needed, is not installed.
pub fn command(placement: &Placement, worker_args: &[OsString]) -> Result<Command, Fail> {
    let worker = find_worker()?;
    let ranks = placement.num_ranks();
    if ranks.get() == 1 && placement.launch() == Launch::Here {
        let mut command = Command::new(worker);
        command.args(worker_args);
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
        .args(worker_args);
    set_environment(&mut command, placement, &names);
    Ok(command)
}

/// What `mpirun` is to have in its environment otherwise than this process.
fn set_environment(command: &mut Command, placement: &Placement, names: &[String]) {
    if names.iter().any(|name| ["OMPI_COMM_WORLD_RANK", "OMPI_UNIVERSE_SIZE", "PMIX_RANK"].contains(&name.as_str())) {
        names.iter().filter(|name| is_of_a_rank(name)).for_each(|name| _ = command.env_remove(name));
    }
    if placement.launch() == Launch::Slurm {
        // Otherwise a site's default may tie mpirun's daemon, and with it a node's ranks, to the cores of one task.
        command.env("SLURM_CPU_BIND", "none");
    }
    if placement.has_domains() {
        // Otherwise hosts that differ in their domains alone are one, and are called by a name that nobody has written.
        // Open MPI 4 reads the first, the runtime of Open MPI 5 the second.
        command.env("OMPI_MCA_orte_keep_fqdn_hostnames", "1").env("PRTE_MCA_prte_keep_fqdn_hostnames", "1");
    }
    for (name, value) in placement.changes() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

fn is_of_a_rank(variable: &str) -> bool {
    // What a user sets of PMIx begins like this.
    !variable.starts_with("PMIX_MCA_") && listed(&OF_A_RANK, variable)
}

/// One rank per NVIDIA GPU that this process may use, and a word where it may use fewer than it seems; 1 where there is none.
pub fn default_ranks(screen: &Screen) -> NonZeroUsize {
    let (num, fewer) = usable_gpus();
    if let Some(why) = fewer {
        screen.say(&format!("warning: {why}: {num} GPUs are used\n"));
    }
    NonZeroUsize::new(num).unwrap_or(NonZeroUsize::MIN)
}

/// NVIDIA GPUs that this process may use.
pub fn num_gpus() -> usize {
    usable_gpus().0
}

/// The same, and why they are fewer than were probably meant.
fn usable_gpus() -> (usize, Option<String>) {
    let present = std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |gpus| gpus.flatten().count());
    match env::var("CUDA_VISIBLE_DEVICES") {
        Ok(list) if present > 0 => {
            let VisibleDevices { num, remark, .. } = VisibleDevices::read(&list, Some(present));
            (num, remark.map(|remark| format!("CUDA_VISIBLE_DEVICES, {list:?}, {remark}")))
        }
        _ => (present, None),
    }
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
        // All ranks are on this machine and talk through its memory; whatever else Open MPI finds listens on network ports.
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
    let in_a_job = || variables.iter().any(|name| BATCH_SYSTEMS.iter().any(|known| name.starts_with(known)));
    let mut words = match placement.launch() {
        // Inside a job Open MPI would otherwise look at the job's nodes, and go there.
        Launch::Here if in_a_job() => {
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
    let travelling = variables.iter().filter(|name| travels(name)).flat_map(|name| ["-x", name.as_str()]);
    words.into_iter().chain(travelling).map(OsString::from).collect()
}

fn travels(variable: &str) -> bool {
    listed(&TRAVELLING, variable)
}

/// By name, or by a beginning that ends in an underscore.
fn listed(names: &[&str], variable: &str) -> bool {
    names.iter().any(|known| if known.ends_with('_') { variable.starts_with(known) } else { variable == *known })
}

/// Whether the kernel lets processes copy from each other (cross-memory attach); some containers forbid the call.
fn may_read_other_processes() -> bool {
    let (from, mut to) = (0u8, 1u8);
    let local = libc::iovec { iov_base: (&raw mut to).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: (&raw const from).cast_mut().cast(), iov_len: 1 };
    // SAFETY: both vectors describe one byte of this process that outlives the call; `from` is only read.
    unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) == 1 }
}

/// The worker beside this program, as cargo and packages put it, or the one in PATH.
fn find_worker() -> Result<PathBuf, Fail> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(WORKER)));
    let beside = beside.filter(|path| is_program(path));
    beside.or_else(|| find_in_path(WORKER)).ok_or_else(|| {
        Fail::new(
            ExitCode::Usage,
            format!("{WORKER} is neither beside this program nor in PATH: build it with `make build`"),
        )
    })
}

/// A program, where it is in PATH.
pub fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).filter(|dir| dir != OsStr::new("")).map(|dir| dir.join(program)).find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
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

    #[test]
    fn an_mpirun_inside_another_is_not_its_rank() {
        let mine = ["OMPI_MCA_btl", "OMPI_MCA_orte_tmpdir_base", "PMIX_MCA_gds", "OMPI_ALLOW_RUN_AS_ROOT", "PATH"];
        assert!(!mine.into_iter().any(is_of_a_rank));
        for name in ["OMPI_COMM_WORLD_RANK", "OMPI_MCA_ess", "OMPI_MCA_ess_base_jobid", "PMIX_RANK", "OMPI_MCA_pmix"] {
            assert!(is_of_a_rank(name), "{name}");
        }
    }

    #[test]
    fn only_what_is_on_the_list_travels() {
        for name in ["NCCL_DEBUG", "OMP_NUM_THREADS", "RUST_LOG", "LD_LIBRARY_PATH"] {
            assert!(travels(name), "{name}");
        }
        for name in ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "CUDA_VISIBLE_DEVICES", "RUST_LOG_TOKEN", "NCCL", "PATH"] {
            assert!(!travels(name), "{name}");
        }
    }
}
