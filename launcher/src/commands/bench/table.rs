//! A benchmark's figures as people read them.

use std::fmt::Write;

use tercet_protocol::says::Phase;
use tercet_protocol::says::bench_report::{Report, StepReport};

use crate::plan::{counted, duration, grouped, percent, scaled};

/// The breakdown's lines, each with the phases that it is made of.
const LINES: [(&str, &[Phase]); 9] = [
    ("encoder", &[Phase::Forward, Phase::Recompute, Phase::Backward]),
    ("heads", &[Phase::Heads]),
    ("decoder", &[Phase::Decoder]),
    ("scoring", &[Phase::Scoring]),
    ("loss", &[Phase::Loss]),
    ("reduce", &[Phase::Reduce]),
    ("optimizer", &[Phase::Optimizer]),
    ("input", &[Phase::Input]),
    ("other", &[Phase::Other]),
];

/// The whole report.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = writeln!(
        text,
        "{}: {} timed on {} of {}, {}; {} parameters\n",
        report.recipe,
        counted(report.steps.len(), "step"),
        counted(report.world_size, "rank"),
        counted(report.threads, "thread"),
        report.precision.name(),
        scaled(report.num_parameters, ""),
    );
    text += &breakdown(&report.median);
    for (name, value) in figures(report) {
        _ = writeln!(text, "{name:20}{value}");
    }
    text
}

/// Seconds and per cent of the step by phase.
fn breakdown(step: &StepReport) -> String {
    let mut text = String::from("the median step\n");
    let mut line = |indent: usize, name: &str, secs: f64| {
        let share = percent(secs / step.step_secs);
        _ = writeln!(text, "{:indent$}{name:width$}{secs:>10.4} s{share:>9}", "", width = 18 - indent);
    };
    for (name, phases) in LINES {
        line(2, name, step.secs_of(phases));
        if phases.len() > 1 {
            phases.iter().for_each(|phase| line(4, phase.name(), step.secs_of(&[*phase])));
        }
    }
    line(2, "sum", step.phase_secs.values().sum());
    text + "\n"
}

fn figures(report: &Report) -> [(&'static str, String); 7] {
    let step = &report.median;
    let rates = || report.steps.iter().map(|step| step.tokens_per_sec);
    let (slowest, fastest) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    let rate = |rate: f64| grouped(rate.round() as u64);
    [
        ("tokens", format!("{}/s ({} to {})", rate(step.tokens_per_sec), rate(slowest), rate(fastest))),
        ("processor time", format!("{} of {} a rank", duration(step.cpu_secs), duration(step.step_secs))),
        ("model operations", format!("{} (forward and backward once)", scaled(step.model_flops, "FLOP"))),
        ("matrix products", format!("{} a rank, at best", scaled(report.peak_flops_per_sec, "FLOP/s"))),
        ("share of that peak", percent(step.peak_share)),
        (
            "libtorch's matmul",
            format!(
                "{} at best; {} of that",
                scaled(report.libtorch_flops_per_sec, "FLOP/s"),
                percent(step.peak_share * report.peak_flops_per_sec / report.libtorch_flops_per_sec)
            ),
        ),
        ("peak memory", peak(report)),
    ]
}

/// `1.00 MB a rank`; of GPUs what tensors took on them and what the plan expected, and the host's beside it.
fn peak(report: &Report) -> String {
    let host = scaled(report.peak_rss_bytes, "B");
    let Some(bytes) = report.device_peak_bytes else { return format!("{host} a rank") };
    let planned = report.planned_device_bytes.map(|bytes| format!(" (planned: {})", scaled(bytes, "B")));
    format!("{} of a GPU{}, {host} of the host, a rank", scaled(bytes, "B"), planned.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::report::tests::timed;

    #[test]
    fn every_phase_is_in_one_line_and_the_lines_sum_to_the_step() {
        let table = table(&timed(&[8.0, 4.0, 16.0]));
        let line = |name: &str| {
            let line = table.lines().find(|line| line.trim_start().starts_with(name));
            line.unwrap_or_else(|| panic!("{name} is missing:\n{table}")).split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(line("encoder"), ["encoder", "7.0000", "s", "87.5", "%"]);
        assert_eq!(line("recompute"), ["recompute", "1.0000", "s", "12.5", "%"]);
        assert_eq!(line("loss"), ["loss", "1.0000", "s", "12.5", "%"]);
        assert_eq!(line("scoring"), ["scoring", "0.0000", "s", "0.0", "%"]);
        assert_eq!(line("sum"), ["sum", "8.0000", "s", "100.0", "%"]);
        assert!(table.contains("8.00 kFLOP/s at best; "), "{table}");
        assert!(table.contains("1.00 MB a rank"), "{table}");
        assert!(table.starts_with("a: 3 steps timed on 2 ranks of 1 thread, fp32; "), "{table}");
        let lines: Vec<&Phase> = LINES.iter().flat_map(|(_, phases)| *phases).collect();
        assert!(Phase::ALL.iter().all(|phase| lines.iter().filter(|of| **of == phase).count() == 1), "{lines:?}");
    }

    #[test]
    fn a_gpus_peak_stands_beside_the_plans() {
        let mut report = timed(&[8.0]);
        (report.device_peak_bytes, report.planned_device_bytes) = (Some(61.2e9), Some(63e9));
        assert_eq!(peak(&report), "61.2 GB of a GPU (planned: 63.0 GB), 1.00 MB of the host, a rank");
    }
}
