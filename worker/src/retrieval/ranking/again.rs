//! The dense list's best, scored by what an index does not hold: multi-vectors, and with them all three heads.
//!
//! Candidates of all queries are grouped by document, and each document is encoded once for all queries that want it.
//! Ranks share stretches of documents; what is in a stretch follows from the candidates alone.
//!
//! Legend: N vectors of all queries that want a document, L of a document's.

use std::collections::BTreeMap;
use std::ops::Range;

use tch::{Device, Tensor};
use tercet_retrieval::Hit;

use super::engine::Search;
use super::merge::merged;
use super::queries::Vectors;
use crate::model::representation::Heads;
use crate::ops::inner_products::products;
use crate::retrieval::texts::{BLOCK_BYTES, Stretch};

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
        for stretch in self.stretches(&wanted).into_iter().skip(self.ranks.rank()).step_by(self.ranks.world_size()) {
            self.score_stretch(vectors, &wanted[stretch], &mut found)?;
        }
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
        wanted: &[(u32, Vec<Asker>)],
        found: &mut [Vec<Vec<Hit>>; 2],
    ) -> anyhow::Result<()> {
        let texts: Vec<String> = wanted.iter().map(|(doc, _)| self.index.text(*doc)).collect::<Result<_, _>>()?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoding = &self.index.settings().encoding;
        let heads = Heads { lexical: false, multi_vector: true };
        let Stretch { vectors: docs, .. } =
            self.encoder.encode_stretch(&encoding.passage_prompt, &texts, encoding.passage_max_len, heads)?;
        let weights = self.lists.all_weights.0.map(|weight| weight as f32);
        for ((doc, askers), own) in wanted.iter().zip(&docs.multi_vector) {
            let asking: Vec<&Tensor> = askers.iter().map(|&(query, _)| &vectors.multi_vector[query]).collect();
            let (block, place) = self.index.place(*doc);
            for (&(query, dense), multi_vector) in
                askers.iter().zip(late_interaction(&asking, own, self.encoder.device()))
            {
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

/// Mean over each query's vectors of the best inner product with the document's; 0 where either has none.
pub(super) fn late_interaction(queries: &[&Tensor], doc: &Tensor, device: Device) -> Vec<f32> {
    let num_vectors = doc.size()[0] as usize;
    if num_vectors == 0 {
        return vec![0.0; queries.len()];
    }
    let all = Tensor::cat(queries, 0).to_device(device); // [N, dm]
    let similar = products(&all, &doc.to_device(device)); // [N, L]
    let mut best = similar.chunks_exact(num_vectors).map(|row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let score = |query: &&Tensor| {
        let len = query.size()[0] as usize;
        best.by_ref().take(len).sum::<f32>() / len.max(1) as f32
    };
    queries.iter().map(score).collect()
}
