//! Peak memory of a rank: doubling the batch at fixed sub-batch adds its representations and nothing else.
//!
//! Measured where nothing can be forgotten: the kernel's figure of the process's largest resident set.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use tercet_fixtures::ModelConfig;
use tercet_tests::batch::TokenBatch;
use tercet_tests::place::{Place, recipe};
use tercet_tests::program::{Tercet, program};
use tercet_tests::slots;

const HIDDEN: usize = 128;
const LAYERS: usize = 4;
const VOCABULARY: usize = 500;
const QUERY_LEN: usize = 8;
const PASSAGE_LEN: usize = 128;
const GROUP_SIZE: usize = 16;
/// Queries of the smaller batch.
const QUERIES: usize = 4;

const MIB: usize = 1 << 20;

/// What the second half of a batch may add, in bytes.
fn representations_bytes() -> usize {
    let tokens = QUERIES * (GROUP_SIZE * PASSAGE_LEN + QUERY_LEN);
    // The widest representation by far: a vector per token. There is the vector, its gradient as the ring accumulates
    // it, the queries' and passages' gradients joined, and while they are joined or gathered one copy more. Dense
    // vectors and lexical weights are a hundredth of that.
    let vectors = 4 * tokens * HIDDEN * size_of::<f32>();
    // The tile of similarities grows with the batch until it has 2^22 elements; it is there as computed, as masked, and
    // as the maximum and its index are taken. Here the smaller batch has a quarter of the larger one's.
    let queries = 2 * QUERIES;
    let tile = 3 * queries * QUERY_LEN * queries * GROUP_SIZE * PASSAGE_LEN * size_of::<f32>();
    vectors + tile
}

/// What the allocator may keep beyond what is in use: with small sub-batches it recycles, but not always.
const ALLOCATOR_BYTES: usize = 12 * MIB;

/// A model directory of fresh weights: what a run of no steps leaves.
fn model(place: &Place, hidden: usize, layers: usize, vocabulary: usize, longest: usize) -> std::path::PathBuf {
    let tokenizer = place.word_tokenizer("start/tokenizer.json", VOCABULARY);
    let config = ModelConfig { num_layers: layers, ..ModelConfig::of_width(hidden, vocabulary, longest) };
    let config = place.model_config("start/config.json", &config);
    let run = place.path("run");
    let train = Tercet::new("train").arg(recipe("golden.toml")).ranks(1).set(format!("run_dir={}", run.display()));
    let train = train.set("model.dropout=0").set(format!("model.config={}", config.display()));
    train.set(format!("model.tokenizer={}", tokenizer.display())).succeed();
    run.join("step-00000000/model")
}

/// The largest resident set of one step's process, in bytes.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and says more")]
fn peak_bytes(model: &Path, batch: &Path, settings: &[&str]) -> usize {
    let mut command = Command::new(program("tercet-worker"));
    command.arg("step").arg(recipe("golden.toml")).arg("--model").arg(model).arg("--tokens").arg(batch);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command.env("OMP_WAIT_POLICY", "passive");
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut status = 0;
    // SAFETY: both pointers are to variables of this function; zeros are a valid rusage.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage), child.id() as libc::pid_t);
        usage
    };
    assert!(ExitStatus::from_raw(status).success());
    usage.ru_maxrss as usize * 1024
}

#[test]
fn doubling_the_batch_adds_only_its_representations() {
    let place = Place::new();
    let model = model(&place, HIDDEN, LAYERS, VOCABULARY, PASSAGE_LEN);
    let batch = |name: &str, num_queries| {
        let path = place.path(name);
        TokenBatch::even(3, num_queries, GROUP_SIZE, (QUERY_LEN, PASSAGE_LEN), VOCABULARY).write(&path);
        path
    };
    let (once, twice) = (batch("once.safetensors", QUERIES), batch("twice.safetensors", 2 * QUERIES));
    let _alone = slots::take_all();
    let growth = |kept: usize| {
        let settings = ["sub_batch_texts=4", &format!("kept_graph_tokens={kept}")];
        peak_bytes(&model, &twice, &settings).saturating_sub(peak_bytes(&model, &once, &settings))
    };

    let bound = representations_bytes() + ALLOCATOR_BYTES;
    let recomputed = growth(0);
    // The same with every graph kept: what the measurement would show if activations were not let go.
    let kept = growth(usize::MAX >> 1);
    let report = format!(
        "doubling adds {} MiB when graphs are recomputed (at most {} MiB are expected), {} MiB when they are kept",
        recomputed / MIB,
        bound / MIB,
        kept / MIB
    );
    println!("{report}");
    assert!(recomputed <= bound, "{report}");
    assert!(kept >= 4 * bound, "{report}");
}

/// One layer of four heads over texts of 8,192 tokens, with a vocabulary of XLM-R's size.
#[test]
fn nothing_is_as_large_as_a_texts_square_or_as_texts_times_the_vocabulary() {
    const LONG: usize = 8192;
    const XLMR_VOCABULARY: usize = 250_002;
    const NARROW: usize = 64;
    let place = Place::new();
    let model = model(&place, NARROW, 1, XLMR_VOCABULARY, LONG);
    let batch = |name: &str, passage_len| {
        let path = place.path(name);
        TokenBatch::even(3, 2, 2, (QUERY_LEN, passage_len), XLMR_VOCABULARY).write(&path);
        path
    };
    let (short, long) = (batch("short.safetensors", QUERY_LEN), batch("long.safetensors", LONG));
    let _alone = slots::take_all();
    // A layer keeps some twenty numbers of the width for each token of the one text that is encoded at a time, and has
    // as many on the way; all texts have a vector a token, with its gradients. Tiles are the rest.
    let activations = 40 * LONG * NARROW * size_of::<f32>();
    let bound = activations + 4 * (4 * LONG * NARROW * size_of::<f32>()) + 64 * MIB;
    // What must not be there: one head's similarities of one text, or a row of the vocabulary for every token.
    assert!(bound < LONG * LONG * size_of::<f32>() && bound < LONG * XLMR_VOCABULARY);
    for settings in [
        ["model.dropout=0.0", "precision=\"fp32\""],
        ["model.dropout=0.1", "precision=\"fp32\""],
        ["model.dropout=0.1", "precision=\"bf16\""],
    ] {
        let grown = peak_bytes(&model, &long, &settings).saturating_sub(peak_bytes(&model, &short, &settings));
        let report = format!("{settings:?}: {} MiB for long texts, at most {} expected", grown / MIB, bound / MIB);
        println!("{report}");
        assert!(grown <= bound, "{report}");
    }
}
