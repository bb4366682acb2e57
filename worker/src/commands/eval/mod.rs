//! `eval`: how well a model retrieves on BEIR-format folders, with each head and their combinations.
//!
//! The document that has the query's very id is left out of its list, as in BEIR's own evaluation: in some data sets
//! (Quora, ArguAna) queries are documents of the corpus.

mod place;
mod table;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tercet_cluster::Collective;
use tercet_configs::{CpuMatmul, Metric};
use tercet_protocol::args::{EvalArgs, EvalChoices, Ranking, StoreArg};
use tercet_protocol::says::eval::{Metrics, PerQuery, Results};
use tercet_retrieval::Stored;
use tercet_sampler::{EvalFolder, NamedBy};

use place::Indices;
use table::table;

use crate::files::CommandError;
use crate::files::atomic::{AtomicFile, remove_begun};
use crate::files::output::{must_be_free, write_together};
use crate::retrieval::judged::{Dataset, Evaluation, Figures, evaluate};
use crate::retrieval::prefixes;
use crate::retrieval::ranking::BY_HEADS;
use crate::retrieval::texts::{EncoderOptions, TextEncoder};

/// Evaluates the model on each folder. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, data or output; [`CommandError`] where it is data or output.
pub fn run(args: &EvalArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let choices = choices(args)?;
    let split = choices.split.as_deref().unwrap_or("test");
    let metrics = if choices.metrics.is_empty() { Metric::DEFAULT.to_vec() } else { choices.metrics.clone() };
    check_depth(&choices, &metrics)?;
    check_folders(args, split, &metrics)?;
    let outputs = Outputs::of(args);
    must_be_free(ranks, outputs.of_figures())?;
    let indices = Indices::find(args, ranks)?;
    let options = EncoderOptions {
        pooling: None,
        mcls: args.mcls,
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Onednn,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    let how = how(args, &choices, metrics, &encoder);
    prefixes::tell(ranks, "documents", &how.passage_prompt, std::iter::empty());
    encoder.tell_cut(ranks, "documents", how.passage_max_len);
    tell_of_short_lists(&how, ranks);
    let mut per_query = outputs.per_query(ranks)?;
    let mut results = Results::new();
    let mut tables = Vec::new();
    // What is wrong with any of them is said before the work on the first one begins.
    let load = |folder: &PathBuf| Dataset::load(folder, split, &how.metrics, ranks);
    let all_data: Vec<Dataset> = args.data.iter().map(load).collect::<anyhow::Result<_>>()?;
    if args.out.is_some() {
        all_data.iter().try_for_each(Dataset::must_fit_run_files)?;
    }
    for data in all_data {
        tell(&data, &how, &encoder, ranks)?;
        let runs = args.out.as_ref().map(|out| out.join(&data.name));
        let Some(figures) = evaluate(&encoder, &data, &how, indices.folder(), runs.as_deref(), ranks)? else {
            continue;
        };
        if let Some((path, file)) = &mut per_query {
            write_per_query(file, &data, &how, &figures).map_err(CommandError::file(path))?;
        }
        let by_ranking = figures.iter().map(|own| (own.ranking.name(), named(&how.metrics, &own.means)));
        results.insert(data.name.clone(), by_ranking.collect());
        tables.push((data.name.clone(), table(&data, split, &how.metrics, &figures)));
    }
    if ranks.rank() == 0 {
        if let Some((_, file)) = per_query {
            file.replace()?;
        }
        let json = serde_json::to_vec_pretty(&results)?;
        write_together(&outputs.of_figures(), &json)?;
        if outputs.to_screen() {
            println!("{}", String::from_utf8_lossy(&json));
            return Ok(());
        }
        tables.sort();
        tables.iter().for_each(|(_, table)| print!("{table}"));
    }
    Ok(())
}

/// What is typed, and what the suite says where nothing is.
fn choices(args: &EvalArgs) -> Result<EvalChoices, CommandError> {
    let suite = args.suite.as_deref().map(EvalChoices::load).transpose().map_err(CommandError::Usage)?;
    Ok(args.choices.clone().over(suite.unwrap_or_default()))
}

/// Refuses figures that look further down than lists go.
fn check_depth(choices: &EvalChoices, metrics: &[Metric]) -> Result<(), CommandError> {
    let top = choices.lists().top;
    match metrics.iter().find(|metric| metric.at > top) {
        Some(deep) => Err(CommandError::Usage(format!(
            "--metrics {deep}: lists have {top} documents at most: give a larger --top"
        ))),
        None => Ok(()),
    }
}

/// Says which figures look further down than lists of candidates that are encoded again.
fn tell_of_short_lists(how: &Evaluation, ranks: &dyn Collective) {
    let rerank = how.lists.rerank;
    let again: Vec<String> =
        how.rankings.iter().filter(|ranking| ranking.encodes_again()).map(|ranking| ranking.name()).collect();
    let deep = how.metrics.iter().filter(|metric| metric.at > rerank).max_by_key(|metric| metric.at);
    if let (Some(deep), false, 0) = (deep, again.is_empty(), ranks.rank()) {
        tracing::warn!(
            "{deep} of {}: their lists have {rerank} documents at most; a larger --rerank makes them longer",
            again.join(" and ")
        );
    }
}

/// Checks that every folder has what it needs, and a name of its own, before the work on the first one begins.
fn check_folders(args: &EvalArgs, split: &str, metrics: &[Metric]) -> Result<(), CommandError> {
    let mut names: Vec<String> = OWN.map(str::to_owned).into();
    for folder in &args.data {
        let given = EvalFolder { dir: folder, named_by: NamedBy::Options };
        given.check(split, metrics).map_err(CommandError::Usage)?;
        let name = given.name().map_err(CommandError::file(folder))?;
        if names.contains(&name) {
            let message = match OWN.contains(&name.as_str()) {
                true => format!("--data: a folder is called {name}, as a file of the results is: rename it"),
                false => format!("--data: two folders are called {name}, and so would their results be"),
            };
            return Err(CommandError::Usage(message));
        }
        names.push(name);
    }
    Ok(())
}

/// The names of the files of all data sets together.
const OWN: [&str; 2] = ["metrics.json", "per_query.jsonl"];

/// The files of all data sets together.
struct Outputs<'a> {
    args: &'a EvalArgs,
    metrics: Option<PathBuf>,
}

impl<'a> Outputs<'a> {
    fn of(args: &'a EvalArgs) -> Self {
        Self { args, metrics: args.out.as_ref().map(|out| out.join(OWN[0])) }
    }

    /// Whether the figures are printed as JSON.
    fn to_screen(&self) -> bool {
        self.args.json.as_deref() == Some(Path::new("-"))
    }

    /// The files of the figures, all with the same content. The others are written earlier: without these they are
    /// left from an evaluation that was killed.
    fn of_figures(&self) -> Vec<&Path> {
        let json = self.args.json.as_ref().filter(|_| !self.to_screen());
        self.metrics.iter().chain(json).map(PathBuf::as_path).collect()
    }

    /// Opens the file of each query's figures, on rank 0.
    fn per_query(&self, ranks: &dyn Collective) -> Result<Option<(PathBuf, AtomicFile)>, CommandError> {
        let path = self.args.out.as_ref().filter(|_| ranks.rank() == 0).map(|out| out.join(OWN[1]));
        let file = path.map(|path| AtomicFile::create(&path).map(|file| (path, file))).transpose()?;
        // It is held, so whoever began run files is dead: also those of data sets that are not evaluated now.
        for folder in self.args.out.iter().filter(|_| file.is_some()).flat_map(fs::read_dir).flatten().flatten() {
            let left = |ranking: &Ranking| folder.path().join(format!("{}.trec", ranking.name()));
            if folder.path().is_dir() {
                Ranking::ALL.iter().map(left).try_for_each(|path| remove_begun(&path))?;
            }
        }
        Ok(file)
    }
}

/// How all folders are evaluated.
fn how(args: &EvalArgs, choices: &EvalChoices, metrics: Vec<Metric>, encoder: &TextEncoder) -> Evaluation {
    let asked = if choices.rankings.is_empty() { &BY_HEADS[..] } else { &choices.rankings };
    let mut rankings = Vec::new();
    for ranking in asked {
        if !rankings.contains(ranking) {
            rankings.push(*ranking);
        }
    }
    let [query_prompt, passage_prompt] = prefixes::over(&args.prefixes, encoder.prompts());
    Evaluation {
        rankings,
        lists: choices.lists(),
        metrics,
        query_prompt,
        query_max_len: choices.query_max_len.unwrap_or(512),
        passage_prompt,
        passage_max_len: choices.passage_max_len.unwrap_or(8192),
        stored: match args.store {
            StoreArg::Bf16 => Stored::Bf16,
            StoreArg::Fp32 => Stored::Fp32,
        },
        keep_identical_ids: choices.keep_identical_ids,
        memory: args.memory,
    }
}

/// Says, on rank 0, what is particular about a folder. Every rank calls it.
fn tell(data: &Dataset, how: &Evaluation, encoder: &TextEncoder, ranks: &dyn Collective) -> anyhow::Result<()> {
    let texts = || data.queries.iter().map(|query| query.text.as_str());
    prefixes::tell(ranks, "queries", &how.query_prompt, texts());
    if ranks.rank() != 0 {
        return Ok(());
    }
    data.remarks.iter().for_each(|remark| tracing::warn!("{}: {remark}", data.name));
    let num_empty = encoder.tokenless(&texts().collect::<Vec<_>>())?.len();
    if num_empty > 0 {
        tracing::warn!(
            "{}: {num_empty} queries are blank or without a token: they all get the same representation",
            data.name
        );
    }
    let num_namesakes = data.namesakes.iter().flatten().count();
    if num_namesakes > 0 && !how.keep_identical_ids {
        tracing::info!(
            "{}: {num_namesakes} of {} queries have the id of a document, which is left out of their lists as in BEIR's own \
             evaluation (--keep-identical-ids keeps it)",
            data.name,
            data.queries.len()
        );
    }
    Ok(())
}

fn named(metrics: &[Metric], figures: &[f64]) -> Metrics {
    metrics.iter().map(Metric::to_string).zip(figures.iter().copied()).collect()
}

fn write_per_query(
    file: &mut AtomicFile,
    data: &Dataset,
    how: &Evaluation,
    figures: &[Figures],
) -> std::io::Result<()> {
    for own in figures {
        for (query, figures) in data.queries.iter().zip(&own.per_query) {
            let line = PerQuery {
                data: data.name.clone(),
                query: query.id.clone(),
                ranking: own.ranking.name(),
                metrics: named(&how.metrics, figures),
            };
            serde_json::to_writer(&mut *file, &line)?;
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}
