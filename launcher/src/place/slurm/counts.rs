//! How many ranks each node of a job takes, from the variables of the job. Slurm tells the GPUs of this node only, so
//! every node is taken to have as many. Whatever contradicts that, or is not understood, is reported.
//!
//! Source: sbatch(1), "OUTPUT ENVIRONMENT VARIABLES", and what Slurm 22.05 sets.

use std::num::NonZeroUsize;

use tercet_configs::{ExitCode, VisibleDevices};

use crate::exit::Fail;

/// The ranks of a job's nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By node.
    pub ranks: Vec<NonZeroUsize>,
    /// GPUs that the job has on each node.
    pub gpus_per_node: Option<NonZeroUsize>,
    /// What the user should know, a sentence each.
    pub words: Vec<String>,
}

/// What is read, and remarks about it.
struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    num_nodes: usize,
    /// The variables of tasks are a step's, not the job's.
    in_step: bool,
    words: Vec<String>,
}

/// A rank per GPU that the job has on a node; without GPUs, a rank per task that the job asked for; else one.
///
/// # Errors
/// [`ExitCode::Usage`] for nodes with different numbers of GPUs.
pub fn per_node(num_nodes: usize, in_step: bool, variable: &dyn Fn(&str) -> Option<String>) -> Result<Counts, Fail> {
    let mut reader = Reader { variable, num_nodes, in_step, words: Vec::new() };
    let tasks = reader.tasks();
    let cpus = reader.cpus();
    let gpus_per_node = reader.gpus(tasks.as_deref(), cpus.as_deref())?;
    let ranks = reader.ranks(gpus_per_node, tasks.as_deref());
    reader.check_cpus(&ranks, gpus_per_node, cpus.as_deref());
    let ranks = ranks.into_iter().map(|ranks| NonZeroUsize::new(ranks).unwrap_or(NonZeroUsize::MIN)).collect();
    Ok(Counts { ranks, gpus_per_node: gpus_per_node.and_then(NonZeroUsize::new), words: reader.words })
}

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// A variable's value. One that is not understood is reported.
    fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.get(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.words.push(format!("{name} is {text:?}, which is not understood: it is ignored"));
        }
        value
    }

    /// The tasks of each node, if the job asked for tasks: otherwise Slurm counts cores as tasks.
    fn tasks(&mut self) -> Option<Vec<usize>> {
        if self.in_step {
            return None;
        }
        let total = self.read("SLURM_NTASKS", number).or_else(|| self.read("SLURM_NPROCS", number));
        let each = self.read("SLURM_NTASKS_PER_NODE", number);
        if total.is_none() && each.is_none() {
            return None;
        }
        let list = self.read("SLURM_TASKS_PER_NODE", repeated).filter(|list| list.len() == self.num_nodes);
        if let Some(list) = list {
            let sum: usize = list.iter().sum();
            if let Some(total) = total.filter(|total| *total != sum) {
                let text = self.get("SLURM_TASKS_PER_NODE").unwrap_or_default();
                self.words.push(format!(
                    "SLURM_NTASKS is {total}, but SLURM_TASKS_PER_NODE, {text}, makes {sum} tasks: the latter counts"
                ));
            }
            return Some(list);
        }
        let nodes = self.num_nodes;
        let uniform = each.filter(|each| total.is_none_or(|total| total == each * nodes));
        let uniform = uniform.or_else(|| total.filter(|_| nodes == 1));
        if uniform.is_none() {
            let total = total.or(each).unwrap_or_default();
            self.words.push(format!(
                "SLURM_TASKS_PER_NODE does not tell which of the {nodes} nodes has how many of the {total} tasks: one rank a \
                 node, or one for each GPU"
            ));
        }
        Some(vec![uniform?; nodes])
    }

    /// CPUs of each node.
    fn cpus(&mut self) -> Option<Vec<usize>> {
        let cpus = self.read("SLURM_JOB_CPUS_PER_NODE", repeated)?;
        if cpus.len() != self.num_nodes && !self.in_step {
            let text = self.get("SLURM_JOB_CPUS_PER_NODE").unwrap_or_default();
            self.words.push(format!(
                "SLURM_JOB_CPUS_PER_NODE, {text}, is about {} nodes, but the job has {}: it is ignored",
                cpus.len(),
                self.num_nodes
            ));
        }
        (cpus.len() == self.num_nodes).then_some(cpus)
    }

    /// GPUs of each node; none where the job has none.
    fn gpus(&mut self, tasks: Option<&[usize]>, cpus: Option<&[usize]>) -> Result<Option<usize>, Fail> {
        let asked = self.read("SLURM_GPUS_PER_NODE", gpus).filter(|_| !self.in_step);
        let here = self.read("SLURM_GPUS_ON_NODE", gpus);
        let listed = self.read("SLURM_STEP_GPUS", indices).or_else(|| self.read("SLURM_JOB_GPUS", indices));
        if let (Some(here), Some(listed)) = (here, listed)
            && here != listed
        {
            self.words
                .push(format!("SLURM_GPUS_ON_NODE is {here}, but SLURM_JOB_GPUS lists {listed}: the former counts"));
        }
        let here = here.or(listed);
        if let (Some(asked), Some(here)) = (asked, here)
            && asked != here
        {
            self.words
                .push(format!("SLURM_GPUS_PER_NODE is {asked}, but this node has {here} GPUs: the former counts"));
        }
        let by_task = self.read("SLURM_GPUS_PER_TASK", gpus).filter(|_| asked.is_none()).zip(tasks);
        if let Some((each, tasks)) = by_task
            && tasks.iter().any(|number| *number != tasks[0])
        {
            let list = counted(&tasks.iter().map(|number| number * each).collect::<Vec<_>>());
            return Err(unlike(&format!("SLURM_GPUS_PER_TASK and SLURM_TASKS_PER_NODE make {list} GPUs")));
        }
        let each = asked.or_else(|| by_task.map(|(each, tasks)| each * tasks[0])).or(here);
        let total = self.read("SLURM_GPUS", gpus).filter(|_| !self.in_step);
        let each = self.check_total(each, total)?;
        if let (Some(each), None, None, None, Some(cpus)) = (each, asked, total, by_task, cpus)
            && each > 0
            && cpus.iter().any(|number| *number != cpus[0])
        {
            self.words.push(format!(
                "the nodes are not alike, they have {} CPUs: Slurm tells the GPUs of this one alone, and {each} are taken \
                 for each node's",
                counted(cpus)
            ));
        }
        self.check_visible(each, tasks.is_some());
        Ok(each.filter(|each| *each > 0))
    }

    /// The GPUs of a node, against those of the whole job.
    fn check_total(&mut self, each: Option<usize>, total: Option<usize>) -> Result<Option<usize>, Fail> {
        let nodes = self.num_nodes;
        match (each, total) {
            (Some(each), Some(total)) if total != each * nodes && nodes > 1 => {
                Err(unlike(&format!("SLURM_GPUS is {total} on {nodes} nodes, and {each} are on this one")))
            }
            (Some(each), Some(total)) if total != each * nodes => {
                self.words.push(format!("SLURM_GPUS is {total}, but this node has {each} GPUs: the latter count"));
                Ok(Some(each))
            }
            (None, Some(total)) if total.is_multiple_of(nodes) => {
                if nodes > 1 {
                    self.words
                        .push(format!("SLURM_GPUS is {total}: taken for {} on each of {nodes} nodes", total / nodes));
                }
                Ok(Some(total / nodes))
            }
            (None, Some(total)) => Err(unlike(&format!("SLURM_GPUS is {total} on {nodes} nodes"))),
            (each, _) => Ok(each),
        }
    }

    /// Whether processes of this node see the GPUs that the job has here.
    fn check_visible(&mut self, each: Option<usize>, has_tasks: bool) {
        let Some(list) = (self.variable)("CUDA_VISIBLE_DEVICES") else { return };
        let visible = VisibleDevices::read(&list, None);
        if let Some(remark) = &visible.remark {
            self.words.push(format!("CUDA_VISIBLE_DEVICES, {list:?}, {remark}"));
        } else if let Some(each) = each.filter(|each| *each != visible.num) {
            self.words.push(format!(
                "CUDA_VISIBLE_DEVICES, {list:?}, shows {} GPUs, and the job has {each} on this node: a rank for each of \
                 the {each}; -n sets another number",
                visible.num
            ));
        } else if each.is_none() && !has_tasks && visible.num > 1 {
            self.words.push(format!(
                "CUDA_VISIBLE_DEVICES, {list:?}, shows {} GPUs, but no variable of Slurm's says that the job has any: one \
                 rank a node; -n sets another number",
                visible.num
            ));
        }
    }

    fn ranks(&mut self, gpus: Option<usize>, tasks: Option<&[usize]>) -> Vec<usize> {
        let (Some(gpus), Some(tasks)) = (gpus, tasks) else {
            let one = vec![gpus.unwrap_or(1); self.num_nodes];
            return tasks.map_or(one, <[usize]>::to_vec);
        };
        let alike = tasks.iter().all(|number| *number == tasks[0]);
        if !alike && tasks.iter().max() == Some(&gpus) {
            self.words.push(format!(
                "tasks are {} a node, and GPUs {gpus} on this one: a rank for each task, not for each GPU",
                counted(tasks)
            ));
            return tasks.to_vec();
        }
        // A task a node is how launchers that start ranks themselves are usually asked for.
        if tasks.iter().any(|number| *number != gpus && *number != 1) {
            self.words.push(format!("tasks are {} a node, and GPUs {gpus}: a rank for each GPU", counted(tasks)));
        }
        vec![gpus; self.num_nodes]
    }

    /// Cores that ranks would have to share.
    fn check_cpus(&mut self, ranks: &[usize], gpus: Option<usize>, cpus: Option<&[usize]>) {
        let each = self.read("SLURM_CPUS_PER_TASK", number).filter(|_| !self.in_step);
        let Some(cpus) = cpus else { return };
        if let Some((ranks, cpus)) = ranks.iter().zip(cpus).find(|(ranks, cpus)| ranks > cpus) {
            self.words.push(format!(
                "the {ranks} ranks of a node share {cpus} of its CPUs: ask for more with --cpus-per-task or --exclusive"
            ));
        } else if let (None, Some(each)) = (gpus, each)
            && let Some((ranks, cpus)) = ranks.iter().zip(cpus).find(|(ranks, cpus)| **ranks * each > **cpus)
        {
            self.words.push(format!(
                "SLURM_CPUS_PER_TASK is {each}, but {ranks} ranks of a node have {cpus} CPUs: each rank gets its share"
            ));
        }
    }
}

/// `mpirun` starts its daemons on all nodes by one `srun`, which knows one number of GPUs for all of them.
fn unlike(what: &str) -> Fail {
    let message = format!(
        "{what}: the nodes of this job are not alike, and inside Slurm each node takes the same number of GPUs; ask for them \
         with --gpus-per-node, or name the hosts and their GPUs in a file: --hosts FILE"
    );
    Fail::new(ExitCode::Usage, message)
}

/// `4(x2),2`, as Slurm writes it.
pub fn counted(numbers: &[usize]) -> String {
    let parts = numbers.chunk_by(|one, next| one == next).map(|part| match part {
        [one] => one.to_string(),
        [one, ..] => format!("{one}(x{})", part.len()),
        [] => String::new(),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// `8`, `a100:8`, or `a100:4,a800:4`.
fn gpus(text: &str) -> Option<usize> {
    text.split(',').map(|part| part.rsplit(':').next().and_then(number)).sum()
}

/// `0,1,2`, or `0-2,5`: how many.
fn indices(text: &str) -> Option<usize> {
    let part = |part: &str| match part.split_once('-') {
        Some((first, last)) => (number(last)? + 1).checked_sub(number(first)?),
        None => number(part).map(|_| 1),
    };
    text.split(',').map(part).sum()
}

/// `8(x2),4` is 8, 8, 4.
fn repeated(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (count, nodes) = match part.split_once("(x") {
            Some((count, nodes)) => (count, nodes.strip_suffix(')').and_then(number)?),
            None => (part, 1),
        };
        let count = number(count).filter(|count| *count > 0)?;
        if nodes > 1 << 16 {
            return None;
        }
        numbers.extend(std::iter::repeat_n(count, nodes));
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(num_nodes: usize, in_step: bool, set: &[(&str, &str)]) -> Result<(Vec<usize>, String), String> {
        let variable = |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        let counts = per_node(num_nodes, in_step, &variable).map_err(|fail| fail.to_string())?;
        Ok((counts.ranks.into_iter().map(NonZeroUsize::get).collect(), counts.words.join("; ")))
    }

    #[test]
    fn a_rank_for_every_gpu_else_for_every_task() {
        let without_a_word = |num_nodes, set: &[_], expected: &[usize]| {
            assert_eq!(read(num_nodes, false, set), Ok((expected.to_vec(), String::new())), "{set:?}");
        };
        without_a_word(3, &[("SLURM_NTASKS", "20"), ("SLURM_TASKS_PER_NODE", "8(x2),4")], &[8, 8, 4]);
        without_a_word(2, &[("SLURM_GPUS_PER_NODE", "a100:8"), ("SLURM_GPUS_ON_NODE", "8")], &[8, 8]);
        without_a_word(2, &[("SLURM_GPUS_ON_NODE", "4"), ("SLURM_NTASKS_PER_NODE", "1")], &[4, 4]);
        without_a_word(1, &[("SLURM_GPUS_PER_NODE", "a100:4,a800:4")], &[8]);
        without_a_word(2, &[("SLURM_GPUS", "8"), ("SLURM_GPUS_ON_NODE", "4"), ("SLURM_JOB_GPUS", "0-3")], &[4, 4]);
        let by_task = [("SLURM_GPUS_PER_TASK", "2"), ("SLURM_NTASKS", "4"), ("SLURM_TASKS_PER_NODE", "2(x2)")];
        assert_eq!(read(2, false, &by_task).unwrap().0, [4, 4]);
        // Slurm counts cores as tasks where nobody asked for tasks.
        without_a_word(2, &[("SLURM_TASKS_PER_NODE", "128(x2)")], &[1, 1]);
        without_a_word(2, &[("SLURM_NTASKS_PER_NODE", "3")], &[3, 3]);
        // A step's variables say nothing of the job's tasks.
        let step = [("SLURM_NTASKS", "1"), ("SLURM_TASKS_PER_NODE", "1"), ("SLURM_JOB_CPUS_PER_NODE", "16(x3)")];
        assert_eq!(read(1, true, &step), Ok((vec![1], String::new())));
    }

    #[test]
    fn what_contradicts_itself_has_a_word() {
        let three = ("SLURM_TASKS_PER_NODE", "4(x2),2");
        for (num_nodes, set, expected, word) in [
            (
                3,
                &[("SLURM_NTASKS", "10"), three, ("SLURM_GPUS_ON_NODE", "4")][..],
                &[4, 4, 2][..],
                "a rank for each task",
            ),
            (
                3,
                &[("SLURM_NTASKS", "12"), three],
                &[4, 4, 2],
                "SLURM_NTASKS is 12, but SLURM_TASKS_PER_NODE, 4(x2),2, makes 10",
            ),
            (2, &[("SLURM_NTASKS_PER_NODE", "4"), ("SLURM_GPUS_ON_NODE", "8")], &[8, 8], "a rank for each GPU"),
            (
                2,
                &[("SLURM_NTASKS", "4"), ("SLURM_TASKS_PER_NODE", "2(y2)")],
                &[1, 1],
                "\"2(y2)\", which is not understood",
            ),
            (2, &[("SLURM_NTASKS", "4"), ("SLURM_TASKS_PER_NODE", "4")], &[1, 1], "which of the 2 nodes"),
            (2, &[("SLURM_GPUS_ON_NODE", "four")], &[1, 1], "SLURM_GPUS_ON_NODE is \"four\""),
            (2, &[("SLURM_GPUS_ON_NODE", "4"), ("SLURM_JOB_GPUS", "0,1")], &[4, 4], "SLURM_JOB_GPUS lists 2"),
            (2, &[("SLURM_GPUS_PER_NODE", "8"), ("SLURM_GPUS_ON_NODE", "4")], &[8, 8], "this node has 4 GPUs"),
            (2, &[("SLURM_GPUS", "8")], &[4, 4], "taken for 4 on each"),
            (1, &[("SLURM_GPUS", "8"), ("SLURM_GPUS_ON_NODE", "4")], &[4], "SLURM_GPUS is 8"),
            (
                2,
                &[("SLURM_GPUS_ON_NODE", "2"), ("SLURM_JOB_CPUS_PER_NODE", "1(x2)")],
                &[2, 2],
                "2 ranks of a node share 1",
            ),
            (
                2,
                &[("SLURM_GPUS_ON_NODE", "2"), ("SLURM_JOB_CPUS_PER_NODE", "72,36")],
                &[2, 2],
                "not alike, they have 72,36",
            ),
            (2, &[("SLURM_JOB_CPUS_PER_NODE", "72(x3)")], &[1, 1], "is about 3 nodes"),
            (
                1,
                &[("SLURM_NTASKS", "8"), ("SLURM_CPUS_PER_TASK", "16"), ("SLURM_JOB_CPUS_PER_NODE", "72")],
                &[8],
                "SLURM_CPUS_PER_TASK is 16, but 8 ranks",
            ),
            (
                1,
                &[("SLURM_GPUS_ON_NODE", "4"), ("CUDA_VISIBLE_DEVICES", "0,1")],
                &[4],
                "shows 2 GPUs, and the job has 4",
            ),
            (1, &[("SLURM_GPUS_ON_NODE", "2"), ("CUDA_VISIBLE_DEVICES", "0,0")], &[2], "names 0 twice"),
        ] {
            let (ranks, words) = read(num_nodes, false, set).unwrap();
            assert!(ranks == expected && words.contains(word), "{set:?}: {ranks:?}: {words}");
        }
    }

    #[test]
    fn nodes_with_different_numbers_of_gpus_are_refused() {
        for set in [
            &[("SLURM_GPUS", "10"), ("SLURM_GPUS_ON_NODE", "4")][..],
            &[("SLURM_GPUS", "10")],
            &[("SLURM_GPUS_PER_TASK", "1"), ("SLURM_NTASKS", "10"), ("SLURM_TASKS_PER_NODE", "4(x2),2")],
        ] {
            let error = read(3, false, set).unwrap_err();
            assert!(error.contains("not alike") && error.contains("--hosts FILE"), "{error}");
        }
    }

    #[test]
    fn numbers_are_written_as_slurm_writes_them() {
        assert_eq!(counted(&[4, 4, 2]), "4(x2),2");
        assert_eq!(counted(&[1]), "1");
    }
}
