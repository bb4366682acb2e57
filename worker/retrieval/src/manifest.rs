//! What an index is of, and what it holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tercet_configs::{Device, Pooling, Precision};

use crate::build::{BlockBuilder, Contents};
use crate::error::IndexError;
use crate::number::Stored;

/// The file that says what the index is of; the first that is written.
pub const SETTINGS: &str = "settings.json";
/// The file that says what the index holds; the last that is written.
pub const MANIFEST: &str = "manifest.json";
/// The folder of blocks.
pub const BLOCKS: &str = "blocks";

/// The version of the formats.
const FORMAT: u32 = 3;

/// Passages whose checksum is one: every block is some of these.
pub const GRAIN: usize = 32;
/// Blocks that a corpus is cut into, if it is neither so large that they become more nor so small that they would be
/// tiny.
const NUM_BLOCKS: u64 = 256;
/// The passages that are enough for a block, whatever their length.
const ENOUGH_PASSAGES: u64 = 256;
/// The text that is enough for a block: some sub-batches of the encoder.
const ENOUGH_TEXT_BYTES: u64 = 64 << 10;
/// The text of a block, about.
const BLOCK_TEXT_BYTES: u64 = 256 << 20;

/// The name of a block's file.
pub fn block_name(number: usize) -> String {
    format!("{number:06}.safetensors")
}

/// How many passages a block of a corpus has. It depends on nothing else, so that any number of ranks makes the same
/// blocks.
pub fn block_len(corpus: &Corpus) -> usize {
    let mean_bytes = corpus.text_bytes / corpus.passages.max(1) + 1;
    let enough = (ENOUGH_TEXT_BYTES / mean_bytes).min(ENOUGH_PASSAGES);
    let wanted = corpus.passages.div_ceil(NUM_BLOCKS).max(enough).min(BLOCK_TEXT_BYTES / mean_bytes);
    (wanted as usize).next_multiple_of(GRAIN).clamp(GRAIN, BlockBuilder::LARGEST)
}

/// What an index is of. Whoever goes on with it must have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The version of the formats.
    pub format: u32,
    /// The model.
    pub model: WeightsOf,
    /// The passages.
    pub corpus: Corpus,
    /// How they were encoded.
    pub encoding: Encoding,
}

/// Checksums of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsOf {
    /// The checksum of all weights, heads' included, as they were read.
    pub weights: String,
    /// The checksum of config.json.
    pub config: String,
    /// The checksum of tokenizer.json.
    pub tokenizer: String,
}

/// A corpus in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corpus {
    /// Passages.
    pub passages: u64,
    /// Bytes of their texts.
    pub text_bytes: u64,
    /// A checksum of their names and texts, in order.
    pub blake3: String,
}

/// What the numbers of an index depend on besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// The heads.
    pub heads: Contents,
    /// How numbers are stored.
    pub stored: Stored,
    /// The encoder's arithmetic.
    pub precision: Precision,
    /// What computed.
    pub device: Device,
    /// How the dense head read a text.
    pub pooling: Pooling,
    /// Tokens between two CLS, if there are several.
    pub mcls: Option<usize>,
    /// What stands before each passage.
    pub passage_prompt: String,
    /// Tokens of a passage at most.
    pub passage_max_len: usize,
    /// Tokens that went through the encoder at a time.
    pub sub_batch_tokens: usize,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// Its file.
    pub file: String,
    /// Passages.
    pub passages: usize,
    /// Their tokens; 0 without the head `bm25`.
    pub tokens: u64,
    /// Their words; 0 without the head `words`.
    pub words: u64,
    /// The file's size.
    pub bytes: u64,
    /// The checksum over its tensors.
    pub blake3: String,
}

/// A finished index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it is of.
    pub settings: Settings,
    /// Its blocks, in order.
    pub blocks: Vec<BlockMeta>,
}

impl Settings {
    /// The manifest of a new index.
    pub fn new(model: WeightsOf, corpus: Corpus, encoding: Encoding) -> Self {
        Self { format: FORMAT, model, corpus, encoding }
    }

    /// What the folder at `dir` has been begun for, if it has been.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>, IndexError> {
        read(&dir.join(SETTINGS))
    }

    /// The file's content.
    ///
    /// # Panics
    /// Never: it is plain JSON.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// What `wanted` has otherwise, as "key: this one's, its".
    pub fn differences(&self, wanted: &Self) -> Vec<String> {
        differences(self, wanted)
    }
}

impl Manifest {
    /// The manifest of the folder at `dir`, if its index is finished.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>, IndexError> {
        read(&dir.join(MANIFEST))
    }

    /// The file's content.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs with string keys always have a form in JSON.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, IndexError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IndexError::file(path)(error)),
    };
    let version = |bytes: &[u8]| {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        value.pointer("/format").or(value.pointer("/settings/format"))?.as_u64()
    };
    match version(&bytes) {
        Some(version) if version != u64::from(FORMAT) => Err(IndexError::Other {
            path: path.to_owned(),
            reason: format!("it is of version {version} of the format, and this program reads {FORMAT}: index again"),
        }),
        _ => serde_json::from_slice(&bytes).map(Some).map_err(|error| IndexError::damaged(path, error.to_string())),
    }
}

/// What `own` has otherwise than `other`, as "key: own's there, other's here".
pub fn differences<T: Serialize>(own: &T, other: &T) -> Vec<String> {
    let [own, other] = [own, other].map(|value| {
        let mut flat = BTreeMap::new();
        // As in `to_json`.
        flatten("", &serde_json::to_value(value).unwrap_or_default(), &mut flat);
        flat
    });
    let shown = |key: &String, of: &BTreeMap<String, Value>| of.get(key).map_or("none".to_owned(), Value::to_string);
    let differing = own.keys().filter(|key| own.get(*key) != other.get(*key));
    differing.map(|key| format!("{key}: {} there, {} here", shown(key, &own), shown(key, &other))).collect()
}

fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            flatten(&key, value, into);
        }),
        _ => _ = into.insert(key.to_owned(), value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let of = |text: &str| text.to_owned();
        Settings::new(
            WeightsOf { weights: of("1"), config: of("2"), tokenizer: of("3") },
            Corpus { passages: 5, text_bytes: 100, blake3: of("4") },
            Encoding {
                heads: Contents { dense: true, lexical: true, bm25: false, words: false },
                stored: Stored::Bf16,
                precision: Precision::Fp32,
                device: Device::Cpu,
                pooling: Pooling::Cls,
                mcls: None,
                passage_prompt: of("passage: "),
                passage_max_len: 8192,
                sub_batch_tokens: 8192,
            },
        )
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let (own, mut other) = (settings(), settings());
        assert!(own.differences(&other).is_empty());
        other.model.weights = "9".into();
        other.encoding.heads.bm25 = true;
        other.encoding.mcls = Some(256);
        let expected = [
            "encoding.heads.bm25: false there, true here",
            "encoding.mcls: null there, 256 here",
            "model.weights: \"1\" there, \"9\" here",
        ];
        assert_eq!(own.differences(&other), expected);
    }

    #[test]
    fn it_is_read_as_it_was_written_and_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::read(dir.path()).unwrap(), None);
        fs::write(dir.path().join(SETTINGS), settings().to_json()).unwrap();
        assert_eq!(Settings::read(dir.path()).unwrap(), Some(settings()));
        let other = Settings { format: 1, ..settings() };
        let manifest = Manifest { settings: other.clone(), blocks: Vec::new() };
        fs::write(dir.path().join(MANIFEST), manifest.to_json()).unwrap();
        let error = Manifest::read(dir.path()).unwrap_err();
        assert!(error.to_string().contains("version 1"), "{error}");
        fs::write(dir.path().join(SETTINGS), "{").unwrap();
        assert!(Settings::read(dir.path()).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn blocks_are_as_large_as_the_corpus_wants() {
        let len =
            |passages, mean: u64| block_len(&Corpus { passages, text_bytes: passages * mean, blake3: String::new() });
        assert_eq!(len(0, 0), 256);
        assert_eq!(len(1000, 100), 256);
        // Few texts for two ranks, if they are long.
        assert_eq!(len(160, 800), 96);
        assert_eq!(len(300, 8000), 32);
        assert_eq!(len(64 * 1000, 500), 256);
        // Of 24 ranks none waits for long.
        assert_eq!(len(493_709, 20_000), 1952);
        assert_eq!(len(106_000_000, 500), 65_536);
        assert_eq!(len(500_000, 30_000), 1984);
        assert_eq!(len(10_000_000, 30_000), 8960);
        assert_eq!(len(1_000_000, 1 << 30), 32);
    }
}
