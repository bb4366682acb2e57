//! Runs side by side: what each did, where its time went, its curves and evaluations, and what their recipes differ in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tercet_protocol::says::EvalRecord;

use super::document::{Block, Cell, Chart, NamedCurve, Section, Table, Unit};
use super::run::{Figure, Kind, Run};
use crate::plan::{duration, grouped, percent, scaled};
use crate::supervise::record::Line;

/// Keys that say where a run lies, and not what it is.
const PLACES: [&str; 1] = ["run_dir"];

/// What the runs did.
pub fn summary(runs: &[Run]) -> Section {
    let mut blocks = vec![Block::Table(table("", runs, &facts()))];
    let phases: BTreeSet<&str> = runs.iter().flat_map(|run| run.sums.phase_secs.keys()).map(String::as_str).collect();
    let share = |run: &Run, phase: &str| {
        let all: f64 = run.sums.phase_secs.values().sum();
        run.sums.phase_secs.get(phase).filter(|_| all > 0.0).map(|secs| secs / all)
    };
    let matters = |phase: &&str| runs.iter().any(|run| share(run, phase).is_some_and(|share| share >= 5e-4));
    let rows: Vec<Vec<Cell>> = phases
        .into_iter()
        .filter(matters)
        .map(|phase| row(phase, runs, |run| share(run, phase).map(percent)))
        .collect();
    if !rows.is_empty() {
        blocks.push(Block::Heading("Where the time of rank 0 went".into()));
        blocks.push(Block::Table(Table { head: head("phase", runs), rows }));
    }
    Section { title: "Runs".into(), blocks }
}

/// What is said of a run, where it is known.
type Fact = (&'static str, fn(&Run) -> Option<String>);

fn facts() -> Vec<Fact> {
    vec![
        ("steps done", |run| {
            let planned = run.planned_steps().map_or(String::new(), |steps| format!(" of {}", grouped(steps)));
            Some(format!("{}{planned}", grouped(run.steps())))
        }),
        ("ranks", |run| {
            let mut ranks = run.log.starts.clone();
            ranks.dedup();
            let ranks: Vec<String> = ranks.iter().map(usize::to_string).collect();
            (!ranks.is_empty()).then(|| ranks.join(", then "))
        }),
        ("loss, mean of the last tenth", |run| {
            let figure = Figure { kind: Kind::Losses, name: "loss".into(), unit: Unit::Plain };
            let tenths = run.curves.get(&figure)?.tenths(run.steps());
            tenths.last().copied().flatten().map(|loss| Unit::Plain.write(loss))
        }),
        ("tokens", |run| (run.sums.steps > 0).then(|| scaled(run.sums.tokens, ""))),
        ("tokens a second", |run| (run.sums.step_secs > 0.0).then(|| scaled(run.sums.tokens / run.sums.step_secs, ""))),
        ("time of all steps", |run| (run.sums.steps > 0).then(|| duration(run.sums.step_secs))),
        ("goodput", |run| run.last.as_ref().filter(|last| last.goodput.is_finite()).map(|last| percent(last.goodput))),
        ("evaluations' share of the time", |run| run.evaluations.last().map(|last| percent(last.eval_share))),
        ("wait for checkpoints", |run| (run.sums.steps > 0).then(|| duration(run.sums.checkpoint_secs))),
        ("wait for input", |run| (run.sums.step_secs > 0.0).then(|| percent(run.sums.wait_secs / run.sums.step_secs))),
        ("largest over mean cost of ranks", |run| run.sums.mean(run.sums.imbalance).map(|mean| format!("{mean:.4}"))),
        ("peak resident memory of a rank", |run| {
            (run.sums.peak_rss_bytes > 0).then(|| scaled(run.sums.peak_rss_bytes as f64, "B"))
        }),
        ("peak of a rank's tensors on a GPU", |run| run.sums.device_peak_bytes.map(|bytes| scaled(bytes as f64, "B"))),
        ("starts", |run| (!run.log.starts.is_empty()).then(|| run.log.starts.len().to_string())),
        ("failures", |run| {
            let failed = run.restarts.iter().filter(|own| matches!(own.line, Line::Failed { .. }));
            Some(failed.count().to_string())
        }),
        ("steps done again", |run| {
            let lost = run.restarts.iter().map(|own| match own.line {
                Line::Resumed { lost_steps, .. } => lost_steps,
                Line::Failed { .. } => 0,
            });
            Some(grouped(lost.sum()))
        }),
        ("steps without an update", |run| run.last.as_ref().map(|last| grouped(last.skipped))),
        ("gradient norm spikes", |run| run.last.as_ref().map(|last| grouped(last.grad_norm_spikes))),
        ("warnings", |run| Some(grouped(run.log.num_warnings as u64))),
    ]
}

/// Facts that are known of no run are left out.
fn table(corner: &str, runs: &[Run], facts: &[Fact]) -> Table {
    let known = facts.iter().filter(|(_, fact)| runs.iter().any(|run| fact(run).is_some()));
    Table { head: head(corner, runs), rows: known.map(|(name, fact)| row(name, runs, fact)).collect() }
}

fn head(corner: &str, runs: &[Run]) -> Vec<String> {
    std::iter::once(corner.to_owned()).chain(runs.iter().map(|run| run.name.clone())).collect()
}

fn row(name: &str, runs: &[Run], fact: impl Fn(&Run) -> Option<String>) -> Vec<Cell> {
    let facts = runs.iter().map(|run| fact(run).map_or_else(Cell::none, Cell::from));
    std::iter::once(Cell::from(name)).chain(facts).collect()
}

/// The curves of all figures, one section.
pub fn curves(runs: &[Run]) -> Option<Section> {
    let figures: BTreeSet<&Figure> = runs.iter().flat_map(|run| run.curves.keys()).collect();
    let mut blocks: Vec<Block> = Vec::new();
    let mut kind = None;
    for figure in figures {
        let curve = |(nth, run): (usize, &Run)| {
            let own = run.curves.get(figure)?;
            let (points, tenths) = (own.points(), own.tenths(run.steps()));
            // A run of which all values are no numbers.
            (!points.is_empty()).then(|| NamedCurve { name: run.name.clone(), nth, points, tenths })
        };
        let curves: Vec<NamedCurve> = runs.iter().enumerate().filter_map(curve).collect();
        if curves.is_empty() {
            continue;
        }
        if kind.replace(figure.kind) != Some(figure.kind) {
            blocks.push(Block::Heading(figure.kind.title().into()));
            blocks.push(Block::Charts(Vec::new()));
        }
        if let Some(Block::Charts(charts)) = blocks.last_mut() {
            charts.push(Chart { title: figure.name.clone(), curves, unit: figure.unit });
        }
    }
    if blocks.is_empty() {
        return None;
    }
    let text = "Over the steps. In a long run a point is the mean of several steps.";
    blocks.insert(0, Block::Text(text.into()));
    Some(Section { title: "Curves".into(), blocks })
}

/// What runs were judged by while they lasted: the last figures, and the best.
pub fn evaluations(runs: &[Run]) -> Option<Section> {
    let of = |run: &Run| run.evaluations.iter().flat_map(|own| own.figures.keys()).cloned().collect::<Vec<_>>();
    let names: BTreeSet<String> = runs.iter().flat_map(of).collect();
    if names.is_empty() {
        return None;
    }
    let judged: BTreeMap<&str, Vec<&str>> = runs.iter().fold(BTreeMap::new(), |mut judged, run| {
        if let Some(by) = &run.judged_by {
            judged.entry(by).or_insert_with(Vec::new).push(&run.name);
        }
        judged
    });
    let mut blocks = vec![Block::Text(
        "The figures of the last evaluation, times 100; in small letters the best and its step, if that is another. They \
         have no intervals: those of each query are not recorded while a run lasts."
            .into(),
    )];
    if judged.len() > 1 {
        let groups: Vec<String> = judged.values().map(|names| names.join(", ")).collect();
        blocks.push(Block::Text(format!(
            "Judged by other data, judgments or settings, and so not to be compared: {}.",
            groups.join(" | ")
        )));
    }
    let cell = |run: &Run, name: &str| {
        let values = run.evaluations.iter().filter_map(|own| Some((own.step, *own.figures.get(name)?)));
        let values: Vec<(u64, f64)> = values.collect();
        let Some(last) = values.last() else { return Cell::none() };
        // The first of equals.
        let best = values.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(last);
        let note = format!("{:.1} at step {}", 100.0 * best.1, grouped(best.0));
        Cell::noted(format!("{:.1}", 100.0 * last.1), if best.1 > last.1 { note } else { String::new() })
    };
    let rows = names.iter().map(|name| {
        let shown = name.strip_prefix(EvalRecord::BEGINNING).unwrap_or(name);
        std::iter::once(Cell::from(shown)).chain(runs.iter().map(|run| cell(run, name))).collect()
    });
    blocks.push(Block::Table(Table { head: head("data set/ranking/metric", runs), rows: rows.collect() }));
    Some(Section { title: "Evaluations during the runs".into(), blocks })
}

/// The keys whose values differ.
pub fn recipes(runs: &[Run]) -> Option<Section> {
    let with: Vec<&Run> = runs.iter().filter(|run| !run.keys.is_empty()).collect();
    if with.len() < 2 {
        return None;
    }
    let keys: BTreeSet<&str> = with.iter().flat_map(|run| run.keys.keys()).map(String::as_str).collect();
    let differs =
        |key: &&str| !PLACES.contains(key) && with.iter().any(|run| run.keys.get(*key) != with[0].keys.get(*key));
    let written = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<Cell>> = keys
        .into_iter()
        .filter(differs)
        .map(|key| {
            let values = with.iter().map(|run| run.keys.get(key).map_or_else(Cell::none, |v| written(v).into()));
            std::iter::once(Cell::from(key)).chain(values).collect()
        })
        .collect();
    let blocks = match rows.is_empty() {
        true => vec![Block::Text("The recipes are the same, run folders aside.".into())],
        false => {
            let head = std::iter::once("key".to_owned()).chain(with.iter().map(|run| run.name.clone())).collect();
            vec![
                Block::Text("Keys whose values differ, with all defaults filled in.".into()),
                Block::Table(Table { head, rows }),
            ]
        }
    };
    Some(Section { title: "What the recipes differ in".into(), blocks })
}
