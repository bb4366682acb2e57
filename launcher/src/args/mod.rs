//! What can be typed: one struct per command. What it means is decided elsewhere.
//!
//! The arguments of what ranks do are [`tercet_protocol`]'s; here is what only the launcher is asked.

mod inputs;

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use tercet_configs::GpuKind;
use tercet_protocol::args::{
    BenchArgs, DoctorArgs, EncodeArgs, EvalArgs, IndexArgs, MineArgs, RecipeArgs, ScoreArgs, SearchArgs, StepArgs,
    TrainArgs,
};

pub use inputs::{DataSetInput, ReportInput};

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

/// `tercet prepare`.
#[derive(Debug, Args)]
pub struct Prepare {
    /// The model's tokenizer.json
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// The folder to write the token store to
    #[arg(long, value_name = "STORE")]
    pub out: PathBuf,
    /// Tokens of a query at most, special tokens included; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, conflicts_with = "texts")]
    pub query_max_len: usize,
    /// Tokens of a passage at most, special tokens included; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, conflicts_with = "texts")]
    pub passage_max_len: usize,
    /// A data set of texts alone, for pre-training: JSON Lines, Parquet or Arrow with a "text", or folders of Hugging
    /// Face datasets; a file named otherwise (.txt) has a text on each line, and blank lines are passed over; may be
    /// repeated
    #[arg(long, value_name = "NAME=FILE[,FILE…]")]
    pub texts: Vec<DataSetInput>,
    /// Tokens of a row of texts alone at most, special tokens included
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, requires = "texts")]
    pub text_max_len: usize,
    /// What becomes of a text alone that is longer
    #[arg(long, value_enum, default_value_t = Long::Cut, requires = "texts")]
    pub long: Long,
    /// Fill a row of texts alone with the texts that follow in the data set, as long as they fit, with an EOS between
    /// two; no text is torn
    #[arg(long, requires = "texts")]
    pub pack: bool,
    /// What to do at a malformed line
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    pub on_error: OnError,
    /// Leave out of all batches the rows whose query and positives, or text, are those of an earlier row of the data
    /// set
    #[arg(long)]
    pub drop_duplicates: bool,
    /// Rows of a shard file at most; a shard also ends at about 512 MiB
    #[arg(long, value_name = "ROWS", default_value = "1000000")]
    pub rows_per_shard: NonZeroU64,
    /// Data sets of queries and passages: files of JSON Lines (plain, .gz or .zst), Parquet or Arrow, or folders of
    /// Hugging Face datasets; without NAME, a set is named after its file
    #[arg(value_name = "NAME=FILE[,FILE…]", required_unless_present = "texts")]
    pub inputs: Vec<DataSetInput>,
}

/// What becomes of a text alone that is longer than a row may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Long {
    /// Its end is cut off
    Cut,
    /// It becomes several rows
    Split,
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
#[command(group(ArgGroup::new("speed").args(["flops", "gpu", "measured"]).multiple(true)))]
pub struct Plan {
    /// Whose run.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Number of ranks of the run; default: as many as `tercet train` would start here
    #[arg(long, value_name = "RANKS")]
    pub world: Option<NonZeroUsize>,
    /// A config.json instead of the recipe's model, for a model that is not here yet
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,
    /// The memory to estimate; default: the recipe's device, or cuda if this machine has an NVIDIA GPU
    #[arg(long, value_enum, conflicts_with_all = ["gpu", "measured"])]
    pub device: Option<Device>,
    /// A kind of GPU: its memory, and times from its data sheet; a100-40, a100-80, a800-80, h100 or h200
    #[arg(long, value_name = "CARD", conflicts_with = "flops")]
    pub gpu: Option<GpuKind>,
    /// What `make test-gpu` measured on such a GPU (its report.json), in place of assumed rates
    #[arg(long, value_name = "FILE", conflicts_with = "flops")]
    pub measured: Option<PathBuf>,
    /// GPUs of one machine, which reach each other without the network
    #[arg(long, value_name = "GPUS", default_value = "8")]
    pub gpus_per_node: NonZeroUsize,
    /// Floating-point operations per second that a rank achieves in the encoder, e.g. 120e12
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub flops: Option<f64>,
    /// Bytes per second that a rank sends, e.g. 20e9; default with --gpu: what cards and network adapters like NVIDIA's
    /// do
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "speed")]
    pub bandwidth: Option<f64>,
    /// Measure these rates here, with the recipe's model on as many ranks
    #[arg(long, conflicts_with_all = ["flops", "gpu", "measured"])]
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

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// Resident memory of a process.
    Cpu,
    /// Memory of a GPU.
    Cuda,
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

/// `tercet submit`.
#[derive(Debug, Args)]
pub struct Submit {
    /// What is trained.
    #[command(flatten)]
    pub recipe: RecipeArgs,
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

impl Submit {
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

/// A whole number, which may be written as 1e9.
fn count(text: &str) -> Result<NonZeroU64, String> {
    // Up to 2^53 all whole numbers are floats.
    let is_whole = |number: &f64| (1.0..=9e15).contains(number) && number.fract() == 0.0;
    let number = || Some(text.parse::<f64>().ok().filter(is_whole)? as u64);
    let count = text.parse().ok().or_else(number).and_then(NonZeroU64::new);
    count.ok_or_else(|| "expected a whole number above 0, e.g. 5000000 or 5e6".into())
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

fn page(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_page = path.extension().is_some_and(|ending| ending == "html" || ending == "htm");
    is_page.then_some(path).ok_or_else(|| "expected a name that ends with .html; the .md lies beside it".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number above 0 per second, e.g. 120e12".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_may_be_written_with_an_exponent() {
        let good = |text: &str| count(text).unwrap().get();
        assert_eq!((good("7"), good("1e9"), good("2.5e3")), (7, 1_000_000_000, 2500));
        assert_eq!(good("18446744073709551615"), u64::MAX);
        for bad in ["0", "-1", "1.5", "1e30", "nan", "", "many"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
