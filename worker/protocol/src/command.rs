//! What a rank is told to do: a struct here, a command line between two processes.

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use tercet_configs::{DeviceChoice, Recipe, RecipeError};

use crate::args::{
    BenchArgs, DoctorArgs, EncodeArgs, EvalArgs, IndexArgs, MeasureArgs, MineArgs, ProbeArgs, RankTrainArgs, ScoreArgs,
    SearchArgs, StepArgs,
};
use crate::words::Words;

/// The commands of `tercet-worker`.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// Train as a recipe says
    Train(RankTrainArgs),
    /// How fast the ranks are with a recipe's model
    Measure(MeasureArgs),
    /// A recipe's steps, timed phase by phase
    Bench(BenchArgs),
    /// Whether the machines are fit for a run; ends with 3 if one is not
    Doctor(DoctorArgs),
    /// One step on given rows, without updating; prints its figures
    Step(StepArgs),
    /// Texts to representations
    Encode(EncodeArgs),
    /// A corpus to an index
    Index(IndexArgs),
    /// Ranked documents of an index for queries
    Search(SearchArgs),
    /// Retrieval quality on BEIR folders
    Eval(EvalArgs),
    /// Hard negatives for rows
    Mine(MineArgs),
    /// Scores of rows' pairs, and how many passages of an index score higher
    Score(ScoreArgs),
    /// What libtorch makes of the device: which attention kernels it chooses, and how fast they are
    Probe(ProbeArgs),
}

/// One training process per device; started by tercet, or by mpirun
#[derive(Parser)]
#[command(name = "tercet-worker", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

impl Command {
    /// What this process was told. It ends here, with help or what is wrong, if that is no command.
    pub fn of_this_process() -> Self {
        Cli::parse().command
    }

    /// What [`words`](Self::words) were written from.
    ///
    /// # Errors
    /// They are no command.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let program = OsString::from("tercet-worker");
        Cli::try_parse_from(std::iter::once(program).chain(words)).map(|cli| cli.command)
    }

    /// The command line, without the program.
    pub fn words(&self) -> Vec<OsString> {
        match self {
            Self::Train(args) => args.words(Words::of("train")),
            Self::Measure(args) => args.words(Words::of("measure")),
            Self::Bench(args) => args.words(Words::of("bench")),
            Self::Doctor(args) => args.words(Words::of("doctor")),
            Self::Step(args) => args.words(Words::of("step")),
            Self::Encode(args) => args.words(Words::of("encode")),
            Self::Index(args) => args.words(Words::of("index")),
            Self::Search(args) => args.words(Words::of("search")),
            Self::Eval(args) => args.words(Words::of("eval")),
            Self::Mine(args) => args.words(Words::of("mine")),
            Self::Score(args) => args.words(Words::of("score")),
            Self::Probe(args) => args.words(Words::of("probe")),
        }
    }

    /// The recipe that it names, if it names one.
    pub fn recipe(&self) -> Option<Result<Recipe, RecipeError>> {
        match self {
            Self::Train(args) => Some(args.what.recipe.load()),
            Self::Measure(args) => Some(args.recipe.load()),
            Self::Bench(args) => Some(args.recipe.load()),
            Self::Step(args) => Some(args.recipe.load()),
            Self::Doctor(args) => args.load(),
            Self::Encode(_)
            | Self::Index(_)
            | Self::Search(_)
            | Self::Eval(_)
            | Self::Mine(_)
            | Self::Score(_)
            | Self::Probe(_) => None,
        }
    }

    /// What it asks ranks to compute on, `recipe` being the one that it names, if it can be read.
    pub fn device_choice(&self, recipe: Option<&Recipe>) -> DeviceChoice {
        match self {
            Self::Encode(args) => args.device.into(),
            Self::Index(args) => args.device.into(),
            Self::Search(args) => args.device.into(),
            Self::Eval(args) => args.device.into(),
            Self::Mine(args) => args.device.into(),
            Self::Score(args) => args.device.into(),
            Self::Doctor(args) => args.device_choice(recipe),
            Self::Train(_) | Self::Measure(_) | Self::Bench(_) | Self::Step(_) | Self::Probe(_) => {
                recipe.map_or_else(DeviceChoice::default, |recipe| recipe.device)
            }
        }
    }
}
