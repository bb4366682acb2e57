//! Errors of rows, tokenizers and stores, and the exit code of a process that ends with one.

use std::io;
use std::path::PathBuf;

use tercet_configs::{ExitCode, ModelFolderError};

/// A row, or a file of rows, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// One line is not a row; the lines after it can still be read.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// One row of a file of columns cannot be used; the rows after it can still be read.
    #[error("{}: row {row}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its row, from 1.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file could not be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file is evidently something else, so no line of it can be used.
    #[error("{}:1: {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What the file is, and what to do.
        reason: String,
    },
    /// The folder is not one of rows.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The columns of a whole file are not those of rows.
    #[error("{}: {reason}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is wrong with them, and what to do.
        reason: String,
    },
    /// Reading stopped before the end of a file of columns: it is damaged or cut off.
    #[error("{}: cannot be read beyond row {row}: {reason}", path.display())]
    ReadColumns {
        /// The file.
        path: PathBuf,
        /// The last row that was read; 0 if there was none.
        row: u64,
        /// What is wrong.
        reason: String,
    },
    /// Reading stopped before the file's end: the disk failed, or compressed data is truncated or damaged.
    #[error("{}: cannot be read beyond line {line}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The last complete line; 0 if there was none.
        line: u64,
        /// What is wrong, and what to do.
        reason: String,
        /// The decoder's or the operating system's reason.
        source: io::Error,
    },
}

impl RowError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Line { .. }
            | Self::Row { .. }
            | Self::Foreign { .. }
            | Self::Columns { .. }
            | Self::ReadColumns { .. } => ExitCode::Data,
            Self::Folder { .. } => ExitCode::Usage,
            Self::Open { source, .. } => ExitCode::of_io(source),
            // Decoders' errors carry no error number of the operating system.
            Self::Read { source, .. } if source.raw_os_error().is_some() => ExitCode::Machine,
            Self::Read { .. } => ExitCode::Data,
        }
    }
}

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// The file could not be read.
    #[error("tokenizer {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The model has its tokenizer in another form.
    #[error(
        "tokenizer {}: is not there, but {slow} is: make it from that, as with \
         transformers.AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
        path.display()
    )]
    Slow {
        /// The file that is needed.
        path: PathBuf,
        /// The file that is there.
        slow: &'static str,
    },
    /// The file is a vocabulary, not a tokenizer.
    #[error(
        "tokenizer {}: is a vocabulary, and a tokenizer.json is expected: make one from it, as with \
         transformers.AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
        path.display()
    )]
    Vocabulary {
        /// The file.
        path: PathBuf,
    },
    /// The file is no tokenizer, or not one that frames a text as the encoders expect.
    #[error("tokenizer {}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// What the file, or tokenizer_config.json beside it, says of texts is not what is done with them.
    #[error(transparent)]
    Otherwise(ModelFolderError),
    /// The tokenizer has no tokens for a text.
    #[error("the tokenizer failed on a text: {reason}")]
    Encode {
        /// The tokenizer's reason.
        reason: String,
    },
}

impl TokenizeError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Read { source, .. } => ExitCode::of_io(source),
            Self::Slow { .. } | Self::Vocabulary { .. } | Self::Otherwise(_) => ExitCode::Usage,
            Self::Invalid { .. } | Self::Encode { .. } => ExitCode::Data,
        }
    }
}

/// A store that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The folder has no manifest.
    #[error("{}: not a token store (it has no manifest.json): write one with `tercet prepare`", dir.display())]
    NotAStore {
        /// The folder.
        dir: PathBuf,
    },
    /// Another version of Tercet wrote the store.
    #[error(
        "{}: token store of format {found}, this Tercet reads format {expected}: prepare the store again", dir.display()
    )]
    Version {
        /// The folder.
        dir: PathBuf,
        /// The manifest's format version.
        found: u32,
        /// The format version that can be read.
        expected: u32,
    },
    /// A file is missing, is not what the manifest says, or is not Arrow.
    #[error("{}: {reason}; the store is damaged: copy or prepare it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A row or position beyond the data set's end.
    #[error("data set {dataset}: row {row} is out of range: it has {num_rows} rows")]
    OutOfRange {
        /// The data set's name.
        dataset: String,
        /// The row or position asked for.
        row: u64,
        /// The data set's rows.
        num_rows: u64,
    },
    /// The folder to write to already holds something.
    #[error("{}: {reason}: nothing is overwritten, choose another folder or remove it first", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
        /// What it holds.
        reason: String,
    },
    /// Another process is writing to the folder.
    #[error("{}: is being written by another process: wait for it or stop it, or choose another folder", dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// A data set's name cannot be used.
    #[error("data set {name:?}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Rows are so long that a record batch's 32-bit offsets overflow.
    #[error("data set {dataset}: {rows} rows hold more than 2^31 tokens: prepare with fewer rows per shard")]
    BatchTooLarge {
        /// The data set's name.
        dataset: String,
        /// Rows in the record batch that overflowed.
        rows: usize,
    },
}

impl StoreError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io { source, .. } => ExitCode::of_io(source),
            Self::NotAStore { .. }
            | Self::Version { .. }
            | Self::Occupied { .. }
            | Self::Busy { .. }
            | Self::Name { .. } => ExitCode::Usage,
            Self::Damaged { .. } | Self::BatchTooLarge { .. } => ExitCode::Data,
            Self::OutOfRange { .. } => ExitCode::Bug,
        }
    }
}

/// A corpus that could not be prepared. No finished store is left behind.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The options do not make a store.
    #[error("{0}")]
    Options(String),
    /// A data set has no rows.
    #[error(
        "data set {dataset}: no rows in {num_files} files ({skipped} lines were skipped){}",
        first.as_ref().map(|first| format!("; the first is {first}")).unwrap_or_default()
    )]
    NoRows {
        /// The data set's name.
        dataset: String,
        /// Files that were read.
        num_files: usize,
        /// Malformed lines in them.
        skipped: u64,
        /// The first malformed line, with the reason; or the first empty file.
        first: Option<String>,
    },
    /// A row, or a file of rows.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PrepareError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Options(_) => ExitCode::Usage,
            Self::NoRows { .. } => ExitCode::Data,
            Self::Row(e) => e.exit_code(),
            Self::Tokenize(e) => e.exit_code(),
            Self::Store(e) => e.exit_code(),
        }
    }
}
