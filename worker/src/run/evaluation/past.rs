//! The evaluations of a run so far: a file for each in the run folder, whole or absent.
//!
//! They are what a run that goes on knows of the ones before: which checkpoint is the best, how long no evaluation has
//! been better, and whether the evaluation of its own step is still to be made. An evaluation is made after the
//! checkpoint of its step, and so it is only ever the last one that can be missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_cluster::{Collective, broadcast_bytes};
use tercet_protocol::says::EvalRecord;

use crate::checkpoint;
use crate::files::CommandError;
use crate::files::atomic::write_atomically;

/// The content of `eval/step-00000600.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Tells data, judgments and settings from others: only figures of the same can be compared.
    judged_by: String,
    #[serde(flatten)]
    record: EvalRecord,
}

/// What there has been, the same on all ranks.
#[derive(Debug, Default)]
pub(super) struct Past {
    folder: PathBuf,
    judged_by: String,
    by_step: BTreeMap<u64, Kept>,
}

/// `eval` in `run_dir`.
pub(super) fn folder(run_dir: &Path) -> PathBuf {
    run_dir.join("eval")
}

impl Past {
    /// The evaluations in `run_dir` up to `step`; later ones are removed, as the steps are done again. Every rank calls
    /// it.
    ///
    /// # Errors
    /// A file cannot be removed; a rank is gone.
    pub fn open(run_dir: &Path, step: u64, judged_by: String, ranks: &dyn Collective) -> anyhow::Result<Self> {
        let folder = folder(run_dir);
        let mut files = Vec::new();
        if ranks.rank() == 0 {
            for (own, path) in list(&folder) {
                let read = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
                // What is no record of its step was altered, and is made again where it is needed.
                match read.filter(|kept| own <= step && kept.record.step == own) {
                    Some(kept) => files.push(kept),
                    None => fs::remove_file(&path).map_err(CommandError::file(&path))?,
                }
            }
        }
        let mut bytes = serde_json::to_vec(&files)?;
        broadcast_bytes(ranks, &mut bytes, 0)?;
        let files: Vec<Kept> = serde_json::from_slice(&bytes)?;
        Ok(Self { folder, judged_by, by_step: files.into_iter().map(|kept| (kept.record.step, kept)).collect() })
    }

    /// The same, of a run that goes on from `step`. Every rank calls it.
    ///
    /// # Errors
    /// As [`Past::open`].
    pub fn reopen(&self, run_dir: &Path, step: u64, ranks: &dyn Collective) -> anyhow::Result<Self> {
        Self::open(run_dir, step, self.judged_by.clone(), ranks)
    }

    /// The evaluation of `step`, by whatever data.
    pub fn of(&self, step: u64) -> Option<&EvalRecord> {
        self.by_step.get(&step).map(|kept| &kept.record)
    }

    /// Seconds of all that came before that of `step`.
    pub fn secs_before(&self, step: u64) -> f64 {
        self.by_step.range(..step).map(|(_, kept)| kept.record.eval_secs).sum()
    }

    /// Takes one in; rank 0 writes it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, record: EvalRecord, ranks: &dyn Collective) -> Result<(), CommandError> {
        let kept = Kept { judged_by: self.judged_by.clone(), record };
        if ranks.rank() == 0 {
            // Serialising a plain struct of numbers and strings cannot fail.
            let json = format!("{:#}\n", serde_json::to_value(&kept).expect("plain data"));
            write_atomically(&path(&self.folder, kept.record.step), json.as_bytes())?;
        }
        self.by_step.insert(kept.record.step, kept);
        Ok(())
    }

    /// Steps and their values of the figure `name`, of evaluations by the same data and settings as this run's.
    fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = (u64, f64)> + 'a {
        let comparable = self.by_step.values().filter(|kept| kept.judged_by == self.judged_by);
        comparable.filter_map(move |kept| Some((kept.record.step, *kept.record.figures.get(name)?)))
    }

    /// The first step with the largest value of the figure `name`, of those whose `is_there`.
    pub fn best(&self, name: &str, is_there: impl Fn(u64) -> bool) -> Option<(u64, f64)> {
        let there = self.values(name).filter(|(step, _)| is_there(*step));
        there.reduce(|best, own| if own.1 > best.1 { own } else { best })
    }

    /// How many evaluations in a row, the last among them, have not bettered the figure `name`.
    pub fn num_without_improvement(&self, name: &str) -> u64 {
        let best = self.best(name, |_| true).map(|(step, _)| step);
        self.values(name).rev().take_while(|(step, _)| Some(*step) != best).count() as u64
    }
}

fn path(folder: &Path, step: u64) -> PathBuf {
    let name = checkpoint::directory(folder, step).file_name().unwrap_or_default().to_owned();
    folder.join(name).with_extension("json")
}

/// The files of evaluations in `folder`, by step, ascending.
fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("step-")?.strip_suffix(".json")?.parse().ok()?;
            (entry.path() == path(folder, step)).then(|| (step, entry.path()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use tercet_cluster::Solo;

    use super::*;

    const NAME: &str = "eval/mean/dense/ndcg@10";

    fn of(run_dir: &Path, judged_by: &str, values: &[(u64, f64)]) -> Past {
        let ranks = Solo::new();
        let mut past = Past::open(run_dir, u64::MAX, judged_by.into(), &ranks).unwrap();
        for &(step, value) in values {
            let figures = BTreeMap::from([(NAME.to_owned(), value)]);
            past.add(EvalRecord { step, eval_secs: 2.0, figures, ..EvalRecord::default() }, &ranks).unwrap();
        }
        past
    }

    #[test]
    fn the_best_is_the_first_of_equals_and_what_follows_is_no_improvement() {
        let dir = tempfile::tempdir().unwrap();
        let past = of(dir.path(), "a", &[(10, 0.5), (20, 0.7), (30, 0.7), (40, 0.6)]);
        assert_eq!(past.best(NAME, |_| true), Some((20, 0.7)));
        assert_eq!(past.best(NAME, |step| step != 20), Some((30, 0.7)), "that checkpoint is gone");
        assert_eq!((past.num_without_improvement(NAME), past.secs_before(40)), (2, 6.0));
        assert_eq!(past.best("eval/mean/all/ndcg@10", |_| true), None);
        assert_eq!(past.num_without_improvement("eval/mean/all/ndcg@10"), 0);
    }

    #[test]
    fn who_goes_on_knows_those_up_to_its_step_and_compares_only_its_own() {
        let dir = tempfile::tempdir().unwrap();
        of(dir.path(), "a", &[(10, 0.5), (20, 0.7), (30, 0.9)]);
        fs::write(path(&folder(dir.path()), 25), "{\"step\"").unwrap();
        fs::write(folder(dir.path()).join("step-7.json"), "somebody's").unwrap();
        let open = |step, judged_by: &str| Past::open(dir.path(), step, judged_by.into(), &Solo::new()).unwrap();
        let past = open(20, "a");
        assert_eq!((past.best(NAME, |_| true), past.of(30)), (Some((20, 0.7)), None));
        let mut names: Vec<_> = fs::read_dir(folder(dir.path())).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["step-00000010.json", "step-00000020.json", "step-7.json"]);
        let other = open(20, "b");
        assert_eq!((other.best(NAME, |_| true), other.of(20).is_some(), other.secs_before(30)), (None, true, 4.0));
        assert_eq!(open(0, "a").secs_before(30), 0.0);
    }
}
