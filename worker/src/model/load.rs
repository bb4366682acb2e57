//! Reads a model from a Hugging Face or sentence-transformers folder, or draws a fresh one from a config.json.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};
use tercet_configs::{EncoderConfig, ModelFolder, Prompts, in_its_place};
use tercet_sampler::{SpecialTokens, TextTokenizer};

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
        let problems = misfits(&specs, &weights, &config, learned_positions);
        if !problems.is_empty() {
            return Err(ModelError::Weights { path, problems });
        }
        let mut parameters = Parameters::new(specs, kind, device);
        let fresh = fill(&mut parameters, &weights, &config, options.seed);
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

    /// A model of fresh weights as `config` (a config.json) describes.
    ///
    /// # Errors
    /// An unreadable config or tokenizer.
    pub fn fresh(config: &Path, options: &ModelOptions, device: Device, kind: Kind) -> Result<Self, ModelError> {
        let beside = config.parent().filter(|dir| !dir.as_os_str().is_empty());
        let folder = ModelFolder::plain(beside.unwrap_or(Path::new(".")));
        let mut config = EncoderConfig::load(config)?;
        extend_positions(&mut config, options);
        let (tokenizer, special) = special_tokens(&folder, options.tokenizer.as_deref())?;
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
) -> Vec<String> {
    let mut problems: Vec<String> = specs
        .iter()
        .filter_map(|spec| match weights.get(&spec.name) {
            Some(found) if found.size() == spec.shape || is_extended(spec, found, learned_positions) => None,
            Some(found) => Some(format!("{}: expected {:?}, found {:?}", spec.name, spec.shape, found.size())),
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
        file(dir, "neither tokenizer.json nor special_tokens.json is here: put the model's tokenizer.json there".into())
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
