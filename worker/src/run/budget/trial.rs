//! Tries parts of a step, and measures what they take: the scoring of the longest batch, and sub-batches of the longest
//! texts and of the most.

use tch::{Device, Tensor};
use tercet_cluster::{Collective, unless_out_of_memory};
use tercet_configs::limits::SMALLEST_SUB_BATCH;
use tercet_configs::{LossSection, Negatives, PretrainSection};
use tercet_sampler::{BATCHES_AHEAD, Cell, Plan, Share, SubBatchLimit, TextIds, TextInput};

use super::error::DoesNotFit;
use crate::machine::memory::{Taken, free_bytes, give_back, measure};
use crate::model::pretraining::{PretrainingBatch, PretrainingTexts, Scales};
use crate::model::representation::{Heads, Representations, zero_gradients};
use crate::model::sub_batch::SubBatches;
use crate::model::{M3Model, Purpose};
use crate::scoring::Rounding;
use crate::step::contrastive::score;
use crate::step::inspect::Unseen;
use crate::step::pretraining::masks::Masks;
use crate::step::reduce::bucket_lens;
use crate::step::settings::{Objective, StepSettings};
use crate::tensors::exchange::InPlace;

/// Tokens of the sub-batches that are tried where nothing was asked for: little work even for a large model.
const SAMPLED_TOKENS: [usize; 2] = [256, 512];
/// Tokens of the shortest text with a word: CLS, the word, EOS.
const SHORTEST: usize = 3;
/// All texts go into one sub-batch.
const TOGETHER: SubBatchLimit = SubBatchLimit { tokens: usize::MAX, texts: 0 };

/// Has a GPU and its libraries make what they need besides tensors, by a product and the exchanges over ranks as steps
/// do them, `sharded` or not. Nothing on a CPU. Every rank calls it.
pub(super) fn warm_up(model: &M3Model, ranks: &dyn Collective, sharded: bool) -> anyhow::Result<()> {
    let device = model.options().1;
    if device == Device::Cpu {
        return Ok(());
    }
    let square = Tensor::zeros([512, 512], (model.parameters.compute_kind(), device));
    let _ = square.matmul(&square);
    if ranks.world_size() == 1 {
        return Ok(());
    }
    // Scoring, which comes next, exchanges on the ring. Where the state is sharded and a bucket's parts are not of one
    // length, NCCL's backend takes memory of its own for the longest such bucket.
    let parameters = &model.parameters;
    for len in bucket_lens(parameters, ranks.world_size()) {
        let bucket = || Tensor::zeros([len], (parameters.flat.kind(), device));
        if sharded {
            InPlace::sum_part(ranks, bucket())?.wait()?;
            InPlace::gather_parts(ranks, bucket())?.wait()?;
        } else {
            InPlace::sum(ranks, bucket())?.wait()?;
        }
    }
    Ok(())
}

/// What scoring takes for the batches with most tokens and with most pairs. Every rank calls it.
///
/// # Errors
/// [`DoesNotFit::Scoring`] on a GPU, after which the ranks are out of step and the run has to end; or a collective that
/// failed.
pub(super) fn longest_scoring(
    model: &M3Model,
    ranks: &dyn Collective,
    settings: &StepSettings,
    shapes: &[Shape],
) -> anyhow::Result<u64> {
    let (largest, widest) = (shapes.iter().max_by_key(|s| s.tokens()), shapes.iter().max_by_key(|s| s.pairs()));
    let other = widest.filter(|widest| largest.is_some_and(|largest| !std::ptr::eq(*widest, largest)));
    let Objective::Contrastive(loss) = &settings.objective else { return Ok(0) };
    let mut most = 0;
    for shape in largest.into_iter().chain(other) {
        most = most.max(try_scoring(model, ranks, (loss, settings.rounding(model)), shape)?.peak);
    }
    Ok(most)
}

/// The longest batch of one cell: all its texts as long as any of them can be.
pub(super) struct Shape {
    num_queries: usize,
    num_global_queries: usize,
    group_size: usize,
    /// The largest number of tokens in its length group.
    up_to: usize,
    pub query_len: usize,
    pub passage_len: usize,
    negatives: Negatives,
    two_way: bool,
}

impl Shape {
    pub fn longest(plan: &Plan, cell: &Cell, world_size: usize) -> Self {
        let longest = cell.lens.1.min(plan.longest_text());
        let (policy, num_global_queries) = (&plan.source(cell).policy, cell.size.global_batch as usize);
        Self {
            num_queries: num_global_queries.div_ceil(world_size),
            num_global_queries,
            group_size: policy.group_size.for_batch(usize::MAX - 1),
            up_to: cell.lens.1,
            query_len: longest.min(plan.query_max_len()).max(2),
            passage_len: longest.min(plan.passage_max_len()).max(2),
            negatives: policy.negatives,
            two_way: policy.two_way,
        }
    }

    fn tokens(&self) -> usize {
        self.num_queries * (self.query_len + self.group_size * self.passage_len)
    }

    fn num_texts(&self) -> usize {
        self.num_queries * (1 + self.group_size)
    }

    fn pairs(&self) -> usize {
        self.num_queries * self.num_global_queries * self.group_size
    }

    /// The error where it needs more than `free_bytes`.
    fn does_not_fit(&self, free_bytes: u64) -> DoesNotFit {
        DoesNotFit::Scoring {
            free_bytes,
            num_queries: self.num_queries,
            num_passages: self.num_queries * self.group_size,
            max_len: self.query_len.max(self.passage_len),
            global_batch: self.num_global_queries,
            up_to: self.up_to,
        }
    }
}

/// Scores made-up representations of a batch of `shape`, forward and backward; its token ids count, and on a CPU those
/// of the batches that are read ahead. Every rank calls it.
fn try_scoring(
    model: &M3Model,
    ranks: &dyn Collective,
    (loss, rounding): (&LossSection, Rounding),
    shape: &Shape,
) -> anyhow::Result<Taken> {
    let text = |len: usize, salt: usize| made_up_text(model, len, salt);
    let queries = (0..shape.num_queries).map(|i| text(shape.query_len, i));
    let passages = (0..shape.num_queries * shape.group_size).map(|i| text(shape.passage_len, i + 1));
    // Made-up texts have no known answers.
    let loss = LossSection { mask_false_negatives: false, ..loss.clone() };
    let share = Share {
        step: loss.distill_start_step,
        num_queries: shape.num_queries,
        group_size: shape.group_size,
        num_global_queries: shape.num_queries * ranks.world_size(),
        text_ids: TextIds::default(),
        row_keys: Vec::new(),
        teacher_scores: None,
        negatives: shape.negatives,
        two_way: shape.two_way,
        texts: Vec::new(),
    };
    let heads = Heads::of(loss.preset);
    let device = model.options().1;
    let once = || {
        let share = Share { texts: queries.chain(passages).collect(), ..share };
        let all = Representations::zeros(&share.texts, model.dims(), heads, model.options());
        let fill = |t: &Tensor| drop(tch::no_grad(|| t.shallow_clone().uniform_(-0.1, 0.1)));
        fill(&all.dense);
        all.lexical.iter().for_each(|lexical| fill(&lexical.weights));
        all.multi_vector.iter().for_each(|vectors| fill(&vectors.vectors));
        score(ranks, (&loss, rounding), &share, &all, &mut Unseen).map(|_| ())
    };
    let (done, mut taken) = match device {
        Device::Cuda(_) => {
            give_back(device);
            let free_bytes = free_bytes(device);
            unless_out_of_memory(|| measure(device, once)).map_err(|_| shape.does_not_fit(free_bytes))?
        }
        _ => measure(device, once),
    };
    done?;
    if device == Device::Cpu {
        // Each text's ids, and its distinct ones once more.
        taken.peak += (BATCHES_AHEAD * shape.tokens() * 2 * size_of::<i64>()) as u64;
    }
    Ok(taken)
}

/// The texts that sub-batches may be made of.
#[derive(Clone, Copy)]
pub(super) struct Texts {
    /// Tokens of the longest.
    pub longest: usize,
    /// The most that a rank has in one batch.
    pub most: usize,
}

impl Texts {
    pub fn of(shapes: &[Shape]) -> Self {
        let of = |number: fn(&Shape) -> usize, least| shapes.iter().map(number).fold(least, usize::max);
        Self { longest: of(|s| s.query_len.max(s.passage_len), 2), most: of(Shape::num_texts, 1) }
    }

    /// The lengths of the texts in the sub-batches of `tokens` that may take most memory. One has texts as long as any
    /// can be. The other has as many texts as a batch can have, if these are more. Most of what a sub-batch takes goes
    /// by its tokens, but neither contains the other. Long texts have more pairs of tokens. Each text has a dense
    /// vector and, where only CLS are read, a row of all that the last layer keeps. libtorch's flash kernel, going
    /// backward, sets 128 rows aside for each text, in float32: much more than the rows of a short text.
    fn extremes(self, tokens: usize) -> Vec<Vec<usize>> {
        let long = self.longest_of(tokens);
        let most = self.most.min(tokens / SHORTEST);
        let many = (0..most).map(|text| tokens / most + usize::from(text < tokens % most)).collect();
        if most > long.len() { vec![long, many] } else { vec![long] }
    }

    /// Texts of the longest length, and one of the tokens that are left.
    fn longest_of(self, tokens: usize) -> Vec<usize> {
        let rest = Some(tokens % self.longest).filter(|rest| *rest >= SHORTEST && tokens > self.longest);
        let whole = (tokens / self.longest).max(1);
        std::iter::repeat_n(self.longest, whole).chain(rest).collect()
    }
}

/// The sizes of sub-batches that are tried, ascending: all ranks and all runs try the same, whatever is free.
fn sizes(settings: &StepSettings, longest: usize) -> Vec<usize> {
    let most = settings.sub_batch.tokens;
    let first = SMALLEST_SUB_BATCH.max(longest).min(most);
    let larger = std::iter::successors(Some(first), |tokens| (*tokens < most).then(|| most.min(2 * tokens)));
    larger.collect()
}

/// The largest sub-batch of `texts` that `bytes` hold, and what it takes, from the smallest on: a CPU may need minutes
/// for a large one. The smallest, if not even that fits.
pub(super) fn largest_by_steps(
    model: &M3Model,
    settings: &StepSettings,
    texts: Texts,
    bytes: u64,
) -> Option<(usize, Tried)> {
    let mut found: Option<(usize, Tried)> = None;
    for tokens in sizes(settings, texts.longest) {
        // Memory grows no faster than tokens: the next size is tried only if it must fit.
        let must_fit = |&(before, tried): &(usize, Tried)| {
            tried.peak + tried.peak * (tokens - before) as u64 / before as u64 <= bytes
        };
        if !found.as_ref().is_none_or(must_fit) {
            break;
        }
        found = Some((tokens, try_sub_batches(model, settings, texts, tokens)?));
    }
    found
}

/// The same on a GPU, from the largest on. None if even the smallest needs more memory than there is.
pub(super) fn largest_that_fits(
    model: &M3Model,
    settings: &StepSettings,
    texts: Texts,
    bytes: u64,
) -> Option<(usize, Tried)> {
    let mut found = None;
    for tokens in sizes(settings, texts.longest).into_iter().rev() {
        found = try_sub_batches(model, settings, texts, tokens).map(|tried| (tokens, tried));
        if found.is_some_and(|(_, tried)| tried.peak <= bytes) {
            break;
        }
    }
    found
}

/// What a sub-batch takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    /// Forward and backward, in bytes.
    pub peak: u64,
    /// The part of them that is not its graph.
    pub without_graph: u64,
    /// A token's part of its graph, in bytes.
    pub kept_per_token: f64,
}

/// The most that sub-batches of `tokens` take. None where a GPU's memory does not suffice.
pub(super) fn try_sub_batches(model: &M3Model, settings: &StepSettings, texts: Texts, tokens: usize) -> Option<Tried> {
    let mut most = Tried { peak: 0, without_graph: 0, kept_per_token: 0.0 };
    for lens in texts.extremes(tokens) {
        let taken = try_sub_batch(model, settings, &lens);
        // Its blocks would lie in the way of the next.
        give_back(model.options().1);
        let Taken { peak, kept } = taken?;
        let num_tokens = lens.iter().sum::<usize>() as f64;
        most.peak = most.peak.max(peak);
        most.without_graph = most.without_graph.max(peak - kept);
        most.kept_per_token = most.kept_per_token.max(kept as f64 / num_tokens);
    }
    Some(most)
}

/// One sub-batch of texts of `lens` tokens through the encoder and back; what is kept is its graph. None where a GPU's
/// memory does not suffice.
fn try_sub_batch(model: &M3Model, settings: &StepSettings, lens: &[usize]) -> Option<Taken> {
    let device = model.options().1;
    let once = || {
        let heads = match &settings.objective {
            Objective::Contrastive(loss) => Heads::of(loss.preset),
            Objective::Pretraining(section, _) => {
                let trial = PretrainingTrial::new(model, section, lens.iter().copied());
                // It keeps no graph: there is one pass.
                return Taken { kept: 0, ..measure(device, || trial.pass(model)).1 };
            }
        };
        let texts: Vec<TextInput> = lens.iter().map(|len| made_up_text(model, *len, 0)).collect();
        let sub_batch = &SubBatches::new(&texts, TOGETHER, model.framing(), heads).build(0);
        let all = Representations::zeros(&texts, model.dims(), heads, model.options());
        let gradients = zero_gradients(&all);
        let (graph, forward) = measure(device, || model.graph(sub_batch, heads, Some(0)));
        let (_, backward) = measure(device, || model.backward(graph, &gradients, sub_batch, Some(0), &mut |_| ()));
        Taken { peak: forward.peak.max(forward.kept + backward.peak), kept: forward.kept }
    };
    match device {
        Device::Cuda(_) => unless_out_of_memory(once).ok(),
        // Where the machine's memory is used up, the kernel ends a process, and no error arises.
        _ => Some(once()),
    }
}

/// One sub-batch of made-up texts for pre-training.
pub(crate) struct PretrainingTrial<'a> {
    section: &'a PretrainSection,
    share: Share,
}

impl<'a> PretrainingTrial<'a> {
    /// Texts of `lens` tokens.
    pub fn new(model: &M3Model, section: &'a PretrainSection, lens: impl Iterator<Item = usize>) -> Self {
        let texts: Vec<TextInput> = lens.enumerate().map(|(salt, len)| made_up_text(model, len, salt)).collect();
        let row_keys = (0..texts.len() as u64).collect();
        Self { section, share: Share { texts, row_keys, ..Share::default() } }
    }

    /// Its texts.
    pub fn num_texts(&self) -> usize {
        self.share.texts.len()
    }

    /// Draws masks, and goes forward and backward. What it adds to the gradient is 0.
    pub fn pass(&self, model: &M3Model) {
        let masker = Masks::Drawn.of(model, self.section, &self.share);
        let (words, places) = (masker.words(), |text: usize| masker.places(text));
        let with_decoder = model.purpose() == Purpose::Pretraining { decoder: true };
        let texts = PretrainingTexts::new(&self.share.texts, &words, TOGETHER, model.framing());
        let staged = texts.stage(0, with_decoder.then_some(&places as &dyn Fn(usize) -> _));
        let batch = PretrainingBatch::sent(staged);
        let scales = Scales { encoder: 0.0, decoder: 0.0 };
        model.pretrain(&batch, self.section.decoder_query, scales, Some(0), &mut |_| ());
    }
}

/// What a sub-batch of `tokens` would take, by two smaller ones of the longest texts. The number of texts is left out:
/// on a CPU it counts for little, and most of the memory stays free.
pub(super) fn extrapolated(model: &M3Model, settings: &StepSettings, longest: usize, tokens: usize) -> Option<Tried> {
    let texts = Texts { longest: longest.min(SAMPLED_TOKENS[0]), most: 0 };
    let [small, large] = SAMPLED_TOKENS.map(|tokens| try_sub_batches(model, settings, texts, tokens));
    let (small, large) = small.zip(large)?;
    // On a CPU a sub-batch takes something, and something for each token.
    let per_token = large.peak.saturating_sub(small.peak) as f64 / (SAMPLED_TOKENS[1] - SAMPLED_TOKENS[0]) as f64;
    let peak = large.peak + (per_token * tokens.saturating_sub(SAMPLED_TOKENS[1]) as f64) as u64;
    let graph = (large.kept_per_token * tokens as f64) as u64;
    Some(Tried { peak, without_graph: peak.saturating_sub(graph), ..large })
}

/// A text of `len` tokens, framed as any other, nearly all of them distinct.
pub(crate) fn made_up_text(model: &M3Model, len: usize, salt: usize) -> TextInput {
    let vocabulary = model.config.vocab_size.max(2);
    let id =
        |t: usize| if t == 0 { i64::from(model.special.cls) } else { ((t * 7919 + salt * 31) % vocabulary) as i64 };
    TextInput::new((0..len).map(id).collect(), &model.special)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_batches_of_the_longest_texts_and_of_the_most_have_all_tokens() {
        let extremes = |longest, most, tokens| Texts { longest, most }.extremes(tokens);
        assert_eq!(extremes(512, 4, 1024), [vec![512, 512], vec![256; 4]]);
        assert_eq!(extremes(300, 2, 1000), [[300, 300, 300, 100]], "there are more of the longest");
        assert_eq!(extremes(100, 7, 101), [vec![100], vec![15, 15, 15, 14, 14, 14, 14]], "a text has three tokens");
        assert_eq!(extremes(100, 1000, 200), [vec![100; 2], [vec![4; 2], vec![3; 64]].concat()]);
        assert_eq!(extremes(600, 1, 512), [[600]], "a longer text goes alone");
    }
}
