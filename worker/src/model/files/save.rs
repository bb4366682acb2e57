//! Writes a model as a Hugging Face directory that FlagEmbedding and sentence-transformers load as it is.

use std::fs;
use std::path::Path;

use safetensors::View;
use serde_json::{Map, Value, json};
use tch::Kind;
use tercet_configs::{EncoderConfig, Pooling, Prompts, TOKENIZER_FILES, in_its_place};
use tercet_sampler::SpecialTokens;

use super::{HostTensor, pickle, tokenizer_config};
use crate::model::heads::{HEADS, head_of};
use crate::model::pretraining::{PRETRAINING_FILES, is_of_pretraining};
use crate::model::{M3Model, ModelError};

/// What editors on Windows put before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The contents of a model's directory besides the weights. The source files are read once, so that exports do not need
/// them later: they may lie in a checkpoint that has been deleted since the run resumed from it.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    config: EncoderConfig,
    special: SpecialTokens,
    pooling: Pooling,
    normalize: bool,
    max_seq_len: usize,
    prompts: Prompts,
    /// config_sentence_transformers.json as it was read.
    settings: Map<String, Value>,
    /// Names and contents.
    tokenizer: Vec<(&'static str, Vec<u8>)>,
}

impl M3Model {
    /// What [`M3Model::save`] writes besides the weights.
    ///
    /// # Errors
    /// [`ModelError::File`]: a file of the tokenizer cannot be read.
    pub fn files(&self) -> Result<ModelFiles, ModelError> {
        let (file, folder) = match self.tokenizer_json() {
            Some(file) => (Some(file.to_owned()), file.parent()),
            None => (None, Some(self.tokenizer.as_path())),
        };
        let beside = folder.into_iter().flat_map(|from| TOKENIZER_FILES.map(|name| (from.join(name), name)));
        let sources = file.map(|file| (file, "tokenizer.json")).into_iter().chain(beside);
        let tokenizer = sources.filter(|(source, _)| source.exists()).map(|(source, name)| {
            let fail = |reason: String| ModelError::File { path: source.clone(), reason };
            let mut bytes = fs::read(&source).map_err(|e| fail(e.to_string()))?;
            // Other programs take no byte order mark.
            if bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            match in_its_place(&bytes) {
                // An empty file may be meant so.
                Some(instead) if !bytes.is_empty() => Err(fail(instead.into())),
                _ => Ok((name, bytes)),
            }
        });
        Ok(ModelFiles {
            config: self.config.clone(),
            special: self.special,
            pooling: self.pooling,
            normalize: self.normalize,
            max_seq_len: self.max_seq_len,
            prompts: self.prompts.clone(),
            settings: self.settings.clone(),
            tokenizer: tokenizer.collect::<Result<_, ModelError>>()?,
        })
    }

    /// Writes the model into the existing folder `dir`, as [`ModelFiles::save`] does.
    ///
    /// # Errors
    /// As [`M3Model::files`] and [`ModelFiles::save`].
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let views = self.parameters.named_views(&self.parameters.flat);
        let weights: Vec<(&str, HostTensor)> = views.map(|(name, view)| (name, HostTensor::from(&view))).collect();
        self.files()?.save(dir, &weights)
    }
}

impl ModelFiles {
    /// Writes config.json, model.safetensors, the heads' .pt files or the .safetensors of pre-training's parts, the
    /// tokenizer's files and sentence-transformers' module descriptions into the existing folder `dir`. Needs no
    /// libtorch.
    ///
    /// # Errors
    /// [`ModelError::Write`] with the file that could not be written.
    pub fn save(&self, dir: &Path, weights: &[(&str, HostTensor)]) -> Result<(), ModelError> {
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|source| ModelError::Write { path, source })
        };
        let write_json = |name: &str, json: Value| write(name, format!("{json:#}\n").as_bytes());

        let is_double = weights.iter().any(|(_, weight)| weight.kind == Kind::Double);
        write_json("config.json", self.config.to_json(if is_double { "float64" } else { "float32" }))?;
        let weights = weights.iter().map(|(name, weight)| (*name, weight));
        let (on_encoder, encoder): (Vec<_>, Vec<_>) =
            weights.partition(|(name, _)| head_of(name).is_some() || is_of_pretraining(name));
        write_safetensors(&dir.join("model.safetensors"), &encoder)?;
        for head in HEADS {
            let prefix = format!("{head}.");
            let own = on_encoder.iter().filter_map(|(name, weight)| Some((name.strip_prefix(&prefix)?, *weight)));
            let own: Vec<_> = own.collect();
            if own.is_empty() {
                continue;
            }
            let path = dir.join(format!("{head}.pt"));
            pickle::write_state_dict(&path, &own).map_err(|source| ModelError::Write { path, source })?;
        }
        for (prefix, file) in PRETRAINING_FILES {
            let own: Vec<_> = on_encoder.iter().filter(|(name, _)| name.starts_with(prefix)).copied().collect();
            if !own.is_empty() {
                write_safetensors(&dir.join(file), &own)?;
            }
        }
        for (name, bytes) in &self.tokenizer {
            write(name, bytes)?;
        }

        let max_len = self.max_seq_len;
        if let Some(config) = tokenizer_config::completed(dir, &self.special, max_len) {
            write_json("tokenizer_config.json", config)?;
        }
        write_json("sentence_bert_config.json", json!({"max_seq_length": max_len, "do_lower_case": false}))?;
        let module = |idx: usize, path: &str, class: &str| json!({"idx": idx, "name": idx.to_string(), "path": path, "type": format!("sentence_transformers.models.{class}")});
        let mut modules = vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")];
        if self.normalize {
            modules.push(module(2, "2_Normalize", "Normalize"));
        }
        write_json("modules.json", modules.into())?;
        write_json("config_sentence_transformers.json", self.sentence_transformers().into())?;
        let pooling = dir.join("1_Pooling");
        fs::create_dir_all(&pooling).map_err(|source| ModelError::Write { path: pooling, source })?;
        write_json(
            "1_Pooling/config.json",
            json!({
                "word_embedding_dimension": self.config.hidden_size,
                "pooling_mode_cls_token": self.pooling == Pooling::Cls,
                "pooling_mode_mean_tokens": self.pooling == Pooling::Mean,
                "pooling_mode_max_tokens": false,
                "pooling_mode_mean_sqrt_len_tokens": false,
            }),
        )
    }

    /// config_sentence_transformers.json: the prompts, and by what vectors are compared.
    fn sentence_transformers(&self) -> Map<String, Value> {
        let mut settings = self.settings.clone();
        // The versions are those of the programs that wrote the file before.
        settings.remove("__version__");
        if self.prompts.query.is_some() || self.prompts.passage.is_some() {
            self.prompts.write(&mut settings);
        }
        for key in ["prompts", "default_prompt_name"] {
            settings.entry(key).or_insert(if key == "prompts" { json!({}) } else { Value::Null });
        }
        settings.insert("similarity_fn_name".into(), if self.normalize { "cosine" } else { "dot" }.into());
        settings
    }
}

/// Writes tensors with the metadata that Hugging Face's readers ask for, and syncs the file.
///
/// # Errors
/// [`ModelError::Write`].
pub fn write_safetensors(path: &Path, tensors: &[(&str, impl View + Copy)]) -> Result<(), ModelError> {
    let fail = |source| ModelError::Write { path: path.to_owned(), source };
    let views = tensors.iter().copied();
    let metadata = [("format".to_string(), "pt".to_string())].into();
    // The safetensors crate writes through a temporary file that only its owner may read.
    let permissions = fs::File::create(path).and_then(|file| file.metadata()).map_err(fail)?.permissions();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(source) => fail(source),
        other => fail(std::io::Error::other(other)),
    })?;
    fs::set_permissions(path, permissions).map_err(fail)?;
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(fail)
}
