//! A report as one page of HTML: no script, nothing from elsewhere, light or dark as the reader's system is.

use tercet_pictures::{color, curves_svg};

use super::document::{Block, Cell, Chart, Document, Table};
use super::tenths;

const STYLE: &str = include_str!("style.css");
/// What is longer in a cell is broken into lines.
const LONG: usize = 40;

/// The page.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn page(document: &Document) -> anyhow::Result<String> {
    let title = escaped(&document.title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n<nav><ul>\n"
    );
    for (nth, section) in document.sections.iter().enumerate() {
        html += &format!("<li><a href=\"#s{nth}\">{}</a></li>\n", escaped(&section.title));
    }
    html += "</ul></nav>\n";
    for (nth, section) in document.sections.iter().enumerate() {
        html += &format!("<section id=\"s{nth}\">\n<h2>{}</h2>\n", escaped(&section.title));
        for block in &section.blocks {
            html += &self::block(block)?;
        }
        html += "</section>\n";
    }
    Ok(html + "</body>\n</html>\n")
}

fn block(block: &Block) -> anyhow::Result<String> {
    Ok(match block {
        Block::Heading(text) => format!("<h3>{}</h3>\n", escaped(text)),
        Block::Text(text) => format!("<p>{}</p>\n", escaped(text)),
        Block::List(points) => {
            let points: String = points.iter().map(|point| format!("<li>{}</li>\n", escaped(point))).collect();
            format!("<ul>\n{points}</ul>\n")
        }
        Block::Table(table) => self::table(table),
        Block::Charts(charts) => {
            let charts = charts.iter().map(chart).collect::<anyhow::Result<String>>()?;
            format!("<div class=\"charts\">\n{charts}</div>\n")
        }
    })
}

fn table(table: &Table) -> String {
    let head: String = table.head.iter().map(|text| format!("<th scope=\"col\">{}</th>", escaped(text))).collect();
    let rows = table.rows.iter().map(|row| {
        let cells = row.iter().enumerate().map(|(column, cell)| self::cell(cell, column == 0));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    });
    let rows: String = rows.collect();
    // A table that is wider than the page is scrolled alone, by keys as well.
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n"
    )
}

fn cell(cell: &Cell, is_first: bool) -> String {
    let note = match (cell.note.as_str(), cell.stands_out) {
        ("", _) => String::new(),
        (note, true) => format!("<small class=\"out\">{}</small>", escaped(note)),
        (note, false) => format!("<small>{}</small>", escaped(note)),
    };
    let text = escaped(&cell.text);
    match is_first {
        true => format!("<th scope=\"row\">{text}{note}</th>"),
        false if cell.text.chars().count() > LONG => format!("<td class=\"long\">{text}{note}</td>"),
        false => format!("<td>{text}{note}</td>"),
    }
}

fn chart(chart: &Chart) -> anyhow::Result<String> {
    let places = chart.curves.iter().map(|curve| curve.nth + 1).max().unwrap_or(0);
    let mut curves = vec![Vec::new(); places];
    for curve in &chart.curves {
        curves[curve.nth].clone_from(&curve.points);
    }
    let svg = curves_svg(&curves, &|value| chart.unit.tick(value))?;
    let legend = chart.curves.iter().map(|curve| {
        let color = color(curve.nth);
        format!("<span><i style=\"background:{color}\"></i>{}</span>", escaped(&curve.name))
    });
    let (title, legend) = (escaped(&chart.title), legend.collect::<String>());
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1);
    let figures = table(&tenths::table(chart));
    Ok(format!(
        "<figure>\n<figcaption>{title}<br>{legend}</figcaption>\n{}\n<details><summary>figures</summary>{figures}\
         </details>\n</figure>\n",
        svg.trim_end()
    ))
}

/// `text` with nothing in it that a browser takes for more than text, also between quotes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\n' | '\t' => safe.push(' '),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::document::{NamedCurve, Section, Unit};
    use super::*;

    #[test]
    fn whatever_texts_hold_the_page_is_this_pages_markup() {
        let evil = "<script>alert('x')</script> & \"q\"\u{0}\n";
        let curve = NamedCurve { name: evil.into(), nth: 0, points: vec![(1.0, 2.0)], tenths: vec![Some(2.0)] };
        let chart = Chart { title: evil.into(), curves: vec![curve], unit: Unit::Plain };
        let cell = Cell::noted(evil, evil);
        let blocks = vec![
            Block::Heading(evil.into()),
            Block::Text(evil.into()),
            Block::List(vec![evil.into()]),
            Block::Table(Table { head: vec![evil.into(); 2], rows: vec![vec![cell.clone(), cell]] }),
            Block::Charts(vec![chart]),
        ];
        let section = Section { title: evil.into(), blocks };
        let html = page(&Document { title: evil.into(), sections: vec![section] }).unwrap();
        assert!(!html.contains("<script") && !html.contains("alert('"), "{html}");
        assert!(
            html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot;\u{fffd} "),
            "{html}"
        );
        // Each element that is opened is closed.
        for element in ["table", "section", "figure", "td", "th", "small", "div", "details", "ul", "li"] {
            let opened = html.matches(&format!("<{element}>")).count() + html.matches(&format!("<{element} ")).count();
            assert_eq!(opened, html.matches(&format!("</{element}>")).count(), "{element}");
        }
    }
}
