//! Peak memory of a rank: doubling the batch at fixed sub-batch adds its representations and nothing else.
//!
//! Measured where nothing can be forgotten: the kernel's figure of the process's largest resident set.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::json;
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
    // The widest representation by far: a vector per token. There is the vector, its gradient as the ring accumulates it,
    // the queries' and passages' gradients joined, and while they are joined or gathered one copy more. Dense vectors
    // and lexical weights are a hundredth of that.
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
fn model(place: &Place) -> std::path::PathBuf {
    let tokenizer = place.word_tokenizer("start/tokenizer.json", VOCABULARY);
    let config = json!({
        "model_type": "xlm-roberta", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "intermediate_size": 4 * HIDDEN, "max_position_embeddings": PASSAGE_LEN + 2,
        "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
    });
    let config = place.write("start/config.json", &config.to_string());
    let run = place.path("run");
    let train = Tercet::new("train").arg(recipe("golden.toml")).ranks(1).set(format!("run_dir={}", run.display()));
    let train = train.set("model.dropout=0").set(format!("model.config={}", config.display()));
    train.set(format!("model.tokenizer={}", tokenizer.display())).succeed();
    run.join("step-00000000/model")
}

/// The largest resident set of one step's process, in bytes.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and says more")]
fn peak_bytes(model: &Path, batch: &Path, kept_graph_tokens: usize) -> usize {
    let mut command = Command::new(program("tercet-worker"));
    command.arg("step").arg(recipe("golden.toml")).arg("--model").arg(model).arg("--tokens").arg(batch);
    command.args(["--set", "sub_batch_texts=4", "--set", &format!("kept_graph_tokens={kept_graph_tokens}")]);
    // Every thread allocates from the same place, and what is large is given back when it is freed.
    command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "65536").env("OMP_WAIT_POLICY", "passive");
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
    let model = model(&place);
    let batch = |name: &str, num_queries| {
        let path = place.path(name);
        TokenBatch::even(3, num_queries, GROUP_SIZE, (QUERY_LEN, PASSAGE_LEN), VOCABULARY).write(&path);
        path
    };
    let (once, twice) = (batch("once.safetensors", QUERIES), batch("twice.safetensors", 2 * QUERIES));
    let _alone = slots::take_all();
    let growth = |kept| peak_bytes(&model, &twice, kept).saturating_sub(peak_bytes(&model, &once, kept));

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
