//! `tercet report` on folders that this test writes: what can be read of them, and what cannot be.

use std::fs;

use tercet_fixtures::RecipeBuilder;

use crate::stand_in::{Ran, StandIn};

fn step(step: u64, loss: f64) -> String {
    format!(
        "{{\"step\":{step},\"dataset\":\"d\",\"loss\":{loss},\"terms\":{{\"dense\":{loss},\"lexical\":null}},\
         \"learning_rate\":0.001,\"grad_norm\":1.0,\"tokens\":1000,\"tokens_per_sec\":500.0,\
         \"imbalance\":1.5,\"step_secs\":2.0,\"wait_secs\":0.5,\"wait_share\":0.25,\"goodput\":0.75,\
         \"phase_secs\":{{\"forward\":1.5,\"loss\":0.5}},\"rss_bytes\":2000000,\"peak_rss_bytes\":3000000,\
         \"skipped\":1}}\n"
    )
}

fn evaluation(step: u64, ndcg: f64) -> String {
    format!(
        "{{\"step\":{step},\"eval_secs\":1.0,\"eval_secs_so_far\":2.0,\"eval_share\":0.1,\
         \"eval/mean/dense/ndcg@10\":{ndcg}}}\n"
    )
}

/// A folder of two runs and two evaluations.
fn lab() -> StandIn {
    let lab = StandIn::new();
    for (run, rate, scale) in [("one", 0.001, 1.0), ("two", 0.002, 2.0)] {
        let folder = lab.path(&format!("runs/{run}"));
        fs::create_dir_all(&folder).unwrap();
        let recipe = RecipeBuilder::new("t", 40).set("run_dir", format!("runs/{run}"));
        let recipe = recipe.set("older_key", "<b>|x|</b>").set("optimizer.learning_rate", rate);
        fs::write(folder.join("recipe.toml"), recipe.length_groups(&[(8, 2)]).to_string()).unwrap();
        let mut metrics: String = (1..=20).map(|at| step(at, scale / at as f64)).collect();
        metrics += &evaluation(20, 0.5);
        metrics.extend((21..=30).map(|at| step(at, scale / at as f64)));
        metrics += &evaluation(30, 0.25 * scale);
        fs::write(folder.join("metrics.jsonl"), metrics).unwrap();
        fs::write(folder.join("began"), "1000").unwrap();
        let time = "2026-01-31T12:00:00.000000Z ";
        let log = format!(
            "{time} INFO t: 2 ranks, steps 1 to 40, ready after 0.73 s\n{time} WARN step 3: loss <NaN>: skipped\n"
        );
        fs::write(folder.join("train.log"), log).unwrap();
    }
    let restarts = "{\"detected_secs\":0.5,\"event\":\"failed\",\"step\":7,\"time\":1060,\"why\":\"signal 9 | <i>\",\
                    \"world_size\":2}\n{\"event\":\"resumed\",\"from_step\":5,\"lost_steps\":2,\"resumed_secs\":3.0,\
                    \"time\":1070,\"world_size\":1}\n{\"event\":\"fai";
    fs::write(lab.path("runs/two/restarts.jsonl"), restarts).unwrap();
    for (name, hit) in [("before", 0.25), ("after", 0.75)] {
        let folder = lab.path(&format!("results/{name}"));
        fs::create_dir_all(&folder).unwrap();
        let set = |mean: f64| format!("{{\"dense\":{{\"mrr@10\":{mean},\"ndcg@10\":{mean}}}}}");
        fs::write(folder.join("metrics.json"), format!("{{\"de\":{},\"en\":{}}}", set(hit), set(0.5))).unwrap();
        let line = |set: &str, query: usize, value: f64| {
            format!(
                "{{\"data\":\"{set}\",\"query\":\"q{query}\",\"ranking\":\"dense\",\"mrr@10\":{value},\
                 \"ndcg@10\":{value}}}\n"
            )
        };
        let lines = (0..8).map(|query| line("de", query, hit) + &line("en", query, (query % 2) as f64));
        fs::write(folder.join("per_query.jsonl"), lines.collect::<String>()).unwrap();
    }
    lab
}

fn report(lab: &StandIn, words: &str) -> Ran {
    lab.run(&format!("report {words}"), "echo the worker was started >&2; exit 9")
}

fn markdown(lab: &StandIn) -> String {
    fs::read_to_string(lab.path("report.md")).unwrap()
}

const ALL: &str = "runs/one runs/two results/before results/after";

#[test]
fn runs_and_evaluations_stand_side_by_side() {
    let lab = lab();
    let ran = report(&lab, ALL);
    assert_eq!(ran.stderr, "report.html and report.md: 2 runs, 2 evaluations\n");
    let text = markdown(&lab);
    for line in [
        "# Report: one, two, before, after",
        "| steps done | 30 of 40 | 30 of 40 |",
        "| ranks | 2 | 2 |",
        "| tokens | 30.0 k | 30.0 k |",
        "| largest over mean cost of ranks | 1.5000 | 1.5000 |",
        "| goodput | 75.0 % | 75.0 % |",
        "| wait for input | 25.0 % | 25.0 % |",
        "| failures | 0 | 1 |",
        "| steps done again | 0 | 2 |",
        "| forward | 75.0 % | 75.0 % |",
        // The mean of a tenth is that of three steps.
        "| two | 1.222 | 0.4111 | 0.2526 | 0.1828 | 0.1433 | 0.1179 | 0.1002 | 0.0871 | 0.0770 | 0.0690 |",
        "| mean/dense/ndcg@10 | 25.0 (50.0 at step 20) | 50.0 |",
        "| dense (before) | 37.5 | 25.0 | 50.0 |",
        "| dense (after) | 62.5 (**+25.0 [+25.0, +25.0]**) | 75.0 (**+50.0 [+50.0, +50.0]**) | 50.0 (0.0 [0.0, 0.0]) |",
        "| 60.0 s | 7 | signal 9 \\| \\<i\\> | 2 | 500 ms | 5 | 2 | 1 | 3.0 s |",
        "- step 3: loss \\<NaN\\>: skipped",
        "| optimizer.learning_rate | 0.001 | 0.002 |",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    // Keys that are the same everywhere are no difference.
    assert!(!text.contains("older_key") && !text.contains("run_dir"), "{text}");
    let html = fs::read_to_string(lab.path("report.html")).unwrap();
    // Nothing is fetched from anywhere; a picture says only what it is.
    let text = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(["<script", "http", "src=", "url(", "@import"].iter().all(|word| !text.contains(word)), "{html}");
    assert!(html.contains("signal 9 | &lt;i&gt;") && html.contains("loss &lt;NaN&gt;"), "{html}");
    assert!(html.len() < 400_000, "{} bytes", html.len());
}

#[test]
fn the_same_folders_make_the_same_bytes_wherever_it_is_written() {
    let lab = lab();
    let both = |out: &str| ["html", "md"].map(|ending| fs::read(lab.path(&format!("{out}.{ending}"))).unwrap());
    assert_eq!(report(&lab, ALL).code, Some(0));
    let first = both("report");
    fs::create_dir(lab.path("there")).unwrap();
    assert_eq!(report(&lab, &format!("{ALL} --out there/again.html")).code, Some(0));
    assert!(both("there/again") == first);
    assert_eq!(report(&lab, ALL).code, Some(0), "what is there is written over");
    assert!(both("report") == first);
}

#[test]
fn a_run_that_was_killed_or_has_not_begun_is_reported_and_broken_files_are_not() {
    let lab = lab();
    let metrics = lab.path("runs/one/metrics.jsonl");
    let whole = fs::read_to_string(&metrics).unwrap();
    for torn in ["{\"step\":31,\"lo", "\0\0\0"] {
        fs::write(&metrics, format!("{whole}{torn}")).unwrap();
        assert_eq!(report(&lab, "runs/one").code, Some(0), "{torn:?}");
        assert!(markdown(&lab).contains("| steps done | 30 of 40 |"));
    }
    fs::write(&metrics, whole.replacen("\"step\":4,", "\"step\":x,", 1)).unwrap();
    let ran = report(&lab, "runs/one");
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("tercet: runs/one/metrics.jsonl: line 4: "), "{}", ran.stderr);
    fs::remove_file(&metrics).unwrap();
    assert_eq!(report(&lab, "runs/one").code, Some(0));
    assert!(markdown(&lab).contains("| steps done | 0 of 40 |"), "{}", markdown(&lab));
    // An older or a later version's recipe is shown as it is; what is no TOML is not.
    fs::write(lab.path("runs/one/recipe.toml"), "name = ").unwrap();
    let ran = report(&lab, "runs/one");
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    fs::write(lab.path("results/after/per_query.jsonl"), "{}\n").unwrap();
    let ran = report(&lab, "results/before results/after");
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains("results/after/per_query.jsonl: line 1: missing field"), "{}", ran.stderr);
}

#[test]
fn an_evaluation_without_figures_is_broken() {
    let lab = lab();
    for (metrics, expected) in [
        ("{}", "holds no data set"),
        ("{\"de\": {}}", "holds no figure of de"),
        ("{\"de\": {\"dense\": {}}}", "holds no figure of de"),
        ("", "EOF"),
        ("[]", "invalid type"),
    ] {
        fs::write(lab.path("results/after/metrics.json"), metrics).unwrap();
        let ran = report(&lab, "results/before results/after");
        assert_eq!(ran.code, Some(4), "{metrics}: {}", ran.stderr);
        let begins = "tercet: results/after/metrics.json: ";
        assert!(ran.stderr.starts_with(begins) && ran.stderr.contains(expected), "{metrics}: {}", ran.stderr);
    }
    assert!(!lab.path("report.html").exists());
}

#[test]
fn what_is_no_run_and_no_evaluation_is_refused_and_nothing_is_written() {
    let lab = lab();
    fs::create_dir(lab.path("empty")).unwrap();
    fs::create_dir_all(lab.path("killed/index")).unwrap();
    for (words, expected) in [
        ("runs/one absent", "absent: there is no such folder"),
        ("empty", "empty: neither a run (metrics.jsonl, recipe.toml) nor an evaluation"),
        ("killed", "killed: an evaluation that was not finished: type its `tercet eval` again"),
        ("runs/one/metrics.jsonl", "is a file: name the folder that it is in"),
        ("runs/one ./runs/one", "runs/one is there twice"),
        ("seeds=runs/one,runs/two", "only evaluations are averaged"),
        ("runs/one --out absent/report.html", "writing absent/report.md"),
    ] {
        let ran = report(&lab, words);
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected) && ran.stderr.lines().count() == 1, "{words}: {}", ran.stderr);
        assert!(!lab.path("report.html").exists() && !lab.path("report.md").exists(), "{words}");
    }
}

#[test]
fn evaluations_of_other_queries_stand_apart_and_those_of_one_name_are_averaged() {
    let lab = lab();
    let queries = lab.path("results/after/per_query.jsonl");
    let text = fs::read_to_string(&queries).unwrap();
    assert_eq!(report(&lab, "base=results/before seeds=results/before,results/after").code, Some(0));
    let line =
        "| dense (seeds) | 50.0 (**+12.5 [+12.5, +12.5]**) | 50.0 (**+25.0 [+25.0, +25.0]**) | 50.0 (0.0 [0.0, 0.0]) |";
    assert!(markdown(&lab).contains(line), "{}", markdown(&lab));
    fs::write(&queries, text.replace("q7", "other")).unwrap();
    let ran = report(&lab, "results/before results/after");
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("warning: not compared, because no data set has the same queries: before | after"));
    let text = markdown(&lab);
    assert!(text.contains("## Evaluation: before\n") && text.contains("## Evaluation: after\n"), "{text}");
    let ran = report(&lab, "seeds=results/before,results/after");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("results/after cannot be averaged with results/before: de has other queries"));
}
