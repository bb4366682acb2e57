//! The dense list's best, scored by what an index does not hold: multi-vectors, and with them all three heads.
//!
//! Candidates of all queries are grouped by document, and each document is encoded once for all queries that want it.
//! Ranks share stretches of documents; what is in a stretch follows from the candidates alone.
//!
//! Legend: N vectors of all queries that want a document, dm their width.

use std::collections::BTreeMap;
use std::ops::Range;

use tch::{Device, Tensor};
use tercet_retrieval::Hit;

use super::engine::Search;
use super::merge::merged;
use super::queries::Vectors;
use crate::model::representation::Heads;
use crate::ops::inner_products::best_products;
use crate::retrieval::ahead::ahead;
use crate::retrieval::blocks::{BLOCK_BYTES, Tokenised};
use crate::retrieval::texts::Stretch;
use crate::retrieval::vectors::floats;

/// Documents of a stretch at most.
pub(super) const STRETCH: usize = 64;

/// Who wants a document: the query, and the document's dense score there.
type Asker = (usize, f32);

impl Search<'_> {
    /// Each query's lists by multi-vectors and by all three heads, of the first of its `dense` list. Every rank calls
    /// it.
    pub(super) fn encode_again(&self, vectors: &Vectors, dense: &[Vec<Hit>]) -> anyhow::Result<[Vec<Vec<Hit>>; 2]> {
        let mut wanted = BTreeMap::<u32, Vec<Asker>>::new();
        for (query, list) in dense.iter().enumerate() {
            for hit in list.iter().take(self.lists.rerank) {
                wanted.entry(hit.doc).or_default().push((query, hit.score));
            }
        }
        let wanted: Vec<(u32, Vec<Asker>)> = wanted.into_iter().collect();
        let mut found = [vec![Vec::new(); dense.len()], vec![Vec::new(); dense.len()]];
        let stretches = self.stretches(&wanted);
        let own = || stretches.iter().skip(self.ranks.rank()).step_by(self.ranks.world_size());
        let (index, tokenizer) = (self.index, self.encoder.tokenizer());
        let tokenised = |stretch: &Range<usize>| {
            let texts = wanted[stretch.clone()].iter().map(|(doc, _)| index.text(*doc));
            let texts = texts.collect::<Result<Vec<String>, _>>()?;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            Tokenised::of(tokenizer, &index.settings().encoding.passage_prompt, &texts)
        };
        ahead(own().map(tokenised), |coming| {
            own().zip(coming).try_for_each(|(stretch, tokenised)| {
                self.score_stretch(vectors, (&wanted[stretch.clone()], &tokenised?), &mut found)
            })
        })?;
        let [multi_vector, all] = found;
        Ok([self.in_order(multi_vector)?, self.in_order(all)?])
    }

    /// Consecutive documents that are encoded together.
    fn stretches(&self, wanted: &[(u32, Vec<Asker>)]) -> Vec<Range<usize>> {
        let mut stretches = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (i, (doc, _)) in wanted.iter().enumerate() {
            let (block, place) = self.index.place(*doc);
            let len = block.text_len(place);
            if i > start && (bytes + len > BLOCK_BYTES || i - start == STRETCH) {
                stretches.push(start..i);
                (start, bytes) = (i, 0);
            }
            bytes += len;
        }
        if start < wanted.len() {
            stretches.push(start..wanted.len());
        }
        stretches
    }

    fn score_stretch(
        &self,
        vectors: &Vectors,
        (wanted, texts): (&[(u32, Vec<Asker>)], &Tokenised),
        found: &mut [Vec<Vec<Hit>>; 2],
    ) -> anyhow::Result<()> {
        let heads = Heads { lexical: false, multi_vector: true };
        let max_len = self.index.settings().encoding.passage_max_len;
        let Stretch { vectors: docs, .. } = self.encoder.encode_tokenised(texts, max_len, heads)?;
        let weights = self.lists.all_weights.0.map(|weight| weight as f32);
        let asking: Vec<Vec<usize>> =
            wanted.iter().map(|(_, askers)| askers.iter().map(|(query, _)| *query).collect()).collect();
        let scores = late_interaction(&vectors.multi_vector, &asking, &docs.multi_vector, self.encoder.device());
        for ((doc, askers), scores) in wanted.iter().zip(scores) {
            let (block, place) = self.index.place(*doc);
            for (&(query, dense), multi_vector) in askers.iter().zip(scores) {
                found[0][query].push(Hit::new(*doc, multi_vector));
                let lexical = block.lexical_of(&vectors.lexical[query], place);
                let all = weights[0] * dense + weights[1] * lexical + weights[2] * multi_vector;
                found[1][query].push(Hit::new(*doc, all));
            }
        }
        Ok(())
    }

    /// The ranks' lists, each sorted, as one.
    fn in_order(&self, lists: Vec<Vec<Hit>>) -> anyhow::Result<Vec<Vec<Hit>>> {
        let depth = self.lists.rerank;
        let sorted = lists.into_iter().map(|list| {
            let mut top = tercet_retrieval::TopHits::new(depth);
            list.into_iter().for_each(|hit| top.push(hit, self.index));
            top.into_ranking(self.index)
        });
        merged(self, sorted.collect(), depth)
    }
}

/// For each of `docs`, its score with each of the `queries` that `asking` names: the mean over the query's vectors of
/// the best inner product with the document's; 0 where either has none. Vectors go to the `device` together, and
/// scores come back so.
pub(super) fn late_interaction(
    queries: &[Tensor],
    asking: &[Vec<usize>],
    docs: &[Tensor],
    device: Device,
) -> Vec<Vec<f32>> {
    let mut asked: Vec<usize> = asking.concat();
    asked.sort_unstable();
    asked.dedup();
    let on_device = |parts: Vec<&Tensor>| {
        let lens: Vec<i64> = parts.iter().map(|part| part.size()[0]).collect();
        // Without a text there is no width.
        if parts.is_empty() {
            return Vec::new();
        }
        Tensor::cat(&parts, 0).to_device(device).split_with_sizes(lens, 0)
    };
    let own = on_device(asked.iter().map(|&query| &queries[query]).collect());
    let of = |query: &usize| &own[asked.partition_point(|known| known < query)]; // [its vectors, dm]
    let docs = on_device(docs.iter().collect());
    let best: Vec<Tensor> = asking
        .iter()
        .zip(&docs)
        .filter(|(asking, doc)| !asking.is_empty() && doc.size()[0] > 0)
        .map(|(asking, doc)| best_products(&Tensor::cat(&asking.iter().map(of).collect::<Vec<_>>(), 0), doc)) // [N]
        .collect();
    let mut best = if best.is_empty() { Vec::new() } else { floats(&Tensor::cat(&best, 0)) }.into_iter();
    let mut score = |query: &usize, doc: &Tensor| match of(query).size()[0] as usize {
        len if len > 0 && doc.size()[0] > 0 => best.by_ref().take(len).sum::<f32>() / len as f32,
        _ => 0.0,
    };
    asking.iter().zip(&docs).map(|(asking, doc)| asking.iter().map(|query| score(query, doc)).collect()).collect()
}
