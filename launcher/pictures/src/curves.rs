//! Curves over one another, without words beside them: a page names them in its own fonts and colours.

use anyhow::Context;
use plotters::prelude::*;

/// Twice what it is meant to be shown at, because places in a picture are whole numbers.
const SIZE: (u32, u32) = (720, 400);
const TEXT: (&str, f64) = ("sans-serif", 22.0);
/// The colours of curves, which differ also for the colour-blind (Okabe and Ito, 2008), on light and on dark grounds.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(128, 128, 128),
];

/// A curve of at least this number of points is shown with its running mean.
const MANY: usize = 40;

/// One curve: points from left to right, all of them numbers.
pub type Curve = Vec<(f64, f64)>;

/// How the `nth` curve of a picture is coloured, as CSS writes it.
pub fn color(nth: usize) -> String {
    let RGBColor(red, green, blue) = COLORS[nth % COLORS.len()];
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Draws `curves`, each in the colour of its place; an empty one leaves its colour out. One of many points is pale, and
/// its running mean stands before it. `label` writes a value at the vertical axis. Axes are in `currentColor`.
///
/// # Errors
/// The picture cannot be drawn.
pub fn curves_svg(curves: &[Curve], label: &dyn Fn(f64) -> String) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw(curves, label, &mut svg).context("drawing curves")?;
    // No curve is black.
    Ok(svg.replace("#000000", "currentColor"))
}

fn draw(curves: &[Curve], label: &dyn Fn(f64) -> String, svg: &mut String) -> anyhow::Result<()> {
    let points = || curves.iter().flatten();
    let (left, right) = range(points().map(|point| point.0), 0.0);
    let (low, high) = range(points().map(|point| point.1), 0.04);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area);
    chart.margin(10).margin_right(30).x_label_area_size(40).y_label_area_size(104);
    let mut chart = chart.build_cartesian_2d(left..right, low..high)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .bold_line_style(BLACK.mix(0.15))
        .axis_style(BLACK.mix(0.4))
        .label_style(TEXT.into_font().color(&BLACK))
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|step| format!("{step}"))
        .y_label_formatter(&|value| label(*value))
        .draw()?;
    for (nth, curve) in curves.iter().enumerate() {
        let color = COLORS[nth % COLORS.len()];
        let mut line = |points: &[(f64, f64)], style: ShapeStyle| -> anyhow::Result<()> {
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            Ok(())
        };
        match curve.as_slice() {
            [point] => _ = chart.draw_series([Circle::new(*point, 5, color.filled())])?,
            points if points.len() < MANY => line(points, color.stroke_width(3))?,
            points => {
                line(points, color.mix(0.3).stroke_width(2))?;
                line(&running_mean(points), color.stroke_width(3))?;
            }
        }
    }
    drop(chart);
    Ok(area.present()?)
}

/// Each point with the mean of those around it: a twentieth of all, and fewer at the ends.
fn running_mean(points: &[(f64, f64)]) -> Curve {
    let half = points.len() / MANY;
    let around = |(at, (x, _)): (usize, &(f64, f64))| {
        // As many on both sides, so that a straight line stays one.
        let half = half.min(at).min(points.len() - 1 - at);
        let near = &points[at - half..=at + half];
        (*x, near.iter().map(|point| point.1).sum::<f64>() / near.len() as f64)
    };
    points.iter().enumerate().map(around).collect()
}

/// From the least to the greatest with a `margin`, and never nothing.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    // What differs by its rounding alone is the same.
    let differ = high - low > 1e-9 * low.abs().max(high.abs());
    match () {
        () if low > high => (0.0, 1.0),
        () if differ => (low - margin * (high - low), high + margin * (high - low)),
        () if low == 0.0 => (-1.0, 1.0),
        () => (low - 0.5 * low.abs(), high + 0.5 * high.abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_curve_has_its_colour_and_axes_are_in_the_pages_ink() {
        let curves = [vec![(1.0, 2.0), (2.0, 3.0)], vec![], vec![(2.0, 2.5)]];
        let svg = curves_svg(&curves, &|value| format!("<{value}>")).unwrap();
        assert!(svg.contains(&color(0)) && !svg.contains(&color(1)) && svg.contains(&color(2)), "{svg}");
        assert!(svg.contains("currentColor") && !svg.contains("#000000"), "{svg}");
        assert!(svg.contains("&lt;2") && svg.contains("<polyline") && svg.contains("<circle"), "{svg}");
    }

    #[test]
    fn a_running_mean_leaves_straight_lines_and_takes_noise() {
        let points: Curve = (0..100).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        assert_eq!(running_mean(&points), points);
        let noise: Curve = (0..100).map(|x| (f64::from(x), f64::from(x % 5))).collect();
        assert!(running_mean(&noise)[2..98].iter().all(|point| point.1 == 2.0));
        let svg = curves_svg(&[noise], &|value| value.to_string()).unwrap();
        assert!(svg.contains("opacity=\"0.3\""), "{svg}");
    }

    #[test]
    fn a_curve_that_does_not_rise_has_room_and_so_has_none_at_all() {
        for curve in [vec![(1.0, 0.0), (9.0, 0.0)], vec![(3.0, -2.0)], vec![]] {
            assert!(curves_svg(&[curve], &|value| value.to_string()).unwrap().starts_with("<svg"));
        }
        assert_eq!(range([3.0].into_iter(), 0.1), (1.5, 4.5));
        assert!(range([0.1 + 0.2, 0.3].into_iter(), 0.1).0 < 0.2);
        assert_eq!(range([1.0, 2.0].into_iter(), 0.5), (0.5, 2.5));
    }
}
