//! `tercet plan` from the command line, over a small store: table, JSON, picture, and what would fail.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use serde_json::{Value, json};
use tercet_fixtures::{ModelConfig, RecipeBuilder};

use crate::stand_in::{Ran, StandIn};

/// Twelve rows of at most 5 tokens and eighteen of 7, a negative each; a model and a recipe.
fn lab() -> StandIn {
    let lab = StandIn::new();
    let rows = |query: &str, text: &str, n: usize| {
        format!("{{\"query\": \"{query}\", \"pos\": [\"{text}\"], \"neg\": [\"four\"]}}\n").repeat(n)
    };
    lab.write_tokenizer();
    let rows = rows("one", "one two three", 12) + &rows("two", "one two three four five", 18);
    std::fs::write(lab.path("rows.jsonl"), rows).unwrap();
    let config = ModelConfig { hidden_size: 8, intermediate_size: 16, ..ModelConfig::tiny(16, 32) };
    std::fs::write(lab.path("config.json"), config.json().to_string()).unwrap();
    let recipe = RecipeBuilder::new("small", 10).set("model.config", "config.json");
    let recipe = recipe.data(Path::new("store"), [32, 32], 2).length_groups(&[(5, 4), (8, 6)]);
    std::fs::write(lab.path("small.toml"), recipe.to_string()).unwrap();
    let ran = lab.run("prepare --tokenizer tokenizer.json --out store rows.jsonl", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    lab
}

fn printed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr))
}

#[test]
fn rows_batches_and_steps_are_those_of_the_store() {
    let lab = lab();
    let ran = lab.run("plan small.toml --world 2 --json -", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let plan = printed(&ran);
    let cells = plan["cells"].as_array().unwrap();
    let figures = |key: &str| cells.iter().map(|cell| cell[key].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((figures("rows"), figures("global_batch")), (vec![12, 18], vec![4, 6]));
    assert_eq!((figures("batches_per_pass"), figures("up_to_tokens")), (vec![3, 3], vec![5, 8]));
    assert_eq!(figures("steps").iter().sum::<u64>(), 10);
    // Queries of 3 tokens, negatives of 3, positives of 5 and 7.
    assert_eq!(cells[0]["batch"]["tokens"], 4.0 * 11.0);
    assert_eq!(cells[1]["batch"]["tokens"], 6.0 * 13.0);
    assert_eq!(cells[0]["batch"]["group_size"], 2.0);
    assert!(plan["totals"]["time"].is_null() && plan["rates"].is_null());
    assert_eq!(plan["errors"], Value::Array(Vec::new()));
}

#[test]
fn the_table_is_narrow_and_says_how_to_get_times() {
    let lab = lab();
    let ran = lab.run("plan small.toml --picture plan.svg --json plan.json", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 110), "{}", ran.stdout);
    for words in ["an epoch       6 steps", "--gpu a100-80", "--flops 120e12", "AdamW's two moments", "all-reduce"] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert!(std::fs::read_to_string(lab.path("plan.svg")).unwrap().contains("tokens of the run"));
    assert!(std::fs::read_to_string(lab.path("plan.json")).unwrap().contains("\"memory\""));
}

#[test]
fn a_gpus_plan_is_in_bf16_unless_said_otherwise_and_has_the_runs_peak_beside_it() {
    let lab = lab();
    let plan = |words: &str| {
        let ran = lab.run(&format!("plan small.toml --world 2 {words}"), "");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout
    };
    let table = plan("--device cuda");
    assert!(table.lines().next().unwrap().ends_with("; bf16") && table.contains("bfloat16 weights"), "{table}");
    assert!(!table.contains("measured peak"), "{table}");
    for words in ["--device cpu", "--device cuda --set precision=fp32"] {
        let table = plan(words);
        assert!(table.lines().next().unwrap().ends_with("; fp32") && !table.contains("bfloat16"), "{table}");
    }
    std::fs::create_dir(lab.path("run")).unwrap();
    let metrics = "{\"step\":1,\"device_peak_bytes\":61200000000}\n{\"step\":2,\"device_peak_bytes\":7}\n{\"st";
    std::fs::write(lab.path("run/metrics.jsonl"), metrics).unwrap();
    let table = plan("--device cuda --set run_dir=run");
    let measured = table.lines().find(|line| line.contains("measured peak")).unwrap();
    assert!(measured.contains("61.2 GB"), "{measured}");
}

#[test]
fn given_rates_become_times_and_rank_hours() {
    let lab = lab();
    let slow = printed(&lab.run("plan small.toml --world 2 --flops 1e6 --bandwidth 1e9 --json -", ""));
    let fast = printed(&lab.run("plan small.toml --world 2 --flops 2e6 --bandwidth 2e9 --json -", ""));
    let secs = |plan: &Value| plan["totals"]["time"]["secs"].as_f64().unwrap();
    assert!((secs(&slow) / secs(&fast) - 2.0).abs() < 1e-9);
    let hours = slow["totals"]["time"]["rank_hours"].as_f64().unwrap();
    assert!((hours - secs(&slow) * 2.0 / 3600.0).abs() < 1e-12);
    let ran = lab.run("plan small.toml --world 2 --flops 1e6", "");
    assert!(ran.code == Some(2) && ran.stderr.contains("--bandwidth"), "{}", ran.stderr);
}

#[test]
fn a_card_has_times_by_length_and_keeps_what_fits() {
    let lab = lab();
    let ran = lab.run("plan small.toml --world 2 --gpu a100-80", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 110), "{}", ran.stdout);
    for words in ["assumed, for nobody has measured this card", "GPU memory", "GPU-hours"] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    let given = lab.run("plan small.toml --world 2 --flops 1e12 --bandwidth 1e9", "").stdout;
    for table in [&ran.stdout, &given] {
        for words in
            ["  predicted\n", "predicted: a step's time", "predicted: a step takes", "predicted: the run takes"]
        {
            assert!(table.contains(words), "{words}: {table}");
        }
    }
    let plan = |words: &str| printed(&lab.run(&format!("plan small.toml --world 2 {words} --json -"), ""));
    let [a100, h200] = ["--gpu a100-80", "--gpu h200"].map(plan);
    assert_eq!(
        (&a100["device"], &a100["precision"], &a100["rates"]["card"]),
        (&"cuda".into(), &"bf16".into(), &"a100-80".into())
    );
    // 80 GB hold all of a toy's graphs, and nothing is computed again; without a card nobody counts on that.
    assert_eq!(
        (&a100["lengths"][0]["batch"]["kept_share"], plan("--device cuda")["fit"]["kept_graph_tokens"].as_u64()),
        (&1.0.into(), Some(0))
    );
    let kept = |plan: &Value| plan["fit"]["kept_graph_tokens"].as_u64().unwrap();
    assert!(kept(&h200) as f64 > 1.6 * kept(&a100) as f64, "{} and {}", kept(&h200), kept(&a100));
    let secs = |plan: &Value| plan["totals"]["time"]["secs"].as_f64().unwrap();
    let parts: f64 = a100["totals"]["time"]["parts"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
    assert!((parts / secs(&a100) - 1.0).abs() < 1e-9);
    let by_length: f64 = a100["lengths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|length| {
            let step: f64 = length["batch"]["secs"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
            length["steps"].as_f64().unwrap() * step
        })
        .sum();
    assert!((by_length / secs(&a100) - 1.0).abs() < 1e-9);
    // Across machines two ranks have one network adapter each.
    let apart = plan("--gpu a100-80 --gpus-per-node 1");
    assert_eq!(apart["rates"]["ring_bytes_per_sec"], 0.92 * 25e9);
    assert_eq!(plan("--gpu a100-80 --bandwidth 1e9")["rates"]["ring_bytes_per_sec"], 1e9);
}

#[test]
fn a_cards_own_measurements_replace_what_is_assumed() {
    let lab = lab();
    let step = json!({"tokens": 65_280.0, "step_secs": 0.6, "cpu_secs": 0.6, "tokens_per_sec": 108_800.0,
        "model_flops": 1e14, "peak_share": 0.3, "phase_secs": {"forward": 0.2, "backward": 0.3}});
    let bench = json!({"recipe": "speed", "world_size": 1, "threads": 1, "precision": "bf16", "num_parameters": 5.7e8,
        "peak_flops_per_sec": 7e14, "libtorch_flops_per_sec": 7e14, "median": step, "steps": [step],
        "peak_rss_bytes": 1e9, "device_peak_bytes": 1e10, "planned_device_bytes": 1e10});
    let part = |name: &str, figures: Value| {
        json!({"name": name, "question": "?", "outcome": "ok", "why": [],
        "left_out": [], "secs": 1.0, "limit_secs": 2, "figures": figures})
    };
    let config = json!({"model_type": "xlm-roberta", "vocab_size": 250_002, "hidden_size": 1024,
        "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "pad_token_id": 1,
        "max_position_embeddings": 8194, "type_vocab_size": 1});
    let report = json!({"format": 2, "tercet": "0", "small": false, "all_right": true, "began": 0, "secs": 1.0,
        "shape": "XLM-RoBERTa-large", "cpu_numbers": {}, "config": config,
        "timed": {"query_len": 64, "group_size": 2, "sub_batch_tokens": 16_384},
        "parts": [part("device", json!({"card": "NVIDIA H100 80GB HBM3"})),
                  part("speed", json!({"bench": {"512": bench}}))]});
    let report = report.to_string();
    std::fs::write(lab.path("report.json"), &report).unwrap();
    let plan = printed(&lab.run("plan small.toml --world 2 --measured report.json --json -", ""));
    assert_eq!(
        (&plan["rates"]["card"], &plan["rates"]["product_flops_per_sec"]),
        (&"h100".into(), &(0.85 * 7e14).into())
    );
    assert_eq!(plan["rates"]["measured"], json!(["matrix products"]));
    assert_eq!(plan["compared"][0]["measured_tokens_per_sec"], 65280.0 / 0.6);
    let ran = lab.run("plan small.toml --world 2 --measured report.json", "");
    assert!(ran.stdout.contains("measured: matrix products; the others are assumed"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 110), "{}", ran.stdout);
    std::fs::write(lab.path("other.json"), report.replace("NVIDIA H100", "NVIDIA L40S")).unwrap();
    for (words, reason) in [
        ("--measured absent.json", "--measured absent.json: "),
        ("--measured small.toml", "small.toml: this is no report of `make test-gpu`"),
        ("--measured report.json --gpu a100-80", "of a card named \"NVIDIA H100 80GB HBM3\", which is no a100-80"),
        ("--measured other.json", "of which nothing is known here: say with --gpu"),
        ("--gpu v100", "expected one of a100-80"),
        ("--gpu h100 --flops 1e12", "cannot be used with"),
        ("--bandwidth 1e9", "required"),
        ("--gpu h100 --set precision=fp32", "reckon with bfloat16, and the recipe's precision is fp32"),
    ] {
        let ran = lab.run(&format!("plan small.toml --world 2 {words}"), "");
        assert_eq!(ran.code, Some(2), "{words}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(reason), "{words}: {}", ran.stderr);
    }
}

#[test]
fn rates_are_measured_by_the_ranks() {
    let lab = lab();
    let measured = r#"[ "$1" = measure ] || exit 9
        echo '{"product_flops_per_sec": 4e6, "num_texts": 2, "text_len": 5, "encoder_secs": 0.5, "update_secs": 0.25,
               "all_reduce_bytes_per_sec": 0.0, "ring_bytes_per_sec": 1.0}' | tr -d '\n'"#;
    let plan = printed(&lab.run("plan small.toml --measure --json -", measured));
    assert_eq!(plan["rates"]["update_secs"], 0.25);
    // Three times the forward pass of two texts of 5 tokens, all heads: by hand in flops.rs.
    let forward = 2.0 * (10.0 * 1024.0 + 32.0 * 50.0) + 10.0 * (16.0 + 128.0);
    assert_eq!(plan["rates"]["flops_per_sec"], 3.0 * forward / 0.5);
}

#[test]
fn what_would_fail_is_planned_as_far_as_it_goes_and_ends_with_2() {
    let lab = lab();
    for (words, reason, shown) in [
        ("--world 4", "global_batch 6, which 4 ranks cannot share equally: use 4 or 8", "an epoch"),
        (
            "--set data.passage_max_len=64 data.length_groups=[{max_len=64,global_batch=4}]",
            "longer than the model's",
            "an epoch",
        ),
        ("--set model.config=absent.json", "absent.json", "rows"),
        ("--set data.store=absent", "tercet prepare", "small: 10 steps"),
        ("--set data.length_groups=[{max_len=8,global_batch=64}]", "nothing to train on", "1-8"),
        ("--set steps=0", "steps is 0", "rows"),
    ] {
        let ran = lab.run(&format!("plan small.toml {words}"), "");
        assert_eq!(ran.code, Some(2), "{words}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(reason), "{words}: {}", ran.stderr);
        assert!(ran.stdout.contains(shown), "{words}: {}", ran.stdout);
    }
}

#[test]
fn waste_is_warned_of_with_numbers_and_a_remedy() {
    let lab = lab();
    let groups = "data.length_groups=[{max_len=5,global_batch=1},{max_len=8,global_batch=20}]";
    for (words, warning) in [
        (format!("--set data.group_size=1 {groups}"), "has no negatives, so its loss is 0"),
        (format!("--set {groups}"), "18 rows for a global batch of 20"),
        ("--set sub_batch_tokens=6".to_owned(), "sub_batch_tokens is 6, but texts have up to 8 tokens"),
        ("--set steps=600".to_owned(), "is seen 100 times"),
    ] {
        let ran = lab.run(&format!("plan small.toml {words}"), "");
        assert_eq!(ran.code, Some(0), "{words}: {}{}", ran.stdout, ran.stderr);
        let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("warning: ") && text.contains(warning), "{words}: {}", ran.stdout);
    }
}

#[test]
fn a_damaged_store_ends_with_4_as_it_does_in_training() {
    let lab = lab();
    std::fs::write(lab.path("store/manifest.json"), "{").unwrap();
    let ran = lab.run("plan small.toml", "");
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains("this run would fail: "), "{}", ran.stderr);
}

#[test]
fn what_standard_output_does_not_take_is_told_unless_its_reader_has_gone() {
    let lab = lab();
    let mut command = lab.tercet("plan small.toml", "");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Ran::from(command.stdout(full).output().unwrap());
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("writing to standard output: No space left"), "{}", ran.stderr);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = Ran::from(lab.tercet("plan small.toml", "").stdout(writer).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn texts_alone_are_planned_under_a_preset_that_pre_trains() {
    let lab = lab();
    std::fs::write(lab.path("t.txt"), "one two three\n".repeat(12) + &"one two three four five\n".repeat(18)).unwrap();
    let ran = lab.run("prepare --tokenizer tokenizer.json --out texts --texts t.txt", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let recipe = RecipeBuilder::new("small", 10).set("model.config", "config.json");
    let recipe = recipe.set("data.store", "texts").set("loss.preset", "mlm").length_groups(&[(5, 4), (8, 6)]);
    std::fs::write(lab.path("stage1.toml"), recipe.to_string()).unwrap();
    let ran = lab.run("plan stage1.toml --world 2 --json -", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let plan = printed(&ran);
    let tokens = |cell: usize| plan["cells"][cell]["batch"]["tokens"].as_f64().unwrap();
    assert_eq!((tokens(0), tokens(1)), (4.0 * 5.0, 6.0 * 7.0));
    assert_eq!((&plan["cells"][0]["batch"]["group_size"], &plan["errors"]), (&0.0.into(), &Value::Array(Vec::new())));

    for (words, said) in [
        ("stage1.toml --set data.store=store", "holds rows of queries and passages, but"),
        ("stage1.toml --set loss.preset=dense", "holds texts alone, but"),
        ("stage1.toml --set data.passage_max_len=9", "data.passage_max_len: has no meaning"),
    ] {
        let ran = lab.run(&format!("plan {words}"), "");
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.stderr);
        assert!((ran.stderr.clone() + &ran.stdout).contains(said), "{words}: {}{}", ran.stderr, ran.stdout);
    }
}
