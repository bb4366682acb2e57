//! Further options of `sbatch` that a user gives: those that contradict what the job script does are refused, those
//! that stand in place of a line of its own replace that line.
//!
//! Source: sbatch(1). Slurm reads shortened long options, as GNU's getopt does.

use tercet_configs::ExitCode;

use crate::exit::Fail;
use crate::submit::quote;

/// An option as it stands in a script: `account=me`, or `-Ame`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SbatchOption {
    /// Its long name, if it is known or was given.
    name: String,
    value: String,
    /// Without `#SBATCH `.
    line: String,
}

/// Options that may not be given, with the letter of some, and why not.
const REFUSED: [(&str, &str, &str); 25] = [
    ("array", "a", ARRAY),
    ("nodes", "N", "the script's nodes are --nodes"),
    ("ntasks", "n", TASKS),
    ("ntasks-per-node", "", TASKS),
    ("tasks-per-node", "", TASKS),
    ("ntasks-per-core", "", TASKS),
    ("ntasks-per-socket", "", TASKS),
    ("ntasks-per-gpu", "", TASKS),
    ("gpus", "G", GPUS),
    ("gpus-per-task", "", GPUS),
    ("gpus-per-socket", "", GPUS),
    ("tres-per-task", "", GPUS),
    ("time", "t", "the time limit is --time, by which the signal before the end is checked"),
    ("partition", "p", "the partition is --partition"),
    ("signal", "", "seconds before the end are --signal-secs; the signal is the script's, which waits for it"),
    ("no-kill", "k", "it is an option of tercet submit itself: --no-kill, without --sbatch"),
    ("no-requeue", "", REQUEUE),
    ("chdir", "D", FOLDER),
    ("workdir", "D", FOLDER),
    ("hetjob", "", HETEROGENEOUS),
    ("packjob", "", HETEROGENEOUS),
    ("wrap", "", "the job script is tercet's"),
    ("oversubscribe", "s", SHARED),
    ("share", "", SHARED),
    ("clusters", "M", "the script asks one cluster's Slurm, the one that it runs in"),
];

const ARRAY: &str = "the tasks of an array would share one run folder, and a run folder belongs to one run: cluster/slurm/array.sh \
                     shows one run for each task, with a run folder of its own";
const TASKS: &str = "tasks are ranks: one for each GPU (--gpus-per-node), or --ranks-per-node";
const GPUS: &str =
    "GPUs are --gpus-per-node, the same on all nodes; of a type, --sbatch=--gpus-per-node=TYPE:N with the same number";
const REQUEUE: &str = "the script queues itself again after a checkpoint or a machine's failure; for a job that never does, \
                       change the script that --dry-run writes";
const FOLDER: &str =
    "the script runs in the folder that tercet submit is called in, and its output is in the run folder";
const SHARED: &str = "ranks share all cores of a node among themselves";
const HETEROGENEOUS: &str = "ranks would start on the first component's nodes alone";

/// Options of the script that a user's option stands in place of.
const REPLACED: [(&str, &[&str]); 6] = [
    ("gpus-per-node", &["gpus-per-node"]),
    ("job-name", &["job-name", "J"]),
    ("exclusive", &["exclusive"]),
    ("mem", &["mem", "mem-per-cpu", "mem-per-gpu"]),
    ("open-mode", &["open-mode"]),
    ("output", &["output", "o"]),
];

/// Options of which some values are refused.
const BY_VALUE: [&str; 2] = ["export", "gres"];

/// Letters without a value, behind which getopt reads the next letter.
const FLAGS: &str = "HhkOQsvVW";

impl SbatchOption {
    /// The option that was typed: `--account=me`, `account=me` or `-Ame`.
    ///
    /// # Errors
    /// [`ExitCode::Usage`] for characters that no option has, and for several options.
    pub fn read(typed: &str) -> Result<Self, Fail> {
        quote::sbatch("--sbatch", typed)?;
        if let Some(short) = typed.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
            let mut letters = short.chars();
            let name = letters.next().map(String::from).unwrap_or_default();
            if FLAGS.contains(&name) && !letters.as_str().is_empty() {
                let words =
                    format!("--sbatch={typed}: one option at a time: --sbatch=-{name}, and the others likewise");
                return Err(Fail::new(ExitCode::Usage, words));
            }
            return Ok(Self {
                name,
                value: letters.as_str().trim_start_matches('=').to_owned(),
                line: typed.to_owned(),
            });
        }
        let option = typed.strip_prefix("--").unwrap_or(typed);
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        Ok(Self { name: whole(name).to_owned(), value: value.to_owned(), line: format!("--{option}") })
    }

    /// What stands behind `#SBATCH `.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The GPUs of each node that it asks for, if it is about them: `8`, or `a100:8` of a type.
    pub fn gpus_per_node(&self) -> Option<&str> {
        (self.name == "gpus-per-node").then(|| self.value.rsplit(':').next().unwrap_or_default())
    }

    /// Whether it stands in place of the script's own `option`.
    pub fn replaces(&self, option: &str) -> bool {
        let own = option.split('=').next().unwrap_or_default();
        REPLACED.iter().any(|(name, by)| *name == own && by.contains(&self.name.as_str()))
    }

    /// # Errors
    /// [`ExitCode::Usage`] for an option that contradicts the script, with the reason.
    pub fn check(&self) -> Result<(), Fail> {
        let is = |name: &str, letter: &str| match self.name.len() {
            1 => self.name == letter,
            _ => self.name == name,
        };
        // It may be short for several, all of which are refused.
        let shortened = |name: &str| name.starts_with(&self.name) && self.name.len() > 2;
        let whole = REFUSED.iter().find(|(name, letter, _)| is(name, letter));
        let found = whole.or_else(|| REFUSED.iter().find(|(name, _, _)| shortened(name)));
        let why = found.map(|(_, _, why)| *why).or_else(|| self.value_refused());
        match why {
            None => Ok(()),
            Some(why) => Err(Fail::new(ExitCode::Usage, format!("--sbatch={}: {why}", self.line))),
        }
    }

    fn value_refused(&self) -> Option<&'static str> {
        let values = || self.value.split(',');
        match self.name.as_str() {
            "export" if !values().any(|value| value == "ALL") => Some(
                "without this shell's environment neither mpirun nor its daemons find what they need: use ALL, or \
                 ALL,NAME=VALUE",
            ),
            "gres"
                if values()
                    .any(|value| value.split([':', '=']).next() == Some("gpu") || value.starts_with("gres/gpu")) =>
            {
                Some(GPUS)
            }
            _ => None,
        }
    }
}

/// The long name that `typed` is short for, if it is one of those that are known here.
fn whole(typed: &str) -> &str {
    let replacing = REPLACED.iter().flat_map(|(_, by)| by.iter().copied());
    let known = || REFUSED.iter().map(|(name, ..)| *name).chain(replacing.clone()).chain(BY_VALUE);
    let mut candidates = known().filter(|name| name.starts_with(typed));
    match (candidates.next(), candidates.next()) {
        (Some(name), None) if typed.len() > 1 => name,
        _ => typed,
    }
}

/// Variables by which `sbatch` takes options, and which stand above what a script says: those that are set, as
/// sentences.
///
/// # Errors
/// [`ExitCode::Usage`] for one that makes the job an array, or keeps it from queueing again.
pub fn check_variables(names: impl Iterator<Item = String>) -> Result<Vec<String>, Fail> {
    let mut words = Vec::new();
    for name in names.filter(|name| name.starts_with("SBATCH_")) {
        let why = match name.as_str() {
            "SBATCH_ARRAY_INX" => ARRAY,
            "SBATCH_NO_REQUEUE" => REQUEUE,
            _ => {
                words.push(format!("{name} is set here: sbatch prefers it to what the script says"));
                continue;
            }
        };
        return Err(Fail::new(ExitCode::Usage, format!("{name} is set: {why}; unset it")));
    }
    words.sort();
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str) -> Result<(), String> {
        SbatchOption::read(typed).and_then(|option| option.check()).map_err(|fail| {
            assert_eq!(fail.code(), 2);
            fail.to_string()
        })
    }

    #[test]
    fn what_contradicts_the_script_is_refused_in_any_spelling() {
        for (typed, word) in [
            ("--array=0-3", "array.sh"),
            ("array=0-3", "array.sh"),
            ("--arr=0-3", "array.sh"),
            ("--ar=0-3", "array.sh"),
            ("-a0-3", "array.sh"),
            ("-Ha0-3", "one option at a time"),
            ("--nodes=4", "--nodes"),
            ("-N4", "--nodes"),
            ("--ntasks=4", "--ranks-per-node"),
            ("-n4", "--ranks-per-node"),
            ("--gpus=8", "--gpus-per-node"),
            ("-G8", "--gpus-per-node"),
            ("--gpus-per-task=1", "--gpus-per-node"),
            ("--gres=gpu:8", "--gpus-per-node"),
            ("--gres=gpu", "--gpus-per-node"),
            ("--gre=gpu:8", "--gpus-per-node"),
            ("--time=1", "--time"),
            ("-t10", "--time"),
            ("--signal=B:TERM@60", "--signal-secs"),
            ("--no-requeue", "queues itself again"),
            ("--no-req", "queues itself again"),
            ("--export=NONE", "use ALL"),
            ("--export=PATH", "use ALL"),
            ("--expo=NONE", "use ALL"),
            ("--chdir=/tmp", "run folder"),
            ("-D/tmp", "run folder"),
            ("--wrap=hostname", "tercet's"),
        ] {
            let error = check(typed).unwrap_err();
            assert!(error.contains(word), "{typed}: {error}");
        }
        for typed in [
            "--account=me",
            "account=me",
            "-Ame",
            "-H",
            "--qos=high",
            "--constraint=a100",
            "-Ca100",
            "--exclude=gpu07",
            "--nodelist=gpu01",
            "--time-min=10",
            "--export=ALL,A=1",
            "--gres=tmp:1",
            "--mem=100G",
            "--output=o.txt",
            "--dependency=afterok:7",
            "--cpus-per-task=4",
            "-c4",
            "--exclusive=user",
            "--nice=100",
            "--switches=1",
        ] {
            assert_eq!(check(typed), Ok(()), "{typed}");
        }
        assert!(SbatchOption::read("--account=a b").is_err());
    }

    #[test]
    fn a_users_line_stands_in_place_of_the_scripts() {
        let replaces = |typed: &str, own: &str| SbatchOption::read(typed).unwrap().replaces(own);
        assert!(replaces("--output=o.txt", "output=slurm-%j.out") && replaces("-oo.txt", "output=slurm-%j.out"));
        assert!(replaces("--out=o.txt", "output=slurm-%j.out") && replaces("--gpus-per-n=a100:8", "gpus-per-node=8"));
        assert!(replaces("--mem-per-gpu=10G", "mem=0") && replaces("exclusive=user", "exclusive"));
        assert!(!replaces("--account=me", "output=slurm-%j.out") && !replaces("--output=o", "open-mode=append"));
        assert_eq!(SbatchOption::read("-Ame").unwrap().line(), "-Ame");
        assert_eq!(SbatchOption::read("account=me").unwrap().line(), "--account=me");
    }

    #[test]
    fn variables_of_sbatch_have_a_word() {
        let check = |names: &[&str]| check_variables(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(check(&["PATH", "SLURM_JOB_ID"]).unwrap(), [""; 0]);
        assert!(check(&["SBATCH_PARTITION"]).unwrap()[0].starts_with("SBATCH_PARTITION is set here"));
        assert!(check(&["SBATCH_ARRAY_INX"]).unwrap_err().to_string().contains("array.sh"));
    }
}
