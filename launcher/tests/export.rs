//! `tercet export --layout masked-lm`: names, shapes and bytes of what is written, mistakes, and what is there already.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tercet_configs::EncoderConfig;

use crate::stand_in::{Ran, StandIn};

/// Shape and elements of every tensor.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

const D: usize = 4;
const VOCABULARY: usize = 7;

/// One layer of width 4 that knows 7 words.
fn config(family: &str) -> Value {
    json!({
        "model_type": family, "architectures": ["XLMRobertaModel"], "vocab_size": VOCABULARY, "hidden_size": D,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6, "max_position_embeddings": 10,
        "type_vocab_size": 1, "pad_token_id": 1, "torch_dtype": "float32", "_name_or_path": "elsewhere",
    })
}

/// Tensors of these shapes, no two elements alike.
fn counted(shapes: impl IntoIterator<Item = (String, Vec<usize>)>, start: usize) -> Tensors {
    let mut next = start;
    let mut tensor = |(name, shape): (String, Vec<usize>)| {
        let first = next;
        next += shape.iter().product::<usize>();
        (name, (shape, (first..next).map(|n| n as f32).collect()))
    };
    shapes.into_iter().map(&mut tensor).collect()
}

fn encoder(family: &str) -> Tensors {
    let config = EncoderConfig::from_json(config(family).as_object().unwrap().clone()).unwrap();
    counted(config.encoder_weights(), 0)
}

fn head() -> Tensors {
    let shapes = [
        ("dense.weight", vec![D, D]),
        ("dense.bias", vec![D]),
        ("layer_norm.weight", vec![D]),
        ("layer_norm.bias", vec![D]),
        ("bias", vec![VOCABULARY]),
    ];
    counted(shapes.map(|(name, shape)| (format!("lm_head.{name}"), shape)), 10_000)
}

fn write(path: &Path, tensors: &Tensors) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes: Vec<Vec<u8>> =
        tensors.values().map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, (shape, _)), bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    let values = |data: &[u8]| data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(view.data())))).collect()
}

/// A model as pre-training saves it, in `model/`.
fn lab(family: &str) -> StandIn {
    let lab = StandIn::without_worker();
    write(&lab.path("model/model.safetensors"), &encoder(family));
    write(&lab.path("model/mlm_head.safetensors"), &head());
    // What else lies there is no part of the export.
    fs::write(lab.path("model/decoder.safetensors"), "c_head").unwrap();
    fs::write(lab.path("model/sparse_linear.pt"), "a head").unwrap();
    fs::write(
        lab.path("model/modules.json"),
        json!([{"path": "", "type": "sentence_transformers.models.Transformer"}]).to_string(),
    )
    .unwrap();
    fs::write(lab.path("model/config.json"), config(family).to_string()).unwrap();
    fs::write(lab.path("model/tokenizer.json"), "{\"a\": 1}").unwrap();
    fs::write(lab.path("model/tokenizer_config.json"), "{\"b\": 2}").unwrap();
    lab
}

fn export(lab: &StandIn) -> Ran {
    lab.run("export --layout masked-lm model out/new", "")
}

fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(words.iter().all(|word| ran.stderr.contains(word)), "{words:?}: {}", ran.stderr);
}

/// The names of the files in a folder.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_roberta_has_its_encoder_and_head_under_transformers_names() {
    for (family, class) in [
        ("xlm-roberta", "XLMRobertaForMaskedLM"),
        ("roberta", "RobertaForMaskedLM"),
        ("camembert", "CamembertForMaskedLM"),
    ] {
        let lab = lab(family);
        let ran = export(&lab);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("out/new written: {class}, 27 tensors of float32")), "{}", ran.stderr);
        let mut expected: Tensors =
            encoder(family).into_iter().map(|(name, tensor)| (format!("roberta.{name}"), tensor)).collect();
        expected.extend(head());
        expected.insert("lm_head.decoder.bias".into(), head()["lm_head.bias"].clone());
        assert_eq!(read(&lab.path("out/new/model.safetensors")), expected);
        let config: Value = serde_json::from_slice(&fs::read(lab.path("out/new/config.json")).unwrap()).unwrap();
        assert_eq!((&config["architectures"], &config["tie_word_embeddings"]), (&json!([class]), &json!(true)));
        assert_eq!((&config["hidden_size"], &config["torch_dtype"]), (&json!(D), &json!("float32")));
        assert!(config.get("_name_or_path").is_none());
        let files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names(&lab.path("out/new")), files);
        for file in &files[2..] {
            assert_eq!(
                fs::read(lab.path(&format!("out/new/{file}"))).unwrap(),
                fs::read(lab.path(&format!("model/{file}"))).unwrap()
            );
        }
        assert_eq!(names(&lab.path("out")), ["new"], "nothing is left beside it");
    }
}

#[test]
fn a_bert_has_them_under_its_own() {
    let lab = lab("bert");
    assert_eq!(export(&lab).code, Some(0));
    let mut expected: Tensors =
        encoder("bert").into_iter().map(|(name, tensor)| (format!("bert.{name}"), tensor)).collect();
    for (own, theirs) in [
        ("dense.weight", "transform.dense.weight"),
        ("dense.bias", "transform.dense.bias"),
        ("layer_norm.weight", "transform.LayerNorm.weight"),
        ("layer_norm.bias", "transform.LayerNorm.bias"),
        ("bias", "bias"),
    ] {
        expected.insert(format!("cls.predictions.{theirs}"), head()[&format!("lm_head.{own}")].clone());
    }
    assert_eq!(read(&lab.path("out/new/model.safetensors")), expected);
    let config: Value = serde_json::from_slice(&fs::read(lab.path("out/new/config.json")).unwrap()).unwrap();
    assert_eq!(config["architectures"], json!(["BertForMaskedLM"]));
}

#[test]
fn prefixes_shards_and_what_is_left_out_change_no_byte() {
    let lab = lab("xlm-roberta");
    assert_eq!(export(&lab).code, Some(0));
    let whole = fs::read(lab.path("out/new/model.safetensors")).unwrap();
    let mut tensors: Tensors =
        encoder("xlm-roberta").into_iter().map(|(name, tensor)| (format!("roberta.{name}"), tensor)).collect();
    let left_out = ["roberta.pooler.dense.weight", "roberta.embeddings.position_ids", "lm_head.bias"];
    tensors.extend(left_out.map(|name| (name.to_owned(), (vec![1], vec![7.0]))));
    let mut map = serde_json::Map::new();
    for part in 0..2 {
        let own =
            tensors.iter().enumerate().filter(|(i, _)| i % 2 == part).map(|(_, (name, t))| (name.clone(), t.clone()));
        let (own, file): (Tensors, _) = (own.collect(), format!("part-{part}.safetensors"));
        write(&lab.path(&format!("model/{file}")), &own);
        map.extend(own.keys().map(|name| (name.clone(), file.clone().into())));
    }
    fs::write(lab.path("model/model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    fs::remove_file(lab.path("model/model.safetensors")).unwrap();
    let ran = lab.run("export --layout masked-lm model shards", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(fs::read(lab.path("shards/model.safetensors")).unwrap(), whole);
}

#[test]
fn what_is_no_model_of_pre_training_is_refused_with_what_is_needed() {
    let lab = lab("xlm-roberta");
    fs::remove_file(lab.path("model/mlm_head.safetensors")).unwrap();
    refused(
        &export(&lab),
        &["model: has no mlm_head.safetensors", "no model of pre-training", "model.safetensors and"],
    );
    // As the other commands do: where the model lies is said, and not guessed.
    fs::create_dir(lab.path("run")).unwrap();
    fs::create_dir(lab.path("run/step-00000005")).unwrap();
    fs::rename(lab.path("model"), lab.path("run/step-00000005/model")).unwrap();
    refused(
        &lab.run("export --layout masked-lm run out/new", ""),
        &["the model seems to be in run/step-00000005/model"],
    );
    refused(&lab.run("export --layout masked-lm absent out/new", ""), &["absent", "no such folder"]);
    refused(&lab.run("export --layout onnx run out/new", ""), &["onnx", "masked-lm"]);
    assert!(!lab.path("out").exists());
}

#[test]
fn weights_that_do_not_fit_are_listed() {
    let change = |file: &str, change: &dyn Fn(&mut Tensors), words: &[&str]| {
        let lab = lab("xlm-roberta");
        let path = lab.path(&format!("model/{file}"));
        let mut tensors = if file.starts_with("mlm") { head() } else { encoder("xlm-roberta") };
        change(&mut tensors);
        write(&path, &tensors);
        refused(&export(&lab), &[&[file], words].concat());
        assert!(!lab.path("out").exists(), "nothing is left behind");
    };
    let (encoder, head) = ("model.safetensors", "mlm_head.safetensors");
    change(
        encoder,
        &|t| drop(t.remove("embeddings.LayerNorm.bias")),
        &["embeddings.LayerNorm.bias: expected [4], not in"],
    );
    let wider = |t: &mut Tensors| drop(t.insert("lm_head.bias".into(), (vec![8], vec![0.0; 8])));
    change(head, &wider, &["lm_head.bias: expected [7], found [8]"]);
    let stray = |name: &'static str| move |t: &mut Tensors| drop(t.insert(name.into(), (vec![1], vec![0.0])));
    change(head, &stray("lm_head.decoder.weight"), &["lm_head.decoder.weight: the model has no place for it"]);
    change(encoder, &stray("encoder.layer.1.gate"), &["encoder.layer.1.gate: the model has no place for it"]);
    change(encoder, &stray("roberta.embeddings.LayerNorm.bias"), &["is there twice"]);
    change(encoder, &stray("bert.embeddings.gate"), &["\"bert.\" of BERT", "model_type \"xlm-roberta\""]);
}

#[test]
fn a_file_that_cannot_be_read_says_what_it_is() {
    let with = |file: &str, content: &[u8], words: &[&str]| {
        let lab = lab("xlm-roberta");
        fs::write(lab.path(&format!("model/{file}")), content).unwrap();
        refused(&export(&lab), &[&[file], words].concat());
    };
    let lab = lab("xlm-roberta");
    let good = fs::read(lab.path("model/mlm_head.safetensors")).unwrap();
    let longer = [&good[..], b"x"].concat();
    for file in ["model.safetensors", "mlm_head.safetensors"] {
        for bad in [
            &good[..good.len() - 1],
            &good[..100],
            &good[..5],
            &longer,
            b"\xff\xff\xff\xff\xff\xff\xff\xff{}",
            b"\x02\0\0\0\0\0\0\0[]",
        ] {
            with(file, bad, &["not a readable safetensors file", "is it cut off"]);
        }
        with(file, b"", &["is empty"]);
        with(file, b"version https://git-lfs.github.com/spec/v1\n", &["git lfs pull"]);
    }
    with("tokenizer.json", b"<!doctype html>", &["is a web page"]);
    with("config.json", b"{\"model_type\": \"gpt2\"}", &["gpt2"]);
    fs::rename(lab.path("model/model.safetensors"), lab.path("model/pytorch_model.bin")).unwrap();
    refused(&export(&lab), &["pytorch_model.bin: is a file of torch.save"]);
}

#[test]
fn integers_are_no_weights() {
    let lab = lab("xlm-roberta");
    let numbers = vec![0; VOCABULARY * 4];
    let mut views: Vec<(String, TensorView)> = Vec::new();
    let own = head();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = own
        .into_iter()
        .map(|(name, (shape, v))| (name, shape, v.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    for (name, shape, bytes) in &bytes {
        let (dtype, bytes) = if name == "lm_head.bias" { (Dtype::I32, &numbers) } else { (Dtype::F32, bytes) };
        views.push((name.clone(), TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    }
    fs::write(lab.path("model/mlm_head.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    refused(&export(&lab), &["lm_head.bias: of type I32"]);
}

#[test]
fn a_command_that_is_typed_again_finds_what_it_wrote_and_anything_else_is_kept() {
    let lab = lab("xlm-roberta");
    fs::create_dir_all(lab.path("out/new")).unwrap();
    // What a killed command has left.
    fs::create_dir(lab.path("out/new.tercet-partial")).unwrap();
    fs::write(lab.path("out/new.tercet-partial/model.safetensors"), "half").unwrap();
    fs::write(lab.path("out/new.tercet-partial/vocab.txt"), "of another tokenizer").unwrap();
    assert_eq!(export(&lab).code, Some(0), "an empty folder is free");
    let written = fs::metadata(lab.path("out/new/model.safetensors")).unwrap().modified().unwrap();
    let ran = export(&lab);
    assert!(ran.code == Some(0) && ran.stderr.contains("was there already, the same"), "{}", ran.stderr);
    assert_eq!(fs::metadata(lab.path("out/new/model.safetensors")).unwrap().modified().unwrap(), written);

    let good = fs::read(lab.path("out/new/model.safetensors")).unwrap();
    let last = good.len() - 1;
    let altered = [&good[..last], &[good[last] ^ 1]].concat();
    for other in [&altered[..], &good[..last], &[&good[..], b"x"].concat()] {
        fs::write(lab.path("out/new/model.safetensors"), other).unwrap();
        refused(&export(&lab), &["out/new is there already, with another model.safetensors"]);
        assert_eq!(fs::read(lab.path("out/new/model.safetensors")).unwrap(), other);
    }
    fs::write(lab.path("out/new/model.safetensors"), good).unwrap();
    fs::write(lab.path("out/new/notes.txt"), "mine").unwrap();
    refused(&export(&lab), &["with a file notes.txt", "choose another name"]);
    fs::remove_file(lab.path("out/new/notes.txt")).unwrap();
    fs::remove_file(lab.path("out/new/tokenizer.json")).unwrap();
    refused(&export(&lab), &["with another tokenizer.json"]);
    fs::write(lab.path("file"), "mine").unwrap();
    refused(&lab.run("export --layout masked-lm model file", ""), &["file is there already, and is no folder"]);
    refused(&lab.run("export --layout masked-lm model model", ""), &["model is there already"]);
    assert_eq!(names(&lab.path("out")), ["new"], "nothing is left beside it");
}

#[test]
fn a_folder_that_another_process_is_writing_is_left_to_it() {
    let lab = lab("xlm-roberta");
    fs::create_dir_all(lab.path("out/new.tercet-partial")).unwrap();
    fs::write(lab.path("out/new.tercet-partial/config.json"), "its own").unwrap();
    let held = fs::File::open(lab.path("out/new.tercet-partial")).unwrap();
    held.try_lock().unwrap();
    refused(&export(&lab), &["out/new is being written by another process"]);
    assert_eq!(fs::read_to_string(lab.path("out/new.tercet-partial/config.json")).unwrap(), "its own");
    drop(held);
    assert_eq!(export(&lab).code, Some(0));
}
