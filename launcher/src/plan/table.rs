//! The plan as text, at most 110 columns wide.

use std::fmt::Write;

use tercet_configs::Device;

use super::report::{CellReport, LengthReport, Report, StepFigures};
use super::timetable;
use super::units::{duration, grouped, percent, scaled};

/// Longest message line.
const WIDTH: usize = 110;

/// Everything a terminal shows.
pub fn table(report: &Report) -> String {
    let mut text = head(report);
    text += &cells(&report.cells, report.world_size);
    text += &totals(report);
    text += &memory(report);
    text += &collectives(report);
    text += &timetable::table(report);
    let marked = |mark: &str, lines: &[String]| {
        lines.iter().map(|line| format!("\n{}", wrapped(mark, line))).collect::<String>()
    };
    text += &marked("warning: ", &report.warnings);
    text += &marked("error: ", &report.errors);
    text
}

fn head(report: &Report) -> String {
    let mut text = format!(
        "{}: {} steps on {} rank{}, {} rows",
        report.recipe,
        grouped(report.steps),
        report.world_size,
        if report.world_size == 1 { "" } else { "s" },
        grouped(report.rows)
    );
    if let Some(model) = &report.model {
        _ = write!(
            text,
            "; {} layers of width {}, {} parameters",
            model.num_layers,
            model.hidden_size,
            scaled(model.num_parameters as f64, "")
        );
    }
    _ = write!(text, "; {}", report.precision.name());
    text + "\n"
}

/// `500: 69.9 %`.
fn kept_share(length: &LengthReport) -> String {
    format!("{}: {}", length.up_to_tokens, percent(length.batch.kept_share))
}

/// One block per data set, one line per length group.
fn cells(cells: &[CellReport], world_size: usize) -> String {
    let mut text = String::new();
    let mut dataset = None;
    for cell in cells {
        if dataset.replace(&cell.dataset) != Some(&cell.dataset) {
            _ = writeln!(text, "\n{}", cell.dataset);
            _ = writeln!(
                text,
                "{:>11}{:>15}{:>9}{:>10}{:>8}{:>8}{:>8}{:>8}{:>10}{:>11}",
                "tokens", "rows", "batch", "batches", "steps", "tokens", "balance", "FLOP", "sent", "predicted"
            );
        }
        let figures = cell.batch.map_or_else(|| ["-"; 5].map(str::to_owned), |batch| figures(&batch, world_size));
        let [tokens, balance, flops, sent, time] = figures;
        _ = writeln!(
            text,
            "{:>11}{:>15}{:>9}{:>10}{:>8}{tokens:>8}{balance:>8}{flops:>8}{sent:>10}{time:>11}",
            format!("{}-{}", cell.above_tokens + 1, cell.up_to_tokens),
            grouped(cell.rows),
            grouped(cell.global_batch),
            grouped(cell.batches_per_pass),
            grouped(cell.steps),
        );
    }
    text
}

/// tokens, balance, FLOP per rank, bytes per rank, seconds of a step.
fn figures(batch: &StepFigures, world_size: usize) -> [String; 5] {
    let known = batch.flops.total() > 0.0;
    let or_dash = |text: String| if known { text } else { "-".to_owned() };
    [
        scaled(batch.tokens, ""),
        format!("{:.3}", batch.imbalance),
        or_dash(scaled(batch.flops.total(), "")),
        or_dash(scaled(batch.traffic.sent_bytes(world_size), "B")),
        batch.secs.map_or("-".to_owned(), |secs| duration(secs.total())),
    ]
}

fn totals(report: &Report) -> String {
    let mut text = String::from("\n");
    for (i, steps) in report.steps_per_round.iter().enumerate() {
        let phase = if report.steps_per_round.len() > 1 { format!(", mixture {}", i + 1) } else { String::new() };
        _ = writeln!(text, "an epoch       {} steps{phase}", grouped(*steps));
    }
    if let Some(totals) = &report.totals {
        _ = writeln!(
            text,
            "the run        {:.2} epochs, {} tokens, most loaded rank over mean {:.3}",
            totals.epochs,
            scaled(totals.tokens, ""),
            totals.imbalance
        );
        if totals.flops_per_rank > 0.0 {
            _ = writeln!(
                text,
                "per rank       {}, {} sent",
                scaled(totals.flops_per_rank, "FLOP"),
                scaled(totals.sent_bytes_per_rank, "B")
            );
        }
        _ = writeln!(text, "estimated from {} batches, dealt as training would", report.dealt_batches.len());
    }
    text
}

fn memory(report: &Report) -> String {
    let Some(memory) = &report.memory else { return String::new() };
    let place = match report.device {
        Device::Cpu => "resident memory",
        Device::Cuda => "GPU memory (an estimate)",
    };
    let mut text =
        format!("\npeak of a rank's {place}: {}, in the {}\n", scaled(memory.total_bytes, "B"), memory.phase);
    for part in &memory.parts {
        _ = writeln!(
            text,
            "  {:<34}{:>9}  {:>6}",
            part.name,
            scaled(part.bytes, "B"),
            percent(part.bytes / memory.total_bytes)
        );
    }
    let kept = report.fit.kept_graph_tokens.unwrap_or(usize::MAX);
    let shares: Vec<String> = report.lengths.iter().map(kept_share).collect();
    if kept > 0 && report.lengths.iter().any(|length| length.batch.kept_share < 1.0) {
        let message = format!(
            "graphs of {} tokens are kept. That is, by the steps' longest texts, {} of a rank's tokens",
            grouped(kept as u64),
            shares.join(", ")
        );
        text += &wrapped("  ", &message);
    }
    if report.device == Device::Cuda && kept == 0 {
        text += "  kept graphs take what the GPU has left, unless the recipe says how many are kept\n";
    }
    if let Some(bytes) = report.measured_peak_bytes {
        _ = writeln!(text, "  {:<34}{:>9}  in the run folder's run", "measured peak of tensors", scaled(bytes, "B"));
    }
    text
}

fn collectives(report: &Report) -> String {
    let Some(traffic) = report.traffic.as_ref().filter(|_| report.memory.is_some()) else { return String::new() };
    let mut text = String::from("\na rank's bytes per step, mean over the run\n");
    let mut line = |name: &str, handed: f64, sent: f64| {
        _ = writeln!(text, "  {name:<34}{:>9}  sent {}", scaled(handed, "B"), scaled(sent, "B"));
    };
    line("all-reduce of the gradient", traffic.all_reduce_bytes, traffic.all_reduce_sent_bytes(report.world_size));
    line("ring: passages, both trips", traffic.ring_block_bytes, traffic.ring_block_bytes);
    line("ring: their gradients", traffic.ring_gradient_bytes, traffic.ring_gradient_bytes);
    if traffic.ring_score_bytes > 0.0 {
        line("ring: scores of a two-way loss", traffic.ring_score_bytes, traffic.ring_score_bytes);
    }
    line(
        "all-gather of counts and identities",
        traffic.gather_bytes,
        traffic.gather_bytes * (report.world_size as f64 - 1.0),
    );
    text
}

/// `mark` and `message`, broken between words.
fn wrapped(mark: &str, message: &str) -> String {
    let mut text = mark.to_owned();
    let mut column = mark.chars().count();
    for (i, word) in message.split_whitespace().enumerate() {
        let len = word.chars().count();
        if i > 0 && column + 1 + len > WIDTH {
            text += "\n    ";
            column = 4;
        } else if i > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += len;
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_broken_between_words() {
        let text = wrapped("warning: ", &"word ".repeat(60));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 61);
    }
}
