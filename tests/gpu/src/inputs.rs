//! Models and texts that this program makes, the same to the bit on every machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tercet_fixtures::{ModelConfig, numbered_words, word_tokenizer};
use tercet_tests::random::Random;

/// A file of a folder.
type File = (&'static str, &'static [u8]);

/// Files of a golden model's folder in the Hugging Face layout, as tests/golden/README.md describes it.
macro_rules! golden {
    ($model:literal: $($name:literal),*) => {
        [$(($name, include_bytes!(concat!("../../golden/", $model, "/hf/", $name)))),*]
    };
}

const NANO_XLMR: [File; 5] = golden!(
    "nano_xlmr": "config.json", "model.safetensors", "colbert_linear.pt", "sparse_linear.pt", "special_tokens.json"
);

const NANO_XLMR_MAE: [File; 4] =
    golden!("nano_xlmr_mae": "config.json", "model.safetensors", "decoder.safetensors", "special_tokens.json");

/// Texts of which the golden model of pre-training predicts words, and the words.
pub const MASKED_TEXTS: &[u8] = include_bytes!("../../golden/nano_xlmr_mae/basic/tensors.safetensors");

/// Tokens that the wide model knows.
pub const WIDE_WORDS: usize = 200;

/// Tokens of its longest text.
pub const WIDE_LEN: usize = 384;

/// Writes a file, and the folders above it.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(path.to_owned())
}

/// The golden model of width 16, whose weights were drawn with the published trainer's numbers.
///
/// # Errors
/// It cannot be written.
pub fn nano_model(folder: &Path) -> anyhow::Result<()> {
    NANO_XLMR.iter().try_for_each(|(name, bytes)| write(&folder.join(name), bytes).map(drop))
}

/// The golden model of pre-training, of width 32.
///
/// # Errors
/// It cannot be written.
pub fn pretrained_model(folder: &Path) -> anyhow::Result<()> {
    NANO_XLMR_MAE.iter().try_for_each(|(name, bytes)| write(&folder.join(name), bytes).map(drop))
}

/// A model of `config` and its tokenizer, with dropout of hidden states and none of attention, which on a GPU in
/// bfloat16 draws masks of its own.
///
/// # Errors
/// It cannot be written.
pub fn model(folder: &Path, config: &ModelConfig, dropout: f64) -> anyhow::Result<()> {
    let mut json = config.json();
    json["hidden_dropout_prob"] = json!(dropout);
    write(&folder.join("config.json"), json.to_string())?;
    write(&folder.join("special_tokens.json"), NANO_XLMR[4].1)?;
    write(&folder.join("tokenizer.json"), tokenizer(config.vocab_size))?;
    let weights = weights(config);
    let views = weights.iter().map(|weight| {
        let (name, shape, bytes) = weight;
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.clone(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().context("making weights")?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, metadata, &path).with_context(|| format!("writing {}", path.display()))
}

/// tokenizer.json of a tokenizer, by its number of words.
pub fn tokenizer(words: usize) -> String {
    word_tokenizer(numbered_words(words)).to_string()
}

/// A text of `len` tokens, the two special ones included, of words below `vocabulary`.
pub fn text(random: &mut Random, len: usize, vocabulary: usize) -> String {
    let words = (2..len.max(3)).map(|_| format!("w{}", random.within(4..vocabulary)));
    words.collect::<Vec<_>>().join(" ")
}

/// Rows of texts, `lens` tokens of a query and of a passage: a query, a positive, a negative.
pub fn rows(count: usize, lens: [usize; 2], vocabulary: usize) -> Vec<Value> {
    let mut random = Random::new(11);
    let [query, passage] = lens;
    let mut row = || {
        let [positive, negative] = [(); 2].map(|()| text(&mut random, passage, vocabulary));
        json!({"query": text(&mut random, query, vocabulary), "pos": [positive], "neg": [negative]})
    };
    (0..count).map(|_| row()).collect()
}

/// Lines of JSON.
pub fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Every weight of a model, by its name: what multiplies is spread around zero, norms around one. Values are whole
/// numbers of 2⁻²⁴ or so, which no processor rounds.
fn weights(config: &ModelConfig) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let (d, inner) = (config.hidden_size, config.intermediate_size);
    // What a map of hidden states makes should not grow with their width.
    let spread = if d > 512 { 0.03125 } else { 0.125 };
    let mut shapes: Vec<(String, Vec<usize>, f32, f32)> = Vec::new();
    let mut add = |name: String, shape: &[usize], middle: f32, spread: f32| {
        shapes.push((name, shape.to_vec(), middle, spread));
    };
    let norm = |name: String| [(format!("{name}.weight"), 1.0), (format!("{name}.bias"), 0.0)];
    add("embeddings.word_embeddings.weight".into(), &[config.vocab_size, d], 0.0, 1.0);
    add("embeddings.position_embeddings.weight".into(), &[config.max_len + 2, d], 0.0, 0.25);
    add("embeddings.token_type_embeddings.weight".into(), &[1, d], 0.0, 0.25);
    for (name, middle) in norm("embeddings.LayerNorm".into()) {
        add(name, &[d], middle, 0.25);
    }
    for layer in 0..config.num_layers {
        let at = |name: &str| format!("encoder.layer.{layer}.{name}");
        for (name, [out, width]) in [
            ("attention.self.query", [d, d]),
            ("attention.self.key", [d, d]),
            ("attention.self.value", [d, d]),
            ("attention.output.dense", [d, d]),
            ("intermediate.dense", [inner, d]),
            ("output.dense", [d, inner]),
        ] {
            add(at(&format!("{name}.weight")), &[out, width], 0.0, spread);
            add(at(&format!("{name}.bias")), &[out], 0.0, spread);
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            for (name, middle) in norm(at(name)) {
                add(name, &[d], middle, 0.25);
            }
        }
    }
    for (name, out) in [("colbert_linear", d), ("sparse_linear", 1)] {
        add(format!("{name}.weight"), &[out, d], 0.0, spread);
        add(format!("{name}.bias"), &[out], 0.0, spread);
    }
    let mut random = Random::new(5);
    let mut value = |middle: f32, spread: f32| {
        // From -1 to below 1, in steps of 2⁻²³.
        let unit = (random.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        middle + spread * unit
    };
    let filled = |(name, shape, middle, spread): (String, Vec<usize>, f32, f32)| {
        let count: usize = shape.iter().product();
        let bytes = (0..count).flat_map(|_| value(middle, spread).to_le_bytes()).collect();
        (name, shape, bytes)
    };
    shapes.into_iter().map(filled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_tokens_that_are_asked_for() {
        for row in rows(5, [8, 20], 50) {
            let words = |text: &Value| text.as_str().map(|text| text.split(' ').count());
            assert_eq!(
                (words(&row["query"]), words(&row["pos"][0]), words(&row["neg"][0])),
                (Some(6), Some(18), Some(18))
            );
        }
    }

    #[test]
    fn the_wide_models_weights_are_the_same_everywhere() {
        let weights = weights(&ModelConfig::of_width(8, 10, 4));
        let (name, shape, bytes) = &weights[0];
        assert_eq!((name.as_str(), shape.as_slice()), ("embeddings.word_embeddings.weight", &[10, 8][..]));
        assert_eq!(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), FIRST);
    }

    /// What the first word's first number is.
    const FIRST: f32 = -0.226_463_91;
}
