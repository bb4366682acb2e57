//! The Slurm allocation that this process is in, from the variables that `sbatch`, `salloc` and `srun` set: which nodes
//! ([`nodelist`]), and how many ranks each takes ([`counts`]).
//!
//! Only the nodes of a heterogeneous job's first component can be used: `mpirun` has `srun` start its daemons, which
//! goes to that one. In a container Slurm's programs are often missing: then ranks run on this machine, if that is all
//! there is.

mod counts;
mod nodelist;

use std::num::NonZeroUsize;
use std::process::Command;

use tercet_configs::ExitCode;

use crate::exit::Fail;
use crate::place::machine::{ThisMachine, are_one};
use crate::place::placement::Host;

/// Numbers of steps from here on are Slurm's own: batch script, interactive shell, and the like.
const FIRST_SPECIAL_STEP: u64 = 0xffff_fff0;

/// The number of a heterogeneous job's components, by its newer and its older name.
const HET_SIZES: [&str; 2] = ["SLURM_HET_SIZE", "SLURM_PACK_SIZE"];

/// The surroundings of this process.
pub struct Surroundings<'a> {
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Where it runs.
    pub this: ThisMachine,
    /// `srun` is there to start daemons on nodes.
    pub has_srun: bool,
}

/// Where an allocation has ranks run.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// No allocation.
    Outside,
    /// On this machine, with this number of ranks unless `-n` names another.
    Here(NonZeroUsize),
    /// On these nodes; with these variables for `mpirun`, or without those that have no value.
    Nodes(Vec<Host>, Vec<(&'static str, Option<String>)>),
}

/// The allocation, and what the user should know of it, a sentence each. `asked` is the number of ranks that the user
/// wants.
///
/// # Errors
/// [`ExitCode::Usage`] for an allocation that cannot be used as it is, with the ways out.
pub fn find(asked: Option<NonZeroUsize>, around: &Surroundings) -> Result<(Found, Vec<String>), Fail> {
    let get = |name: &str| (around.variable)(name).filter(|value| !value.is_empty());
    let Some(job) = get("SLURM_JOB_ID") else { return Ok((Found::Outside, Vec::new())) };
    let Some(list) = get("SLURM_JOB_NODELIST").or_else(|| get("SLURM_NODELIST")) else {
        let word = format!("SLURM_JOB_ID is {job}, but SLURM_JOB_NODELIST is not set: ranks run on this machine");
        return Ok((Found::Outside, vec![word]));
    };
    let mut words = Vec::new();
    for name in HET_SIZES {
        if let Some(text) = get(name).filter(|text| text.parse::<usize>().is_err()) {
            words.push(format!("{name} is {text:?}, which is not understood: it is ignored"));
        }
    }
    words.extend(other_components(&job, asked, &get)?);
    let all = node_names(&job, &list, &mut words)?;
    let step = step_nodes(&job, &all, &get, &mut words);
    let in_step = step.is_some();
    let (nodes, list) = step.unwrap_or((all, list));
    check_number(&nodes, in_step, &get, &mut words);
    let is_known = get("SLURMD_NODENAME").is_some_and(|name| nodes.contains(&name));
    let is_here =
        |node: &String| around.this.is_evidently(node) || is_known && get("SLURMD_NODENAME").as_ref() == Some(node);
    if !nodes.iter().any(is_here) {
        words.push(format!(
            "this machine, {}, is no node of job {job} ({list}): that is right for a shell of salloc's; else the variables are \
             left over from another job, and without SLURM_JOB_ID ranks run on this machine",
            around.this.name()
        ));
    }
    let counts = counts::per_node(nodes.len(), in_step, around.variable)?;
    words.extend(counts.words);
    if !around.has_srun {
        return without_srun(&job, &list, &counts.ranks, asked).map(|found| (found, words));
    }
    let numbers: Vec<usize> = counts.ranks.iter().map(|ranks| ranks.get()).collect();
    let changes = vec![
        ("SLURM_JOBID", Some(job)),
        ("SLURM_NODELIST", Some(list)),
        // mpirun fills nodes by this variable, whatever it is told of each.
        ("SLURM_TASKS_PER_NODE", Some(counts::counted(&numbers))),
        // srun would apply what was asked for a job's tasks to those of its own step. These are mpirun's daemons, one a
        // node, and each needs all GPUs of its node.
        ("SLURM_GPUS", None),
        ("SLURM_GPUS_PER_TASK", None),
        ("SLURM_GPUS_PER_SOCKET", None),
        ("SLURM_NTASKS_PER_GPU", None),
        ("SLURM_TRES_PER_TASK", None),
        ("SLURM_GPU_BIND", None),
        ("SLURM_TRES_BIND", None),
        ("SLURM_GPUS_PER_NODE", counts.gpus_per_node.map(|gpus| gpus.to_string())),
    ];
    let hosts = nodes.into_iter().zip(counts.ranks).map(|(name, slots)| Host { name, slots }).collect();
    Ok((Found::Nodes(hosts, changes), words))
}

/// One node that this machine probably is, or one rank; everything else needs `srun`.
fn without_srun(job: &str, list: &str, ranks: &[NonZeroUsize], asked: Option<NonZeroUsize>) -> Result<Found, Fail> {
    match (ranks, asked) {
        ([ranks], _) => Ok(Found::Here(*ranks)),
        (_, Some(NonZeroUsize::MIN)) => Ok(Found::Here(NonZeroUsize::MIN)),
        _ => Err(Fail::new(
            ExitCode::Usage,
            format!(
                "job {job} has {} nodes ({list}), and Slurm's srun, which starts ranks there, is not in PATH (a container?): \
                 {}",
                ranks.len(),
                ways_out()
            ),
        )),
    }
}

fn ways_out() -> &'static str {
    "put Slurm's bin folder into PATH, or name the hosts with --hosts FILE (over ssh), or unset SLURM_JOB_ID, so that ranks \
     run on this machine alone"
}

/// What is said of a heterogeneous job's other components, by the variables' newer or older names.
fn other_components(
    job: &str,
    asked: Option<NonZeroUsize>,
    get: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Fail> {
    let size = |name: &str| get(name).and_then(|size| size.parse::<usize>().ok());
    let named = |number: usize| {
        let list = |group: &str| get(&format!("SLURM_JOB_NODELIST_{group}_GROUP_{number}"));
        list("HET").or_else(|| list("PACK"))
    };
    let counted = (0..64).filter(|number| named(*number).is_some()).count();
    let components = HET_SIZES.into_iter().find_map(size).unwrap_or(0).max(counted);
    if components < 2 {
        return Ok(None);
    }
    let lists: Vec<String> = (1..components).filter_map(named).collect();
    let others = if lists.is_empty() { String::new() } else { format!(" ({})", lists.join("; ")) };
    let what =
        format!("job {job} is heterogeneous, of {components} components, and ranks are started in the first alone");
    match asked {
        Some(_) => Ok(Some(format!("{what}: the others' nodes{others} are not used"))),
        None => Err(Fail::new(
            ExitCode::Usage,
            format!(
                "{what}, so that the others' nodes{others} would not be used: name all hosts with --hosts FILE (over ssh), \
                 submit a job of one component, or say with -n how many ranks the first one takes"
            ),
        )),
    }
}

/// `gpu[01-03]` written out, each node once.
fn node_names(job: &str, list: &str, words: &mut Vec<String>) -> Result<Vec<String>, Fail> {
    let names = nodelist::expand(list).or_else(|| scontrol(list)).ok_or_else(|| {
        let message = format!(
            "job {job}: SLURM_JOB_NODELIST, {list:?}, is not understood, and `scontrol show hostnames` does not write it out: {}",
            ways_out()
        );
        Fail::new(ExitCode::Usage, message)
    })?;
    let mut once: Vec<String> = Vec::new();
    for name in names {
        match once.iter().any(|known| are_one(known, &name)) {
            true => words.push(format!("SLURM_JOB_NODELIST, {list}, names {name} twice: it counts once")),
            false => once.push(name),
        }
    }
    Ok(once)
}

fn scontrol(list: &str) -> Option<Vec<String>> {
    let output = Command::new("scontrol").args(["show", "hostnames", list]).output().ok()?;
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    (output.status.success() && !names.is_empty()).then_some(names)
}

/// The nodes of the step that this process was started in by `srun`, if any, and their list. What Slurm tells of tasks
/// is then the step's, and `mpirun` sees its nodes alone.
fn step_nodes(
    job: &str,
    all: &[String],
    get: &dyn Fn(&str) -> Option<String>,
    words: &mut Vec<String>,
) -> Option<(Vec<String>, String)> {
    let step = get("SLURM_STEP_ID")?;
    step.parse::<u64>().ok().filter(|number| *number < FIRST_SPECIAL_STEP)?;
    let list = get("SLURM_STEP_NODELIST")?;
    let nodes = nodelist::expand(&list)?;
    if nodes.iter().any(|node| !all.contains(node)) {
        words.push(format!("SLURM_STEP_NODELIST, {list}, has nodes that are not in job {job}: it is ignored"));
        return None;
    }
    if nodes.len() < all.len() {
        words.push(format!(
            "started by srun in step {step} of job {job}, which has {list} of the job's {} nodes: ranks run there; start \
             tercet without srun to use all",
            all.len()
        ));
    }
    Some((nodes, list))
}

fn check_number(nodes: &[String], in_step: bool, get: &dyn Fn(&str) -> Option<String>, words: &mut Vec<String>) {
    let names: &[&str] = if in_step { &["SLURM_STEP_NUM_NODES"] } else { &["SLURM_JOB_NUM_NODES", "SLURM_NNODES"] };
    for name in names {
        if let Some(text) = get(name).filter(|text| text.parse() != Ok(nodes.len())) {
            words.push(format!("{name} is {text}, but {} nodes are listed: the list counts", nodes.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: (&str, &str) = ("SLURM_JOB_ID", "7");

    fn around(set: &[(&str, &str)], has_srun: bool, asked: Option<usize>) -> Result<(Found, Vec<String>), String> {
        let variable = |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        let around = Surroundings { variable: &variable, this: ThisMachine::called("gpu01.site"), has_srun };
        find(asked.and_then(NonZeroUsize::new), &around).map_err(|fail| {
            assert_eq!(fail.code(), 2);
            fail.to_string()
        })
    }

    fn shares(found: &Found) -> Vec<(&str, usize)> {
        match found {
            Found::Nodes(hosts, _) => hosts.iter().map(|host| (host.name.as_str(), host.slots.get())).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn outside_of_a_job_there_is_nothing() {
        assert_eq!(around(&[], true, None), Ok((Found::Outside, Vec::new())));
        assert_eq!(around(&[("SLURM_JOB_NODELIST", "gpu01")], true, None), Ok((Found::Outside, Vec::new())));
        let (found, words) = around(&[JOB], true, None).unwrap();
        assert!(found == Found::Outside && words[0].contains("SLURM_JOB_NODELIST is not set"), "{words:?}");
    }

    #[test]
    fn mpirun_is_told_what_each_node_takes() {
        let set =
            [JOB, ("SLURM_JOB_NODELIST", "gpu[01-03]"), ("SLURM_NTASKS", "10"), ("SLURM_TASKS_PER_NODE", "4(x2),2")];
        let (found, words) = around(&set, true, None).unwrap();
        assert_eq!((shares(&found), words.len()), (vec![("gpu01", 4), ("gpu02", 4), ("gpu03", 2)], 0));
        let Found::Nodes(_, changes) = found else { unreachable!() };
        assert!(changes.contains(&("SLURM_TASKS_PER_NODE", Some("4(x2),2".into()))), "{changes:?}");
        assert!(changes.contains(&("SLURM_GPUS_PER_NODE", None)), "{changes:?}");
        let set = [JOB, ("SLURM_JOB_NODELIST", "gpu[01-02]"), ("SLURM_GPUS_ON_NODE", "8"), ("SLURM_GPUS", "16")];
        let Found::Nodes(_, changes) = around(&set, true, None).unwrap().0 else { unreachable!() };
        for change in
            [("SLURM_GPUS_PER_NODE", Some("8".into())), ("SLURM_GPUS", None), ("SLURM_JOBID", Some("7".into()))]
        {
            assert!(changes.contains(&change), "{change:?}: {changes:?}");
        }
    }

    #[test]
    fn without_slurms_programs_one_node_is_this_machine_and_several_are_refused() {
        let one = [JOB, ("SLURM_JOB_NODELIST", "gpu01"), ("SLURM_GPUS_ON_NODE", "4")];
        assert_eq!(around(&one, false, None), Ok((Found::Here(NonZeroUsize::new(4).unwrap()), Vec::new())));
        let several = [JOB, ("SLURM_JOB_NODELIST", "gpu[01-02]")];
        let error = around(&several, false, None).unwrap_err();
        for way in ["PATH", "--hosts FILE", "unset SLURM_JOB_ID"] {
            assert!(error.contains(way), "{error}");
        }
        assert_eq!(around(&several, false, Some(1)).unwrap().0, Found::Here(NonZeroUsize::MIN));
        assert!(around(&several, false, Some(2)).is_err());
        let error = around(&[JOB, ("SLURM_JOB_NODELIST", "gpu[01")], false, None).unwrap_err();
        assert!(error.contains("is not understood"), "{error}");
    }

    #[test]
    fn a_heterogeneous_job_is_refused_unless_the_first_component_is_meant() {
        for group in ["HET", "PACK"] {
            let names = [format!("SLURM_{group}_SIZE"), format!("SLURM_JOB_NODELIST_{group}_GROUP_1")];
            let set = [JOB, ("SLURM_JOB_NODELIST", "gpu01"), (&names[0], "2"), (&names[1], "gpu[02-03]")];
            let error = around(&set, true, None).unwrap_err();
            assert!(error.contains("heterogeneous") && error.contains("(gpu[02-03])"), "{error}");
            let (found, words) = around(&set, true, Some(1)).unwrap();
            assert_eq!(shares(&found), [("gpu01", 1)]);
            assert!(words[0].contains("(gpu[02-03]) are not used"), "{words:?}");
        }
    }

    #[test]
    fn variables_of_another_machines_job_have_a_word() {
        let words = |set: &[(&str, &str)]| around(set, true, None).unwrap().1.join("; ");
        let others = words(&[JOB, ("SLURM_JOB_NODELIST", "gpu[02-03]")]);
        assert!(others.contains("gpu01.site, is no node of job 7 (gpu[02-03])"), "{others}");
        assert_eq!(words(&[JOB, ("SLURM_JOB_NODELIST", "gpu[01-02]")]), "");
        assert_eq!(words(&[JOB, ("SLURM_JOB_NODELIST", "c[1-2]"), ("SLURMD_NODENAME", "c1")]), "");
        let number = words(&[JOB, ("SLURM_JOB_NODELIST", "gpu[01-02]"), ("SLURM_JOB_NUM_NODES", "3")]);
        assert!(number.contains("SLURM_JOB_NUM_NODES is 3, but 2 nodes are listed"), "{number}");
        let number = words(&[JOB, ("SLURM_JOB_NODELIST", "gpu[01-02]"), ("SLURM_NNODES", "3")]);
        assert!(number.contains("SLURM_NNODES is 3, but 2 nodes are listed"), "{number}");
        let size = words(&[JOB, ("SLURM_JOB_NODELIST", "gpu01"), ("SLURM_HET_SIZE", "two")]);
        assert!(size.contains("SLURM_HET_SIZE is \"two\", which is not understood"), "{size}");
        let seen = words(&[JOB, ("SLURM_JOB_NODELIST", "gpu01"), ("CUDA_VISIBLE_DEVICES", "0,1")]);
        assert!(seen.contains("shows 2 GPUs, but no variable of Slurm's"), "{seen}");
    }

    #[test]
    fn in_a_step_its_nodes_are_used_with_a_word() {
        let set = [
            JOB,
            ("SLURM_JOB_NODELIST", "gpu[01-03]"),
            ("SLURM_STEP_ID", "4"),
            ("SLURM_STEP_NODELIST", "gpu01"),
            ("SLURM_NTASKS", "1"),
        ];
        let (found, words) = around(&set, true, None).unwrap();
        assert_eq!(shares(&found), [("gpu01", 1)]);
        assert!(words[0].contains("step 4 of job 7, which has gpu01 of the job's 3 nodes"), "{words:?}");
        let Found::Nodes(_, changes) = found else { unreachable!() };
        assert!(changes.contains(&("SLURM_NODELIST", Some("gpu01".into()))));
        // A shell that salloc has started is a step of Slurm's own.
        let interactive = set.map(|(name, value)| (name, if name == "SLURM_STEP_ID" { "4294967290" } else { value }));
        assert_eq!(shares(&around(&interactive, true, None).unwrap().0).len(), 3);
        let strange = set.map(|(name, value)| (name, if name == "SLURM_STEP_NODELIST" { "x1" } else { value }));
        assert!(around(&strange, true, None).unwrap().1[0].contains("nodes that are not in job 7"));
    }
}
