//! Reads a model from a Hugging Face or sentence-transformers folder, or draws a fresh one from a config.json.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};
use tercet_configs::{EncoderConfig, ModelFolder, Prompts, in_its_place};
use tercet_sampler::{SpecialTokens, TextTokenizer, TokenizeError};

use super::weights::Weights;
use super::{M3Model, ModelError, ModelOptions, Origin, Parameters, Spec, encoder, heads};
use crate::allocator;

impl M3Model {
    /// Reads `dir`: config.json, the weights (model.safetensors or pytorch_model.bin, whole or in shards), and the heads from
    /// colbert_linear.pt and sparse_linear.pt if they are there (drawn afresh otherwise, as for a model that never had them).
    /// Where the model lies and how it pools is as sentence-transformers' files say, if there are any.
    ///
    /// # Errors
    /// A missing or broken file by name; weights that are missing or of another shape, all of them listed; a model that
    /// computes something else.
    pub fn load(dir: &Path, options: &ModelOptions, device: Device, kind: Kind) -> Result<Self, ModelError> {
        let folder = ModelFolder::open(dir)?;
        let mut config = EncoderConfig::load(&folder.transformer.join("config.json"))?;
        let (tokenizer, special) = special_tokens(&folder, options.tokenizer.as_deref())?;
        check_padding(&config, &special, &folder.transformer.join("config.json"), &tokenizer)?;
        let pooling = folder.pooling(options.pooling)?;
        let Weights { tensors: weights, path, mut remarks } = Weights::read(&folder, &config)?;
        remarks.extend(folder.remark_on(options.pooling));
        if let (Some(asked), Some(said)) = (options.normalize, folder.normalize)
            && asked != said
        {
            let root = folder.root.display();
            remarks.push(format!(
                "{root}: the model was made with normalize = {said}; it is used with {asked}, as asked for"
            ));
        }
        remarks.extend(remark_on_lengths(&folder, &config));
        remarks.extend(remark_on_case(&tokenizer));
        let multi_vector_dim = weights.get("colbert_linear.weight").and_then(|w| Some(*w.size().first()? as usize));
        if let Some(found) = multi_vector_dim.filter(|&f| options.multi_vector_dim > 0 && options.multi_vector_dim != f)
        {
            let wanted = options.multi_vector_dim;
            return Err(ModelError::Setting(format!(
                "model.multi_vector_dim is {wanted}, but {} holds a head of width {found}",
                folder.file("colbert_linear.pt").unwrap_or(path).display()
            )));
        }
        let learned_positions = config.max_position_embeddings;
        extend_positions(&mut config, options);
        let dim = multi_vector_dim.unwrap_or(wanted_dim(&config, options));
        let with_pooler = weights.contains_key("pooler.dense.weight");
        let specs = all_specs(&config, dim, with_pooler);
        // Before there is room for them: sizes that do not fit may be of any size.
        let problems = misfits(&specs, &weights, &config, learned_positions, &folder);
        if !problems.is_empty() {
            let of_heads: Option<Vec<PathBuf>> = problems.iter().map(|problem| head_file(&folder, problem)).collect();
            let path = of_heads.map_or(path, |mut files| files.swap_remove(0));
            return Err(ModelError::Weights { path, problems });
        }
        let mut parameters = Parameters::new(specs, kind, device);
        let fresh = fill(&mut parameters, &weights, &config, options.seed);
        check_finite(&parameters, &special, &folder, &path)?;
        remarks.extend(remarks_on_heads(&folder, &fresh));
        // The weights as they were read are as large as the model, and in pieces that nothing later fits into.
        drop(weights);
        allocator::give_back();
        let max_len = config.max_text_len();
        let extended = config.max_position_embeddings > learned_positions;
        let origin = Origin {
            special,
            fresh,
            tokenizer,
            normalize: options.normalize.or(folder.normalize).unwrap_or(true),
            max_seq_len: folder.max_seq_len.filter(|_| !extended).map_or(max_len, |len| len.min(max_len)),
            prompts: folder.prompts,
            settings: folder.settings,
            remarks,
        };
        Ok(Self::assemble(config, parameters, pooling, origin))
    }

    /// A model of fresh weights as the config.json at `path` describes.
    ///
    /// # Errors
    /// An unreadable config or tokenizer.
    pub fn fresh(path: &Path, options: &ModelOptions, device: Device, kind: Kind) -> Result<Self, ModelError> {
        let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let folder = ModelFolder::plain(beside.unwrap_or(Path::new(".")));
        let mut config = EncoderConfig::load(path)?;
        extend_positions(&mut config, options);
        let (tokenizer, special) = special_tokens(&folder, options.tokenizer.as_deref())?;
        check_padding(&config, &special, path, &tokenizer)?;
        let specs = all_specs(&config, wanted_dim(&config, options), true);
        let fresh = specs.iter().map(|spec| spec.name.clone()).collect();
        let mut parameters = Parameters::new(specs, kind, device);
        tch::manual_seed(options.seed as i64);
        parameters.initialise(|_| true);
        let origin = Origin {
            special,
            fresh,
            tokenizer,
            normalize: options.normalize.unwrap_or(true),
            max_seq_len: config.max_text_len(),
            prompts: Prompts::default(),
            settings: Map::new(),
            remarks: Vec::new(),
        };
        Ok(Self::assemble(config, parameters, options.pooling.unwrap_or_default(), origin))
    }
}

/// The encoder's weights, then the heads'.
fn all_specs(config: &EncoderConfig, multi_vector_dim: usize, with_pooler: bool) -> Vec<Spec> {
    let mut specs = encoder::specs(config);
    if with_pooler {
        specs.extend(encoder::pooler_specs(config));
    }
    specs.extend(heads::specs(config, multi_vector_dim));
    specs
}

fn wanted_dim(config: &EncoderConfig, options: &ModelOptions) -> usize {
    if options.multi_vector_dim > 0 { options.multi_vector_dim } else { config.hidden_size }
}

fn extend_positions(config: &mut EncoderConfig, options: &ModelOptions) {
    config.max_position_embeddings = config.max_position_embeddings.max(options.max_position_embeddings);
    if let Some(p) = options.dropout {
        (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (p, p);
    }
}

/// What does not fit: every weight that is missing or of another shape.
fn misfits(
    specs: &[Spec],
    weights: &BTreeMap<String, Tensor>,
    config: &EncoderConfig,
    learned_positions: usize,
    folder: &ModelFolder,
) -> Vec<String> {
    // The list is headed by the encoder's file.
    let of_file = |spec: &Spec| head_file(folder, &spec.name).map(|file| format!(", in {}", file.display()));
    let mut problems: Vec<String> = specs
        .iter()
        .filter_map(|spec| match weights.get(&spec.name) {
            Some(found) if found.size() == spec.shape || is_extended(spec, found, learned_positions) => None,
            Some(found) => {
                let place = of_file(spec).unwrap_or_default();
                Some(format!("{}: expected {:?}, found {:?}{place}", spec.name, spec.shape, found.size()))
            }
            None if spec.name.contains("_linear.") => None,
            None => Some(format!("{}: expected {:?}, not in the file", spec.name, spec.shape)),
        })
        .collect();
    if !problems.is_empty() && !config.defaults.is_empty() {
        let defaults = config.defaults.join(", ");
        problems.push(format!("config.json lacks keys, for which Hugging Face's defaults stand: {defaults}"));
    }
    problems
}

/// The file of its own that a head's weight is from.
fn head_file(folder: &ModelFolder, weight: &str) -> Option<PathBuf> {
    let (head, _) = weight.split_once("_linear.")?;
    folder.file(&format!("{head}_linear.pt"))
}

/// RoBERTa's family counts positions from the padding id, which config.json and the tokenizer both state. BERT's does not.
fn check_padding(
    config: &EncoderConfig,
    special: &SpecialTokens,
    path: &Path,
    tokenizer: &Path,
) -> Result<(), ModelError> {
    if config.model_type == "bert" || config.pad_token_id == special.pad as usize {
        return Ok(());
    }
    let reason = format!(
        "pad_token_id is {}, from which positions are counted, and the padding token of {} has the id {}: put right the \
         one that is not as the model was made with",
        config.pad_token_id,
        tokenizer.display(),
        special.pad
    );
    Err(ModelError::File { path: path.to_owned(), reason })
}

/// Refuses weights that leave no text a number. Rows of the word embeddings concern the texts with that token alone, and
/// show there; the one of CLS is every text's. Nothing is computed with the pooler.
fn check_finite(
    parameters: &Parameters,
    special: &SpecialTokens,
    folder: &ModelFolder,
    path: &Path,
) -> Result<(), ModelError> {
    // A sum takes no memory. One of finite numbers may be too large, all the same.
    let is_finite = |tensor: &Tensor| {
        tensor.sum(tensor.kind()).double_value(&[]).is_finite() || tensor.isfinite().all().int64_value(&[]) != 0
    };
    let _guard = tch::no_grad_guard();
    let is_bad = |spec: &&Spec| {
        let leaf = parameters.leaf(&spec.name);
        match spec.name.as_str() {
            name if name.starts_with("pooler.") => false,
            name if name == encoder::EMBEDDING_TABLES[0] => {
                let cls = i64::from(special.cls);
                cls < leaf.size()[0] && !is_finite(&leaf.get(cls))
            }
            _ => !is_finite(&leaf),
        }
    };
    let Some(bad) = parameters.specs().iter().find(is_bad) else { return Ok(()) };
    let path = head_file(folder, &bad.name).unwrap_or_else(|| path.to_owned());
    let reason =
        format!("{} holds numbers that are not finite (NaN or infinity): fetch or make the model again", bad.name);
    Err(ModelError::File { path, reason })
}

/// Copies the files' weights into place; returns the names that were drawn afresh.
fn fill(
    parameters: &mut Parameters,
    weights: &BTreeMap<String, Tensor>,
    config: &EncoderConfig,
    seed: u64,
) -> Vec<String> {
    let _guard = tch::no_grad_guard();
    let mut fresh = Vec::new();
    for spec in parameters.specs() {
        let mut target = parameters.leaf(&spec.name);
        match weights.get(&spec.name) {
            Some(found) if found.size() == spec.shape => target.copy_(found),
            Some(found) => target.copy_(&repeat_positions(found, config)),
            None => fresh.push(spec.name.clone()),
        }
    }
    tch::manual_seed(seed as i64);
    let names: HashSet<&String> = fresh.iter().collect();
    parameters.initialise(|name| names.contains(&name.to_owned()));
    fresh
}

fn is_extended(spec: &Spec, found: &Tensor, learned_positions: usize) -> bool {
    spec.name == encoder::EMBEDDING_TABLES[1]
        && found.size() == [learned_positions as i64, spec.shape[1]]
        && spec.shape[0] > found.size()[0]
}

/// Learned positions, repeated after their end until all are filled: each new one starts as a copy of one whose
/// neighbours are its neighbours' copies, which keeps what the encoder knows of local order.
fn repeat_positions(learned: &Tensor, config: &EncoderConfig) -> Tensor {
    let first = config.first_position() as i64;
    let usable = learned.size()[0] - first;
    let rows: Vec<i64> = (0..config.max_position_embeddings as i64)
        .map(|row| if row < first { row } else { first + (row - first) % usable })
        .collect();
    learned.index_select(0, &Tensor::from_slice(&rows).to_device(learned.device()))
}

/// From `tokenizer`, tokenizer.json or special_tokens.json of `folder`; with the file, or the directory for the last.
fn special_tokens(folder: &ModelFolder, tokenizer: Option<&Path>) -> Result<(PathBuf, SpecialTokens), ModelError> {
    let file = |path: &Path, reason: String| ModelError::File { path: path.to_owned(), reason };
    // A model's folder stands for the file in it.
    let named = tokenizer.map(|path| if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() });
    if let Some(path) = named.or_else(|| folder.file("tokenizer.json")) {
        let mut head = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(512).read_to_end(&mut head));
        read.map_err(|e| file(&path, e.to_string()))?;
        if let Some(instead) = in_its_place(&head) {
            return Err(file(&path, instead.into()));
        }
        let tokenizer = TextTokenizer::load(&path).map_err(|e| file(&path, e.to_string()))?;
        if folder.lower_case && !lower_cases(&path) {
            let reason = "do_lower_case is true in the model's sentence_bert_config.json, and no normalizer here puts texts \
                          in lower case: add {\"type\": \"Lowercase\"} to its normalizer, or set do_lower_case to false";
            return Err(file(&path, reason.into()));
        }
        return Ok((path, *tokenizer.special()));
    }
    let dir = &folder.transformer;
    let path = dir.join("special_tokens.json");
    let text = std::fs::read_to_string(&path).map_err(|_| {
        let slow = [dir, &folder.root].into_iter().find_map(|dir| {
            TextTokenizer::load(&dir.join("tokenizer.json")).err().filter(|e| matches!(e, TokenizeError::Slow { .. }))
        });
        let neither = "neither tokenizer.json nor special_tokens.json is here: put the model's tokenizer.json there";
        slow.map_or_else(|| file(dir, neither.into()), |slow| ModelError::Setting(slow.to_string()))
    })?;
    let special = serde_json::from_str(&text).map_err(|e| file(&path, e.to_string()))?;
    Ok((dir.clone(), special))
}

/// Whether the normalizer of the tokenizer.json at `path` puts texts in lower case.
fn lower_cases(path: &Path) -> bool {
    fn lowers(normalizer: &Value) -> bool {
        match normalizer["type"].as_str() {
            Some("Lowercase") => true,
            Some("BertNormalizer") => normalizer["lowercase"].as_bool().unwrap_or(false),
            Some("Sequence") => normalizer["normalizers"].as_array().is_some_and(|steps| steps.iter().any(lowers)),
            _ => false,
        }
    }
    let json = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    json.is_some_and(|json| lowers(&json["normalizer"]))
}

/// What is to be said where sentence-transformers cuts texts shorter than the model's positions allow.
fn remark_on_lengths(folder: &ModelFolder, config: &EncoderConfig) -> Option<String> {
    let (cut, limit) = (folder.max_seq_len?, config.max_text_len());
    (cut < limit).then(|| {
        format!(
            "{}: the model was made for texts of up to {cut} tokens (max_seq_length); they are cut at the lengths asked for \
             here, up to {limit}",
            folder.root.display()
        )
    })
}

/// What is to be said of heads drawn afresh whose weights may lie in a file that is not looked for.
fn remarks_on_heads(folder: &ModelFolder, fresh: &[String]) -> Vec<String> {
    let unread = |head: &str| {
        let is_fresh = fresh.iter().any(|name| name.strip_prefix(head) == Some(".weight"));
        let endings = ["safetensors", "bin", "pth"].into_iter().filter(|_| is_fresh);
        let file = endings.filter_map(|ending| folder.file(&format!("{head}.{ending}"))).next()?;
        Some(format!(
            "{} is not read, and {head} is drawn afresh: {head}.pt (torch.save) is looked for",
            file.display()
        ))
    };
    ["colbert_linear", "sparse_linear"].into_iter().filter_map(unread).collect()
}

/// What is to be said where transformers would put other texts in lower case than tokenizer.json does: its BERT tokenizers
/// go by tokenizer_config.json.
fn remark_on_case(tokenizer: &Path) -> Option<String> {
    let read = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok();
    let config_path = tokenizer.with_file_name("tokenizer_config.json");
    let config = read(&config_path).filter(|c| c["tokenizer_class"].as_str().is_some_and(|c| c.starts_with("Bert")))?;
    let asked = config["do_lower_case"].as_bool()?;
    let json = read(tokenizer)?;
    let normalizer = Some(&json["normalizer"]).filter(|normalizer| normalizer["type"] == "BertNormalizer")?;
    let done = normalizer["lowercase"].as_bool().filter(|done| *done != asked)?;
    Some(format!(
        "{}: do_lower_case is {asked}, and the normalizer of {} has lowercase {done}: texts are tokenised as the latter says",
        config_path.display(),
        tokenizer.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostTensor, pickle};

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nano_xlmr/hf")
    }

    /// A copy of the golden model whose weights went through `change` and into `file`.
    fn changed(file: &str, change: impl Fn(&str, Tensor) -> Option<(String, Tensor)>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "special_tokens.json", "colbert_linear.pt", "sparse_linear.pt"] {
            std::fs::copy(golden().join(name), dir.path().join(name)).unwrap();
        }
        let tensors = Tensor::read_safetensors(golden().join("model.safetensors")).unwrap();
        let tensors: Vec<(String, Tensor)> = tensors.into_iter().filter_map(|(n, t)| change(&n, t)).collect();
        let tensors: Vec<(&str, HostTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t.into())).collect();
        let path = dir.path().join(file);
        let tensors: Vec<(&str, &HostTensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
        if file.ends_with(".bin") {
            pickle::write_state_dict(&path, &tensors).unwrap();
        } else {
            crate::model::write_safetensors(&path, &tensors).unwrap();
        }
        dir
    }

    fn load(dir: &Path, options: &ModelOptions) -> Result<M3Model, ModelError> {
        M3Model::load(dir, options, Device::Cpu, Kind::Float)
    }

    #[test]
    fn prefixes_a_missing_pooler_and_pickled_weights_make_the_same_model() {
        let plain = load(&golden(), &ModelOptions::default()).unwrap();
        let without_pooler = |prefix: &'static str| {
            move |name: &str, t: Tensor| (!name.starts_with("pooler")).then(|| (format!("{prefix}{name}"), t))
        };
        for (file, prefix) in
            [("model.safetensors", "roberta."), ("model.safetensors", "bert."), ("pytorch_model.bin", "")]
        {
            let dir = changed(file, without_pooler(prefix));
            let model = load(dir.path(), &ModelOptions::default()).unwrap();
            assert!(model.fresh.is_empty());
            for spec in model.parameters.specs() {
                assert_eq!(model.parameters.leaf(&spec.name), plain.parameters.leaf(&spec.name), "{}", spec.name);
            }
        }
    }

    #[test]
    fn the_config_alone_tells_how_many_weights_there_are() {
        let with = load(&golden(), &ModelOptions::default()).unwrap();
        assert!(with.parameters.contains("pooler.dense.weight"));
        assert_eq!(with.config.num_parameters(with.multi_vector_dim, true) as i64, with.parameters.numel());
        let dir = changed("model.safetensors", |n, t| (!n.starts_with("pooler")).then(|| (n.into(), t)));
        let longer = ModelOptions { max_position_embeddings: 100, ..Default::default() };
        let without = load(dir.path(), &longer).unwrap();
        assert_eq!(without.config.num_parameters(without.multi_vector_dim, false) as i64, without.parameters.numel());
    }

    #[test]
    fn every_weight_that_does_not_fit_is_listed_with_its_shapes() {
        let dir = changed("model.safetensors", |name, t| match name {
            "embeddings.LayerNorm.bias" => None,
            "encoder.layer.1.output.dense.weight" => Some((name.into(), t.tr().contiguous())),
            _ => Some((name.into(), t)),
        });
        let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
        assert!(message.contains("embeddings.LayerNorm.bias: expected [16], not in the file"), "{message}");
        assert!(
            message.contains("encoder.layer.1.output.dense.weight: expected [16, 32], found [32, 16]"),
            "{message}"
        );
    }

    #[test]
    fn a_head_that_does_not_fit_is_named_with_its_file() {
        let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        write(&dir.path().join("sparse_linear.pt"), &[("weight", zeros(&[1, 8])), ("bias", zeros(&[1]))]);
        let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
        let file = dir.path().join("sparse_linear.pt");
        let expected = format!("sparse_linear.weight: expected [1, 16], found [1, 8], in {}", file.display());
        assert!(message.contains(&expected) && !message.contains("model.safetensors"), "{message}");
    }

    #[test]
    fn padding_that_positions_are_not_counted_from_is_refused() {
        let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
        let special = std::fs::read_to_string(golden().join("special_tokens.json")).unwrap();
        let path = dir.path().join("special_tokens.json");
        std::fs::write(&path, special.replace("\"pad_token_id\": 1", "\"pad_token_id\": 4")).unwrap();
        let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
        assert!(message.contains("pad_token_id is 1") && message.contains("has the id 4"), "{message}");
        let config = dir.path().join("config.json");
        assert!(M3Model::fresh(&config, &ModelOptions::default(), Device::Cpu, Kind::Float).is_err());

        std::fs::remove_file(path).unwrap();
        std::fs::write(dir.path().join("vocab.txt"), "").unwrap();
        let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
        assert!(message.contains("vocab.txt") && message.contains("AutoTokenizer"), "{message}");
    }

    #[test]
    fn weights_that_are_not_finite_are_refused_where_every_text_meets_them() {
        for (bad, row) in [("encoder.layer.1.output.dense.weight", 3), (encoder::EMBEDDING_TABLES[0], 0)] {
            let dir = changed("model.safetensors", |name, t| {
                if name == bad {
                    let _ = t.get(row).fill_(f64::NAN);
                }
                Some((name.into(), t))
            });
            let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
            assert!(message.contains(bad) && message.contains("not finite"), "{message}");
        }
        let dir = changed("model.safetensors", |name, t| {
            if name == encoder::EMBEDDING_TABLES[0] {
                let _ = t.get(9).fill_(f64::INFINITY);
            }
            Some((name.into(), t))
        });
        assert!(load(dir.path(), &ModelOptions::default()).is_ok(), "a token's own row");
    }

    #[test]
    fn what_other_programs_read_otherwise_is_remarked_on() {
        let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
        std::fs::rename(dir.path().join("sparse_linear.pt"), dir.path().join("sparse_linear.bin")).unwrap();
        let model = load(dir.path(), &ModelOptions::default()).unwrap();
        assert!(model.remarks.len() == 1 && model.remarks[0].contains("sparse_linear.bin"), "{:?}", model.remarks);

        let tokenizer = dir.path().join("tokenizer.json");
        for (asked, done) in [(true, false), (false, true), (true, true)] {
            let normalizer = serde_json::json!({"type": "BertNormalizer", "lowercase": done});
            std::fs::write(&tokenizer, serde_json::json!({"normalizer": normalizer}).to_string()).unwrap();
            let config = serde_json::json!({"tokenizer_class": "BertTokenizer", "do_lower_case": asked});
            std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
            let remark = remark_on_case(&tokenizer);
            let expected = (asked != done).then(|| format!("do_lower_case is {asked}"));
            assert_eq!(remark.is_some(), expected.is_some());
            assert!(remark.zip(expected).is_none_or(|(remark, expected)| remark.contains(&expected)));
        }
    }

    #[test]
    fn positions_extend_by_repeating_the_learned_ones() {
        let options = ModelOptions { max_position_embeddings: 100, ..Default::default() };
        let model = load(&golden(), &options).unwrap();
        let table = model.parameters.leaf("embeddings.position_embeddings.weight");
        assert_eq!(table.size(), [100, 16]);
        // Position ids start at 2; 32 learned positions repeat.
        assert_eq!(table.get(2 + 32), table.get(2));
        assert_eq!(table.get(99), table.get(2 + (99 - 2) % 32));
        assert_eq!(model.config.max_text_len(), 98);
    }

    /// The names and values of all weights.
    fn weights_of(model: &M3Model) -> Vec<(String, Tensor)> {
        model.parameters.specs().iter().map(|spec| (spec.name.clone(), model.parameters.leaf(&spec.name))).collect()
    }

    fn write(path: &Path, tensors: &[(&str, Tensor)]) {
        let tensors: Vec<(&str, HostTensor)> = tensors.iter().map(|(name, t)| (*name, t.into())).collect();
        let tensors: Vec<(&str, &HostTensor)> = tensors.iter().map(|(name, t)| (*name, t)).collect();
        match path.extension().is_some_and(|ending| ending == "safetensors") {
            true => crate::model::write_safetensors(path, &tensors).unwrap(),
            false => pickle::write_state_dict(path, &tensors).unwrap(),
        }
    }

    /// The golden model, with these tensors beside its own.
    fn with_more(more: &[(&str, Tensor)]) -> tempfile::TempDir {
        let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
        let path = dir.path().join("model.safetensors");
        let mut all = Tensor::read_safetensors(&path).unwrap();
        all.extend(more.iter().map(|(name, t)| ((*name).to_owned(), t.shallow_clone())));
        write(&path, &all.iter().map(|(name, t)| (name.as_str(), t.shallow_clone())).collect::<Vec<_>>());
        dir
    }

    #[test]
    fn a_tensor_that_is_there_twice_is_the_same_or_refused() {
        let plain = load(&golden(), &ModelOptions::default()).unwrap();
        let bias = plain.parameters.leaf("embeddings.LayerNorm.bias");
        let dir = with_more(&[("roberta.embeddings.LayerNorm.beta", bias.shallow_clone())]);
        assert_eq!(weights_of(&load(dir.path(), &ModelOptions::default()).unwrap()), weights_of(&plain));
        let dir = with_more(&[("roberta.embeddings.LayerNorm.bias", &bias + 1.0)]);
        let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
        assert!(message.contains("twice") && message.contains("roberta.embeddings.LayerNorm.bias"), "{message}");
    }

    #[test]
    fn a_tensor_without_a_place_is_refused_unless_it_is_known() {
        let one = || Tensor::from_slice(&[1f32]);
        let harmless = [("cls.predictions.bias", one()), ("lm_head.bias", one()), ("classifier.weight", one())];
        let dir = with_more(&harmless);
        let model = load(dir.path(), &ModelOptions::default()).unwrap();
        assert!(model.remarks.len() == 1 && model.remarks[0].contains("classifier."), "{:?}", model.remarks);
        for (name, reason) in [
            ("encoder.layer.0.attention.self.distance_embedding.weight", "position_embedding_type"),
            ("encoder.layer.2.output.dense.bias", "num_hidden_layers 2"),
            ("encoder.layer.0.gate", "encoder.layer.0.gate"),
        ] {
            let message = load(with_more(&[(name, one())]).path(), &ModelOptions::default()).err().unwrap().to_string();
            assert!(message.contains(reason) && message.contains("no part of the model"), "{message}");
        }
        let dir = changed("model.safetensors", |name, t| {
            Some((name.into(), if name == "embeddings.LayerNorm.bias" { t.to_kind(Kind::Int64) } else { t }))
        });
        let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
        assert!(message.contains("embeddings.LayerNorm.bias is of type I64"), "{message}");
    }

    #[test]
    fn shards_make_the_same_model() {
        let plain = load(&golden(), &ModelOptions::default()).unwrap();
        let tensors = Tensor::read_safetensors(golden().join("model.safetensors")).unwrap();
        for (ending, index) in
            [("safetensors", "model.safetensors.index.json"), ("bin", "pytorch_model.bin.index.json")]
        {
            let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
            std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
            let mut map = Map::new();
            for part in 0..2 {
                let file = format!("part-{part}.{ending}");
                let own = || {
                    tensors.iter().enumerate().filter(|(i, _)| i % 2 == part).map(|(_, (name, t))| (name.as_str(), t))
                };
                write(&dir.path().join(&file), &own().map(|(name, t)| (name, t.shallow_clone())).collect::<Vec<_>>());
                map.extend(own().map(|(name, _)| (name.to_owned(), Value::from(file.clone()))));
            }
            let put = |map: &Map<String, Value>| {
                let json = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
                std::fs::write(dir.path().join(index), json).unwrap();
            };
            put(&map);
            assert_eq!(weights_of(&load(dir.path(), &ModelOptions::default()).unwrap()), weights_of(&plain));
            map.insert("encoder.other".into(), format!("part-1.{ending}").into());
            put(&map);
            let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
            assert!(message.contains("should be in") && message.contains("part-1."), "{message}");
        }
    }

    #[test]
    fn a_head_that_is_there_is_never_drawn_afresh() {
        let weight = Tensor::zeros([16, 16], (Kind::Float, Device::Cpu));
        for (tensors, reason) in [
            (vec![("weight", weight.shallow_clone())], "has no bias"),
            (vec![("proj", weight.shallow_clone())], "holds proj"),
        ] {
            let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
            write(&dir.path().join("colbert_linear.pt"), &tensors);
            let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
            assert!(message.contains("colbert_linear.pt") && message.contains(reason), "{message}");
        }
        let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
        std::fs::write(dir.path().join("sparse_linear.pt"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
        let message = load(dir.path(), &ModelOptions::default()).err().unwrap().to_string();
        assert!(message.contains("git lfs pull"), "{message}");
    }

    #[test]
    fn an_exported_folder_reads_as_the_model_that_was_trained() {
        let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
        let put = |name: &str, json: Value| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, json.to_string()).unwrap();
        };
        let class = |name: &str| format!("sentence_transformers.models.{name}");
        put(
            "modules.json",
            serde_json::json!([{"path": "", "type": class("Transformer")}, {"path": "1_Pooling", "type": class("Pooling")}]),
        );
        put("1_Pooling/config.json", serde_json::json!({"pooling_mode": "mean"}));
        put("sentence_bert_config.json", serde_json::json!({"max_seq_length": 8}));
        let prompts = serde_json::json!({"query": "q: ", "clustering": "c: "});
        put(
            "config_sentence_transformers.json",
            serde_json::json!({"prompts": prompts, "__version__": {"pytorch": "1"}}),
        );
        let mut model = load(dir.path(), &ModelOptions::default()).unwrap();
        assert_eq!((model.pooling, model.normalize, model.max_seq_len), (tercet_configs::Pooling::Mean, true, 8));
        assert_eq!(model.prompts.query.as_deref(), Some("q: "));
        assert!(model.remarks.iter().any(|remark| remark.contains("up to 8 tokens")), "{:?}", model.remarks);

        model.trains_on(Some(Prompts::of_prefixes("find:", "")), 20);
        assert!(model.remarks.iter().any(|remark| remark.contains("query \"q: \"")), "{:?}", model.remarks);
        let out = tempfile::tempdir().unwrap();
        model.save(out.path()).unwrap();
        let read = |name: &str| -> Value {
            serde_json::from_str(&std::fs::read_to_string(out.path().join(name)).unwrap()).unwrap()
        };
        let config = read("config.json");
        assert!(["dtype", "torch_dtype"].iter().filter_map(|key| config.get(*key)).all(|dtype| dtype == "float32"));
        let settings = read("config_sentence_transformers.json");
        assert_eq!(settings["prompts"]["query"], "find: ");
        assert_eq!(settings["prompts"]["clustering"], "c: ");
        assert_eq!(settings["similarity_fn_name"], "cosine");
        assert!(settings.get("__version__").is_none());
        assert_eq!(read("sentence_bert_config.json")["max_seq_length"], 20);
        let again = load(out.path(), &ModelOptions::default()).unwrap();
        assert_eq!((again.pooling, again.max_seq_len), (tercet_configs::Pooling::Mean, 20));
        assert_eq!(again.prompts, model.prompts);
        assert_eq!(weights_of(&again), weights_of(&model));
        let plain = ModelOptions { normalize: Some(false), ..Default::default() };
        let out = tempfile::tempdir().unwrap();
        load(dir.path(), &plain).unwrap().save(out.path()).unwrap();
        assert!(!load(out.path(), &ModelOptions::default()).unwrap().normalize, "compared by dot products");
    }
}
