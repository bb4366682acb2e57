//! What `tercet prepare` is asked.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::inputs::DataSetInput;

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
