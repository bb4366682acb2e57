//! Models are read from folders as people have them, and written as others read them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};
use tercet_configs::Prompts;

use crate::model::HostTensor;
use crate::model::files::pickle;
use crate::model::{M3Model, ModelError, ModelOptions, Purpose, encoder};

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
        [("model.safetensors", "roberta."), ("model.safetensors", "module.xlm_roberta."), ("pytorch_model.bin", "")]
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
fn weights_of_the_other_family_are_refused() {
    let refused = |dir: &Path, prefix: &str, model_type: &str| {
        let error = load(dir, &ModelOptions::default()).err().unwrap();
        assert_eq!(error.exit_code(), tercet_configs::ExitCode::Usage);
        let message = error.to_string();
        assert!(["model.safetensors", prefix, model_type].iter().all(|word| message.contains(word)), "{message}");
    };
    let dir = changed("model.safetensors", |name, t| Some((format!("bert.{name}"), t)));
    refused(dir.path(), "\"bert.\"", "model_type \"xlm-roberta\"");
    for prefix in ["roberta.", "xlm_roberta.", "", "bert."] {
        let dir = changed("model.safetensors", |name, t| Some((format!("{prefix}{name}"), t)));
        let path = dir.path().join("config.json");
        let config = std::fs::read_to_string(&path).unwrap().replace("\"xlm-roberta\"", "\"bert\"");
        std::fs::write(&path, config).unwrap();
        match prefix.contains("roberta") {
            true => refused(dir.path(), &format!("{prefix:?}"), "model_type \"bert\""),
            false => drop(load(dir.path(), &ModelOptions::default()).unwrap()),
        }
    }
}

#[test]
fn the_config_alone_tells_how_many_weights_there_are() {
    let with = load(&golden(), &ModelOptions::default()).unwrap();
    assert!(with.parameters.contains("pooler.dense.weight"));
    assert_eq!(
        with.config.num_parameters(Purpose::Retrieval, with.dims().1 as usize, true) as i64,
        with.parameters.numel()
    );
    let dir = changed("model.safetensors", |n, t| (!n.starts_with("pooler")).then(|| (n.into(), t)));
    let longer = ModelOptions { max_position_embeddings: 100, ..Default::default() };
    let without = load(dir.path(), &longer).unwrap();
    assert_eq!(
        without.config.num_parameters(Purpose::Retrieval, without.dims().1 as usize, false) as i64,
        without.parameters.numel()
    );
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
    assert!(message.contains("encoder.layer.1.output.dense.weight: expected [16, 32], found [32, 16]"), "{message}");
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
fn what_the_tokenizer_says_and_is_not_done_is_refused() {
    let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
    let message = || load(dir.path(), &ModelOptions::default()).err().map(|error| error.to_string());
    assert_eq!(message(), None);
    let path = dir.path().join("special_tokens.json");
    let special = std::fs::read_to_string(&path).unwrap();
    let left = special.replace("\"right\"", "\"left\"");
    assert_ne!(left, special);
    std::fs::write(&path, left).unwrap();
    assert!(
        message().is_some_and(|said| said.contains("special_tokens.json") && said.contains("left")),
        "{:?}",
        message()
    );

    // With a tokenizer.json, tokenizer_config.json has the first word on the side, and tokenizer.json the second.
    let tokenizer = dir.path().join("tokenizer.json");
    let write = |padding: &str| {
        let json = serde_json::to_string(&tercet_fixtures::word_tokenizer(["a", "b"])).unwrap();
        let json = json.replace("\"padding\":null", &format!("\"padding\":{padding}"));
        std::fs::write(&tokenizer, json).unwrap();
    };
    let left = r#"{"strategy":"BatchLongest","direction":"Left","pad_to_multiple_of":null,"pad_id":1,"pad_type_id":0,"pad_token":"<pad>"}"#;
    write(left);
    assert!(
        message().is_some_and(|said| said.contains("tokenizer.json: padding.direction is \"Left\"")),
        "{:?}",
        message()
    );
    let config = dir.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"padding_side": "right"}"#).unwrap();
    assert_eq!(message(), None);
    write("null");
    std::fs::write(&config, r#"{"padding_side": "left"}"#).unwrap();
    assert!(message().is_some_and(|said| said.contains("tokenizer_config.json")), "{:?}", message());
    std::fs::write(&config, r#"{"truncation_side": "left"}"#).unwrap();
    let refused = load(dir.path(), &ModelOptions::default()).err().unwrap();
    assert_eq!(refused.exit_code(), tercet_configs::ExitCode::Usage);
    assert!(refused.to_string().ends_with("if that is what the model was made for"), "{refused}");
    assert!(refused.to_string().starts_with(&format!("{}: truncation_side", config.display())), "{refused}");
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
    for (ending, index) in [("safetensors", "model.safetensors.index.json"), ("bin", "pytorch_model.bin.index.json")] {
        let dir = changed("model.safetensors", |name, t| Some((name.into(), t)));
        std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        let mut map = Map::new();
        for part in 0..2 {
            let file = format!("part-{part}.{ending}");
            let own =
                || tensors.iter().enumerate().filter(|(i, _)| i % 2 == part).map(|(_, (name, t))| (name.as_str(), t));
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
    put("config_sentence_transformers.json", serde_json::json!({"prompts": prompts, "__version__": {"pytorch": "1"}}));
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
