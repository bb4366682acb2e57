//! Reads a model from a Hugging Face or sentence-transformers folder, or draws a fresh one from a config.json.

mod fit;
mod positions;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::path::{Path, PathBuf};

use serde_json::Map;
use tch::{Device, Kind};
use tercet_configs::{EncoderConfig, ModelFolder, Prompts};

use fit::{check_finite, fill, head_file, misfits};
use tokenizer::{check_padding, continuations_for, special_tokens};

use super::weights::Weights;
use crate::machine::allocator;
use crate::model::{M3Model, ModelError, ModelOptions, Origin, Parameters, Purpose, Spec, encoder, heads, pretraining};
use crate::ops::generator::seeded;

impl M3Model {
    /// Reads `dir`: config.json, the weights (model.safetensors or pytorch_model.bin, whole or in shards), and the
    /// heads from colbert_linear.pt and sparse_linear.pt if they are there (drawn afresh otherwise, as for a model that
    /// never had them). sentence-transformers' files, if there are any, say where the encoder lies and how it pools.
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
        let Weights { tensors: weights, path, mut remarks } = Weights::read(&folder, &config, options.purpose)?;
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
        with_changes(&mut config, options);
        positions::check_number(&config, learned_positions, options)?;
        let dim = multi_vector_dim.unwrap_or(wanted_dim(&config, options));
        let with_pooler = weights.contains_key("pooler.dense.weight");
        let specs = all_specs(&config, options.purpose, dim, with_pooler);
        // This comes before memory is allocated: sizes that do not fit may be of any magnitude.
        let problems = misfits(&specs, &weights, &config, learned_positions, &folder);
        if !problems.is_empty() {
            let of_heads: Option<Vec<PathBuf>> = problems.iter().map(|problem| head_file(&folder, problem)).collect();
            let path = of_heads.map_or(path, |mut files| files.swap_remove(0));
            return Err(ModelError::Weights { path, problems });
        }
        let mut parameters = Parameters::new(specs, kind, device);
        let fresh = fill(&mut parameters, &weights, &config, options);
        check_finite(&parameters, &special, &folder, &path)?;
        remarks.extend(match options.purpose {
            Purpose::Retrieval => remarks_on_heads(&folder, &fresh),
            Purpose::Pretraining { .. } => remark_on_masked_lm(&folder, &fresh).into_iter().collect(),
        });
        // The weights as read are as large as the model, in pieces that no later allocation fits into.
        drop(weights);
        allocator::give_back();
        let max_len = config.max_text_len();
        let extended = config.max_position_embeddings > learned_positions;
        let continuations = continuations_for(options.purpose, &tokenizer)?;
        let origin = Origin {
            special,
            continuations,
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

    /// Replaces the weights by those in `dir`, a folder that this program wrote of the same model. Their memory stays
    /// where it is.
    ///
    /// # Errors
    /// A missing or broken file by name; weights that are missing or of another shape.
    pub fn reload(&mut self, dir: &Path) -> Result<(), ModelError> {
        let folder = ModelFolder::open(dir)?;
        let Weights { tensors: weights, path, .. } = Weights::read(&folder, &self.config, self.purpose())?;
        let of_shape = |spec: &Spec| weights.get(&spec.name).is_some_and(|found| found.size() == spec.shape);
        let problem = |spec: &Spec| format!("{} of the shape {:?} is not there", spec.name, spec.shape);
        let problems: Vec<String> =
            self.parameters.specs().iter().filter(|spec| !of_shape(spec)).map(problem).collect();
        if !problems.is_empty() {
            return Err(ModelError::Weights { path, problems });
        }
        fill(&mut self.parameters, &weights, &self.config, &ModelOptions::default());
        drop(weights);
        allocator::give_back();
        Ok(())
    }

    /// A model of fresh weights as the config.json at `path` describes.
    ///
    /// # Errors
    /// An unreadable config or tokenizer.
    pub fn fresh(path: &Path, options: &ModelOptions, device: Device, kind: Kind) -> Result<Self, ModelError> {
        let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let folder = ModelFolder::plain(beside.unwrap_or(Path::new(".")));
        let mut config = EncoderConfig::load(path)?;
        with_changes(&mut config, options);
        let (tokenizer, special) = special_tokens(&folder, options.tokenizer.as_deref())?;
        check_padding(&config, &special, path, &tokenizer)?;
        let with_pooler = options.purpose == Purpose::Retrieval;
        let specs = all_specs(&config, options.purpose, wanted_dim(&config, options), with_pooler);
        let fresh = specs.iter().map(|spec| spec.name.clone()).collect();
        let mut parameters = Parameters::new(specs, kind, device);
        seeded(options.seed, || parameters.initialise(|_| true));
        let continuations = continuations_for(options.purpose, &tokenizer)?;
        let origin = Origin {
            special,
            continuations,
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

/// The encoder's weights, then those of what stands on it.
fn all_specs(config: &EncoderConfig, purpose: Purpose, multi_vector_dim: usize, with_pooler: bool) -> Vec<Spec> {
    let mut specs = encoder::specs(config);
    if with_pooler {
        specs.extend(encoder::pooler_specs(config));
    }
    specs.extend(match purpose {
        Purpose::Retrieval => heads::specs(config, multi_vector_dim),
        Purpose::Pretraining { decoder } => pretraining::specs(config, decoder),
    });
    specs
}

fn wanted_dim(config: &EncoderConfig, options: &ModelOptions) -> usize {
    if options.multi_vector_dim > 0 { options.multi_vector_dim } else { config.hidden_size }
}

/// The encoder as `options` want it.
fn with_changes(config: &mut EncoderConfig, options: &ModelOptions) {
    config.max_position_embeddings = config.max_position_embeddings.max(options.max_position_embeddings);
    if let Some(p) = options.dropout {
        (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (p, p);
    }
}

/// The remark where sentence-transformers cuts texts shorter than the model's positions allow.
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

/// A remark where the masked-language-model head is drawn afresh.
fn remark_on_masked_lm(folder: &ModelFolder, fresh: &[String]) -> Option<String> {
    fresh.iter().any(|name| name == "lm_head.dense.weight").then(|| {
        format!(
            "{}: has no masked-language-model head (lm_head.* or cls.predictions.* beside the encoder's weights, or \
             mlm_head.safetensors): it starts from random weights",
            folder.root.display()
        )
    })
}

/// Remarks on heads drawn afresh whose weights may lie in a file that is not looked for.
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
