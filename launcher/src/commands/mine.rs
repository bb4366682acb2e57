//! `tercet mine`: hard negatives for training rows.

use std::fs;
use std::path::Path;

use tercet_pictures::{Bar, Panel};
use tercet_protocol::Command;
use tercet_protocol::args::MineArgs;
use tercet_protocol::says::mine::{MineReport, Quantiles};

use crate::args::OnRanks;
use crate::place::Placement;
use crate::screen::Screen;
use crate::start::{self, Input};

/// Has the ranks do it; what they print is for the user as it is. Their report becomes a picture.
///
/// # Errors
/// Ranks that did not end well; a picture that cannot be written.
pub fn run(args: &OnRanks<MineArgs>) -> anyhow::Result<()> {
    let (placement, screen) = (Placement::find(&args.ranks, args.what.device.into())?, Screen::new());
    let what = Command::Mine(args.what.clone());
    let ended = start::run(&placement, &what, Input::Nothing, &screen, |line| screen.pass(line));
    // Ranks refuse to mine again what is there. Then a launcher that was killed may have left it without its picture.
    let (report, picture) = (args.what.report(), args.what.picture());
    let drawn = if ended.is_ok() || !picture.exists() { draw(&report, &picture) } else { Ok(()) };
    ended.and(drawn)
}

/// Draws the report at `path`, if it is there.
fn draw(path: &Path, picture: &Path) -> anyhow::Result<()> {
    let report = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<MineReport>(&bytes).ok());
    match report {
        Some(report) => tercet_pictures::draw(&panels(&report), picture),
        None => Ok(()),
    }
}

fn panels(report: &MineReport) -> Vec<Panel> {
    let all = &report.all;
    let counted = |name: String, count: u64| Bar { name, value: count as f64, label: count.to_string() };
    let tenths = all.ranks_by_tenth.len().saturating_sub(1);
    let of_tenth = |(i, count): (usize, &u64)| {
        let [start, end] = report.range;
        // The ranks whose place in the range times `tenths` lies in this one.
        let from = |i: usize| start + ((end - start) * i).div_ceil(tenths.max(1));
        let name = match (i == tenths, from(i + 1).saturating_sub(from(i))) {
            (true, _) => format!("beyond rank {end}"),
            (false, 1) => format!("rank {}", from(i) + 1),
            (false, _) => format!("ranks {} to {}", from(i) + 1, from(i + 1)),
        };
        counted(name, *count)
    };
    let is_some = |bar: &Bar| bar.value > 0.0 || !bar.name.starts_with("beyond");
    let quantiles = |(name, of): (&str, &Option<Quantiles>)| -> Vec<Bar> {
        let Some(of) = of else { return Vec::new() };
        let parts = [("a tenth", of.p10), ("half", of.p50), ("nine tenths", of.p90)];
        let bar = |(part, value): (&str, f64)| Bar {
            name: format!("{part} of {name}"),
            value: value.max(0.0),
            label: value.to_string(),
        };
        parts.map(bar).into()
    };
    vec![
        Panel {
            title: format!("{} negatives of {} rows, by {}", all.negatives, all.rows - all.dropped, report.ranking),
            bars: all.ranks_by_tenth.iter().enumerate().map(of_tenth).filter(is_some).collect(),
        },
        Panel {
            title: "passages that were left out, by reason".into(),
            bars: all.removed.iter().map(|(reason, count)| counted(reason.replace('_', " "), *count)).collect(),
        },
        Panel {
            title: "scores: the share that is not above".into(),
            bars: [("negatives", &all.scores), ("positives", &all.positive_scores)]
                .into_iter()
                .flat_map(quantiles)
                .collect(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use tercet_protocol::says::mine::Mined;

    use super::*;

    #[test]
    fn a_report_is_drawn_in_the_place_of_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, picture) = (dir.path().join("mine.json"), dir.path().join("mine.svg"));
        draw(&path, &picture).unwrap();
        assert!(!picture.exists(), "nothing is there to draw");
        let quantiles = Quantiles { min: -1.0, p10: -0.5, p25: 0.0, p50: 0.25, p75: 0.3, p90: 0.4, max: 0.5 };
        let all = Mined {
            rows: 9,
            dropped: 1,
            negatives: 33,
            removed: [("near_duplicate".to_owned(), 7)].into(),
            ranks_by_tenth: vec![3; 11],
            scores: Some(quantiles),
            ..Mined::default()
        };
        let report = MineReport {
            weights: String::new(),
            corpus: String::new(),
            passages: 5,
            ranking: "dense".into(),
            range: [10, 100],
            negatives: 7,
            all,
            by_file: Default::default(),
            by_language: Default::default(),
        };
        fs::write(&path, serde_json::to_vec(&report).unwrap()).unwrap();
        draw(&path, &picture).unwrap();
        let svg = fs::read_to_string(&picture).unwrap();
        for text in
            ["33 negatives of 8 rows", "ranks 11 to 19", "beyond rank 100", "near duplicate", "half of negatives"]
        {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        fs::write(&picture, "an older one").unwrap();
        draw(&path, &picture).unwrap();
        assert_eq!(fs::read_to_string(&picture).unwrap(), svg);
    }
}
