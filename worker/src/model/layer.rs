//! One transformer layer, forward and backward, both by hand.
//!
//! Autograd would keep twice of what the backward pass needs, add every sub-batch's weight gradient in a pass of its own,
//! round gradients to the encoder's type before they are summed, and tell nobody when a layer's gradient is complete. By
//! hand a layer keeps what cannot be had again cheaply (the activation function's output can), and each product adds its
//! gradient straight to the flat fp32 buffer.
//!
//! Legend: T tokens of a sub-batch, d hidden size, f intermediate size.

use tch::Tensor;
use tercet_configs::EncoderConfig;

use super::attention::{Attended, Attention};
use super::parameters::{Parameters, Span};
use super::pointwise::{LayerNorm, add_column_sums, gelu, gelu_backward};
use crate::model::cls_attention::Chosen;
use crate::model::sub_batch::SubBatch;
use crate::ops::cpu::{self, dropout::Dropout};
use crate::tensors::libtorch::{Normalised, add_product, product};

/// Weight [out, in] and bias `[out]`.
struct Linear {
    weight: Span,
    bias: Span,
}

impl Linear {
    /// Several maps of the same input beside each other.
    fn new(parameters: &Parameters, names: &[String]) -> Self {
        let all = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
        Self { weight: parameters.span(&all("weight")), bias: parameters.span(&all("bias")) }
    }

    /// Its first `rows` outputs, and the others.
    fn cut_at(&self, rows: i64) -> [Self; 2] {
        let ([first_weight, weight], [first_bias, bias]) = (self.weight.cut_at(rows), self.bias.cut_at(rows));
        [Self { weight: first_weight, bias: first_bias }, Self { weight, bias }]
    }

    /// [T, out] from [T, in].
    fn forward(&self, parameters: &Parameters, x: &Tensor) -> Tensor {
        let mut result = self.forward_to_kernel(parameters, x);
        if cpu::serve(x) {
            let _ = result.g_add_(&parameters.weight_at(&self.bias));
        }
        result
    }

    /// The same for a kernel to read, which adds the bias on the way; without kernels it is in the result.
    fn forward_to_kernel(&self, parameters: &Parameters, x: &Tensor) -> Tensor {
        let weight = parameters.weight_at(&self.weight);
        match cpu::serve(x) {
            true => product(parameters.matmul.forward, x, &weight.tr()),
            false => x.linear(&weight, Some(parameters.weight_at(&self.bias))),
        }
    }

    /// Adds the gradients of weight and bias, from the input [T, in] and the output's gradient [T, out].
    fn add_gradients(&self, parameters: &Parameters, x: &Tensor, grad: &Tensor) {
        self.add_weight_gradient(parameters, x, grad);
        add_column_sums(parameters, &self.bias, grad);
    }

    /// The weight's alone.
    fn add_weight_gradient(&self, parameters: &Parameters, x: &Tensor, grad: &Tensor) {
        let mut weight = parameters.grad_at(&self.weight);
        if weight.kind() == grad.kind() {
            add_product(parameters.matmul.weight_gradient, &mut weight, &grad.tr(), x);
        } else {
            let _ = weight.g_add_(&product(parameters.matmul.weight_gradient, &grad.tr(), x));
        }
    }

    /// Adds the input's gradient to `d_x`, [T, in].
    fn add_input_gradient(&self, parameters: &Parameters, grad: &Tensor, d_x: &mut Tensor) {
        add_product(parameters.matmul.input_gradient, d_x, grad, &parameters.weight_at(&self.weight));
    }

    /// The input's gradient alone, [T, in], from the output's, [T, out].
    fn input_gradient(&self, parameters: &Parameters, grad: &Tensor) -> Tensor {
        product(parameters.matmul.input_gradient, grad, &parameters.weight_at(&self.weight))
    }
}

/// What a layer's forward pass leaves for its backward pass.
pub(super) struct SavedLayer {
    input: Tensor,
    attention: SavedAttention,
    rest: SavedRest,
}

/// Of attention.
enum SavedAttention {
    /// Every token attends: queries, keys and values beside each other, with kernels before their bias, [T, 3d].
    All(Tensor, Attended),
    /// One token of each text does.
    Chosen(Chosen),
}

/// Of what follows attention, token by token.
struct SavedRest {
    attention_norm: Normalised,
    /// After attention and its norm, [T, d].
    middle: Tensor,
    /// Before the activation function, and with kernels before the bias, [T, f].
    inner: Tensor,
    output_norm: Normalised,
}

/// Post-norm attention and feed-forward, as in BERT and XLM-RoBERTa.
pub(super) struct Layer {
    num_heads: i64,
    hidden_dropout: f64,
    attention_dropout: f64,
    qkv: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    pub(super) fn new(config: &EncoderConfig, parameters: &Parameters, index: usize) -> Self {
        let named = |name: &str| format!("encoder.layer.{index}.{name}");
        let linear = |names: &[&str]| Linear::new(parameters, &names.iter().map(|n| named(n)).collect::<Vec<_>>());
        let norm = |name: &str| LayerNorm::new(config, parameters, &named(name));
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
        let qkv = self.qkv.forward_to_kernel(parameters, &input); // [T, 3d]
        let attended = self.attention(seed).forward(&qkv, &parameters.master_at(&self.qkv.bias), texts, keep);
        let (output, rest) = self.forward_rest(parameters, &input, &attended.output(), seed);
        let attention = SavedAttention::All(qkv, attended);
        (output, keep.then_some(SavedLayer { input, attention, rest }))
    }

    /// As [`Layer::forward`] for the first token of each text alone, [texts, d]: of the others only keys and values are
    /// computed, which is a sixth of a layer.
    pub(super) fn forward_chosen(
        &self,
        parameters: &Parameters,
        input: Tensor,
        texts: &SubBatch,
        seed: Option<u64>,
        keep: bool,
    ) -> (Tensor, Option<SavedLayer>) {
        let chosen_input = input.index_select(0, &texts.cls.token);
        let [query, key_value] = self.qkv.cut_at(chosen_input.size()[1]);
        let chosen = Chosen {
            query: query.forward(parameters, &chosen_input),
            key_value: key_value.forward(parameters, &input),
        };
        let attended = self.attention(seed).forward_chosen(&chosen, texts);
        let (output, rest) = self.forward_rest(parameters, &chosen_input, &attended, seed);
        let attention = SavedAttention::Chosen(chosen);
        (output, keep.then_some(SavedLayer { input, attention, rest }))
    }

    /// What follows attention, token by token.
    fn forward_rest(
        &self,
        parameters: &Parameters,
        input: &Tensor,
        attended: &Tensor,
        seed: Option<u64>,
    ) -> (Tensor, SavedRest) {
        let [after_attention, after_output] = self.hidden_dropouts(seed);
        let projected = self.attention_output.forward_to_kernel(parameters, attended); // [T, d]
        let bias = &self.attention_output.bias;
        let (middle, attention_norm) =
            self.attention_norm.forward_sum(parameters, projected, bias, input, after_attention);

        let inner = self.intermediate.forward_to_kernel(parameters, &middle); // [T, f]
        let activated = gelu(parameters, &inner, &self.intermediate.bias);
        let projected = self.output.forward_to_kernel(parameters, &activated); // [T, d]
        let bias = &self.output.bias;
        let (output, output_norm) = self.output_norm.forward_sum(parameters, projected, bias, &middle, after_output);
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
                let bias = parameters.master_at(&self.qkv.bias);
                let d_qkv = self.attention(seed).backward(&qkv, &bias, texts, attended, &d_attended);
                drop((d_attended, qkv));
                self.qkv.add_gradients(parameters, &input, &d_qkv);
                self.qkv.add_input_gradient(parameters, &d_qkv, &mut d_input);
                d_input
            }
            SavedAttention::Chosen(chosen) => {
                // One row a text: cheaper to have again than to keep.
                let attended = self.attention(seed).forward_chosen(&chosen, texts);
                let (mut d_chosen, d_attended) = self.backward_rest(parameters, rest, &attended, seed, grad);
                let d = self.attention(seed).backward_chosen(&chosen, texts, &d_attended);
                let [query, key_value] = self.qkv.cut_at(d_chosen.size()[1]);
                query.add_gradients(parameters, &input.index_select(0, &texts.cls.token), &d.query);
                query.add_input_gradient(parameters, &d.query, &mut d_chosen);
                key_value.add_gradients(parameters, &input, &d.key_value);
                let mut d_input = input.zeros_like().index_add(0, &texts.cls.token, &d_chosen);
                key_value.add_input_gradient(parameters, &d.key_value, &mut d_input);
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

        let [mut d_middle, d_output] =
            self.output_norm.backward_sum(parameters, &output_norm, &grad, after_output, &self.output.bias);
        drop((grad, output_norm));
        let d_activated = self.output.input_gradient(parameters, &d_output); // [T, f]
        let [activated, d_inner] = gelu_backward(parameters, &inner, d_activated, &self.intermediate.bias);
        self.output.add_weight_gradient(parameters, &activated, &d_output);
        drop((d_output, activated, inner));
        self.intermediate.add_weight_gradient(parameters, &middle, &d_inner);
        self.intermediate.add_input_gradient(parameters, &d_inner, &mut d_middle);
        drop((d_inner, middle));

        let bias = &self.attention_output.bias;
        let [d_input, d_output] =
            self.attention_norm.backward_sum(parameters, &attention_norm, &d_middle, after_attention, bias);
        drop((d_middle, attention_norm));
        self.attention_output.add_weight_gradient(parameters, attended, &d_output);
        let d_attended = self.attention_output.input_gradient(parameters, &d_output); // [T, d]
        (d_input, d_attended)
    }

    /// Where the first of the layer's matrices lies in the flat buffers; those of layers above and of the heads follow.
    pub(super) fn first_matrix(&self) -> i64 {
        self.qkv.weight.start()
    }

    fn attention(&self, seed: Option<u64>) -> Attention {
        Attention { num_heads: self.num_heads, dropout: dropout(seed, self.attention_dropout).at(2) }
    }

    /// After attention and after the feed-forward network.
    fn hidden_dropouts(&self, seed: Option<u64>) -> [Dropout; 2] {
        [0, 1].map(|place| dropout(seed, self.hidden_dropout).at(place))
    }
}

/// Off without a seed.
pub(super) fn dropout(seed: Option<u64>, probability: f64) -> Dropout {
    Dropout::new(seed.unwrap_or(0), if seed.is_some() { probability } else { 0.0 })
}
