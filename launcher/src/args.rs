//! What can be typed: one struct per command. What it means is decided elsewhere.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::inputs::DataSetInput;
use crate::plan::Device;

/// Trains and runs text-embedding models with three heads: dense, lexical and multi-vector.
#[derive(Debug, Parser)]
#[command(name = "tercet", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 2 a mistake in what was asked, 3 a peer or machine failed (a restart may help), \
                        4 the data is bad, 75 preempted (resume), 101 a bug of ours.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tokenise rows of text into a token store that training reads
    Prepare(PrepareArgs),
    /// Say what a recipe's run will do and cost, before anything is booked for it
    Plan(PlanArgs),
    /// Examine the machines that shall train: alike, healthy, fast enough; what to do where they are not
    Doctor(DoctorArgs),
    /// Train a model as a recipe says
    Train(TrainArgs),
    /// Train a model on nodes that Slurm gives: write a job script into the run folder, and submit it
    Submit(SubmitArgs),
    /// Time a recipe's steps: where their time goes, and how much of the machine's peak they reach
    Bench(BenchArgs),
    /// Compute one training step on given rows, without updating, and report losses, scores and gradients
    Step(StepArgs),
    /// Turn texts into their dense, lexical and multi-vector representations
    Encode(EncodeArgs),
    /// Measure retrieval on BEIR-format folders with each head and their combinations
    Eval(EvalArgs),
    /// Find hard negatives for training rows in a corpus
    Mine(MineArgs),
}

/// How many ranks do the work, and where.
#[derive(Debug, Clone, Default, Args)]
pub struct Ranks {
    /// Ranks (worker processes) to start; default: one per NVIDIA GPU of this machine, or 1 without any; with hosts or
    /// in a Slurm allocation, all that they take
    #[arg(short = 'n', long = "ranks", value_name = "RANKS")]
    pub ranks: Option<NonZeroUsize>,
    /// Hosts to start them on, as lines `NAME slots=RANKS`; default: the Slurm allocation, or this machine
    #[arg(long, value_name = "HOSTFILE")]
    pub hosts: Option<PathBuf>,
}

/// `--set key=value`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Replace a value of the recipe, e.g. --set loss.temperature=0.05; may be repeated, the last one wins
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Further KEY=VALUE after the recipe, as in `--set a=1 b=2`.
    #[arg(hide = true, value_parser = key_value)]
    pub more: Vec<String>,
}

impl Settings {
    /// All overrides, in the order in which they apply.
    pub fn all(&self) -> Vec<String> {
        self.set.iter().chain(&self.more).cloned().collect()
    }
}

/// `tercet prepare`.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// The model's tokenizer.json
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// The folder to write the token store to
    #[arg(long, value_name = "STORE")]
    pub out: PathBuf,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub passage_max_len: usize,
    /// What to do at a malformed line
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    pub on_error: OnError,
    /// Leave rows out of all batches whose query and positives are those of an earlier row of the data set
    #[arg(long)]
    pub drop_duplicates: bool,
    /// Rows of a shard file at most; a shard also ends at about 512 MiB
    #[arg(long, value_name = "ROWS", default_value = "1000000")]
    pub rows_per_shard: NonZeroU64,
    /// Data sets: files of JSON Lines (plain, .gz or .zst), Parquet or Arrow, or folders of Hugging Face datasets;
    /// without NAME, a set is named after its file
    #[arg(value_name = "NAME=FILE[,FILE…]", required = true)]
    pub inputs: Vec<DataSetInput>,
}

/// What to do at a malformed line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Stop with file, line and reason
    Stop,
    /// Leave the row out, and list what was left out at the end
    Skip,
}

/// `tercet plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The recipe (TOML)
    pub recipe: PathBuf,
    /// Overrides.
    #[command(flatten)]
    pub settings: Settings,
    /// Ranks that the run shall have; default: as many as `tercet train` would start here
    #[arg(long, value_name = "RANKS")]
    pub world: Option<NonZeroUsize>,
    /// A config.json to go by instead of the recipe's model, for one that is not there yet
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,
    /// What memory is estimated for; default: cuda if this machine has an NVIDIA GPU
    #[arg(long, value_enum)]
    pub device: Option<Device>,
    /// Floating-point operations per second that a rank achieves in the encoder, e.g. 120e12
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub flops: Option<f64>,
    /// Bytes per second that a rank sends, e.g. 20e9
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "flops")]
    pub bandwidth: Option<f64>,
    /// Measure these rates here, with the recipe's model on as many ranks
    #[arg(long, conflicts_with = "flops")]
    pub measure: bool,
    /// Ranks to measure with, where this machine is not the one that will train
    #[arg(long, value_name = "RANKS", requires = "measure")]
    pub measure_ranks: Option<NonZeroUsize>,
    /// Also write everything as JSON; - writes it to standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Also draw tokens, time and memory
    #[arg(long, value_name = "FILE.svg")]
    pub picture: Option<PathBuf>,
}

/// `tercet doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The recipe (TOML) that shall run; without it only machines and programs are examined
    pub recipe: Option<PathBuf>,
    /// Replace a value of the recipe, e.g. --set run_dir=runs/a; may be repeated, the last one wins
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "recipe")]
    pub set: Vec<String>,
    /// Also write everything as JSON; - writes it to standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// `tercet train`.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// The recipe (TOML)
    pub recipe: PathBuf,
    /// Overrides.
    #[command(flatten)]
    pub settings: Settings,
    /// Continue from the newest good checkpoint of the recipe's run folder
    #[arg(long)]
    pub resume: bool,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// `tercet submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The recipe (TOML)
    pub recipe: PathBuf,
    /// Overrides.
    #[command(flatten)]
    pub settings: Settings,
    /// Nodes to ask for
    #[arg(long, value_name = "N")]
    pub nodes: NonZeroUsize,
    /// GPUs of a node, each with a rank; 0 computes on CPUs
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub gpus_per_node: usize,
    /// Ranks of a node without GPUs
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks_per_node: NonZeroUsize,
    /// How long a job may run, as Slurm writes it; training that needs longer is queued again
    #[arg(long, value_name = "TIME", default_value = "1-00:00:00")]
    pub time: String,
    /// Seconds before the end of that time at which the run takes its last checkpoint
    #[arg(long = "signal-secs", value_name = "SECS", default_value_t = 600)]
    pub signal_secs: u16,
    /// Slurm's partition; default: the site's
    #[arg(long)]
    pub partition: Option<String>,
    /// Keep the job when a node fails, for a recipe that may go on with fewer ranks
    #[arg(long)]
    pub no_kill: bool,
    /// How often in a row a failed machine may queue the job again
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub max_losses: u32,
    /// A further option of sbatch, e.g. --sbatch=--account=NAME; may be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Write the script and print it, but do not submit it
    #[arg(long)]
    pub dry_run: bool,
}

impl SubmitArgs {
    /// One per GPU, or as asked.
    pub fn ranks_per_node(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.gpus_per_node).unwrap_or(self.ranks_per_node)
    }

    /// World size.
    pub fn num_ranks(&self) -> NonZeroUsize {
        self.nodes.saturating_mul(self.ranks_per_node())
    }
}

/// `tercet bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The recipe (TOML)
    pub recipe: PathBuf,
    /// Overrides.
    #[command(flatten)]
    pub settings: Settings,
    /// Steps that are timed, after one that is not
    #[arg(long, value_name = "N", default_value = "5")]
    pub steps: NonZeroU64,
    /// The run's step to begin with, counted from 0
    #[arg(long, value_name = "STEP", default_value_t = 0)]
    pub from: u64,
    /// Print everything as one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// `tercet step`.
#[derive(Debug, Args)]
pub struct StepArgs {
    /// The recipe (TOML)
    pub recipe: PathBuf,
    /// Overrides.
    #[command(flatten)]
    pub settings: Settings,
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The batch as rows of JSON Lines, to be tokenised
    #[arg(long, value_name = "FILE.jsonl", required_unless_present = "tokens", conflicts_with = "tokens")]
    pub rows: Option<PathBuf>,
    /// Whose settings in the recipe's data.sets the rows take; default: the data set that has the file's name
    #[arg(long, value_name = "NAME", requires = "rows")]
    pub dataset: Option<String>,
    /// The batch already tokenised: q.input_ids, q.attention_mask, p.input_ids, p.attention_mask
    #[arg(long, value_name = "FILE.safetensors")]
    pub tokens: Option<PathBuf>,
    /// Print everything as one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Ranks (worker processes) to start on this machine; the result is the same for any number
    #[arg(short = 'n', long = "ranks", value_name = "RANKS", default_value = "1")]
    pub ranks: NonZeroUsize,
}

/// `tercet encode`.
#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Texts, one a line (.txt) or as JSON Lines with a "text" (.jsonl); - reads texts from standard input
    #[arg(long, value_name = "FILE|-")]
    pub input: PathBuf,
    /// Where the representations go; the ending chooses the format
    #[arg(long, value_name = "FILE.safetensors|FILE.jsonl")]
    pub out: PathBuf,
    /// What the texts are, for the prompt in the model's folder; default: the folder's default prompt, or none
    #[arg(long = "as", value_enum, value_name = "SIDE")]
    pub side: Option<Side>,
    /// Stands before every text, with a space between, in place of the folder's prompt
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Which representations to compute
    #[arg(long, value_enum, value_delimiter = ',', value_name = "HEADS", default_value = "dense,lexical,multi_vector")]
    pub heads: Vec<Head>,
    /// Tokens of a text at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub max_len: usize,
    /// Insert a CLS every N tokens and average them for the dense vector (long texts)
    #[arg(long, value_name = "N")]
    pub mcls: Option<NonZeroUsize>,
    /// How the dense head reads a text; default: as the model directory says
    #[arg(long, value_enum)]
    pub pooling: Option<Pooling>,
    /// Padded tokens that a rank pushes through the encoder at a time: fewer need less memory
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub sub_batch_tokens: usize,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// A head of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Head {
    /// One vector per text
    Dense,
    /// A weight per token
    Lexical,
    /// A vector per token
    MultiVector,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// A query
    Query,
    /// A passage
    Passage,
}

/// What stands before texts, where it is not as the model's folder says.
#[derive(Debug, Clone, Default, Args)]
pub struct Prefixes {
    /// Stands before every query, with a space between; default: the query prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,
    /// Stands before every passage, with a space between; default: the passage prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub passage_prefix: Option<String>,
}

/// How the dense head reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pooling {
    /// The first token's hidden state
    Cls,
    /// The mean over the text's tokens
    Mean,
}

/// `tercet eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// BEIR-format folders (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv)
    #[arg(long, value_name = "FOLDER", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Which judgments to take: qrels/SPLIT.tsv
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: String,
    /// Keep the document that has the query's own id in its list; it is left out otherwise, as in BEIR's own evaluation
    #[arg(long)]
    pub keep_identical_ids: bool,
    /// What stands before texts.
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Where the TREC run files go
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = text_len)]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub passage_max_len: usize,
    /// Insert a CLS every N tokens and average them for the dense vector (long texts)
    #[arg(long, value_name = "N")]
    pub mcls: Option<NonZeroUsize>,
    /// Also write the figures as JSON; - writes them to standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Padded tokens that a rank pushes through the encoder at a time: fewer need less memory
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub sub_batch_tokens: usize,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// `tercet mine`.
#[derive(Debug, Args)]
pub struct MineArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Training rows to find negatives for
    #[arg(long, value_name = "FILE.jsonl")]
    pub rows: PathBuf,
    /// Where the rows go, with their negatives
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
    /// Passages to search, one {"text": …} a line; default: all passages of the rows
    #[arg(long, value_name = "FILE")]
    pub corpus: Option<PathBuf>,
    /// What stands before texts.
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Negatives per row
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub negatives: usize,
    /// Pass over the best A passages and draw from the rest of the best B
    #[arg(long, value_name = "A-B", default_value = "10-100", value_parser = rank_range)]
    pub range: String,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = text_len)]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub passage_max_len: usize,
    /// Decides, together with the row, which negatives are drawn
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Padded tokens that a rank pushes through the encoder at a time: fewer need less memory
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub sub_batch_tokens: usize,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

fn key_value(text: &str) -> Result<String, String> {
    match text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err("expected KEY=VALUE: a recipe is given only once".into()),
    }
}

/// Tokens of a text at most: of fewer all texts would be the same.
fn text_len(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(len) if len >= 3 => Ok(len),
        Ok(_) => Err("two special tokens and one of the text need 3".into()),
        Err(e) => Err(e.to_string()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number above 0 per second, e.g. 120e12".into())
}

fn rank_range(text: &str) -> Result<String, String> {
    let ends = text.split_once('-').and_then(|(a, b)| Some((a.parse::<usize>().ok()?, b.parse::<usize>().ok()?)));
    match ends {
        Some((skip, depth)) if skip < depth => Ok(text.to_owned()),
        Some((skip, depth)) => Err(format!("nothing is left between {skip} and {depth}: the second must be larger")),
        None => Err("expected two ranks, e.g. 10-100".into()),
    }
}
