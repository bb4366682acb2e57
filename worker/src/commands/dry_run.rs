//! What `index` and `search` take, measured on a part of the work; nothing is written.
//!
//! The launcher says what all of it would take (`launcher/src/plan/retrieval.rs`).

use std::collections::BTreeMap;
use std::time::Instant;

use safetensors::SafeTensors;
use tercet_cluster::{Collective, ReduceOp};
use tercet_configs::Device;
use tercet_protocol::says::dry_run::IndexSample;
use tercet_retrieval::{BlockBuilder, Encoding};

use crate::files::CommandError;
use crate::retrieval::corpus::{CorpusFiles, Passage, Survey};
use crate::retrieval::indexing::OpenBlock;
use crate::retrieval::texts::TextEncoder;

/// Texts that a rank encodes before the clock starts.
const WARM_UP: usize = 8;

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
    let mut warm_up = OpenBlock::new(encoding);
    own.iter().take(WARM_UP).for_each(|passage| warm_up.add(passage.clone()));
    warm_up.encode(encoder, encoding)?;
    let texts: Vec<&str> = own.iter().map(|passage| passage.text.as_str()).collect();
    let lens: Vec<u64> = encoder
        .tokens(&texts, encoding.passage_max_len)?
        .iter()
        .map(|content| content.len() as u64 + SPECIAL)
        .collect();
    let mut block = OpenBlock::new(encoding);
    ranks.barrier()?;
    let started = Instant::now();
    for passage in &own {
        if block.is_full(passage) {
            block.encode(encoder, encoding)?;
        }
        block.add(passage.clone());
    }
    block.encode(encoder, encoding)?;
    let encode_secs = slowest(ranks, started.elapsed().as_secs_f64())?;
    let stored = stored_bytes(block.into_builder())?;
    let names: Vec<String> = stored.keys().cloned().collect();
    let own_sums = [own.len() as u64, lens.iter().sum(), lens.iter().map(|len| len * len).sum()];
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

/// CLS and EOS.
const SPECIAL: u64 = 2;

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
        if number % every == 0 && number / every % world == ranks.rank() as u64 {
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
