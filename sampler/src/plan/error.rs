//! Errors of a plan.

use tercet_configs::ExitCode;

use crate::{Holds, StoreError};

/// A plan that cannot be made, or a batch that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The recipe names no store.
    #[error("the recipe's data.store is empty: name the folder that `tercet prepare` wrote")]
    NoStore,
    /// The recipe names a data set that the store lacks.
    #[error("{key}: the store has no data set `{name}`; it has {known}")]
    UnknownDataset {
        /// The recipe's key.
        key: &'static str,
        /// The name in the recipe.
        name: String,
        /// The names in the store.
        known: String,
    },
    /// A data set's rows are not of the kind that the recipe trains on.
    #[error("data set `{dataset}` {}", otherwise(*.holds))]
    Holds {
        /// The data set.
        dataset: String,
        /// What its rows are.
        holds: Holds,
    },
    /// A data set's settings do not make a batch.
    #[error("data.sets: `{dataset}`: {message}")]
    Setting {
        /// The data set.
        dataset: String,
        /// The reason and the remedy.
        message: String,
    },
    /// The recipe gives no batch size.
    #[error(
        "data.length_groups is empty: give at least one group, e.g. length_groups = [{{ max_len = 512, global_batch = 32 }}]"
    )]
    NoLengthGroups,
    /// No rows fill a global batch.
    #[error("no data set fills a global batch, so there is nothing to train on: {found}")]
    NothingToTrain {
        /// What there is, and what it would need.
        found: String,
    },
    /// All weights are 0.
    #[error("from step {from_step} on every data set has weight 0: give one of them a weight")]
    NoWeight {
        /// The first step, from 0.
        from_step: u64,
    },
    /// Rows have no negatives, but the group size needs some.
    #[error(
        "data set `{dataset}`: {rows} of {all} rows have no negatives, but their group_size is above 1: add negatives \
         (tercet mine), or for this data set set negatives = \"in_batch\", group_size = 1, or few_negatives = \"reject\" \
         to leave these rows out"
    )]
    NoNegatives {
        /// The data set.
        dataset: String,
        /// Rows without negatives.
        rows: u64,
        /// All of its rows.
        all: u64,
    },
    /// There is a prefix but no tokenizer for it.
    #[error("data.query_prefix or data.passage_prefix needs the model's tokenizer: set model.tokenizer")]
    PrefixTokenizer,
    /// The tokenizer gives other tokens for prefix and text together than for each by itself.
    #[error(
        "the prefix {prefix:?} cannot be put before texts that were tokenised without it: {} makes other tokens of prefix \
         and text together, as {why}; write the prefix into the rows (\"prompt\" stands before a query), prepare them \
         again, and leave the recipe's prefixes empty",
        path.display()
    )]
    Prefix {
        /// The prefix.
        prefix: String,
        /// The tokenizer.
        path: std::path::PathBuf,
        /// The part of the tokenizer that makes the difference.
        why: String,
    },
    /// Teacher scores would not be used, because some rows lack them.
    #[error(
        "data set `{dataset}`: {lacking} of {rows} rows lack teacher scores, so loss.teacher could not use those of the \
         others: give every text of every row a score (pos_scores and neg_scores) and prepare it again, make the rows \
         without scores a data set of their own, or set loss.teacher=none"
    )]
    SomeScores {
        /// The data set.
        dataset: String,
        /// The number of rows in which some text has no score.
        lacking: u64,
        /// All of its rows.
        rows: u64,
    },
    /// A prefix's tokenizer is not that of the store.
    #[error("{}: is not the tokenizer that the token store was prepared with: prepare the store again with this one", path.display())]
    OtherTokenizer {
        /// The model's tokenizer.
        path: std::path::PathBuf,
    },
    /// The tokenizer could not be used.
    #[error(transparent)]
    Tokenize(#[from] crate::TokenizeError),
    /// The ranks cannot share a global batch equally.
    #[error(
        "data.length_groups: the group up to {max_len} tokens has global_batch {global_batch}, which {world_size} ranks cannot share equally: use {}, or another number of ranks",
        nearest(*global_batch, *world_size)
    )]
    World {
        /// The length group's upper end.
        max_len: usize,
        /// Its global batch.
        global_batch: usize,
        /// The number of ranks.
        world_size: usize,
    },
    /// A row cannot be used as the recipe asks.
    #[error("data set `{dataset}`, row {row}: {message}")]
    Row {
        /// The data set.
        dataset: String,
        /// The number of the row in the data set, from 0.
        row: u64,
        /// The reason and the remedy.
        message: String,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PlanError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Row { .. } | Self::NoNegatives { .. } => ExitCode::Data,
            Self::Tokenize(error) => error.exit_code(),
            Self::Store(error) => error.exit_code(),
            _ => ExitCode::Usage,
        }
    }
}

/// What a data set holds of which the recipe trains on the other kind, and what to do.
fn otherwise(holds: Holds) -> &'static str {
    match holds {
        Holds::Pairs => {
            "holds rows of queries and passages, but the recipe's loss.preset pre-trains on texts alone: name in data.store \
             a store that `tercet prepare --texts` wrote, or choose a preset that contrasts queries with passages"
        }
        Holds::Texts => {
            "holds texts alone, but the recipe's loss.preset contrasts queries with passages: name in data.store a store \
             of such rows, or choose a preset that pre-trains"
        }
    }
}

/// The batch sizes around `global_batch` that `world_size` ranks can share.
fn nearest(global_batch: usize, world_size: usize) -> String {
    let below = global_batch / world_size * world_size;
    match below {
        0 => format!("{world_size}"),
        _ => format!("{below} or {}", below + world_size),
    }
}
