//! Reads the tensors of a model's folder, whatever files they are in, into one map by the encoder's own names.
//!
//! What comes out depends on the files alone: a tensor that is there under two names has to be the same both times, and
//! one that no part of the model takes has to be known as harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};
use tercet_configs::weight_names as names;
use tercet_configs::{EncoderConfig, ModelFolder, WeightFiles, WeightFormat, in_its_place, unreadable};

use super::pickle;
use crate::model::heads::HEADS;
use crate::model::pretraining::PRETRAINING_FILES;
use crate::model::{ModelError, Purpose, encoder, heads, pretraining};

/// The largest number of tensors without a place that an error names.
const LISTED: usize = 6;

/// A model's tensors, by the encoder's and the heads' own names.
pub(super) struct Weights {
    /// The tensors, all of floating-point types.
    pub tensors: BTreeMap<String, Tensor>,
    /// The encoder's file, or its index.
    pub path: PathBuf,
    /// Remarks for the user on tensors that were left out.
    pub remarks: Vec<String>,
}

impl Weights {
    /// Reads the encoder's files of `folder`, and those of what stands on it for `purpose`.
    ///
    /// # Errors
    /// A file that is missing or cannot be read, two tensors for one place, or tensors without a place.
    pub fn read(folder: &ModelFolder, config: &EncoderConfig, purpose: Purpose) -> Result<Self, ModelError> {
        let files = WeightFiles::find(&folder.transformer)?;
        let path = files.index.clone().unwrap_or_else(|| files.files[0].clone());
        let mut gathered = Gathered::new(config, purpose);
        for file in &files.files {
            let given = gathered.take_file(file, files.format)?;
            let promised = files.tensors.iter().filter(|(_, place)| *place == file);
            if let Some((name, _)) = promised.into_iter().find(|(name, _)| !given.contains(*name)) {
                let reason = format!("{name} should be in {}, and is not", file.display());
                return Err(ModelError::File { path, reason });
            }
        }
        gathered.refuse_strays(&path)?;
        match purpose {
            Purpose::Retrieval => {
                for head in HEADS {
                    if let Some(file) = folder.file(&format!("{head}.pt")) {
                        gathered.take_head(&file, head)?;
                    }
                }
            }
            Purpose::Pretraining { .. } => {
                for (_, name) in PRETRAINING_FILES {
                    if let Some(file) = folder.file(name) {
                        gathered.take_file(&file, WeightFormat::Safetensors)?;
                        gathered.refuse_strays(&file)?;
                    }
                }
            }
        }
        let Gathered { tensors, task_heads, .. } = gathered;
        let remark = |head: &str| format!("{}: {head}* belongs to another task and is left out", path.display());
        Ok(Self {
            remarks: task_heads.iter().map(|head| remark(head)).collect(),
            tensors: tensors.into_iter().map(|(name, (_, tensor))| (name, tensor)).collect(),
            path,
        })
    }
}

/// Tensors as they come in from one file after another.
struct Gathered {
    /// The names that the model has a place for.
    places: BTreeSet<String>,
    /// Gives the name of a tensor's place from the tensor's own name.
    place_of: fn(&str) -> String,
    num_layers: usize,
    model_type: String,
    /// By place: the tensor's origin, for messages, and the tensor.
    tensors: BTreeMap<String, (String, Tensor)>,
    task_heads: BTreeSet<&'static str>,
    strays: BTreeSet<String>,
}

impl Gathered {
    fn new(config: &EncoderConfig, purpose: Purpose) -> Self {
        let (on_encoder, place_of): (_, fn(&str) -> String) = match purpose {
            Purpose::Retrieval => (heads::specs(config, 1), names::bare),
            Purpose::Pretraining { decoder } => (pretraining::specs(config, decoder), names::bare_in_pretraining),
        };
        let specs = encoder::specs(config).into_iter().chain(encoder::pooler_specs(config)).chain(on_encoder);
        Self {
            places: specs.map(|spec| spec.name).collect(),
            place_of,
            num_layers: config.num_hidden_layers,
            model_type: config.model_type.clone(),
            tensors: BTreeMap::new(),
            task_heads: BTreeSet::new(),
            strays: BTreeSet::new(),
        }
    }

    /// Takes what has a place; returns the names of all tensors in the file.
    fn take_file(&mut self, file: &Path, format: WeightFormat) -> Result<BTreeSet<String>, ModelError> {
        let fail = |reason: String| ModelError::File { path: file.to_owned(), reason };
        let seen = std::cell::RefCell::new(BTreeSet::new());
        let (places, place_of) = (&self.places, self.place_of);
        let wanted = |name: &str| {
            seen.borrow_mut().insert(name.to_owned());
            places.contains(&place_of(name))
        };
        let tensors = match format {
            WeightFormat::Safetensors => read_safetensors(file, &wanted),
            WeightFormat::Torch => pickle::read_state_dict(file, &wanted),
        };
        let tensors = tensors.map_err(fail)?;
        let seen = seen.into_inner();
        if seen.is_empty() {
            return Err(fail("holds no tensors".into()));
        }
        for name in &seen {
            let bare = place_of(name);
            if let Some(why) = names::of_another_family(name, &self.model_type).filter(|_| places.contains(&bare)) {
                return Err(fail(why));
            }
            if self.places.contains(&bare) || names::is_harmless(&bare) {
                continue;
            }
            match names::task_head(&bare) {
                Some(head) => drop(self.task_heads.insert(head)),
                None => drop(self.strays.insert(name.clone())),
            }
        }
        for (name, tensor) in tensors {
            self.take(file, place_of(&name), name, tensor)?;
        }
        Ok(seen)
    }

    /// Takes a head's `weight` and `bias`; the file has nothing else.
    fn take_head(&mut self, file: &Path, head: &str) -> Result<(), ModelError> {
        let fail = |reason: String| ModelError::File { path: file.to_owned(), reason };
        let mut found = BTreeSet::new();
        for (name, tensor) in pickle::read_state_dict(file, &|_| true).map_err(fail)? {
            let part = names::bare_in_head(&name, head);
            if part != "weight" && part != "bias" {
                return Err(fail(format!("holds {name}: a head has weight and bias, and nothing else")));
            }
            found.insert(part.to_owned());
            self.take(file, format!("{head}.{part}"), name.clone(), tensor)?;
        }
        match ["weight", "bias"].into_iter().find(|part| !found.contains(*part)) {
            Some(missing) => Err(fail(format!("has no {missing}: a head has weight and bias"))),
            None => Ok(()),
        }
    }

    fn take(&mut self, file: &Path, place: String, name: String, tensor: Tensor) -> Result<(), ModelError> {
        let fail = |reason: String| ModelError::File { path: file.to_owned(), reason };
        if !matches!(tensor.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
            let kind = tensor.kind();
            let reason =
                format!("{name} is of type {kind:?}: quantised weights are not supported, floating-point ones are");
            return Err(fail(reason));
        }
        let from = format!("{name} in {}", file.display());
        if let Some((before, other)) = self.tensors.get(&place) {
            let values = |tensor: &Tensor| tensor.to_kind(Kind::Double);
            let same = other.size() == tensor.size()
                && if other.kind() == tensor.kind() {
                    other.equal(&tensor)
                } else {
                    values(other).equal(&values(&tensor))
                };
            if !same {
                return Err(fail(format!(
                    "{place} occurs twice with different values, as {before} and as {from}: take out the wrong one"
                )));
            }
            return Ok(());
        }
        self.tensors.insert(place, (from, tensor));
        Ok(())
    }

    fn refuse_strays(&self, path: &Path) -> Result<(), ModelError> {
        let Some(first) = self.strays.first() else { return Ok(()) };
        let why = self.strays.iter().find_map(|name| names::why_no_place(&names::bare(name), self.num_layers));
        let why = why.or_else(|| self.under_a_prefix()).unwrap_or_else(|| {
            format!("is the model more than config.json says? take them out if it computes the same without {first}")
        });
        let listed: Vec<&str> = self.strays.iter().take(LISTED).map(String::as_str).collect();
        let more = match self.strays.len() - listed.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let reason = format!("no part of the model has a place for {}{more}: {why}", listed.join(", "));
        Err(ModelError::File { path: path.to_owned(), reason })
    }

    /// What to do about a prefix without which strays would have a place.
    fn under_a_prefix(&self) -> Option<String> {
        let prefix = |name: &String| {
            let cuts = name.match_indices('.').map(|(at, _)| name.split_at(at + 1));
            cuts.into_iter()
                .find(|(_, rest)| self.places.contains(&(self.place_of)(rest)))
                .map(|(prefix, _)| prefix.to_owned())
        };
        let prefix = self.strays.iter().find_map(prefix)?;
        Some(format!(
            "{prefix:?} stands before names that the model has: save the state dict without it, or without these tensors \
             if they are another copy"
        ))
    }
}

/// The tensors of a safetensors file whose names are `wanted`, in name order.
fn read_safetensors(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<(String, Tensor)>, String> {
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    if let Some(instead) = in_its_place(&bytes) {
        return Err(instead.into());
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err("seems to be a file of torch.save, not safetensors: name it pytorch_model.bin".into());
    }
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| format!("not a readable safetensors file ({e}): is it cut off? fetch it again"))?;
    let mut views: Vec<_> = file.iter().filter(|(name, _)| wanted(name)).collect();
    views.sort_by_key(|(name, _)| *name);
    views
        .into_iter()
        .map(|(name, view)| {
            let kind = match view.dtype() {
                Dtype::F64 => Kind::Double,
                Dtype::F32 => Kind::Float,
                Dtype::F16 => Kind::Half,
                Dtype::BF16 => Kind::BFloat16,
                other => {
                    return Err(format!(
                        "{name} is of type {other:?}: quantised weights are not supported, floating-point ones are"
                    ));
                }
            };
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).map_err(|e| format!("{name}: {e}"))?;
            Ok((name.to_owned(), tensor))
        })
        .collect()
}
