//! What batch systems leave in the environment, and what is asked of them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use crate::stand_in::{Ran, StandIn};

const ENCODE: &str = "encode --model m --input a.txt --out o.jsonl";

/// With these variables, and with no programs in PATH but an `mpirun` that says what it was asked for, and a shell.
fn encode_in(words: &str, variables: &[(&str, &str)]) -> Ran {
    let lab = StandIn::new();
    let bin = lab.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let bash = std::env::split_paths(&path).map(|dir| dir.join("bash")).find(|path| path.is_file()).unwrap();
    std::os::unix::fs::symlink(bash, bin.join("bash")).unwrap();
    let mpirun =
        "#!/bin/bash\necho \"mpirun $* tasks $SLURM_TASKS_PER_NODE domains $OMPI_MCA_orte_keep_fqdn_hostnames\"\n";
    program(&bin.join("mpirun"), mpirun);
    if words.contains("srun") {
        program(&bin.join("srun"), "#!/bin/bash\n");
    }
    std::fs::write(lab.path("hosts"), "gpu01.a slots=2\ngpu01.b slots=1\n").unwrap();
    let mut command = lab.tercet(words.trim_end_matches("srun"), "echo one rank");
    Ran::from(command.env("PATH", &bin).envs(variables.iter().copied()).output().unwrap())
}

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn nodes_take_what_slurm_says_of_each_and_mpirun_is_told_so() {
    let set = [
        ("SLURM_JOB_ID", "7"),
        ("SLURM_JOB_NODELIST", "gpu[01-03]"),
        ("SLURM_NTASKS", "10"),
        ("SLURM_TASKS_PER_NODE", "4(x2),2"),
    ];
    let ran = encode_in(&format!("{ENCODE} srun"), &set);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("--host gpu01:4,gpu02:4,gpu03:2 ") && ran.stdout.contains(" tasks 4(x2),2 "),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("is no node of job 7"), "{}", ran.stderr);
}

#[test]
fn a_container_without_slurms_programs_has_ways_out() {
    let one = [("SLURM_JOB_ID", "7"), ("SLURM_JOB_NODELIST", "gpu01")];
    let several = [("SLURM_JOB_ID", "7"), ("SLURM_JOB_NODELIST", "gpu[01-02]")];
    for (words, set) in [(ENCODE.to_owned(), one), (format!("{ENCODE} -n 1"), one), (format!("{ENCODE} -n 1"), several)]
    {
        let ran = encode_in(&words, &set);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "one rank\n"), "{}", ran.stderr);
    }
    let ran = encode_in(ENCODE, &several);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--hosts FILE") && ran.stderr.contains("unset SLURM_JOB_ID"), "{}", ran.stderr);
    let ran = encode_in(&format!("{ENCODE} --hosts hosts"), &several);
    assert!(ran.stdout.contains("--host gpu01.a:2,gpu01.b:1 ") && ran.stdout.contains(" domains 1"), "{ran:?}");
}

#[test]
fn an_array_of_one_run_folder_is_refused_before_anything_is_written() {
    let lab = StandIn::new();
    let ran = lab.run("submit r.toml --nodes 1 --gpus-per-node 0 --dry-run --set run_dir=run --sbatch=--array=0-3", "");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("cluster/slurm/array.sh") && !lab.path("run").exists(), "{}", ran.stderr);
    let plain = lab.run("submit r.toml --nodes 1 --gpus-per-node 0 --dry-run --set run_dir=run", "");
    assert_eq!(plain.code, Some(0), "{}", plain.stderr);
}
