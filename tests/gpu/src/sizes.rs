//! How large models and texts are: by the card's memory, or toys.

use tercet_fixtures::ModelConfig;
use tercet_protocol::says::card::Timed;

const GB: u64 = 1_000_000_000;

/// Sizes of everything whose speed or memory is measured.
pub struct Sizes {
    /// What the model's shape is called.
    pub shape: &'static str,
    /// The model whose speed and memory are measured.
    pub model: ModelConfig,
    /// Tokens of a text, shortest first.
    pub lens: Vec<usize>,
    /// Tokens of a text where one length will do.
    pub usual_len: usize,
    /// Tokens of a step.
    pub step_tokens: usize,
    /// What the steps whose speed is measured are made of.
    pub timed: Timed,
    /// Steps that are timed.
    pub timed_steps: usize,
    /// The model that is trained twice and resumed.
    pub repeated: ModelConfig,
    /// Tokens of its longest text.
    pub repeated_len: usize,
    /// Tokens of each attention measurement.
    pub attention_tokens: usize,
    /// Toys.
    pub small: bool,
}

/// Tokens that the tokenizer of measurements knows; the models know more, as many as XLM-RoBERTa does.
pub const TOKENIZER_WORDS: usize = 5000;

/// Tokens of a query at most, and passages of a row, in the steps that are timed.
const QUERY_LEN: usize = 64;
const GROUP_SIZE: usize = 2;

impl Sizes {
    /// For a card that has this memory free.
    pub fn of(free_bytes: u64, small: bool) -> Self {
        if small {
            return Self::toys();
        }
        let (shape, model) = match free_bytes / GB {
            30.. => ("XLM-RoBERTa-large", encoder(24, 1024, 16)),
            10.. => ("XLM-RoBERTa-base", encoder(12, 768, 12)),
            _ => ("half of XLM-RoBERTa-base", encoder(6, 384, 6)),
        };
        let step_tokens = if free_bytes > 60 * GB { 65_536 } else { 32_768 };
        Self {
            shape,
            model,
            lens: vec![64, 512, 2048, 8192],
            usual_len: 512,
            step_tokens,
            timed: Timed { query_len: QUERY_LEN, group_size: GROUP_SIZE, sub_batch_tokens: 16_384 },
            timed_steps: 3,
            repeated: ModelConfig {
                num_layers: 4,
                num_heads: 8,
                dropout: 0.1,
                ..ModelConfig::of_width(512, 2000, 512)
            },
            repeated_len: 512,
            attention_tokens: 16_384,
            small,
        }
    }

    fn toys() -> Self {
        Self {
            shape: "a toy",
            model: ModelConfig { dropout: 0.1, ..ModelConfig::of_width(32, TOKENIZER_WORDS, 128) },
            lens: vec![16, 128],
            usual_len: 16,
            step_tokens: 512,
            timed: Timed { query_len: QUERY_LEN, group_size: GROUP_SIZE, sub_batch_tokens: 256 },
            timed_steps: 1,
            repeated: ModelConfig { dropout: 0.1, initializer_range: 0.1, ..ModelConfig::of_width(32, 200, 64) },
            repeated_len: 64,
            attention_tokens: 128,
            small: true,
        }
    }
}

fn encoder(num_layers: usize, hidden_size: usize, num_heads: usize) -> ModelConfig {
    ModelConfig { num_layers, num_heads, dropout: 0.1, ..ModelConfig::of_width(hidden_size, 250_002, 8192) }
}
