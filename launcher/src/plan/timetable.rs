//! The plan's times as text, at most 110 columns wide.

use std::fmt::Write;

use tercet_configs::Device;

use super::report::{LengthReport, Report, TotalTime};
use super::time::{Compared, Flat, Rates, Speed};
use super::units::{duration, percent, scaled};

/// What a step and the run take, and what that rests on.
pub fn table(report: &Report) -> String {
    if report.memory.is_none() {
        return String::new();
    }
    let Some((rates, time)) = report.rates.as_ref().zip(report.totals.as_ref().and_then(|totals| totals.time.as_ref()))
    else {
        return "\ntimes: say which card it is with --gpu a100-80, or how fast a rank is with --flops 120e12 --bandwidth \
                20e9,\nor let --measure find out here\n"
            .into();
    };
    let mut text = steps(&report.lengths);
    text += &whole(report, time);
    text += &match rates {
        Rates::Flat(flat) => flat_rates(flat, report.world_size),
        Rates::Card(speed) => card_rates(speed, report.world_size),
    };
    text + &compared(&report.compared)
}

/// A line for each length group.
fn steps(lengths: &[LengthReport]) -> String {
    let mut text = "\npredicted: a step's time by its longest texts, on the slowest rank\n".to_owned();
    _ = writeln!(
        text,
        "{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}{:>7}{:>7}{:>8}{:>9}{:>7}  most",
        "up to", "tokens", "forward", "again", "back", "scores", "ring", "sum", "update", "step", "tokens/s", "peak"
    );
    for length in lengths {
        let Some(secs) = length.batch.secs else { continue };
        let [forward, again, back, scores, ring, sum, update] = secs.named().map(|(_, secs)| short(secs));
        _ = writeln!(
            text,
            "{:>10}{:>8}{forward:>8}{again:>8}{back:>8}{scores:>8}{ring:>7}{sum:>7}{update:>7}{:>8}{:>9}{:>7}  {}",
            length.up_to_tokens,
            scaled(length.tokens_per_rank, ""),
            short(secs.total()),
            length.tokens_per_sec_per_rank.map_or("-".into(), |rate| scaled(rate, "")),
            length.batch.peak_share.map_or("-".into(), percent),
            length.longest_phase.unwrap_or("-"),
        );
    }
    text + "tokens and tokens/s are a rank's; peak is three forward passes' share of the peak\n"
}

/// `12.3 s`, `450 ms`, `0`.
fn short(secs: f64) -> String {
    match secs {
        s if s < 0.5e-3 => "0".into(),
        s if s < 0.9995 => format!("{:.0} ms", 1e3 * s),
        s if s < 99.95 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

fn whole(report: &Report, time: &TotalTime) -> String {
    let shares = time.parts.named().map(|(name, secs)| (name, secs / time.secs));
    let parts = shares.iter().filter(|(_, share)| *share >= 0.0005);
    let parts: Vec<String> = parts.map(|(name, share)| format!("{name} {}", percent(*share))).collect();
    let mut text = format!("\npredicted: a step takes {}\n{}\n", duration(time.step_secs), parts.join(", "));
    if let Some(kinds) = &time.by_kind {
        let of = |secs: f64| percent(secs / kinds.total());
        _ = writeln!(
            text,
            "of computing, matrix products {}, attention {}, memory traffic {}, waiting for launches {}",
            of(kinds.products_secs),
            of(kinds.attention_secs),
            of(kinds.memory_secs),
            of(kinds.launch_secs),
        );
    }
    let hours = if report.device == Device::Cuda { "GPU-hours" } else { "rank-hours" };
    let peak = time.peak_share.map_or(String::new(), |share| format!(", at {} of the peak", percent(share)));
    _ = writeln!(
        text,
        "predicted: the run takes {}, {} {hours}{peak}, without checkpoints",
        duration(time.secs),
        scaled(time.rank_hours, "").trim_end()
    );
    text
}

fn flat_rates(rates: &Flat, world_size: usize) -> String {
    let mut text = format!("at {} a rank", scaled(rates.flops_per_sec, "FLOP/s"));
    if let Some(peak) = rates.peak_flops_per_sec {
        _ = write!(text, " ({} of what one large product reaches)", percent(rates.flops_per_sec / peak));
    }
    if world_size > 1 {
        _ = write!(
            text,
            ", all-reduce {}, ring {}",
            scaled(rates.network.all_reduce_bytes_per_sec, "B/s"),
            scaled(rates.network.ring_bytes_per_sec, "B/s")
        );
    }
    text + "\n"
}

fn card_rates(speed: &Speed, world_size: usize) -> String {
    let measured = match speed.measured.as_slice() {
        [] => "assumed, for nobody has measured this card with `make test-gpu`".to_owned(),
        parts => format!("measured: {}; the others are assumed", parts.join(", ")),
    };
    let tera = |rate: f64| format!("{:.1}", rate / 1e12);
    let mut text = format!(
        "{}: {} of {} TFLOP/s, float32 {}, attention {} at 512 tokens; memory {}",
        speed.card,
        tera(speed.product_flops_per_sec),
        tera(speed.peak_flops_per_sec),
        tera(speed.fp32_flops_per_sec),
        tera(1.0 / speed.attention(512.0, 1.0, 0.0)),
        scaled(speed.memory_bytes_per_sec, "B/s"),
    );
    if world_size > 1 {
        _ = write!(
            text,
            "\nall-reduce {}, ring {}",
            scaled(speed.network.all_reduce_bytes_per_sec, "B/s"),
            scaled(speed.network.ring_bytes_per_sec, "B/s")
        );
    }
    text + &format!("\nthese rates are {measured}\n")
}

/// What was timed on the card, with the arithmetic beside it.
fn compared(steps: &[Compared]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nthe report's own steps on one card, measured and predicted with these rates\n{:>12}{:>22}{:>18}{:>18}{:>18}\n",
        "tokens", "tokens/s", "encoder", "scores, loss", "update"
    );
    let pair = |[measured, predicted]: [f64; 2]| format!("{} {}", short(measured), short(predicted));
    for step in steps {
        let (measured, predicted) = (step.measured_tokens_per_sec, step.predicted_tokens_per_sec);
        _ = writeln!(
            text,
            "{:>12}{:>22}{:>18}{:>18}{:>18}",
            step.len,
            format!(
                "{} {} ({:+.0} %)",
                scaled(measured, ""),
                scaled(predicted, ""),
                100.0 * (predicted / measured - 1.0)
            ),
            pair(step.encoder_secs),
            pair(step.scoring_secs),
            pair(step.update_secs),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let texts = [0.0, 0.0004, 0.0123, 0.9996, 12.345, 123.4].map(short);
        assert_eq!(texts, ["0", "0", "12 ms", "1.00 s", "12.35 s", "123 s"]);
    }

    #[test]
    fn measured_and_predicted_stand_beside_each_other() {
        let step = Compared {
            len: 512,
            measured_tokens_per_sec: 40e3,
            predicted_tokens_per_sec: 44e3,
            encoder_secs: [1.5, 1.3],
            scoring_secs: [0.1, 0.2],
            update_secs: [0.05, 0.05],
        };
        let text = compared(&[step]);
        assert!(text.contains("40.0 k 44.0 k (+10 %)") && text.contains("1.50 s 1.30 s"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 110));
    }
}
