//! Reads sentence-transformers' files in a model's folder: where the encoder is, how texts are pooled, and which
//! prompts precede them.
//!
//! modules.json lists the modules that a text runs through, each with its class and its folder. Only modules that
//! compute what Tercet computes are accepted: a Transformer, then a Pooling, then Normalize or none. The names of
//! classes and keys are those of sentence-transformers 0.2 to 6. A folder without these files is a plain Hugging Face
//! directory and says nothing.

mod modules;
mod pooling;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::json_file::{ModelFolderError, read_json, read_json_if_there};
use crate::pooling::Pooling;
use crate::prompts::Prompts;
use modules::{TRANSFORMERS, listed};
use pooling::{StoredPooling, stored_pooling};

/// The files of the Transformer's own settings, in the order of the search.
const TRANSFORMER_SETTINGS: [&str; 5] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_distilbert_config.json",
];

/// The files of a tokenizer that lie beside its tokenizer.json.
pub const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "special_tokens.json",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
];

/// A model's folder.
#[derive(Debug)]
pub struct ModelFolder {
    /// The folder with config.json, weights and tokenizer.
    pub transformer: PathBuf,
    /// The folder with modules.json if there is one, else the same folder.
    pub root: PathBuf,
    /// Whether vectors are scaled to length 1, if the folder says: its modules end in a Normalize, or it compares by
    /// cosine.
    pub normalize: Option<bool>,
    /// The prompts before texts.
    pub prompts: Prompts,
    /// The largest number of tokens of a text, special ones included, if the folder says.
    pub max_seq_len: Option<usize>,
    /// Whether texts are put in lower case before they are tokenised.
    pub lower_case: bool,
    /// The content of config_sentence_transformers.json; empty if there is none.
    pub settings: Map<String, Value>,
    pooling: StoredPooling,
}

impl ModelFolder {
    /// Reads `dir`: a folder with modules.json, one that such a folder names as its Transformer, or a plain one.
    ///
    /// # Errors
    /// An existing file cannot be read, or the modules compute something else. Missing files are no error.
    pub fn open(dir: &Path) -> Result<Self, ModelFolderError> {
        if let Some(modules) = read_json_if_there(&dir.join("modules.json"))? {
            return Self::of_modules(dir, &modules);
        }
        if let Some(outer) = outer(dir) {
            let modules = read_json(&outer.join("modules.json"))?;
            return Self::of_modules(&outer, &modules);
        }
        let pooling = match read_json_if_there(&dir.join("1_Pooling/config.json"))? {
            Some(json) => stored_pooling(&dir.join("1_Pooling/config.json"), &json)?,
            None => StoredPooling::Unsaid,
        };
        Self::with_settings(dir, dir.to_owned(), pooling, None)
    }

    /// The folder `dir` as one that says nothing, for callers that take no model from it.
    pub fn plain(dir: &Path) -> Self {
        Self {
            transformer: dir.to_owned(),
            root: dir.to_owned(),
            normalize: None,
            prompts: Prompts::default(),
            max_seq_len: None,
            lower_case: false,
            settings: Map::new(),
            pooling: StoredPooling::Unsaid,
        }
    }

    fn of_modules(root: &Path, modules: &Value) -> Result<Self, ModelFolderError> {
        let path = root.join("modules.json");
        let modules = listed(modules).map_err(|reason| ModelFolderError::new(&path, reason))?;
        let order = modules.iter().map(|module| module.class).collect::<Vec<_>>().join(", ");
        let [first, rest @ ..] = modules.as_slice() else {
            return Err(ModelFolderError::new(&path, "lists no modules"));
        };
        let (pooling, ends) = match rest {
            [pooling, ends @ ..] if pooling.class == "Pooling" => (Some(pooling), ends),
            ends => (None, ends),
        };
        let known = TRANSFORMERS.contains(&first.class) && ends.iter().all(|module| module.class == "Normalize");
        if first.is_other() {
            let reason = format!(
                "the module {:?} ({}) is not supported: sentence-transformers' Transformer is expected first",
                first.path, first.full
            );
            return Err(ModelFolderError::new(&path, reason));
        }
        if let Some(other) = rest.iter().find(|module| module.is_other()) {
            let class = if other.own { other.class } else { other.full };
            let reason = format!(
                "the module {:?} ({class}) is not supported: it changes the vectors of Transformer, Pooling and \
                 Normalize; to use the model without it, name the Transformer's folder with a copy of the files that \
                 has no modules.json",
                other.path
            );
            return Err(ModelFolderError::new(&path, reason));
        }
        if !known {
            let reason =
                format!("the modules are {order}: Transformer, Pooling and then Normalize or none are expected");
            return Err(ModelFolderError::new(&path, reason));
        }
        let stored = match pooling {
            Some(module) => {
                let path = root.join(&module.path).join("config.json");
                stored_pooling(&path, &read_json(&path)?)?
            }
            None => StoredPooling::Other(ModelFolderError::new(&path, "lists no Pooling after its Transformer")),
        };
        let transformer = if first.path.is_empty() { root.to_owned() } else { root.join(&first.path) };
        if !transformer.is_dir() {
            let reason = format!("names the folder {:?} as the Transformer's, and it is not there", first.path);
            return Err(ModelFolderError::new(&path, reason));
        }
        Self::with_settings(root, transformer, stored, Some(!ends.is_empty()))
    }

    /// Reads the settings beside the modules. `ends_normalised` is whether these end in a Normalize, and none without
    /// modules.
    fn with_settings(
        root: &Path,
        transformer: PathBuf,
        pooling: StoredPooling,
        ends_normalised: Option<bool>,
    ) -> Result<Self, ModelFolderError> {
        let path = root.join("config_sentence_transformers.json");
        let settings = match read_json_if_there(&path)? {
            Some(Value::Object(settings)) => settings,
            Some(_) => return Err(ModelFolderError::new(&path, "is not a JSON object")),
            None => Map::new(),
        };
        let prompts = Prompts::read(&settings).map_err(|reason| ModelFolderError::new(&path, reason))?;
        // Even without a Normalize, cosines are dot products of vectors scaled to length 1.
        let by_cosine = match settings.get("similarity_fn_name") {
            // sentence-transformers compares by cosine by default.
            None | Some(Value::Null) => true,
            Some(Value::String(name)) if name == "cosine" || name == "cos_sim" => true,
            Some(Value::String(name)) if name == "dot" || name == "dot_score" || ends_normalised == Some(true) => false,
            Some(other) => {
                let reason = format!("similarity_fn_name is {other}: cosine and dot are supported");
                return Err(ModelFolderError::new(&path, reason));
            }
        };
        let (max_seq_len, lower_case) = transformer_settings(&transformer)?;
        let normalize = ends_normalised.map(|ends| ends || by_cosine);
        Ok(Self { transformer, root: root.to_owned(), normalize, prompts, max_seq_len, lower_case, settings, pooling })
    }

    /// The pooling to compute with: the requested one, else the folder's, else CLS.
    ///
    /// # Errors
    /// None was requested, and the folder names one that Tercet does not compute.
    pub fn pooling(&self, asked: Option<Pooling>) -> Result<Pooling, ModelFolderError> {
        match (asked, &self.pooling) {
            (Some(pooling), _) => Ok(pooling),
            (None, StoredPooling::Said(pooling)) => Ok(*pooling),
            (None, StoredPooling::Unsaid) => Ok(Pooling::Cls),
            (None, StoredPooling::Other(error)) => Err(ModelFolderError::new(
                &error.path,
                format!(
                    "{}: cls and mean pooling are supported; to use one of them anyway, ask for it (--pooling, or \
                     model.pooling in a recipe)",
                    error.reason
                ),
            )),
        }
    }

    /// A remark if the folder has another pooling than `asked`.
    pub fn remark_on(&self, asked: Option<Pooling>) -> Option<String> {
        let asked = asked?;
        let said = match &self.pooling {
            StoredPooling::Unsaid => return None,
            StoredPooling::Said(said) if *said == asked => return None,
            StoredPooling::Said(said) => {
                format!("{}: the model was made with {} pooling", self.root.display(), said.name())
            }
            StoredPooling::Other(error) => error.to_string(),
        };
        Some(format!("{said}; it is used with {} pooling, as asked for", asked.name()))
    }

    /// The file `name` of the model, in the Transformer's folder or beside modules.json.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        // A dangling link counts as existing; opening it gives the error.
        [&self.transformer, &self.root]
            .into_iter()
            .map(|dir| dir.join(name))
            .find(|path| path.symlink_metadata().is_ok())
    }
}

/// The folder above `dir` whose modules.json names `dir` as its Transformer, if `dir` holds a model.
fn outer(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok().filter(|dir| dir.join("config.json").exists())?;
    let outer = dir.parent()?;
    // A file of another kind in the outer folder does not concern this one.
    let modules = read_json_if_there(&outer.join("modules.json")).ok()??;
    let first = listed(&modules).ok()?.first()?.path.clone();
    (!first.is_empty() && outer.join(first) == dir).then(|| outer.to_owned())
}

/// Reads `max_seq_length` and `do_lower_case` from the Transformer's settings.
fn transformer_settings(transformer: &Path) -> Result<(Option<usize>, bool), ModelFolderError> {
    for name in TRANSFORMER_SETTINGS {
        let path = transformer.join(name);
        let Some(json) = read_json_if_there(&path)? else { continue };
        let wrong = |key: &str, expected: &str| {
            ModelFolderError::new(&path, format!("{key} is {}: {expected} is expected", json[key]))
        };
        let max_len = match json.get("max_seq_length") {
            None | Some(Value::Null) => None,
            Some(len) => {
                let len = len.as_u64().filter(|&len| len > 0).and_then(|len| usize::try_from(len).ok());
                Some(len.ok_or_else(|| wrong("max_seq_length", "a number of tokens"))?)
            }
        };
        let lower = match json.get("do_lower_case") {
            None | Some(Value::Null) => false,
            Some(lower) => lower.as_bool().ok_or_else(|| wrong("do_lower_case", "true or false"))?,
        };
        return Ok((max_len, lower));
    }
    Ok((None, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(dir: &Path, name: &str, json: Value) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, json.to_string()).unwrap();
    }

    fn modules(classes: &[(&str, &str)]) -> Value {
        let module = |(i, (path, class)): (usize, &(&str, &str))| json!({"idx": i, "name": i.to_string(), "path": path, "type": class});
        classes.iter().enumerate().map(module).collect()
    }

    fn standard(dir: &Path, pooling: Value) {
        let classes =
            [("", "sentence_transformers.models.Transformer"), ("1_Pooling", "sentence_transformers.models.Pooling")];
        put(dir, "modules.json", modules(&classes));
        put(dir, "1_Pooling/config.json", pooling);
    }

    #[test]
    fn a_pooling_is_read_in_both_forms() {
        let dir = tempfile::tempdir().unwrap();
        for (json, expected) in [
            (json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}), Pooling::Cls),
            (json!({"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}), Pooling::Mean),
            (json!({"pooling_mode": "mean", "include_prompt": true}), Pooling::Mean),
            (json!({"pooling_mode": ["cls"]}), Pooling::Cls),
            (json!({"pooling_mode": "cls", "pooling_mode_mean_tokens": true}), Pooling::Cls),
            (json!({}), Pooling::Mean),
        ] {
            standard(dir.path(), json.clone());
            let folder = ModelFolder::open(dir.path()).unwrap();
            assert_eq!(folder.pooling(None).unwrap(), expected, "{json}");
            assert_eq!(folder.remark_on(None), None);
            assert_eq!(folder.remark_on(Some(expected)), None);
        }
        let plain = tempfile::tempdir().unwrap();
        assert_eq!(ModelFolder::open(plain.path()).unwrap().pooling(None).unwrap(), Pooling::Cls);
    }

    #[test]
    fn another_pooling_is_refused_unless_one_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for (json, reason) in [
            (json!({"pooling_mode": "lasttoken"}), "\"lasttoken\""),
            (json!({"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false}), "\"max\""),
            (json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}), "cls, mean, one after another"),
            (json!({"pooling_mode_cls_token": true}), "cls, mean, one after another"),
            (json!({"pooling_mode": "mean", "include_prompt": false}), "include_prompt is false"),
        ] {
            standard(dir.path(), json);
            let folder = ModelFolder::open(dir.path()).unwrap();
            let message = folder.pooling(None).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("--pooling"), "{message}");
            assert_eq!(folder.pooling(Some(Pooling::Mean)).unwrap(), Pooling::Mean);
            assert!(folder.remark_on(Some(Pooling::Mean)).unwrap().contains(reason));
        }
        for (json, reason) in [
            (json!({"pooling_mode": 3}), "pooling_mode is 3"),
            (json!({"pooling_mode_cls_token": "yes"}), "pooling_mode_cls_token is \"yes\""),
        ] {
            standard(dir.path(), json);
            let message = ModelFolder::open(dir.path()).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("1_Pooling/config.json"), "{message}");
        }
        std::fs::remove_file(dir.path().join("1_Pooling/config.json")).unwrap();
        assert!(ModelFolder::open(dir.path()).unwrap_err().to_string().contains("1_Pooling/config.json"));
    }

    #[test]
    fn modules_say_where_the_model_is() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("0_Transformer");
        let classes = [
            ("0_Transformer", "sentence_transformers.models.Transformer"),
            ("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"),
        ];
        put(dir.path(), "modules.json", modules(&classes));
        put(dir.path(), "1_Pooling/config.json", json!({"pooling_mode_mean_tokens": true}));
        let message = ModelFolder::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("\"0_Transformer\"") && message.contains("not there"), "{message}");
        put(&inner, "config.json", json!({}));
        put(&inner, "sentence_bert_config.json", json!({"max_seq_length": 128, "do_lower_case": true}));
        for path in [dir.path(), &inner] {
            let folder = ModelFolder::open(path).unwrap();
            assert_eq!(folder.transformer, inner);
            assert_eq!(folder.root, dir.path());
            assert_eq!(folder.pooling(None).unwrap(), Pooling::Mean);
            assert_eq!((folder.max_seq_len, folder.lower_case), (Some(128), true));
            assert_eq!(folder.normalize, Some(true), "compared by cosine");
        }
        put(dir.path(), "config_sentence_transformers.json", json!({"similarity_fn_name": "euclidean"}));
        assert!(ModelFolder::open(dir.path()).is_err());
        put(dir.path(), "config_sentence_transformers.json", json!({"similarity_fn_name": "dot"}));
        assert_eq!(ModelFolder::open(dir.path()).unwrap().normalize, Some(false));
    }

    #[test]
    fn modules_of_another_kind_or_order_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let [transformer, pooling, dense, normalize] = ["Transformer", "Pooling", "Dense", "Normalize"]
            .map(|class| format!("sentence_transformers.models.{class}"));
        put(dir.path(), "1_Pooling/config.json", json!({"pooling_mode": "cls"}));
        for (classes, reason) in [
            (vec![("", &*transformer), ("1_Pooling", &*pooling), ("2_Dense", &*dense)], "\"2_Dense\" (Dense)"),
            (vec![("", "custom.Transformer"), ("1_Pooling", &*pooling)], "(custom.Transformer) is not supported"),
            (
                vec![("", &*transformer), ("2", &*normalize), ("1_Pooling", &*pooling)],
                "Transformer, Normalize, Pooling",
            ),
            (vec![("1_Pooling", &*pooling)], "the modules are Pooling"),
            (vec![("../other", &*transformer)], "outside of the model's folder"),
            (vec![("..\\other", &*transformer)], "outside of the model's folder"),
            (vec![], "lists no modules"),
        ] {
            put(dir.path(), "modules.json", modules(&classes));
            let message = ModelFolder::open(dir.path()).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("modules.json"), "{message}");
            assert_eq!(message.contains("use the model without it"), reason.contains("2_Dense"), "{message}");
        }
        for [root, inner] in [[".", "./1_Pooling/"], [".\\", ".\\1_Pooling"]] {
            put(dir.path(), "modules.json", modules(&[(root, &*transformer), (inner, &*pooling)]));
            let folder = ModelFolder::open(dir.path()).unwrap();
            assert_eq!((folder.transformer.as_path(), folder.pooling(None).unwrap()), (dir.path(), Pooling::Cls));
        }
        put(dir.path(), "modules.json", modules(&[("", &*transformer)]));
        let message = ModelFolder::open(dir.path()).unwrap().pooling(None).unwrap_err().to_string();
        assert!(message.contains("no Pooling"), "{message}");
    }
}
