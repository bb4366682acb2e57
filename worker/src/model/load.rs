//! Reads a model from a Hugging Face directory, or draws a fresh one from a config.json.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use tercet_configs::{EncoderConfig, Pooling};
use tercet_sampler::{SpecialTokens, TextTokenizer};

use super::{M3Model, ModelError, ModelOptions, Parameters, Spec, beside, encoder, heads, pickle};
use crate::allocator;

/// What other programs put before the encoder's names.
const PREFIXES: [&str; 3] = ["roberta.", "bert.", "model."];

impl M3Model {
    /// Reads `dir`: config.json, model.safetensors (or pytorch_model.bin), and the heads from colbert_linear.pt and sparse_linear.pt if they
    /// are there (drawn afresh otherwise, as for a model that never had them).
    ///
    /// # Errors
    /// A missing or broken file by name; weights that are missing or of another shape, all of them listed.
    pub fn load(dir: &Path, options: &ModelOptions, device: Device, kind: Kind) -> Result<Self, ModelError> {
        let mut config = EncoderConfig::load(&dir.join("config.json"))?;
        let weights_path = beside(dir, "model.safetensors").or_else(|| beside(dir, "pytorch_model.bin"));
        let weights_path = weights_path.unwrap_or(dir.join("model.safetensors"));
        let mut weights = read_weights(&weights_path)?;
        for (file, prefix) in [("colbert_linear.pt", "colbert_linear"), ("sparse_linear.pt", "sparse_linear")] {
            if let Some(path) = beside(dir, file) {
                let tensors =
                    pickle::read_state_dict(&path).map_err(|reason| ModelError::File { path: path.clone(), reason })?;
                weights.extend(tensors.into_iter().map(|(name, tensor)| (format!("{prefix}.{name}"), tensor)));
            }
        }
        let (tokenizer, special) = special_tokens(dir, options.tokenizer.as_deref())?;
        let multi_vector_dim = weights.get("colbert_linear.weight").map(|w| w.size()[0] as usize);
        if let Some(found) = multi_vector_dim.filter(|&f| options.multi_vector_dim > 0 && options.multi_vector_dim != f)
        {
            let wanted = options.multi_vector_dim;
            return Err(ModelError::Setting(format!(
                "model.multi_vector_dim is {wanted}, but {} holds a head of width {found}",
                dir.join("colbert_linear.pt").display()
            )));
        }
        let learned_positions = config.max_position_embeddings;
        extend_positions(&mut config, options);
        let mut options = options.clone();
        options.pooling = options.pooling.or_else(|| stored_pooling(dir));
        options.normalize = options.normalize.or_else(|| stored_normalize(dir));
        let dim = multi_vector_dim.unwrap_or(wanted_dim(&config, &options));

        let with_pooler = weights.contains_key("pooler.dense.weight");
        let mut parameters = Parameters::new(all_specs(&config, dim, with_pooler), kind, device);
        let fresh = fill(&mut parameters, &weights, &config, learned_positions, options.seed)
            .map_err(|problems| ModelError::Weights { path: weights_path, problems })?;
        // The weights as they were read are as large as the model, and in pieces that nothing later fits into.
        drop(weights);
        allocator::give_back();
        Ok(Self::assemble(config, parameters, &options, special, fresh, tokenizer))
    }

    /// A model of fresh weights as `config` (a config.json) describes.
    ///
    /// # Errors
    /// An unreadable config or tokenizer.
    pub fn fresh(config: &Path, options: &ModelOptions, device: Device, kind: Kind) -> Result<Self, ModelError> {
        let dir = config.parent().unwrap_or(Path::new("."));
        let mut config = EncoderConfig::load(config)?;
        extend_positions(&mut config, options);
        let (tokenizer, special) = special_tokens(dir, options.tokenizer.as_deref())?;
        let specs = all_specs(&config, wanted_dim(&config, options), true);
        let fresh = specs.iter().map(|spec| spec.name.clone()).collect();
        let mut parameters = Parameters::new(specs, kind, device);
        tch::manual_seed(options.seed as i64);
        parameters.initialise(|_| true);
        Ok(Self::assemble(config, parameters, options, special, fresh, tokenizer))
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

/// Copies the file's weights into place; returns the names that were drawn afresh, or what does not fit.
fn fill(
    parameters: &mut Parameters,
    weights: &HashMap<String, Tensor>,
    config: &EncoderConfig,
    learned_positions: usize,
    seed: u64,
) -> Result<Vec<String>, Vec<String>> {
    let _guard = tch::no_grad_guard();
    let (mut problems, mut fresh) = (Vec::new(), Vec::new());
    for spec in parameters.specs() {
        let mut target = parameters.leaf(&spec.name);
        match weights.get(&spec.name) {
            Some(found) if found.size() == spec.shape => target.copy_(found),
            Some(found) if is_extended(spec, found, learned_positions) => {
                target.copy_(&repeat_positions(found, config));
            }
            Some(found) => problems.push(format!("{}: expected {:?}, found {:?}", spec.name, spec.shape, found.size())),
            None if spec.name.contains("_linear.") => fresh.push(spec.name.clone()),
            None => problems.push(format!("{}: expected {:?}, not in the file", spec.name, spec.shape)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    tch::manual_seed(seed as i64);
    let names: HashSet<&String> = fresh.iter().collect();
    parameters.initialise(|name| names.contains(&name.to_owned()));
    Ok(fresh)
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

/// The encoder's weights by their bare names.
fn read_weights(path: &Path) -> Result<HashMap<String, Tensor>, ModelError> {
    let fail = |reason: String| ModelError::File { path: path.to_owned(), reason };
    if !path.exists() {
        return Err(fail("no such file: a model directory has config.json and model.safetensors".into()));
    }
    let tensors = if path.extension().is_some_and(|e| e == "bin") {
        read_pickled(path)?
    } else {
        Tensor::read_safetensors(path)
            .map_err(|e| fail(format!("not a readable safetensors file ({e}): is it cut off? fetch it again")))?
    };
    Ok(tensors
        .into_iter()
        .map(|(name, tensor)| {
            let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix).map(str::to_owned));
            (bare.unwrap_or(name), tensor)
        })
        .collect())
}

fn read_pickled(path: &Path) -> Result<Vec<(String, Tensor)>, ModelError> {
    pickle::read_state_dict(path).map_err(|reason| ModelError::File { path: path.to_owned(), reason })
}

/// From `tokenizer`, tokenizer.json or special_tokens.json of `dir`; with the file, or the directory for the last.
fn special_tokens(dir: &Path, tokenizer: Option<&Path>) -> Result<(PathBuf, SpecialTokens), ModelError> {
    let file = |path: &Path, reason: String| ModelError::File { path: path.to_owned(), reason };
    if let Some(path) = tokenizer.map(Path::to_owned).or_else(|| beside(dir, "tokenizer.json")) {
        let tokenizer = TextTokenizer::load(&path).map_err(|e| file(&path, e.to_string()))?;
        return Ok((path, *tokenizer.special()));
    }
    let path = dir.join("special_tokens.json");
    let text = std::fs::read_to_string(&path).map_err(|_| {
        file(dir, "neither tokenizer.json nor special_tokens.json is here: put the model's tokenizer.json there".into())
    })?;
    let special = serde_json::from_str(&text).map_err(|e| file(&path, e.to_string()))?;
    Ok((dir.to_owned(), special))
}

/// What sentence-transformers' pooling module says, if the directory has one.
fn stored_pooling(dir: &Path) -> Option<Pooling> {
    let text = std::fs::read_to_string(dir.join("1_Pooling/config.json")).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    let mean = json["pooling_mode_mean_tokens"].as_bool().unwrap_or(false);
    Some(if mean { Pooling::Mean } else { Pooling::Cls })
}

/// Whether sentence-transformers' modules, if the directory lists them, end in a normalisation.
fn stored_normalize(dir: &Path) -> Option<bool> {
    let text = std::fs::read_to_string(dir.join("modules.json")).ok()?;
    let modules: Vec<serde_json::Value> = serde_json::from_str(&text).ok()?;
    Some(modules.iter().any(|module| module["type"].as_str().is_some_and(|class| class.ends_with(".Normalize"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostTensor;

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
}
