//! What the machine is: what `tercet doctor` says, and the driver's own words.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::found::Found;
use crate::stage::Stage;

/// What the driver is asked of each GPU.
const FIELDS: [&str; 10] = [
    "name",
    "driver_version",
    "compute_cap",
    "memory.total",
    "pcie.link.gen.max",
    "clocks.max.sm",
    "power.limit",
    "mig.mode.current",
    "ecc.mode.current",
    "compute_mode",
];

/// The name of the figure that has its answer.
const QUERY: &str = "nvidia_smi";

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    found.figure("num_gpus", stage.num_gpus);
    found.figure("free_bytes", stage.free_bytes);
    found.line(format!(
        "{} of libtorch's, {:.1} GB free on the first\n",
        gpus(stage.num_gpus),
        stage.free_bytes as f64 / 1e9
    ));
    let ended =
        stage.run(stage.programs.tercet(["doctor", "--json", "-", "-n", &stage.num_gpus.to_string()]), until)?;
    match serde_json::from_str::<Value>(&ended.stdout) {
        Ok(mut report) => {
            doctor(&report, found);
            without_names(&mut report);
            found.figure("doctor", report);
        }
        Err(_) => found.wrong(ended.complaint()),
    }
    if ended.code != Some(0) && found.wrong.is_empty() {
        found.wrong(ended.complaint());
    }
    for (name, words) in [
        (QUERY, vec![format!("--query-gpu={}", FIELDS.join(",")), "--format=csv".into()]),
        ("topology", vec!["topo".into(), "-m".into()]),
    ] {
        let mut command = Command::new("nvidia-smi");
        command.args(words);
        match stage.run(command, until) {
            Ok(ended) if ended.code == Some(0) => {
                found.line(format!("```\n{}\n```\n", ended.stdout.trim_end()));
                if name == QUERY {
                    found.figures.card = card(&ended.stdout);
                }
                found.figure(name, ended.stdout);
            }
            Ok(ended) => found.left_out(ended.complaint()),
            Err(error) => found.left_out(format!("nvidia-smi: {error:#}")),
        }
    }
    Ok(())
}

/// The first card's name in the answer, whose first line has the fields' names.
fn card(csv: &str) -> Option<String> {
    Some(csv.lines().nth(1)?.split(',').next()?.trim().to_owned())
}

fn gpus(count: usize) -> String {
    if count == 1 { "1 GPU".into() } else { format!("{count} GPUs") }
}

/// The report's verdict, findings, versions and rates.
fn doctor(report: &Value, found: &mut Found) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    found.line(format!("`tercet doctor`: {}\n", text(&report["verdict"])));
    for finding in report["findings"].as_array().into_iter().flatten() {
        let sentence = format!("{}: {}", text(&finding["level"]), text(&finding["text"]));
        // A warning may be of the machine's load, which this test makes itself.
        if ["sick", "mistake"].contains(&finding["level"].as_str().unwrap_or_default()) {
            found.wrong(sentence);
        } else {
            found.line(format!("- {sentence}"));
        }
    }
    let versions = report["ranks"][0]["versions"].as_object().into_iter().flatten();
    let versions: Vec<String> = versions.map(|(name, version)| format!("{name} {}", text(version))).collect();
    found.line(format!("\n{}\n", versions.join(", ")));
    let rates = report["ranks"].as_array().into_iter().flatten();
    let rates: Vec<String> = rates
        .filter_map(|rank| rank["product"]["flops_per_sec"].as_f64())
        .map(|rate| format!("{:.1}", rate / 1e12))
        .collect();
    found.line(format!("matrix products of each rank, TFLOP/s: {}\n", rates.join(", ")));
}

/// Takes away what names this machine and its folders: the file may be sent to others.
fn without_names(report: &mut Value) {
    match report {
        Value::Object(all) => {
            for key in ["host", "from_host", "to_host"] {
                if let Some(name) = all.get_mut(key) {
                    *name = json!("");
                }
            }
            all.remove("folder");
            all.values_mut().for_each(without_names);
        }
        Value::Array(all) => all.iter_mut().for_each(without_names),
        _ => {}
    }
}

#[cfg(test)]
#[test]
fn the_first_cards_name_is_the_first_field_behind_the_head() {
    assert_eq!(card("name, driver\nNVIDIA H200, 580\nother, 580\n").as_deref(), Some("NVIDIA H200"));
    assert_eq!(card("name, driver\n"), None);
}
