//! What of this process's environment the ranks get, and what `mpirun` gets otherwise.

use std::process::Command;

use crate::place::{Launch, Placement};

/// Variables that every rank must have as they are here, by name or by beginning: what they compute, log and exchange
/// with. A list, because the whole environment may hold secrets; `mpirun` is given the names, never the values.
const TRAVELLING: [&str; 18] = [
    "CUBLAS_",
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

/// What `mpirun` is to have in its environment otherwise than this process.
pub fn set(command: &mut Command, placement: &Placement, names: &[String]) {
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

/// Whether one of `variables` is of a job of a batch system.
pub fn in_a_job(variables: &[String]) -> bool {
    variables.iter().any(|name| BATCH_SYSTEMS.iter().any(|known| name.starts_with(known)))
}

/// Whether ranks on other hosts must have the variable as it is here.
pub fn travels(variable: &str) -> bool {
    listed(&TRAVELLING, variable)
}

/// By name, or by a beginning that ends in an underscore.
fn listed(names: &[&str], variable: &str) -> bool {
    names.iter().any(|known| if known.ends_with('_') { variable.starts_with(known) } else { variable == *known })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for name in ["NCCL_DEBUG", "CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS", "RUST_LOG", "LD_LIBRARY_PATH"] {
            assert!(travels(name), "{name}");
        }
        for name in ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "CUDA_VISIBLE_DEVICES", "RUST_LOG_TOKEN", "NCCL", "PATH"] {
            assert!(!travels(name), "{name}");
        }
    }
}
