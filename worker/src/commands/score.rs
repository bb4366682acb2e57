//! `score`: what a model makes of rows' own pairs, and how many passages of an index it thinks better.
//!
//! A positive that is better than all but a few of very many other passages belongs to its query (the consistency
//! filter of E5; Wang et al., 2022, arXiv 2212.03533), and one that scores low does not. Scores are inner products of
//! dense vectors: cosines, as the vectors are normalised.
//!
//! Rows go in runs of [`RUN`], each by one rank, so any number of ranks writes the same bytes. Each file is there whole
//! or not at all, and the same command goes on with those that are missing.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_cluster::{Collective, broadcast_bytes};
use tercet_configs::CpuMatmul;
use tercet_protocol::args::{Lists, Ranking, ScoreArgs};
use tercet_protocol::says;
use tercet_protocol::says::score::RowScores;
use tercet_retrieval::{Contents, Corpus, Encoding, Hit, Index, LexicalWeights, Stored, WeightsOf, differences};
use tercet_sampler::{WrittenRow, WrittenRows, text_id};

use crate::files::CommandError;
use crate::files::atomic::{AtomicFile, write_atomically};
use crate::files::names::in_folder;
use crate::files::output::must_be_free;
use crate::files::unread::Unread;
use crate::retrieval::prefixes;
use crate::retrieval::ranking::{PairScorer, Query, RUN, Search, possible};
use crate::retrieval::texts::{EncoderOptions, TextEncoder};
use crate::retrieval::vectors::gather;

/// Rows at a time at most: the more, the less often an index is read.
const LARGEST_BATCH: usize = 128 * RUN;
/// Tokens of a passage, where neither an index nor the user says otherwise.
const PASSAGE_MAX_LEN: usize = 8192;

/// By what the folder of scores is gone on with.
const RECORD: &str = "score.json";

/// What scores follow from: the content of score.json, by which they are gone on with.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    model: WeightsOf,
    /// How passages are encoded, and queries but for prompt and length.
    encoding: Encoding,
    query_prompt: String,
    query_max_len: usize,
    /// What the index is of, and how many better passages are counted at most.
    among: Option<(Corpus, usize)>,
    /// Names of the files of rows, and their bytes.
    rows: Vec<(String, u64)>,
}

/// Scores the rows of all files. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, index, rows or output; [`CommandError`] where it is one of the latter two.
pub fn run(args: &ScoreArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let files = in_folder(&args.out, &args.rows, &[RECORD])?;
    let index = args.index.as_deref().map(Index::open).transpose()?;
    index.as_ref().map_or(Ok(Vec::new()), |index| possible(&[Ranking::Dense], index))?;
    let given = index.as_ref().map(|index| &index.settings().encoding);
    let options = EncoderOptions {
        pooling: given.map(|encoding| encoding.pooling),
        mcls: given.and_then(|encoding| encoding.mcls).and_then(NonZeroUsize::new),
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Onednn,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    index.as_ref().map_or(Ok(()), |index| index.must_be_of(&encoder.weights_of()))?;
    let record = record(args, &encoder, index.as_ref(), &files)?;
    let missing = begin(args, &record, &files, ranks)?;
    prefixes::tell(ranks, "queries", &record.query_prompt, std::iter::empty());
    prefixes::tell(ranks, "passages", &record.encoding.passage_prompt, std::iter::empty());
    encoder.tell_cut(ranks, "passages", record.encoding.passage_max_len);

    let lists = Lists { top: args.top, ..Lists::default() };
    let query = (record.query_prompt.as_str(), record.query_max_len);
    let search = index.as_ref().map(|index| Search::new(index, &encoder, &lists, query, ranks)).transpose()?;
    let scorer = Scorer {
        pairs: PairScorer {
            encoder: &encoder,
            query,
            passage: (&record.encoding.passage_prompt, record.encoding.passage_max_len),
            stored: record.encoding.stored,
            lexical: LexicalWeights::Exact,
            weights: [1.0, 0.0, 0.0],
        },
        known: search.as_ref().map(|search| Known::of(search.index())),
        search,
        ranks,
    };
    let room = scorer.search.as_ref().map_or(LARGEST_BATCH, |search| search.batch_len(args.memory, &[Ranking::Dense]));
    for (out, rows) in missing.into_iter().map(|number| &files[number]) {
        scorer.score_file(rows, out, room.min(LARGEST_BATCH))?;
    }
    if ranks.rank() == 0 {
        println!("{} files of scores in {}", files.len(), args.out.display());
    }
    Ok(())
}

fn record(
    args: &ScoreArgs,
    encoder: &TextEncoder,
    index: Option<&Index>,
    files: &[(PathBuf, PathBuf)],
) -> anyhow::Result<Record> {
    let [query_prompt, passage_prompt] = prefixes::over(&args.prefixes, encoder.prompts());
    let passage_max_len = args.passage_max_len.unwrap_or(PASSAGE_MAX_LEN);
    let heads = Contents { dense: true, lexical: false, bm25: false, words: false };
    let mut encoding = encoder.encoding(heads, Stored::Fp32, &passage_prompt, passage_max_len);
    if let Some(index) = index {
        let Encoding { stored, passage_prompt, passage_max_len, .. } = &index.settings().encoding;
        encoding = Encoding {
            stored: *stored,
            passage_prompt: passage_prompt.clone(),
            passage_max_len: *passage_max_len,
            ..encoding
        };
    }
    encoder.check_room(&query_prompt, args.query_max_len)?;
    encoder.check_room(&encoding.passage_prompt, encoding.passage_max_len)?;
    let sized = files.iter().map(|(out, rows)| {
        let bytes = rows.metadata().map_err(CommandError::file(rows))?.len();
        Ok((out.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes))
    });
    Ok(Record {
        model: encoder.weights_of(),
        encoding,
        query_prompt,
        query_max_len: args.query_max_len,
        among: index.map(|index| (index.settings().corpus.clone(), args.top)),
        rows: sized.collect::<Result<_, CommandError>>()?,
    })
}

/// The numbers of the files that are not there yet, on every rank. Every rank calls it.
fn begin(
    args: &ScoreArgs,
    record: &Record,
    files: &[(PathBuf, PathBuf)],
    ranks: &dyn Collective,
) -> anyhow::Result<Vec<usize>> {
    let path = args.out.join(RECORD);
    let begun = path.exists();
    ranks.barrier()?;
    if !begun {
        must_be_free(ranks, files.iter().map(|(out, _)| out.as_path()).chain([path.as_path()]))?;
    }
    let mut missing = Vec::new();
    if ranks.rank() == 0 {
        if begun {
            must_be_same(&path, record)?;
        } else {
            write_atomically(&path, &[&serde_json::to_vec_pretty(record)?[..], b"\n"].concat())?;
        }
        let absent = (0..files.len()).filter(|number| !files[*number].0.exists());
        missing = absent.flat_map(|number| (number as u64).to_le_bytes()).collect();
        if missing.len() < 8 * files.len() {
            tracing::info!("{} of {} files are there already", files.len() - missing.len() / 8, files.len());
        }
    }
    broadcast_bytes(ranks, &mut missing, 0)?;
    Ok(missing.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes) as usize).collect())
}

fn must_be_same(path: &Path, record: &Record) -> Result<(), CommandError> {
    let bytes = std::fs::read(path).map_err(CommandError::file(path))?;
    let wrong = |reason: String| CommandError::Data { path: path.to_owned(), reason };
    let begun: Record = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    match differences(&begun, record) {
        differing if differing.is_empty() => Ok(()),
        differing => Err(CommandError::Usage(format!(
            "{}: these scores were begun with something else, and go on only with the same: {}. Choose another --out, \
             or remove the folder",
            path.display(),
            differing.join("; ")
        ))),
    }
}

/// What scoring goes by.
struct Scorer<'a> {
    pairs: PairScorer<'a>,
    search: Option<Search<'a>>,
    known: Option<Known>,
    ranks: &'a dyn Collective,
}

impl Scorer<'_> {
    /// Every rank calls it with the same.
    fn score_file(&self, rows: &Path, out: &Path, batch_len: usize) -> anyhow::Result<()> {
        let mut file = (self.ranks.rank() == 0).then(|| AtomicFile::create(out)).transpose()?;
        let mut written = WrittenRows::open(rows).map_err(CommandError::from)?;
        let (mut unread, mut num_empty) = (Unread::default(), 0);
        loop {
            let batch: Vec<WrittenRow> =
                written.by_ref().take(batch_len).collect::<Result<_, _>>().map_err(CommandError::from)?;
            if batch.is_empty() {
                break;
            }
            batch.iter().for_each(|row| unread.add(&row.row));
            let scored = self.score(&batch)?;
            if let Some(file) = &mut file {
                let lines: String = scored.iter().map(|row| says::line(row) + "\n").collect();
                file.write_all(lines.as_bytes()).map_err(CommandError::file(out))?;
                num_empty += self.num_empty(&batch)?;
            }
        }
        if file.is_some() {
            unread.tell(&rows.display().to_string());
        }
        if num_empty > 0 {
            tracing::warn!(
                "{}: {num_empty} queries and positives are without a token: they all get the same representation, and \
                 their scores say nothing",
                rows.display()
            );
        }
        file.map_or(Ok(()), AtomicFile::replace)?;
        Ok(())
    }

    /// How many queries and positives of a batch have no token.
    fn num_empty(&self, rows: &[WrittenRow]) -> anyhow::Result<usize> {
        let queries: Vec<_> = rows.iter().map(|row| row.row.query_text()).collect();
        let positives = rows.iter().flat_map(|row| &row.row.pos).map(String::as_str);
        let texts: Vec<&str> = queries.iter().map(AsRef::as_ref).chain(positives).collect();
        Ok(self.pairs.encoder.tokenless(&texts)?.len())
    }

    /// The scores of a batch. Every rank calls it with the same.
    fn score(&self, rows: &[WrittenRow]) -> anyhow::Result<Vec<RowScores>> {
        if self.pairs.query.0 != self.pairs.passage.0
            && let Some(row) = rows.iter().find(|row| row.row.is_symmetric())
        {
            let reason = "the row is of a symmetric type, whose passages take the query's prefix: score such rows by \
                          themselves, with the same --query-prefix and --passage-prefix";
            return Err(CommandError::from(row.at.error(reason.into())).into());
        }
        let queries: Vec<_> = rows.iter().map(|row| row.row.query_text()).collect();
        let queries: Vec<&str> = queries.iter().map(AsRef::as_ref).collect();
        let positives: Vec<Vec<&str>> =
            rows.iter().map(|row| row.row.pos.iter().map(String::as_str).collect()).collect();
        let mut own = Vec::new();
        let runs = queries.chunks(RUN).zip(positives.chunks(RUN));
        for (queries, positives) in runs.skip(self.ranks.rank()).step_by(self.ranks.world_size()) {
            own.extend(self.pairs.score(queries, positives)?.concat());
        }
        let mut of_ranks: Vec<_> = gather(self.ranks, &own)?.into_iter().map(Vec::into_iter).collect();
        let better = self.better(&queries, &positives)?;
        let mut scored = Vec::with_capacity(rows.len());
        for (i, own) in positives.iter().enumerate() {
            let rank = i / RUN % of_ranks.len();
            let pos_scores: Vec<f32> = of_ranks[rank].by_ref().take(own.len()).collect();
            let better = better.as_ref().map(|lists| {
                let count = |score: &f32| lists[i].iter().filter(|hit| hit.score > *score).count();
                pos_scores.iter().map(count).collect()
            });
            scored.push(RowScores { pos_scores, better });
        }
        Ok(scored)
    }

    /// The best passages for each query but its positives, which score what they score as pairs; if there is an index.
    fn better(&self, queries: &[&str], positives: &[Vec<&str>]) -> anyhow::Result<Option<Vec<Vec<Hit>>>> {
        let (Some(search), Some(known)) = (&self.search, &self.known) else { return Ok(None) };
        let ids = self.pairs.encoder.identities(&positives.concat(), self.ranks)?;
        let mut ids = ids.into_iter();
        let left_out: Vec<Vec<u32>> = positives.iter().map(|own| known.docs(ids.by_ref().take(own.len()))).collect();
        let asked: Vec<Query> =
            queries.iter().zip(&left_out).map(|(text, left_out)| Query { text, left_out }).collect();
        let ranked = search.rank(&asked, &[Ranking::Dense])?;
        Ok(ranked.into_iter().next().map(|(_, lists)| lists))
    }
}

/// Which passages of an index have the same tokens as a text: identities and numbers, ascending.
struct Known(Vec<(u64, u32)>);

impl Known {
    fn of(index: &Index) -> Self {
        let mut all = Vec::with_capacity(index.num_docs());
        for (number, block) in index.blocks().iter().enumerate() {
            for i in 0..block.num_passages() {
                let [whole, untitled] = block.identities(i);
                let doc = index.first_doc(number) + i as u32;
                all.push((whole, doc));
                all.extend((untitled != whole).then_some((untitled, doc)));
            }
        }
        all.sort_unstable();
        Self(all)
    }

    /// Those with one of the identities `ids`, ascending. What has no token has the identity of no token.
    fn docs(&self, ids: impl Iterator<Item = Option<u64>>) -> Vec<u32> {
        let mut docs = Vec::new();
        for id in ids.map(|id| id.unwrap_or_else(|| text_id(&[]))) {
            let from = self.0.partition_point(|(other, _)| *other < id);
            docs.extend(self.0[from..].iter().take_while(|(other, _)| *other == id).map(|(_, doc)| *doc));
        }
        docs.sort_unstable();
        docs.dedup();
        docs
    }
}
