//! What files hold.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tercet_sampler::unpacked_name;

/// The formats of files, packed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// An object of JSON a line.
    Jsonl,
    /// Rows of columns.
    Parquet,
    /// Rows of columns, also a folder that Hugging Face `datasets` saved.
    Arrow,
    /// Lines of cells between tabs.
    Tsv,
    /// Lines of cells between commas, with quotes.
    Csv,
    /// An export of a MediaWiki: pages with titles.
    Mediawiki,
    /// Captures of web pages.
    Warc,
    /// A web page.
    Html,
    /// A text.
    Text,
}

impl Format {
    pub(super) const ALL: [Self; 9] = [
        Self::Jsonl,
        Self::Parquet,
        Self::Arrow,
        Self::Tsv,
        Self::Csv,
        Self::Mediawiki,
        Self::Warc,
        Self::Html,
        Self::Text,
    ];

    /// The format that a file's name says.
    pub(super) fn of_name(path: &Path) -> Option<Self> {
        if path.is_dir() {
            return Some(Self::Arrow);
        }
        let unpacked = unpacked_name(path);
        let ending = unpacked.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "jsonl" | "json" | "ndjson" => Self::Jsonl,
            "parquet" => Self::Parquet,
            "arrow" | "feather" => Self::Arrow,
            "tsv" => Self::Tsv,
            "csv" => Self::Csv,
            "warc" | "wet" => Self::Warc,
            "html" | "htm" | "xhtml" => Self::Html,
            "txt" => Self::Text,
            // Parts of a dump are named after their pages: pages-articles1.xml-p1p297012.
            part if part == "xml" || part.starts_with("xml-p") => Self::Mediawiki,
            _ => return None,
        })
    }

    /// Whether it holds documents rather than records.
    pub(super) fn is_of_documents(self) -> bool {
        matches!(self, Self::Mediawiki | Self::Warc | Self::Html | Self::Text)
    }

    /// Whether it holds lines of cells.
    pub(super) fn is_of_tables(self) -> bool {
        matches!(self, Self::Tsv | Self::Csv)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
