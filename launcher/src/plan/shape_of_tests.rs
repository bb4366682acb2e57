//! The model that the tests of costs reckon with.

use tercet_configs::{EncoderConfig, LossPreset, LossSection, ModelSection, ModelShape, Pooling, Precision};

/// d 8, ffn 16, 2 layers of 2 heads, 100 words, 34 positions; multi-vectors 4 wide.
pub fn shape(all_heads: bool) -> ModelShape {
    shape_for(if all_heads { LossPreset::Unified } else { LossPreset::Dense })
}

/// The same for RetroMAE.
pub fn pretraining_shape() -> ModelShape {
    shape_for(LossPreset::Retromae)
}

fn shape_for(preset: LossPreset) -> ModelShape {
    let json = serde_json::json!({
        "model_type": "xlm-roberta", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 34, "pad_token_id": 1,
        "type_vocab_size": 1, "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0,
    });
    let config = EncoderConfig::from_json(json.as_object().unwrap().clone()).unwrap();
    let section = ModelSection { multi_vector_dim: 4, ..ModelSection::default() };
    let loss = LossSection { preset, ..LossSection::default() };
    ModelShape::new(config, &section, &loss, Precision::Fp32, (true, Pooling::Cls))
}
