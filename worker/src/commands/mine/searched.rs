//! The index that is searched: the one that is given, or one that is made of a corpus or of the rows' own passages.

use std::path::Path;

use tercet_cluster::Collective;
use tercet_protocol::args::{MineArgs, Ranking};
use tercet_retrieval::{Contents, Encoding, Index, Stored};

use super::known::Known;
use crate::files::CommandError;
use crate::retrieval::corpus::CorpusFiles;
use crate::retrieval::indexing::make_index;
use crate::retrieval::prefixes;
use crate::retrieval::ranking::possible;
use crate::retrieval::texts::TextEncoder;

/// The index, and what stands before queries. One that is made lies in the folder `own`. Every rank calls it.
///
/// # Errors
/// The given index lacks what the ranking needs; what [`make_index`] fails with; rows whose passages take different
/// prefixes.
pub(super) fn index(
    args: &MineArgs,
    given: Option<Index>,
    (encoder, known): (&TextEncoder, &Known),
    own: &Path,
    ranks: &dyn Collective,
) -> anyhow::Result<(Index, String)> {
    let [query_prompt, passage_prompt] = prompts_of(args, given.as_ref(), encoder, known)?;
    prefixes::tell(ranks, "queries", &query_prompt, std::iter::empty());
    if given.is_none() {
        prefixes::tell(ranks, "passages", &passage_prompt, std::iter::empty());
        encoder.tell_cut(ranks, "passages", args.passage_max_len);
    }
    encoder.check_room(&query_prompt, args.query_max_len)?;
    let index = match given {
        Some(index) => index,
        None => {
            let files = match args.corpus.is_empty() {
                true => CorpusFiles::of_rows(&args.rows),
                false => CorpusFiles::of_texts(&args.corpus),
            };
            encoder.check_room(&passage_prompt, args.passage_max_len)?;
            let survey = files.survey(ranks)?;
            make_index(own, encoder, encoding(args, encoder, passage_prompt), (&files, &survey), ranks)?;
            Index::open(own)?
        }
    };
    possible(&[args.ranking], &index)?;
    Ok((index, query_prompt))
}

/// What is searched, for a message.
pub(super) fn name(args: &MineArgs) -> String {
    match (&args.index, args.corpus.as_slice()) {
        (Some(index), _) => index.display().to_string(),
        (None, []) => "the rows".to_owned(),
        (None, corpus) => corpus.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// All digits are kept: who wants half the room makes an index for it.
fn encoding(args: &MineArgs, encoder: &TextEncoder, passage_prompt: String) -> Encoding {
    let lexical = matches!(args.ranking, Ranking::Lexical | Ranking::DenseLexical | Ranking::All);
    let bm25 = args.ranking == Ranking::Bm25;
    let words = args.ranking == Ranking::Bm25Words;
    let dense = !matches!(args.ranking, Ranking::Lexical | Ranking::Bm25 | Ranking::Bm25Words);
    let heads = Contents { dense, lexical, bm25, words };
    encoder.encoding(heads, Stored::Fp32, &passage_prompt, args.passage_max_len)
}

/// What stands before queries and before passages. Rows of a symmetric type have the query's prompt before both, as in
/// training.
fn prompts_of(
    args: &MineArgs,
    given: Option<&Index>,
    encoder: &TextEncoder,
    known: &Known,
) -> Result<[String; 2], CommandError> {
    let [query, mut passage] = prefixes::over(&args.prefixes, encoder.prompts());
    if let Some(index) = given {
        passage.clone_from(&index.settings().encoding.passage_prompt);
    }
    match (known.num_symmetric, known.num_rows) {
        (0, _) => Ok([query, passage]),
        _ if query == passage => Ok([query, passage]),
        (n, all) if n == all && given.is_none() => Ok([query.clone(), query]),
        (n, all) => {
            let remedy = match given {
                Some(_) => format!("index the passages with {query:?} before them, and mine these rows by themselves"),
                None => "mine them by themselves".to_owned(),
            };
            let reason =
                format!("{n} of {all} rows are of a symmetric type, whose passages take the query's prefix: {remedy}");
            Err(CommandError::Data { path: args.rows.first().cloned().unwrap_or_default(), reason })
        }
    }
}
