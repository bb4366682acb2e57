//! Writes a model as a Hugging Face directory that FlagEmbedding and sentence-transformers load as it is.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tch::Tensor;
use tercet_configs::Pooling;

use super::{M3Model, ModelError, pickle, tokenizer_config};

/// What lies beside a tokenizer.json and is taken along as it is.
const TOKENIZER_FILES: [&str; 5] =
    ["tokenizer_config.json", "special_tokens_map.json", "special_tokens.json", "sentencepiece.bpe.model", "vocab.txt"];

impl M3Model {
    /// Writes config.json, model.safetensors, the heads' .pt files, the tokenizer's files and sentence-transformers'
    /// module descriptions into the existing folder `dir`.
    ///
    /// # Errors
    /// [`ModelError::Write`] with the file that could not be written.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|source| ModelError::Write { path, source })
        };
        let write_json = |name: &str, json: Value| write(name, format!("{json:#}\n").as_bytes());

        write_json("config.json", self.config.to_json())?;
        let tensors = |of_heads: bool| -> Vec<(&str, Tensor)> {
            let flat = &self.parameters.flat;
            self.parameters.named_views(flat).filter(|(name, _)| name.contains("_linear.") == of_heads).collect()
        };
        write_safetensors(&dir.join("model.safetensors"), &tensors(false))?;
        for head in ["colbert_linear", "sparse_linear"] {
            let prefix = format!("{head}.");
            let own: Vec<(&str, Tensor)> =
                tensors(true).into_iter().filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?, t))).collect();
            let path = dir.join(format!("{head}.pt"));
            pickle::write_state_dict(&path, &own).map_err(|source| ModelError::Write { path, source })?;
        }

        let (file, folder) = match self.tokenizer_json() {
            Some(file) => (Some(file.to_owned()), file.parent()),
            None => (None, Some(self.tokenizer.as_path())),
        };
        let beside = folder.into_iter().flat_map(|from| TOKENIZER_FILES.map(|name| (from.join(name), name)));
        for (source, name) in file.map(|file| (file, "tokenizer.json")).into_iter().chain(beside) {
            let path = dir.join(name);
            if source.exists() {
                fs::copy(source, &path).map_err(|source| ModelError::Write { path, source })?;
            }
        }

        let max_len = self.config.max_text_len();
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
}

/// Writes tensors with the metadata that Hugging Face's readers ask for, and syncs the file.
///
/// # Errors
/// [`ModelError::Write`].
pub fn write_safetensors(path: &Path, tensors: &[(&str, Tensor)]) -> Result<(), ModelError> {
    let fail = |source| ModelError::Write { path: path.to_owned(), source };
    let views: Vec<(&str, TensorBytes)> = tensors.iter().map(|(name, t)| (*name, TensorBytes::of(t))).collect();
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

/// A tensor's bytes as the safetensors crate wants them.
struct TensorBytes {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl TensorBytes {
    fn of(tensor: &Tensor) -> Self {
        let dtype = match tensor.kind() {
            tch::Kind::Double => safetensors::Dtype::F64,
            tch::Kind::Int64 => safetensors::Dtype::I64,
            _ => safetensors::Dtype::F32,
        };
        let tensor = tensor.contiguous();
        let mut bytes = vec![0u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Self { dtype, shape: tensor.size().iter().map(|&n| n as usize).collect(), bytes }
    }
}

impl safetensors::View for TensorBytes {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        std::borrow::Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
