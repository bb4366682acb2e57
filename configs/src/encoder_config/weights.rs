//! Which weights a model has, by Hugging Face's names, and their shapes.

use super::EncoderConfig;

impl EncoderConfig {
    /// Names and shapes of the encoder's weights, without BERT's pooler.
    pub fn encoder_weights(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.hidden_size;
        let mut weights = Vec::new();
        let mut add = |name: String, shape: &[usize]| weights.push((name, shape.to_vec()));
        add("embeddings.word_embeddings.weight".into(), &[self.vocab_size, d]);
        add("embeddings.position_embeddings.weight".into(), &[self.max_position_embeddings, d]);
        add("embeddings.token_type_embeddings.weight".into(), &[self.type_vocab_size, d]);
        add("embeddings.LayerNorm.weight".into(), &[d]);
        add("embeddings.LayerNorm.bias".into(), &[d]);
        for layer in 0..self.num_hidden_layers {
            weights.extend(self.layer_weights(&format!("encoder.layer.{layer}")));
        }
        weights
    }

    /// Names and shapes of the weights of a layer whose names begin with `name`.
    pub fn layer_weights(&self, name: &str) -> Vec<(String, Vec<usize>)> {
        let (d, ffn) = (self.hidden_size, self.intermediate_size);
        let mut weights = Vec::new();
        let mut add = |part: String, shape: &[usize]| weights.push((format!("{name}.{part}"), shape.to_vec()));
        for (part, rows, columns) in [
            ("attention.self.query", d, d),
            ("attention.self.key", d, d),
            ("attention.self.value", d, d),
            ("attention.output.dense", d, d),
            ("intermediate.dense", ffn, d),
            ("output.dense", d, ffn),
        ] {
            add(format!("{part}.weight"), &[rows, columns]);
            add(format!("{part}.bias"), &[rows]);
        }
        for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("{norm}.weight"), &[d]);
            add(format!("{norm}.bias"), &[d]);
        }
        weights
    }

    /// Names and shapes of the head that predicts masked words, as mlm_head.safetensors has them for every family. Its
    /// output matrix is the table of word embeddings.
    pub fn mlm_head_weights(&self) -> [(&'static str, Vec<usize>); 5] {
        let d = self.hidden_size;
        [
            ("lm_head.dense.weight", vec![d, d]),
            ("lm_head.dense.bias", vec![d]),
            ("lm_head.layer_norm.weight", vec![d]),
            ("lm_head.layer_norm.bias", vec![d]),
            ("lm_head.bias", vec![self.vocab_size]),
        ]
    }
}
