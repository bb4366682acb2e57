//! What `index` and `search` take, measured on a part of the work; nothing is written.
//!
//! The launcher says what all of it would take (`launcher/src/plan/retrieval.rs`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use tercet_cluster::{Collective, ReduceOp};
use tercet_configs::Device;
use tercet_protocol::says::dry_run::IndexSample;
use tercet_retrieval::{BlockBuilder, Encoding};
use tercet_sampler::SpecialTokens;

use crate::files::CommandError;
use crate::retrieval::blocks::blocks;
use crate::retrieval::corpus::{CorpusFiles, Passage, Survey};
use crate::retrieval::passages::{Waiting, new_block};
use crate::retrieval::texts::TextEncoder;

/// Texts that a rank encodes before the clock starts.
const WARM_UP: usize = 4;
/// A rank begins no further stretch of its sample after this.
const ENOUGH: Duration = Duration::from_secs(10);
/// Bytes of texts that are encoded together: some ten thousand tokens.
const STRETCH_BYTES: usize = 1 << 15;

/// Encodes and packs a part of a corpus, spread over all of it. Every rank calls it.
///
/// # Errors
/// What is wrong with the corpus; a rank that is gone.
pub fn of_index(
    encoder: &TextEncoder,
    encoding: &Encoding,
    (files, survey): (&CorpusFiles, &Survey),
    ranks: &dyn Collective,
) -> anyhow::Result<IndexSample> {
    let own = own_sample(encoding.device, files, survey, ranks)?;
    let encode = |passages: &[Passage], block: &mut BlockBuilder| {
        let mut waiting = Waiting::default();
        passages.iter().for_each(|passage| waiting.add(passage.clone()));
        waiting.tokenised(encoder.tokenizer(), encoding)?.encode(encoder, encoding, block)
    };
    encode(&own[..WARM_UP.min(own.len())], &mut new_block(encoding))?;
    let mut block = new_block(encoding);
    ranks.barrier()?;
    let (started, mut done) = (Instant::now(), 0);
    for stretch in stretches(&own) {
        if started.elapsed() > ENOUGH && done > 0 {
            break;
        }
        done = stretch.end;
        encode(&own[stretch], &mut block)?;
    }
    let encode_secs = slowest(ranks, started.elapsed().as_secs_f64())?;
    let texts: Vec<&str> = own[..done].iter().map(|passage| passage.text.as_str()).collect();
    let lens: Vec<u64> = encoder
        .tokens(&texts, encoding.passage_max_len)?
        .iter()
        .map(|content| (content.len() + SpecialTokens::NUM_FRAMING) as u64)
        .collect();
    let stored = stored_bytes(block)?;
    let names: Vec<String> = stored.keys().cloned().collect();
    let own_sums = [done as u64, lens.iter().sum(), lens.iter().map(|len| len * len).sum()];
    let mut sums: Vec<i64> = own_sums.iter().chain(stored.values()).map(|number| *number as i64).collect();
    ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
    let sums: Vec<u64> = sums.iter().map(|number| *number as u64).collect();
    Ok(IndexSample {
        world_size: ranks.world_size(),
        device: encoding.device,
        precision: encoding.precision,
        passages: survey.corpus.passages,
        text_bytes: survey.corpus.text_bytes,
        sampled: sums[0],
        tokens: sums[1],
        squares: sums[2],
        encode_secs,
        stored_bytes: names.into_iter().zip(sums[3..].iter().copied()).collect(),
    })
}

/// Passages that are encoded together, so that the clock is looked at between them.
fn stretches(own: &[Passage]) -> Vec<Range<usize>> {
    let texts: Vec<&str> = own.iter().map(|passage| passage.text.as_str()).collect();
    blocks(&texts, STRETCH_BYTES)
}

/// This rank's part of the sample: passages at equal distances in the corpus.
fn own_sample(
    device: Device,
    files: &CorpusFiles,
    survey: &Survey,
    ranks: &dyn Collective,
) -> Result<Vec<Passage>, CommandError> {
    // Some seconds' work of a rank.
    let bytes_of_rank = match device {
        Device::Cpu => 1 << 16,
        Device::Cuda => 1 << 21,
    };
    let world = ranks.world_size() as u64;
    let every = (survey.corpus.text_bytes / (bytes_of_rank * world)).max(1);
    let mut own = Vec::new();
    files.for_each(|number, _, unread| {
        let is_own = number % every == 0 && number / every % world == ranks.rank() as u64;
        if is_own && own.len() < BlockBuilder::LARGEST {
            own.push(unread.passage()?);
        }
        Ok(())
    })?;
    Ok(own)
}

/// Bytes of a block by what its tensors are of.
fn stored_bytes(block: BlockBuilder) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut file = Vec::new();
    block.write(&mut file)?;
    let mut bytes = BTreeMap::<String, u64>::new();
    for (name, tensor) in SafeTensors::deserialize(&file)?.iter() {
        let of = name.split_once('.').map_or(name, |(of, _)| of);
        *bytes.entry(of.to_owned()).or_default() += tensor.data().len() as u64;
    }
    Ok(bytes)
}

/// The largest of the ranks' times. Every rank calls it.
fn slowest(ranks: &dyn Collective, secs: f64) -> anyhow::Result<f64> {
    let mut secs = [secs];
    ranks.all_reduce(secs.as_mut_slice().into(), ReduceOp::Max)?;
    Ok(secs[0])
}
