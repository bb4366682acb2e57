//! What can be typed: one struct per command, and of `import` one per kind of data set.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use crate::input::{Condition, Field, TextFields};

/// Turns data as others publish them into what Tercet reads.
#[derive(Debug, Parser)]
#[command(name = "tercet", bin_name = "tercet", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn a data set as it is published into training rows, or a benchmark into folders that `tercet eval` reads
    Import(Import),
    /// Turn raw text into training rows by a recipe: pairs, filters, duplicates, benchmarks' texts, relevance
    Curate(Curate),
    /// Have a language model ask questions about long documents: training rows and evaluation folders
    Synthesize(Synthesize),
}

/// `tercet curate`.
#[derive(Debug, Args)]
pub struct Curate {
    /// The curation's recipe; its paths are relative to its own folder
    #[arg(value_name = "FILE")]
    pub recipe: PathBuf,
    /// The folder to write rows and the report to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Files that are read at the same time; default: one a core
    #[arg(short = 'j', long, value_name = "NUMBER")]
    pub jobs: Option<NonZeroUsize>,
    /// Only read files, and of these the I-th (from 0) of N shares; when all shares are read, on whatever machines, the
    /// same command without this does the rest
    #[arg(long, value_name = "I/N")]
    pub share: Option<UnitsShare>,
    /// Records of each file to read at most, to try a recipe
    #[arg(long, value_name = "RECORDS")]
    pub first: Option<u64>,
}

/// Every `of`-th unit (files of 16 MB together, or a larger one), from `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitsShare {
    /// Which, from 0.
    pub index: usize,
    /// The number of parts.
    pub of: usize,
}

impl UnitsShare {
    /// Whether it has unit `number`.
    pub fn has(self, number: usize) -> bool {
        number % self.of == self.index
    }
}

impl FromStr for UnitsShare {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let expected = || format!("{typed:?}: expected I/N with I below N, as 0/8");
        let (index, of) = typed.split_once('/').ok_or_else(expected)?;
        let (Ok(index), Ok(of)) = (index.parse(), of.parse()) else { return Err(expected()) };
        if index < of { Ok(Self { index, of }) } else { Err(expected()) }
    }
}

impl fmt::Display for UnitsShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// `tercet synthesize`.
#[derive(Debug, Args)]
pub struct Synthesize {
    /// The recipe; its paths are relative to its own folder
    #[arg(value_name = "FILE")]
    pub recipe: PathBuf,
    /// The folder to write to, with the journal; the same command goes on where it was stopped
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Send nothing: say how many requests there will be, and what they can cost
    #[arg(long, conflicts_with_all = ["batch_out", "batch_in"])]
    pub dry_run: bool,
    /// Send nothing: write the next requests into a file for a batch interface, or several if it would be too large
    #[arg(long, value_name = "FILE", conflicts_with = "batch_in")]
    pub batch_out: Option<PathBuf>,
    /// With --batch-out: also write what stands in batch files and never came back; what was submitted all the same is
    /// paid twice
    #[arg(long, requires = "batch_out")]
    pub batch_again: bool,
    /// Send nothing: read what came back of batches, answers and errors, and write what there is
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub batch_in: Vec<PathBuf>,
}

/// `tercet import`.
#[derive(Debug, Args)]
pub struct Import {
    /// What is imported.
    #[command(subcommand)]
    pub kind: Kind,
}

/// The kinds of data sets, by the layout of their files.
#[derive(Debug, Subcommand)]
pub enum Kind {
    /// Rows of SQuAD's JSON, and of the sets that look like it (DRCD, CMRC 2018, KorQuAD, …): question → paragraph
    Squad(RowFiles),
    /// Rows of a BEIR folder whose training queries are judged (HotpotQA, MS MARCO, …): query → judged documents
    Beir(Beir),
    /// Rows of DPR's JSON (Natural Questions, TriviaQA, …): question → positive_ctxs, hard_negative_ctxs
    Dpr(RowFiles),
    /// Rows of Tevatron's JSON Lines (MIRACL, Mr. TyDi, MLDR, …): query → positive_passages, negative_passages
    Tevatron(RowFiles),
    /// Rows of texts with ids and lists of ids (mMARCO, T2Ranking, cMedQA2, LeCaRDv2, COLIEE, …): a collection,
    /// queries, and which belongs to which
    Tsv(Tsv),
    /// Rows of pairs or triples in named columns (NLI, xP3, CodeSearchNet, S2ORC, …): JSON Lines, Parquet, CSV or TSV
    Columns(Columns),
    /// Evaluation folders of MIRACL, one a language
    Miracl(Miracl),
    /// Evaluation folders of MLDR (MultiLongDoc), one a language
    Mldr(Mldr),
    /// Evaluation folders of MKQA, one a language, judged by answers: the 6,619 questions that published figures are of
    Mkqa(Mkqa),
    /// An evaluation folder of NarrativeQA: which story a question is about
    Narrativeqa(NarrativeQa),
}

/// Files that hold all of it, and the file of rows.
#[derive(Debug, Args)]
pub struct RowFiles {
    /// The files, plain, .gz or .zst
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where rows go.
    #[command(flatten)]
    pub rows: RowsOut,
}

/// The file of rows.
#[derive(Debug, Args)]
pub struct RowsOut {
    /// The file of training rows to write, as JSON Lines; named .zst or .gz it is packed so
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Which documents of a judged query become what.
#[derive(Debug, Args)]
pub struct Judged {
    /// A document answers the query if it is judged at least so
    #[arg(long, value_name = "SCORE", default_value_t = 1)]
    pub min_score: i64,
    /// More negatives: lines of a query's id and a document's, in the order of preference, or a TREC run
    #[arg(long, value_name = "FILE")]
    pub negatives: Option<PathBuf>,
    /// Negatives that a query takes of --negatives or --triples at most, the first of the file
    #[arg(long, value_name = "NUMBER", default_value_t = 15)]
    pub max_negatives: usize,
}

/// `tercet import beir`.
#[derive(Debug, Args)]
pub struct Beir {
    /// The folder with corpus.jsonl, queries.jsonl and qrels
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The judgments to take, qrels/SPLIT.tsv
    #[arg(long, default_value = "train")]
    pub split: String,
    /// What becomes what.
    #[command(flatten)]
    pub judged: Judged,
    /// Where rows go.
    #[command(flatten)]
    pub rows: RowsOut,
}

/// `tercet import tsv`.
#[derive(Debug, Args)]
pub struct Tsv {
    /// The documents: lines of an id and a text, CSV, JSON Lines, Parquet, or a folder of one file a document
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., required = true)]
    pub collection: Vec<PathBuf>,
    /// The queries, in any of these forms
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., required = true)]
    pub queries: Vec<PathBuf>,
    /// Judgments: lines of query and document, with a score or without, TREC's four columns, or COLIEE's labels (.json)
    #[arg(long, value_name = "FILE", required_unless_present = "triples")]
    pub qrels: Option<PathBuf>,
    /// Lines of a query's id, a positive's and a negative's
    #[arg(long, value_name = "FILE")]
    pub triples: Option<PathBuf>,
    /// Where a document's id and text stand, as names or numbers of columns: pid,title+body; default: in the first and
    /// in the last column, or under the usual names
    #[arg(long, value_name = "ID,TEXT")]
    pub collection_fields: Option<TextFields>,
    /// The same for queries
    #[arg(long, value_name = "ID,TEXT")]
    pub query_fields: Option<TextFields>,
    /// What becomes what.
    #[command(flatten)]
    pub judged: Judged,
    /// Where rows go.
    #[command(flatten)]
    pub rows: RowsOut,
}

/// `tercet import columns`.
#[derive(Debug, Args)]
pub struct Columns {
    /// The files: JSON Lines (plain, .gz or .zst), Parquet, Arrow, CSV or TSV
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the query stands: the name of a column, or its number where columns have no names; a.b for b within a,
    /// a+b for both with a space between
    #[arg(long, value_name = "COLUMN")]
    pub query: Field,
    /// Where positives stand; a list of texts is several
    #[arg(long, value_name = "COLUMN[,COLUMN…]", value_delimiter = ',', required = true)]
    pub pos: Vec<Field>,
    /// Where negatives stand
    #[arg(long, value_name = "COLUMN[,COLUMN…]", value_delimiter = ',')]
    pub neg: Vec<Field>,
    /// Take only the rows that have this value there, e.g. label=1; repeated: all of them
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    pub conditions: Vec<Condition>,
    /// Where rows go.
    #[command(flatten)]
    pub rows: RowsOut,
}

/// `tercet import miracl`.
#[derive(Debug, Args)]
pub struct Miracl {
    /// The folders with miracl-v1.0-LANG and miracl-corpus-v1.0-LANG
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// The topics and judgments to take
    #[arg(long, default_value = "dev")]
    pub split: String,
    /// Which languages, and where to.
    #[command(flatten)]
    pub languages: Languages,
}

/// `tercet import mldr`.
#[derive(Debug, Args)]
pub struct Mldr {
    /// The folder with mldr-v1.0-LANG
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// The queries to take, SPLIT.jsonl.gz
    #[arg(long, default_value = "test")]
    pub split: String,
    /// Which languages, and where to.
    #[command(flatten)]
    pub languages: Languages,
}

/// `tercet import mkqa`.
#[derive(Debug, Args)]
pub struct Mkqa {
    /// The questions: mkqa.jsonl.gz
    #[arg(value_name = "FILE")]
    pub questions: PathBuf,
    /// The passages: corpus.jsonl of BEIR's nq
    #[arg(long, value_name = "FILE")]
    pub corpus: PathBuf,
    /// Which languages, and where to.
    #[command(flatten)]
    pub languages: Languages,
}

/// Folders, one a language.
#[derive(Debug, Args)]
pub struct Languages {
    /// The languages; default: all that are there
    #[arg(long, value_name = "LANG[,LANG…]", value_delimiter = ',')]
    pub lang: Vec<String>,
    /// The folder to write to: DIR/LANG for each language
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `tercet import narrativeqa`.
#[derive(Debug, Args)]
pub struct NarrativeQa {
    /// The files of the split, as Hugging Face has them: Parquet or JSON Lines with "document" and "question"
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What the judgments are called: qrels/SPLIT.tsv
    #[arg(long, default_value = "test")]
    pub split: String,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_can_be_typed_is_consistent() {
        Cli::command().debug_assert();
    }
}
