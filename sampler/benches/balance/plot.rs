//! Draws the table as a picture.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::Line;
use crate::sides::Side;

/// Draws one chart for each distribution: the balance of the encoded tokens by world size, for both sides.
pub fn draw(path: &Path, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let mut names: Vec<&str> = lines.iter().map(|line| line.distribution.as_str()).collect();
    names.dedup();
    let root = SVGBackend::new(path, (360 * names.len() as u32, 300)).into_drawing_area();
    root.fill(&WHITE)?;
    for (name, area) in names.iter().zip(root.split_evenly((1, names.len()))) {
        let of = |side: Side| {
            let own = lines.iter().filter(move |line| line.distribution == *name && line.side == side);
            own.map(|line| (line.world_size as f64, line.figures.padded_p50))
        };
        let highest = of(Side::Published).chain(of(Side::Tercet)).map(|point| point.1).fold(1.2, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .caption(name, ("sans-serif", 15))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(36)
            .y_label_area_size(44)
            .build_cartesian_2d((2.0..1024.0).log_scale(), 1.0..highest * 1.02)?;
        chart.configure_mesh().x_desc("ranks").y_desc("slowest rank / mean").x_labels(6).max_light_lines(0).draw()?;
        for (side, colour) in [(Side::Tercet, BLUE), (Side::Published, RED)] {
            let line = LineSeries::new(of(side), colour.stroke_width(2)).point_size(3);
            chart
                .draw_series(line)?
                .label(side.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.3)).draw()?;
    }
    Ok(root.present()?)
}
