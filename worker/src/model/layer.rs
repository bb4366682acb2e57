//! One transformer layer, forward and backward, both by hand.
//!
//! Autograd would keep twice what the backward pass needs, add every sub-batch's weight gradient in a pass of its own,
//! round gradients to the encoder's type before they are summed, and not tell when a layer's gradient is complete. By
//! hand a layer keeps only what is expensive to recompute (the activation function's output is not), and each product
//! adds its gradient straight to the flat fp32 buffer.
//!
//! Legend: T tokens of a sub-batch, R rows that attend to them, d hidden size, f intermediate size.

use tch::Tensor;
use tercet_configs::EncoderConfig;

use super::parameters::Parameters;
use super::places::{LinearPlace, NormPlace};
use crate::model::sub_batch::SubBatch;
use crate::ops::attention::{Attended, Attention, CrossAttention, Visible};
use crate::ops::dropout::Dropout;
use crate::ops::gelu;
use crate::ops::layer_norm::Normalised;
use crate::ops::linear::LinearOutput;

/// What a layer's forward pass saves for its backward pass.
pub(super) struct SavedLayer {
    input: Tensor,
    attention: SavedAttention,
    rest: SavedRest,
}

/// What attention saves.
enum SavedAttention {
    /// Every token attends: queries, keys and values beside each other, [T, 3d].
    All(LinearOutput, Attended),
    /// One token of each text attends.
    Cls(CrossAttention),
}

/// What the rest of the layer saves, which works token by token.
struct SavedRest {
    attention_norm: Normalised,
    /// After attention and its norm, [T, d].
    middle: Tensor,
    /// Before the activation function, [T, f].
    inner: LinearOutput,
    output_norm: Normalised,
}

/// What a forward pass of cross-attention saves for its backward pass.
pub(super) struct SavedCross {
    /// [R, d].
    query: Tensor,
    /// [T, d].
    context: Tensor,
    projected: CrossAttention,
    /// [R, d].
    attended: Tensor,
    rest: SavedRest,
}

/// Post-norm attention and feed-forward, as in BERT and XLM-RoBERTa.
pub(super) struct Layer {
    num_heads: i64,
    hidden_dropout: f64,
    attention_dropout: f64,
    qkv: LinearPlace,
    attention_output: LinearPlace,
    attention_norm: NormPlace,
    intermediate: LinearPlace,
    output: LinearPlace,
    output_norm: NormPlace,
}

impl Layer {
    /// The layer whose weights have names that begin with `name`.
    pub(super) fn new(config: &EncoderConfig, parameters: &Parameters, name: &str) -> Self {
        let named = |part: &str| format!("{name}.{part}");
        let linear = |parts: &[&str]| LinearPlace::new(parameters, &parts.iter().map(|n| named(n)).collect::<Vec<_>>());
        let norm = |part: &str| NormPlace::new(config, parameters, &named(part));
        Self {
            num_heads: config.num_attention_heads as i64,
            hidden_dropout: config.hidden_dropout_prob,
            attention_dropout: config.attention_probs_dropout_prob,
            qkv: linear(&["attention.self.query", "attention.self.key", "attention.self.value"]),
            attention_output: linear(&["attention.output.dense"]),
            attention_norm: norm("attention.output.LayerNorm"),
            intermediate: linear(&["intermediate.dense"]),
            output: linear(&["output.dense"]),
            output_norm: norm("output.LayerNorm"),
        }
    }

    /// [T, d] from [T, d]; with `keep`, what [`Layer::backward`] needs as well. `seed` seeds dropout; none: no dropout.
    pub(super) fn forward(
        &self,
        parameters: &Parameters,
        input: Tensor,
        texts: &SubBatch,
        seed: Option<u64>,
        keep: bool,
    ) -> (Tensor, Option<SavedLayer>) {
        let qkv = self.qkv.of(parameters).forward_before_attention(&input); // [T, 3d]
        let attended = self.attention(seed).forward(&qkv, &texts.tokens);
        let (output, rest) = self.forward_rest(parameters, &input, &attended.output(), seed);
        let attention = SavedAttention::All(qkv, attended);
        (output, keep.then_some(SavedLayer { input, attention, rest }))
    }

    /// As [`Layer::forward`] for the first token of each text alone, [texts, d]: of the others only keys and values are
    /// computed, which is a sixth of a layer.
    pub(super) fn forward_cls(
        &self,
        parameters: &Parameters,
        input: Tensor,
        texts: &SubBatch,
        seed: Option<u64>,
        keep: bool,
    ) -> (Tensor, Option<SavedLayer>) {
        let first = input.index_select(0, &texts.cls.token);
        let [query, key_value] = self.qkv.cut_at(first.size()[1]).map(|place| place.of(parameters));
        let cls = CrossAttention { query: query.forward(&first), key_value: key_value.forward(&input) };
        let attended = self.attention(seed).forward_cls(&cls, &texts.firsts, &texts.tokens);
        let (output, rest) = self.forward_rest(parameters, &first, &attended.output(), seed);
        let attention = SavedAttention::Cls(cls);
        (output, keep.then_some(SavedLayer { input, attention, rest }))
    }

    /// Cross-attention: [R, d] from the rows `query`, [R, d], which attend to the tokens `context`, [T, d], as far as
    /// `visible` lets them see these. The residual is the query's.
    pub(super) fn forward_cross(
        &self,
        parameters: &Parameters,
        query: Tensor,
        context: Tensor,
        visible: &Visible,
        seed: Option<u64>,
    ) -> (Tensor, SavedCross) {
        let [ask, answer] = self.qkv.cut_at(query.size()[1]).map(|place| place.of(parameters));
        let projected = CrossAttention { query: ask.forward(&query), key_value: answer.forward(&context) };
        let attended = self.attention(seed).forward_visible(&projected, visible);
        let (output, rest) = self.forward_rest(parameters, &query, &attended, seed);
        (output, SavedCross { query, context, projected, attended, rest })
    }

    /// Gradients of [`Layer::forward_cross`]'s query, [R, d], and context, [T, d], from its output's; adds those of the
    /// layer's weights.
    pub(super) fn backward_cross(
        &self,
        parameters: &Parameters,
        saved: SavedCross,
        visible: &Visible,
        seed: Option<u64>,
        grad: Tensor,
    ) -> [Tensor; 2] {
        let SavedCross { query, context, projected, attended, rest } = saved;
        let (mut d_query, d_attended) = self.backward_rest(parameters, rest, &attended, seed, grad);
        let d = self.attention(seed).backward_visible(&projected, visible, &d_attended);
        let [ask, answer] = self.qkv.cut_at(query.size()[1]);
        ask.gradient(parameters).add(&query, &d.query);
        ask.of(parameters).add_input_gradient(&d.query, &mut d_query);
        answer.gradient(parameters).add(&context, &d.key_value);
        [d_query, answer.of(parameters).input_gradient(&d.key_value)]
    }

    /// The rest of the layer after attention, token by token.
    fn forward_rest(
        &self,
        parameters: &Parameters,
        input: &Tensor,
        attended: &Tensor,
        seed: Option<u64>,
    ) -> (Tensor, SavedRest) {
        let [after_attention, after_output] = self.hidden_dropouts(seed);
        let projected = self.attention_output.of(parameters).forward_before_norm(attended); // [T, d]
        let norm = self.attention_norm.of(parameters);
        let (middle, attention_norm) = norm.forward_sum(projected, input, after_attention);

        let inner = self.intermediate.of(parameters).forward_before_gelu(&middle); // [T, f]
        let activated = gelu::forward(&inner);
        let projected = self.output.of(parameters).forward_before_norm(&activated); // [T, d]
        let (output, output_norm) = self.output_norm.of(parameters).forward_sum(projected, &middle, after_output);
        (output, SavedRest { attention_norm, middle, inner, output_norm })
    }

    /// The input's gradient, [T, d], from the output's; adds the gradients of the layer's weights.
    pub(super) fn backward(
        &self,
        parameters: &Parameters,
        saved: SavedLayer,
        texts: &SubBatch,
        seed: Option<u64>,
        grad: Tensor,
    ) -> Tensor {
        let SavedLayer { input, attention, rest } = saved;
        match attention {
            SavedAttention::All(qkv, attended) => {
                let (mut d_input, d_attended) = self.backward_rest(parameters, rest, &attended.output(), seed, grad);
                let d_qkv = self.attention(seed).backward(&qkv, &texts.tokens, &attended, &d_attended);
                drop((d_attended, attended, qkv));
                self.qkv.gradient(parameters).add(&input, &d_qkv);
                self.qkv.of(parameters).add_input_gradient(&d_qkv, &mut d_input);
                d_input
            }
            SavedAttention::Cls(cls) => {
                // One row a text is cheaper to recompute than to keep.
                let (attention, rows) = (self.attention(seed), (&texts.firsts, &texts.tokens));
                let attended = attention.forward_cls(&cls, rows.0, rows.1);
                let (mut d_first, d_attended) = self.backward_rest(parameters, rest, &attended.output(), seed, grad);
                let d = attention.backward_cls(&cls, rows, &attended, &d_attended);
                let [query, key_value] = self.qkv.cut_at(d_first.size()[1]);
                query.gradient(parameters).add(&input.index_select(0, &texts.cls.token), &d.query);
                query.of(parameters).add_input_gradient(&d.query, &mut d_first);
                key_value.gradient(parameters).add(&input, &d.key_value);
                let mut d_input = input.zeros_like().index_add(0, &texts.cls.token, &d_first);
                key_value.of(parameters).add_input_gradient(&d.key_value, &mut d_input);
                d_input
            }
        }
    }

    /// Gradients of [`Layer::forward_rest`]'s two inputs, [T, d], from its output's.
    fn backward_rest(
        &self,
        parameters: &Parameters,
        saved: SavedRest,
        attended: &Tensor,
        seed: Option<u64>,
        grad: Tensor,
    ) -> (Tensor, Tensor) {
        let [after_attention, after_output] = self.hidden_dropouts(seed);
        let SavedRest { attention_norm, middle, inner, output_norm } = saved;

        let (norm, d_norm) = (self.output_norm.of(parameters), self.output_norm.gradient(parameters));
        let mut d_map = self.output.gradient(parameters);
        let [mut d_middle, d_output] = norm.backward_sum(&output_norm, &grad, after_output, d_norm, &mut d_map.bias);
        drop((grad, output_norm));
        let d_activated = self.output.of(parameters).input_gradient(&d_output); // [T, f]
        let mut d_intermediate = self.intermediate.gradient(parameters);
        let [activated, d_inner] = gelu::backward(&inner, d_activated, &mut d_intermediate.bias);
        d_map.add_weight(&activated, &d_output);
        drop((d_output, activated, inner));
        d_intermediate.add_weight(&middle, &d_inner);
        self.intermediate.of(parameters).add_input_gradient(&d_inner, &mut d_middle);
        drop((d_inner, middle));

        let (norm, d_norm) = (self.attention_norm.of(parameters), self.attention_norm.gradient(parameters));
        let mut d_map = self.attention_output.gradient(parameters);
        let [d_input, d_output] =
            norm.backward_sum(&attention_norm, &d_middle, after_attention, d_norm, &mut d_map.bias);
        drop((d_middle, attention_norm));
        d_map.add_weight(attended, &d_output);
        let d_attended = self.attention_output.of(parameters).input_gradient(&d_output); // [T, d]
        (d_input, d_attended)
    }

    /// Where the first of the layer's matrices lies in the flat buffers; those of layers above and of the heads follow.
    pub(super) fn first_matrix(&self) -> i64 {
        self.qkv.start()
    }

    fn attention(&self, seed: Option<u64>) -> Attention {
        Attention { num_heads: self.num_heads, dropout: dropout(seed, self.attention_dropout).at(2) }
    }

    /// Dropout after attention and after the feed-forward network.
    fn hidden_dropouts(&self, seed: Option<u64>) -> [Dropout; 2] {
        [0, 1].map(|place| dropout(seed, self.hidden_dropout).at(place))
    }
}

/// Dropout with `seed`; off without one.
pub(super) fn dropout(seed: Option<u64>, probability: f64) -> Dropout {
    Dropout::new(seed.unwrap_or(0), if seed.is_some() { probability } else { 0.0 })
}
