//! Finds the files of a folder that hold the encoder's weights, in the order in which transformers looks for them.
//!
//! Weights in several files have an index: a JSON object whose `weight_map` names every tensor's file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::json_file::{ModelFolderError, read_json};

/// The format of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// safetensors.
    Safetensors,
    /// `torch.save`.
    Torch,
}

/// A safetensors header is some tens of kilobytes; more than this is no header.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The names to look for: whole, then with an index.
const STANDARD: [(&str, &str, WeightFormat); 2] = [
    ("model.safetensors", "model.safetensors.index.json", WeightFormat::Safetensors),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", WeightFormat::Torch),
];

/// Names of other programs' weights, by their beginning or end.
const OTHERS: [(&str, &str); 10] = [
    ("adapter_model.", "an adapter (LoRA), not a model: merge it into its base model and save that"),
    ("tf_model", "TensorFlow's"),
    ("model.ckpt", "TensorFlow's"),
    ("flax_model", "Flax's"),
    ("rust_model.ot", "rust-bert's"),
    ("consolidated.", "in another layout than Hugging Face's"),
    (".onnx", "ONNX"),
    (".gguf", "GGUF (llama.cpp)"),
    ("openvino", "OpenVINO's"),
    (".incomplete", "a download that was interrupted"),
];

/// What PEFT writes beside an adapter's weights.
const ADAPTER: &str = "adapter_config.json";

const OF_ADAPTER: &str = "the folder is an adapter's (LoRA), which is not read: merge it into its base model \
                          (merge_and_unload in PEFT) and save that";

/// Folders of other programs' weights.
const OTHER_FOLDERS: [(&str, &str); 2] = [("onnx", "ONNX"), ("openvino", "OpenVINO's")];

/// The files that hold a model's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFiles {
    /// Their format.
    pub format: WeightFormat,
    /// The file, or all files that the index names, in order.
    pub files: Vec<PathBuf>,
    /// The index, if there is one.
    pub index: Option<PathBuf>,
    /// Each tensor's file, from the index.
    pub tensors: BTreeMap<String, PathBuf>,
}

impl WeightFiles {
    /// Searches `dir`.
    ///
    /// # Errors
    /// There are no weights, and the error says what is there instead; or the index cannot be followed, and the error
    /// names the missing files.
    pub fn find(dir: &Path) -> Result<Self, ModelFolderError> {
        let adapter = dir.join(ADAPTER);
        if adapter.symlink_metadata().is_ok() {
            // transformers would ignore the weights beside it and apply it to those of its base model.
            let reason = format!("{OF_ADAPTER}, or move this file away if the weights beside it are whole");
            return Err(ModelFolderError::new(&adapter, reason));
        }
        for (whole, index, format) in STANDARD {
            let (whole, index) = (dir.join(whole), dir.join(index));
            // A dangling link counts as existing; opening it gives the error.
            if whole.symlink_metadata().is_ok() {
                return Ok(Self { format, files: vec![whole], index: None, tensors: BTreeMap::new() });
            }
            if index.symlink_metadata().is_ok() {
                return Self::indexed(dir, index, format);
            }
        }
        Err(ModelFolderError::new(dir, none_here(dir)))
    }

    fn indexed(dir: &Path, index: PathBuf, format: WeightFormat) -> Result<Self, ModelFolderError> {
        let fail = |reason: String| ModelFolderError::new(&index, reason);
        let json = read_json(&index)?;
        let map = json.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
        let map = map.ok_or_else(|| fail("has no weight_map, which says which file each tensor is in".into()))?;
        let mut tensors = BTreeMap::new();
        for (name, file) in map {
            let file = file.as_str().ok_or_else(|| fail(format!("weight_map: the file of {name} is {file}")))?;
            let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
            if file.is_empty() || !inside {
                return Err(fail(format!("weight_map: {name} is in {file:?}, outside of the model's folder")));
            }
            tensors.insert(name.clone(), dir.join(file));
        }
        let files: BTreeSet<&PathBuf> = tensors.values().collect();
        let missing = |path: &&&PathBuf| path.symlink_metadata().is_err();
        let missing: Vec<_> = files.iter().filter(missing).map(|path| path.display().to_string()).collect();
        if !missing.is_empty() {
            let (n, all) = (missing.len(), files.len());
            return Err(fail(format!("{n} of {all} shards are missing: {}; fetch them", missing.join(", "))));
        }
        let files = files.into_iter().cloned().collect();
        Ok(Self { format, files, tensors, index: Some(index) })
    }

    /// Whether the weights have BERT's pooler; none if it cannot be told without reading them.
    pub fn has_pooler(&self) -> Option<bool> {
        let is_pooler = |name: &String| name.ends_with("pooler.dense.weight");
        match (self.format, self.files.as_slice()) {
            _ if self.index.is_some() => Some(self.tensors.keys().any(is_pooler)),
            (WeightFormat::Safetensors, [file]) => Some(header(file)?.keys().any(is_pooler)),
            _ => None,
        }
    }
}

/// What a safetensors file says of its tensors.
fn header(path: &Path) -> Option<Map<String, Value>> {
    let mut file = File::open(path).ok()?;
    let mut len = [0; 8];
    file.read_exact(&mut len).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(len).min(MAX_HEADER_BYTES)).read_to_end(&mut header).ok()?;
    serde_json::from_slice(&header).ok()
}

/// Why there are no weights in `dir`, judging by what it holds instead.
fn none_here(dir: &Path) -> String {
    let (mut folders, mut names) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let listed = if entry.path().is_dir() { &mut folders } else { &mut names };
        listed.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    folders.sort();
    let shard = |name: &&String| name.contains("-of-") && (name.ends_with(".safetensors") || name.ends_with(".bin"));
    let seen = if let Some(shard) = names.iter().find(shard) {
        format!("{shard} is one of several shards, whose index (…index.json) is not there: fetch it, too")
    } else if let Some((name, what)) = names.iter().find_map(|name| Some((name, other(name)?))) {
        format!("{name} is {what}")
    } else {
        let may_hold_them = |name: &&String| {
            [".safetensors", ".bin", ".pt", ".pth"]
                .iter()
                .any(|end| name.strip_suffix(end).is_some_and(|stem| !stem.ends_with("_linear")))
                && *name != "training_args.bin"
        };
        let of_others = |folder: &String| {
            let (_, what) = OTHER_FOLDERS.iter().find(|(name, _)| folder == name)?;
            Some(format!("what is in {folder}/ is {what}: fetch the model's weights, too"))
        };
        match names.iter().find(may_hold_them) {
            Some(name) => format!("if {name} holds them, give it one of these names"),
            None => folders.iter().find_map(of_others).unwrap_or_else(|| "fetch the model's weights".into()),
        }
    };
    format!(
        "no weights here: model.safetensors or pytorch_model.bin, whole or in shards with an index, are read (save_pretrained \
         writes them); {seen}"
    )
}

/// What a folder without a config.json is by the names in it: an adapter's, or of another program's weights.
pub(crate) fn of_another_kind(dir: &Path) -> Option<String> {
    if dir.join(ADAPTER).symlink_metadata().is_ok() {
        return Some(OF_ADAPTER.into());
    }
    let names = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut known: Vec<String> = names.filter_map(|name| Some(format!("{name} is {}", other(&name)?))).collect();
    known.sort();
    known.into_iter().next()
}

fn other(name: &str) -> Option<&'static str> {
    OTHERS.iter().find(|(part, _)| name.starts_with(part) || name.ends_with(part)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    #[test]
    fn safetensors_before_pickles_and_whole_before_shards() {
        let index =
            json!({"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}).to_string();
        let mut files = vec![
            ("pytorch_model.bin", ""),
            ("one.safetensors", ""),
            ("two.safetensors", ""),
            ("model.safetensors.index.json", index.as_str()),
        ];
        let dir = folder(&files);
        let found = WeightFiles::find(dir.path()).unwrap();
        assert_eq!(found.format, WeightFormat::Safetensors);
        assert_eq!(found.files, [dir.path().join("one.safetensors"), dir.path().join("two.safetensors")]);
        assert_eq!(found.tensors["c"], found.files[0]);
        files.push(("model.safetensors", ""));
        let dir = folder(&files);
        assert_eq!(WeightFiles::find(dir.path()).unwrap().files, [dir.path().join("model.safetensors")]);
        let dir = folder(&files[..1]);
        assert_eq!(WeightFiles::find(dir.path()).unwrap().format, WeightFormat::Torch);
    }

    #[test]
    fn an_adapter_is_no_model_whatever_lies_beside_it() {
        let dir = folder(&[("model.safetensors", ""), ("adapter_config.json", "{}")]);
        let message = WeightFiles::find(dir.path()).unwrap_err().to_string();
        assert!(message.contains("adapter_config.json") && message.contains("merge"), "{message}");
    }

    #[test]
    fn an_index_that_cannot_be_followed_says_why() {
        for (index, reason) in [
            (json!({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}), "two.safetensors; fetch"),
            (json!({"weight_map": {"a": "../one.safetensors"}}), "outside of the model's folder"),
            (json!({"weight_map": {"a": "/one.safetensors"}}), "outside of the model's folder"),
            (json!({"weight_map": {"a": 1}}), "the file of a is 1"),
            (json!({"weights": {}}), "has no weight_map"),
        ] {
            let dir = folder(&[("model.safetensors.index.json", &index.to_string()), ("one.safetensors", "")]);
            let message = WeightFiles::find(dir.path()).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("index.json"), "{message}");
        }
    }

    #[test]
    fn what_lies_in_the_weights_place_is_named() {
        for (name, reason) in [
            ("tf_model.h5", "tf_model.h5 is TensorFlow's"),
            ("adapter_model.safetensors", "LoRA"),
            ("bge-m3-q8.gguf", "GGUF"),
            ("model.onnx", "ONNX"),
            ("model-00001-of-00002.safetensors", "one of several shards"),
            ("best.pt", "if best.pt holds them"),
            ("README.md", "fetch the model's weights"),
        ] {
            let message = WeightFiles::find(folder(&[(name, "")]).path()).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("pytorch_model.bin"), "{message}");
        }
        let dir = folder(&[("colbert_linear.pt", ""), ("training_args.bin", "")]);
        std::fs::create_dir(dir.path().join("onnx")).unwrap();
        let message = WeightFiles::find(dir.path()).unwrap_err().to_string();
        assert!(message.contains("what is in onnx/ is ONNX"), "{message}");
        std::fs::write(dir.path().join("weights.pt"), "").unwrap();
        let message = WeightFiles::find(dir.path()).unwrap_err().to_string();
        assert!(message.contains("if weights.pt holds them"), "{message}");
    }

    #[test]
    fn a_weights_file_tells_whether_it_has_a_pooler() {
        let has_pooler = |dir: &Path| WeightFiles::find(dir).unwrap().has_pooler();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nano_xlmr/hf");
        assert_eq!(has_pooler(&golden), Some(true));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        std::fs::write(&path, b"\x02\0\0\0\0\0\0\0{}").unwrap();
        assert_eq!(has_pooler(dir.path()), Some(false));
        std::fs::write(&path, b"\xff\xff\xff\xff\xff\xff\xff\xffx").unwrap();
        assert_eq!(has_pooler(dir.path()), None);
        std::fs::remove_file(&path).unwrap();
        let index = r#"{"weight_map": {"bert.pooler.dense.weight": "a.safetensors"}}"#;
        std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
        std::fs::write(dir.path().join("a.safetensors"), b"").unwrap();
        assert_eq!(has_pooler(dir.path()), Some(true));
    }
}
