//! What can be typed: one struct per command. What it means is decided elsewhere.
//!
//! The arguments of what ranks do are [`tercet_protocol`]'s; here is what only the launcher is asked.

mod inputs;
mod plan;
mod prepare;
mod submit;

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tercet_protocol::args::{
    BenchArgs, DoctorArgs, EncodeArgs, EvalArgs, IndexArgs, MineArgs, ScoreArgs, SearchArgs, StepArgs, TrainArgs,
};

pub use inputs::{DataSetInput, ReportInput};
use inputs::{count, page, rate};
pub use plan::{Device, Plan};
pub use prepare::{Long, OnError, Prepare};
pub use submit::Submit;

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
    Prepare(Prepare),
    /// Say what a recipe's run will do and cost, before it is started
    Plan(Plan),
    /// Examine the machines that are to train: whether they are alike, healthy and fast, and what to do if not
    Doctor(Doctor),
    /// Train a model as a recipe says
    Train(Train),
    /// Train a model on nodes that Slurm gives: write a job script into the run folder, and submit it
    Submit(Submit),
    /// Time a recipe's steps: where their time goes, and how much of the machine's peak they reach
    Bench(Bench),
    /// Compute one training step on given rows, without updating, and report losses, scores and gradients
    Step(Step),
    /// Turn texts into their dense, lexical and multi-vector representations
    Encode(OnRanks<EncodeArgs>),
    /// Turn a corpus into an index on disk, which can be searched
    Index(Scaled<IndexArgs>),
    /// Rank an index's passages for queries, exactly: TREC run files by each head and their combinations
    Search(Scaled<SearchArgs>),
    /// Measure retrieval on BEIR-format folders with each head and their combinations
    Eval(OnRanks<EvalArgs>),
    /// Find hard negatives for training rows in a corpus
    Mine(OnRanks<MineArgs>),
    /// Score the pairs of training rows, and say how many passages of an index score higher
    Score(OnRanks<ScoreArgs>),
    /// Show runs and evaluations side by side: one page of HTML, and the same as Markdown
    Report(Report),
    /// Write a pre-trained model as another program's folder
    Export(Export),
    /// Turn a data set as it is published into training rows, or a benchmark into folders that `eval` reads
    Import(Words),
    /// Turn raw text into training rows: pairs, filters, duplicates, benchmarks' texts, relevance
    Curate(Words),
    /// Have a language model ask questions about long documents: training rows and evaluation folders
    Synthesize(Words),
}

/// `tercet import`, `curate` and `synthesize`: what is asked is the business of the program that does it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct Words {
    /// What `import` is to read, or a recipe; --help says more
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// How many ranks do the work, and where.
#[derive(Debug, Clone, Default, Args)]
pub struct Ranks {
    /// Ranks (worker processes) to start; default: one per NVIDIA GPU of this machine, or 1 without any or on the CPU;
    /// with hosts or in a Slurm allocation, all that they take
    #[arg(short = 'n', long = "ranks", value_name = "RANKS")]
    pub ranks: Option<NonZeroUsize>,
    /// Hosts to start them on, as lines `NAME slots=RANKS`; default: the Slurm allocation, or this machine
    #[arg(long, value_name = "HOSTFILE")]
    pub hosts: Option<PathBuf>,
}

/// What ranks do, and how many of them do it where.
#[derive(Debug, Args)]
pub struct OnRanks<A: Args> {
    /// What they do.
    #[command(flatten)]
    pub what: A,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// What ranks do, and what else `--dry-run` is to reckon with.
#[derive(Debug, Args)]
pub struct Scaled<A: Args> {
    /// What is done where.
    #[command(flatten)]
    pub on: OnRanks<A>,
    /// With --dry-run: passages of the corpus, e.g. 1e9; default: those of this one
    #[arg(long, value_name = "PASSAGES", value_parser = count, requires = "dry_run")]
    pub for_passages: Option<NonZeroU64>,
    /// With --dry-run: ranks that are to share the work; default: as many as measure it
    #[arg(long, value_name = "RANKS", requires = "dry_run")]
    pub for_ranks: Option<NonZeroUsize>,
    /// With --dry-run: floating-point operations per second of each of them, e.g. 120e12; default: what is measured
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "dry_run")]
    pub flops: Option<f64>,
}

/// `tercet doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// What is examined.
    #[command(flatten)]
    pub what: DoctorArgs,
    /// Also write everything as JSON; - writes it to standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// `tercet train`.
#[derive(Debug, Clone, Args)]
pub struct Train {
    /// What is trained.
    #[command(flatten)]
    pub what: TrainArgs,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// `tercet bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What is timed.
    #[command(flatten)]
    pub what: BenchArgs,
    /// Print everything as one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// World size.
    #[command(flatten)]
    pub ranks: Ranks,
}

/// `tercet step`.
#[derive(Debug, Args)]
pub struct Step {
    /// What is computed.
    #[command(flatten)]
    pub what: StepArgs,
    /// Print everything as one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Ranks (worker processes) to start on this machine; the result is the same for any number
    #[arg(short = 'n', long = "ranks", value_name = "RANKS", default_value = "1")]
    pub ranks: NonZeroUsize,
}

/// `tercet export`.
#[derive(Debug, Args)]
pub struct Export {
    /// What the folder is written for
    #[arg(long, value_enum)]
    pub layout: Layout,
    /// The model's folder, with mlm_head.safetensors beside the weights: the model/ of a pre-training run's checkpoint
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The folder to write
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
}

/// What a folder is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// AutoModelForMaskedLM of transformers: the encoder and the head that predicts masked words
    MaskedLm,
}

/// `tercet report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Folders of runs, and of evaluations as `eval --out` writes them, in any order; each is compared with the first
    /// of its kind. NAME= before a folder is what it is called, else its own name; several evaluations behind one name,
    /// as of several seeds, are averaged query by query
    #[arg(value_name = "[NAME=]FOLDER[,FOLDER…]", required = true)]
    pub folders: Vec<ReportInput>,
    /// The page to write; the Markdown lies beside it, with .md for .html; what is there is written over
    #[arg(long, value_name = "FILE.html", default_value = "report.html", value_parser = page)]
    pub out: PathBuf,
}
