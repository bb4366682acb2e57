//! The encoder and the head that predicts masked words, as transformers' `…ForMaskedLM` of the model's family has them.
//!
//! Both come from a model's folder of pre-training: the encoder from its weights, the head from mlm_head.safetensors.
//! The head's output matrix is the table of word embeddings, and is not written a second time.
//!
//! RoBERTa's head has its output bias under two names, which are one parameter. Both are written: of a float32 file
//! that has `lm_head.bias` alone transformers 4.44 to 4.48 make zeros, without a word. BERT's head is read rightly with
//! one name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::Dtype;
use tercet_configs::{
    EncoderConfig, ModelFolder, ModelFolderError, TOKENIZER_FILES, WeightFiles, WeightFormat, in_its_place, unreadable,
    weight_names as names,
};

use super::folder::{Content, Export};
use super::tensors::{self, Place, Tensors};
use crate::plan::scaled;

/// The file of the head beside the encoder's weights.
const HEAD_FILE: &str = "mlm_head.safetensors";

/// The head's own names, and those of RoBERTa's family.
const OF_ROBERTA: [(&str, &[&str]); 5] = [
    ("lm_head.dense.weight", &["lm_head.dense.weight"]),
    ("lm_head.dense.bias", &["lm_head.dense.bias"]),
    ("lm_head.layer_norm.weight", &["lm_head.layer_norm.weight"]),
    ("lm_head.layer_norm.bias", &["lm_head.layer_norm.bias"]),
    ("lm_head.bias", &["lm_head.bias", "lm_head.decoder.bias"]),
];

/// The same, and those of BERT.
const OF_BERT: [(&str, &[&str]); 5] = [
    ("lm_head.dense.weight", &["cls.predictions.transform.dense.weight"]),
    ("lm_head.dense.bias", &["cls.predictions.transform.dense.bias"]),
    ("lm_head.layer_norm.weight", &["cls.predictions.transform.LayerNorm.weight"]),
    ("lm_head.layer_norm.bias", &["cls.predictions.transform.LayerNorm.bias"]),
    ("lm_head.bias", &["cls.predictions.bias"]),
];

/// The model in the folder `dir` as `AutoModelForMaskedLM` reads it.
///
/// # Errors
/// The folder is not one that pre-training has saved, or a file of it cannot be used.
pub fn masked_lm(dir: &Path) -> anyhow::Result<Export> {
    let folder = ModelFolder::open(dir)?;
    let config = EncoderConfig::load(&folder.transformer.join("config.json"))?;
    let Some(head_file) = folder.file(HEAD_FILE) else {
        let reason = format!(
            "has no {HEAD_FILE}, so this is no model of pre-training, which saves one: config.json, model.safetensors and \
             {HEAD_FILE} are needed"
        );
        return Err(ModelFolderError::new(dir, reason).into());
    };
    let encoder = encoder(&folder, &config)?;
    let head = head(&head_file, &config)?;
    // Both have what they should have, of floating-point numbers, or were refused.
    let dtype = torch_name(encoder["embeddings.word_embeddings.weight"].dtype).unwrap_or_default();
    let (class, prefix) = config.masked_lm();
    let names = if prefix == "bert" { OF_BERT } else { OF_ROBERTA };
    let of_head =
        names.iter().flat_map(|(own, theirs)| theirs.iter().map(|name| ((*name).to_owned(), head[*own].clone())));
    let of_encoder = encoder.iter().map(|(name, place)| (format!("{prefix}.{name}"), place.clone()));
    let tensors = Tensors::new(of_encoder.chain(of_head).collect())?;
    let bytes = scaled(tensors.num_bytes() as f64, "B");
    let what = format!("{class}, {} tensors of {dtype}, {bytes}", tensors.len());
    let config_json = format!("{:#}\n", config.masked_lm_json(dtype)).into_bytes();
    let mut files =
        vec![("config.json", Content::Bytes(config_json)), ("model.safetensors", Content::Tensors(tensors))];
    for name in ["tokenizer.json"].into_iter().chain(TOKENIZER_FILES) {
        let Some(path) = folder.file(name) else { continue };
        let bytes = fs::read(&path).map_err(|error| ModelFolderError::new(&path, unreadable(&path, &error)))?;
        // What is empty here may be meant so.
        if let Some(instead) = in_its_place(&bytes).filter(|_| !bytes.is_empty()) {
            return Err(ModelFolderError::new(&path, instead).into());
        }
        files.push((name, Content::Bytes(bytes)));
    }
    Ok(Export { what, files })
}

/// The encoder's weights by its own names, as config.json describes them.
fn encoder(folder: &ModelFolder, config: &EncoderConfig) -> Result<BTreeMap<String, Place>, ModelFolderError> {
    let files = WeightFiles::find(&folder.transformer)?;
    let path = files.index.as_ref().unwrap_or(&files.files[0]);
    if files.format != WeightFormat::Safetensors {
        let reason = "is a file of torch.save; pre-training saves model.safetensors, which is needed";
        return Err(ModelFolderError::new(path, reason));
    }
    let mut found = BTreeMap::new();
    for file in &files.files {
        for (name, place) in tensors::read(file)? {
            let bare = names::bare(&name);
            if let Some(why) = names::of_another_family(&name, &config.model_type) {
                return Err(ModelFolderError::new(file, why));
            }
            if !names::is_harmless(&bare) && found.insert(bare, place).is_some() {
                return Err(ModelFolderError::new(file, format!("{name} is there twice: take out the wrong one")));
            }
        }
    }
    fitting(path, found, config.encoder_weights())
}

/// The head's weights by its own names.
fn head(file: &Path, config: &EncoderConfig) -> Result<BTreeMap<String, Place>, ModelFolderError> {
    let expected = config.mlm_head_weights().map(|(name, shape)| (name.to_owned(), shape));
    fitting(file, tensors::read(file)?, expected.into())
}

/// `found` if these are the `expected` tensors; else every one that is missing, too many or otherwise.
fn fitting(
    path: &Path,
    found: BTreeMap<String, Place>,
    expected: Vec<(String, Vec<usize>)>,
) -> Result<BTreeMap<String, Place>, ModelFolderError> {
    let mut problems = Vec::new();
    for (name, shape) in &expected {
        match found.get(name) {
            None => problems.push(format!("{name}: expected {shape:?}, not in the file")),
            Some(place) if place.shape != *shape => {
                problems.push(format!("{name}: expected {shape:?}, found {:?}", place.shape));
            }
            Some(place) if torch_name(place.dtype).is_none() => {
                problems.push(format!("{name}: of type {}, floating-point ones are supported", place.dtype));
            }
            Some(_) => {}
        }
    }
    let strays = found.keys().filter(|name| !expected.iter().any(|(own, _)| own == *name));
    problems.extend(strays.map(|name| format!("{name}: the model has no place for it")));
    if problems.is_empty() {
        return Ok(found);
    }
    let listed: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    Err(ModelFolderError::new(path, format!("the weights do not fit config.json:{listed}")))
}

/// torch's name of a type of floating-point numbers.
fn torch_name(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::F64 => Some("float64"),
        Dtype::F32 => Some("float32"),
        Dtype::F16 => Some("float16"),
        Dtype::BF16 => Some("bfloat16"),
        _ => None,
    }
}
