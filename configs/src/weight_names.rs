//! The names under which other programs keep an encoder's weights, and the tensors beside them that change nothing.

/// Prefixes of the encoder's names in wrappers: a model with a head, DistributedDataParallel, torch.compile,
/// sentence-transformers' list of modules, PEFT, FlagEmbedding's pre-training.
const PREFIXES: [&str; 10] =
    ["module.", "_orig_mod.", "0.", "auto_model.", "base_model.", "model.", "lm.", "roberta.", "bert.", "xlm_roberta."];

/// Those of them that tell the family: BERT counts positions from 0, and the others from the padding id.
const OF_BERT: [&str; 1] = ["bert."];
const OF_ROBERTA: [&str; 2] = ["roberta.", "xlm_roberta."];

/// Former names of layer norms' weights.
const OLD_NAMES: [(&str, &str); 2] = [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")];

/// Heads of pre-training, and buffers that hold nothing but 0, 1, 2, …
const HARMLESS: [&str; 6] =
    ["pooler.", "lm_head.", "cls.", "c_head.", "embeddings.position_ids", "embeddings.token_type_ids"];

/// What the head that predicts words is called in transformers' classes, with its parts here. The matrix is the table
/// of words: a file that holds another one beside it is refused, as one with two biases is.
const MASKED_LM: [(&str, &str); 8] = [
    ("cls.predictions.transform.dense.", "lm_head.dense."),
    ("cls.predictions.transform.LayerNorm.", "lm_head.layer_norm."),
    ("cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.bias", "lm_head.bias"),
    ("cls.predictions.bias", "lm_head.bias"),
    ("lm_head.decoder.weight", "embeddings.word_embeddings.weight"),
    ("lm_head.decoder.bias", "lm_head.bias"),
    ("lm_head.", "lm_head."),
];

/// Heads of tasks that a model was fine-tuned for.
const TASK_HEADS: [&str; 4] = ["classifier.", "qa_outputs.", "score.", "classification_head."];

/// The encoder's own name for what a file calls `name`.
pub fn bare(name: &str) -> String {
    let name = prefixes(name).1;
    for (old, new) in OLD_NAMES {
        if let Some(stem) = name.strip_suffix(old) {
            return format!("{stem}{new}");
        }
    }
    name.to_owned()
}

/// The prefixes of `name`, in order, and what is left without them.
fn prefixes(mut name: &str) -> (Vec<&'static str>, &str) {
    let mut off = Vec::new();
    while let Some((prefix, rest)) = PREFIXES.iter().find_map(|prefix| Some((*prefix, name.strip_prefix(prefix)?))) {
        off.push(prefix);
        name = rest;
    }
    (off, name)
}

/// Why a file whose encoder has a tensor called `name` does not go with config.json's `model_type`: the name has the
/// prefix of the other family, whose positions are counted otherwise. Names without such a prefix go with any.
pub fn of_another_family(name: &str, model_type: &str) -> Option<String> {
    let (others, whose): (&[&str], _) = match model_type {
        "bert" => (&OF_ROBERTA, "RoBERTa, XLM-RoBERTa and CamemBERT"),
        _ => (&OF_BERT, "BERT"),
    };
    let prefix = prefixes(name).0.into_iter().find(|prefix| others.contains(prefix))?;
    Some(format!(
        "{name} has the prefix {prefix:?} of {whose}, and config.json says model_type {model_type:?}, which counts \
         positions otherwise: put the config.json there that the weights came with, or, if it is the right one, take the \
         prefix off the tensors' names"
    ))
}

/// The name here of what a file for pre-training calls `name`.
pub fn bare_in_pretraining(name: &str) -> String {
    let bare = bare(name);
    let known = MASKED_LM.iter().find_map(|(theirs, own)| Some(format!("{own}{}", bare.strip_prefix(theirs)?)));
    known.unwrap_or(bare)
}

/// A head's own name, `weight` or `bias`, for what the file of `head` calls `name`.
pub fn bare_in_head<'a>(name: &'a str, head: &str) -> &'a str {
    let name = name.strip_prefix("module.").unwrap_or(name);
    let name = name.strip_prefix(head).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
    name.strip_prefix("linear.").unwrap_or(name)
}

/// Whether a tensor of this bare name is known to change nothing of the encoder.
pub fn is_harmless(bare: &str) -> bool {
    HARMLESS.iter().any(|known| bare.starts_with(known))
}

/// The head of another task that a tensor of this bare name belongs to.
pub fn task_head(bare: &str) -> Option<&'static str> {
    TASK_HEADS.iter().find(|head| bare.starts_with(*head)).copied()
}

/// Why a tensor has no place, where that is known.
pub fn why_no_place(bare: &str, num_layers: usize) -> Option<String> {
    let layer = bare.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    if let Some(layer) = layer.filter(|&layer| layer >= num_layers) {
        return Some(format!(
            "there is a layer {layer} (counted from 0), but config.json says num_hidden_layers {num_layers}"
        ));
    }
    [
        ("distance_embedding", "relative positions (position_embedding_type) are not supported"),
        ("lora_", "an adapter (LoRA) is still beside the weights: merge it into them"),
        ("base_layer.", "an adapter (LoRA) is still beside the weights: merge it into them"),
        ("crossattention", "a decoder's attention to another model is not supported"),
        ("adapter", "adapters are not supported: merge them or leave them out"),
        ("weight_scale", "the weights are quantised, which is not supported"),
        ("qweight", "the weights are quantised, which is not supported"),
        ("absmax", "the weights are quantised, which is not supported"),
        (".SCB", "the weights are quantised, which is not supported"),
        ("decoder.", "a decoder is not supported"),
    ]
    .into_iter()
    .find(|(part, _)| bare.contains(part))
    .map(|(_, why)| why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_and_old_names_come_off() {
        for name in ["roberta.", "module.model.", "0.auto_model.", "module._orig_mod.bert.", ""] {
            assert_eq!(bare(&format!("{name}embeddings.LayerNorm.gamma")), "embeddings.LayerNorm.weight");
        }
        assert_eq!(bare("encoder.layer.0.output.LayerNorm.beta"), "encoder.layer.0.output.LayerNorm.bias");
        assert_eq!(bare_in_head("module.colbert_linear.weight", "colbert_linear"), "weight");
        assert_eq!(bare_in_head("linear.bias", "sparse_linear"), "bias");
    }

    #[test]
    fn a_prefix_of_the_other_family_is_told() {
        for (name, model_type, prefix) in [
            ("roberta.embeddings.LayerNorm.bias", "bert", Some("\"roberta.\"")),
            ("module.xlm_roberta.pooler.dense.bias", "bert", Some("\"xlm_roberta.\"")),
            ("model.bert.embeddings.LayerNorm.bias", "xlm-roberta", Some("\"bert.\"")),
            ("bert.embeddings.LayerNorm.bias", "camembert", Some("\"bert.\"")),
            ("bert.embeddings.LayerNorm.bias", "bert", None),
            ("lm.bert.embeddings.LayerNorm.bias", "bert", None),
            ("roberta.embeddings.LayerNorm.bias", "xlm-roberta", None),
            ("roberta.embeddings.LayerNorm.bias", "camembert", None),
            ("xlm_roberta.embeddings.LayerNorm.bias", "xlm-roberta", None),
            ("module.embeddings.LayerNorm.bias", "bert", None),
            ("embeddings.LayerNorm.bias", "roberta", None),
        ] {
            let told = of_another_family(name, model_type);
            assert_eq!(told.is_some(), prefix.is_some(), "{name} {model_type}");
            let model_type = format!("model_type \"{model_type}\"");
            assert!(told.zip(prefix).is_none_or(|(told, prefix)| told.contains(prefix) && told.contains(&model_type)));
        }
    }

    #[test]
    fn what_has_no_place_is_explained() {
        assert!(is_harmless(&bare("bert.pooler.dense.weight")) && is_harmless("cls.predictions.bias"));
        assert!(!is_harmless("encoder.layer.0.attention.self.distance_embedding.weight"));
        assert_eq!(task_head("classifier.out_proj.weight"), Some("classifier."));
        assert!(why_no_place("encoder.layer.2.output.dense.bias", 2).unwrap().contains("num_hidden_layers 2"));
        assert!(
            why_no_place("encoder.layer.0.attention.self.distance_embedding.weight", 2).unwrap().contains("position")
        );
        assert_eq!(why_no_place("encoder.rel_bias", 2), None);
    }
}
