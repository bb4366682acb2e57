//! The demo's phases in order, from the text to the table.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;

use crate::args::DemoArgs;
use crate::commands::{Commands, recipe};
use crate::corpus::Written;
use crate::summary::{BM25, HEADS, Summary, read_figures, take_bm25, tokens_per_sec};
use crate::tell::tell;
use crate::{source, tokenizer};

/// The recipes and the model are part of the program, so that it works in any folder.
const DENSE_RECIPE: &str = include_str!("../../../configs/demo-dense.toml");
const UNIFIED_RECIPE: &str = include_str!("../../../configs/demo.toml");
const MODEL_CONFIG: &str = include_str!("../../../configs/demo-model.json");

/// Hard negatives mined per row.
const NUM_NEGATIVES: usize = 7;

/// Runs the demo from the first phase to the table.
///
/// # Errors
/// What fails in any phase; its exit code is that of the command that failed.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let out = &args.out;
    let num_ranks = args.num_ranks();
    let commands = Commands::new(num_ranks, out.join("log.txt"))?;
    if let Some(aside) = move_aside(out)? {
        tell(format_args!("{} exists and was moved to {}", out.display(), aside.display()))?;
    }
    fs::create_dir_all(out).with_context(|| format!("run folder {}", out.display()))?;
    let mut clock = Clock(started);

    let text = match &args.corpus {
        Some(folder) => source::own_rows(folder)?,
        None => source::manual_pages(args.cache.as_deref())?,
    };
    clock.phase("text", &text.to_string())?;
    let tokenizer = tokenizer::train(text.sample(), args.pieces, &out.join("tokenizer"))?;
    clock.phase("tokenizer", &format!("a Unigram model trained on it, {}", tokenizer.display()))?;
    let written = text.write(&tokenizer, out)?;
    clock.phase("rows", &written.to_string())?;
    if args.text_only {
        return Ok(());
    }
    let rows = |name: &str| out.join("rows").join(format!("{name}.jsonl"));
    let files: Vec<PathBuf> = written.data_sets.iter().map(|(name, _)| rows(name)).collect();
    let store = out.join("store-dense");
    commands.prepare(&tokenizer, &store, &files)?;
    clock.phase("prepare", &format!("token store {}", store.display()))?;

    let model_config = out.join("model-config.json");
    fs::write(&model_config, MODEL_CONFIG).with_context(|| format!("writing {}", model_config.display()))?;
    let run_dir = out.join("dense");
    let mut dense = recipe(
        DENSE_RECIPE,
        "demo-dense.toml",
        &[
            ("model.config", &model_config),
            ("model.tokenizer", &tokenizer),
            ("data.store", &store),
            ("run_dir", &run_dir),
        ],
    )?;
    keep_sets(&mut dense.data.sets, &written);
    let mut fresh = dense.clone();
    (fresh.steps, fresh.run_dir) = (0, out.join("fresh"));
    let fresh_model = commands.train(&fresh, &out.join("fresh.toml"))?;
    let tasks: Vec<PathBuf> = written.tasks.iter().map(|task| out.join("eval").join(task.0)).collect();
    let eval = |model: &Path, rankings: &[&str], name: &str| {
        let json = out.join(format!("{name}.json"));
        commands.eval(model, &tasks, rankings, &out.join(name), &json)?;
        read_figures(&json)
    };
    let before = eval(&fresh_model, &HEADS, "before")?;
    clock.phase("before", "the untrained model on held-out text")?;

    let dense_model = commands.train(&dense, &out.join("dense.toml"))?;
    clock.phase("stage 1", &format!("dense head, {} steps on {num_ranks} ranks", dense.steps))?;
    let mined = rows("section-mined");
    commands.mine(&dense_model, &rows("section"), &mined, NUM_NEGATIVES)?;
    clock.phase("mine", &format!("{NUM_NEGATIVES} hard negatives per row, {}", mined.display()))?;
    let (store, run_dir) = (out.join("store-unified"), out.join("unified"));
    let mined = PathBuf::from(format!("section={}", mined.display()));
    // As in the paper, the last stage is about queries and passages: pairs across languages were the stage before.
    let files: Vec<PathBuf> = std::iter::once(mined).chain(files.into_iter().filter(|f| *f == rows("page"))).collect();
    commands.prepare(&tokenizer, &store, &files)?;
    clock.phase("prepare", &format!("token store {}", store.display()))?;
    let mut unified = recipe(
        UNIFIED_RECIPE,
        "demo.toml",
        &[("model.path", &dense_model), ("data.store", &store), ("run_dir", &run_dir)],
    )?;
    keep_sets(&mut unified.data.sets, &written);
    let model = commands.train(&unified, &out.join("unified.toml"))?;
    clock.phase("stage 2", &format!("three heads, {} steps on {num_ranks} ranks", unified.steps))?;
    let mut after = eval(&model, &[&HEADS[..], &[BM25]].concat(), "after")?;
    clock.phase("after", "the trained model on held-out text")?;

    let bm25 = take_bm25(&mut after);
    let summary = Summary {
        before,
        after,
        bm25,
        steps: dense.steps + unified.steps,
        tokens_per_sec: tokens_per_sec(&[&dense.run_dir, &unified.run_dir])?,
        world_size: num_ranks.get(),
        seconds: started.elapsed().as_secs_f64(),
    };
    let path = out.join("summary.json");
    fs::write(&path, format!("{:#}\n", summary.to_json())).with_context(|| format!("writing {}", path.display()))?;
    tell(format_args!("{}", summary.table()))?;
    tell(format_args!("{} of held-out text; figures in {}", written.describe_tasks(), path.display()))?;
    tell(format_args!("run folder {}, {:.0} s in all; to look further:", out.display(), summary.seconds))?;
    tell(format_args!("  tensorboard --logdir {}", out.display()))?;
    tell(format_args!(
        "  echo 'list directory contents' | tercet encode --model {} --input - --out vectors.jsonl",
        model.display()
    ))?;
    tell(format_args!("  tercet eval --model {} --data {}", model.display(), tasks[0].display()))
}

/// Leaves out the settings of data sets that this text does not have.
fn keep_sets(sets: &mut Vec<tercet_configs::DataSet>, written: &Written) {
    sets.retain(|set| written.data_sets.iter().any(|(name, _)| *name == set.name));
}

/// Renames `folder`, if it is there, to the first of `folder.1`, `folder.2`… that is free.
fn move_aside(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    let free = (1..).map(|n| PathBuf::from(format!("{}.{n}", folder.display()))).find(|p| !p.exists());
    let Some(aside) = free else { return Ok(None) };
    fs::rename(folder, &aside).with_context(|| format!("moving {} to {}", folder.display(), aside.display()))?;
    Ok(Some(aside))
}

/// Says what each phase was and how long it took.
struct Clock(Instant);

impl Clock {
    fn phase(&mut self, name: &str, what: &str) -> anyhow::Result<()> {
        tell(format_args!("{name:<10} {:>6.1} s  {what}", self.0.elapsed().as_secs_f64()))?;
        self.0 = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_run_is_moved_aside_and_never_lost() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("demo");
        assert_eq!(move_aside(&run).unwrap(), None);
        for n in 1..3 {
            fs::create_dir(&run).unwrap();
            assert_eq!(move_aside(&run).unwrap(), Some(folder.path().join(format!("demo.{n}"))));
        }
    }

    #[test]
    fn the_built_in_recipes_load() {
        let out = Path::new("a folder/with \"quotes\"");
        let dense = recipe(DENSE_RECIPE, "demo-dense.toml", &[("run_dir", out)]).unwrap();
        assert_eq!(dense.run_dir, out);
        assert!(dense.model.path.is_none() && dense.model.config.is_some());
        let unified = recipe(UNIFIED_RECIPE, "demo.toml", &[]).unwrap();
        assert!(unified.model.path.is_some() && unified.model.config.is_none());
        assert_eq!(dense.data.length_groups.last().map(|g| g.max_len), Some(8192));
        serde_json::from_str::<serde_json::Value>(MODEL_CONFIG).unwrap();
    }
}
