//! `index`: a corpus in, a folder of blocks out, which can be searched (docs/know/retrieval.md).

use tercet_cluster::Collective;
use tercet_configs::CpuMatmul;
use tercet_protocol::args::{IndexArgs, IndexHead, Prefixes, StoreArg};
use tercet_protocol::says;
use tercet_retrieval::{Contents, Encoding, Stored};

use super::dry_run;
use crate::retrieval::corpus::CorpusFiles;
use crate::retrieval::indexing::{make_index, must_be_an_index_or_free};
use crate::retrieval::prefixes;
use crate::retrieval::texts::{EncoderOptions, TextEncoder};

/// Makes the index, or what is missing of it. Every rank calls it.
///
/// # Errors
/// What is wrong with model, corpus or folder; [`crate::files::CommandError`] where it is one of the latter two.
pub fn run(args: &IndexArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    if !args.dry_run {
        must_be_an_index_or_free(&args.out, ranks)?;
    }
    let options = EncoderOptions {
        pooling: args.pooling.map(Into::into),
        mcls: args.mcls,
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Onednn,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    let asked = Prefixes { query_prefix: None, passage_prefix: args.passage_prefix.clone() };
    let [_, prompt] = prefixes::over(&asked, encoder.prompts());
    encoder.check_room(&prompt, args.passage_max_len)?;
    let files = CorpusFiles::of(&args.corpus);
    let survey = files.survey(ranks)?;
    prefixes::tell(ranks, "passages", &prompt, std::iter::empty());
    encoder.tell_cut(ranks, "passages", args.passage_max_len);
    let encoding = encoding(args, &encoder, &prompt);
    if args.dry_run {
        let sample = dry_run::of_index(&encoder, &encoding, (&files, &survey), ranks)?;
        if ranks.rank() == 0 {
            println!("{}", says::line(&sample));
        }
        return Ok(());
    }
    if let Some(manifest) = make_index(&args.out, &encoder, encoding, (&files, &survey), ranks)? {
        let (passages, num_blocks) = (manifest.settings.corpus.passages, manifest.blocks.len());
        let megabytes = manifest.blocks.iter().map(|block| block.bytes).sum::<u64>() as f64 / 1e6;
        println!("{passages} passages in {num_blocks} blocks of {}, {megabytes:.1} MB", args.out.display());
    }
    Ok(())
}

fn encoding(args: &IndexArgs, encoder: &TextEncoder, prompt: &str) -> Encoding {
    let has = |head: IndexHead| args.heads.contains(&head);
    let heads = Contents {
        dense: has(IndexHead::Dense),
        lexical: has(IndexHead::Lexical),
        bm25: has(IndexHead::Bm25),
        words: has(IndexHead::Words),
    };
    let stored = match args.store {
        StoreArg::Bf16 => Stored::Bf16,
        StoreArg::Fp32 => Stored::Fp32,
    };
    encoder.encoding(heads, stored, prompt, args.passage_max_len)
}
