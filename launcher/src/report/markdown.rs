//! A report as Markdown: for `diff`, and for wherever Markdown is shown. A row of a table is a line; charts are tables.

use super::document::{Block, Cell, Chart, Document, Table};
use super::tenths;

/// The text.
pub fn text(document: &Document) -> String {
    let mut text = format!("# {}\n", escaped(&document.title));
    for section in &document.sections {
        text += &format!("\n## {}\n", escaped(&section.title));
        text.extend(section.blocks.iter().map(block));
    }
    text
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(text) => format!("\n### {}\n", escaped(text)),
        Block::Text(text) => format!("\n{}\n", escaped(text)),
        Block::List(points) => {
            format!("\n{}", points.iter().map(|point| format!("- {}\n", escaped(point))).collect::<String>())
        }
        Block::Table(table) => format!("\n{}", self::table(table)),
        Block::Charts(charts) => {
            let figures =
                |chart: &Chart| format!("\n**{}**\n\n{}", escaped(&chart.title), table(&tenths::table(chart)));
            charts.iter().map(figures).collect()
        }
    }
}

fn table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = (0..table.head.len()).map(|column| if column == 0 { "---" } else { "---:" });
    let mut text = line(table.head.iter().map(|head| escaped(head)).collect());
    text += &format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    text.extend(table.rows.iter().map(|row| line(row.iter().map(cell).collect())));
    text
}

fn cell(cell: &Cell) -> String {
    let text = escaped(&cell.text);
    match (cell.note.as_str(), cell.stands_out) {
        ("", _) => text,
        (note, true) => format!("{text} (**{}**)", escaped(note)),
        (note, false) => format!("{text} ({})", escaped(note)),
    }
}

/// `text` in one line, with nothing in it that Markdown takes for more than text.
fn escaped(text: &str) -> String {
    let all: Vec<char> = text.trim().chars().collect();
    // Brackets alone are no link.
    let may_link = ["](", "][", "]:", "[^"].iter().any(|link| text.contains(link));
    let is_letter = |at: Option<usize>| at.and_then(|at| all.get(at)).is_some_and(|c| c.is_alphanumeric());
    let mut safe = String::with_capacity(text.len());
    for (at, &c) in all.iter().enumerate() {
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            c if c.is_control() => safe.push('\u{fffd}'),
            // Within a word it emphasises nothing.
            '_' if is_letter(at.checked_sub(1)) && is_letter(Some(at + 1)) => safe.push('_'),
            '[' if !may_link => safe.push('['),
            '\\' | '`' | '*' | '_' | '[' | '<' | '>' | '|' | '~' | '&' | '$' => safe.extend(['\\', c]),
            // What would begin a heading, a list or a rule.
            '#' | '+' | '-' | '=' if at == 0 && all.get(1).is_none_or(|next| *next == ' ' || *next == c) => {
                safe.extend(['\\', c]);
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_texts_hold_a_row_is_a_line_with_its_cells() {
        assert_eq!(
            escaped("a|b <b> *x* multi_vector _x_ [l](u)\n# h"),
            "a\\|b \\<b\\> \\*x\\* multi_vector \\_x\\_ \\[l](u) # h"
        );
        assert_eq!(escaped("+0.9 [0.2, 1.6]"), "+0.9 [0.2, 1.6]");
        assert_eq!(
            [escaped("- x"), escaped("-0.5"), escaped("---"), escaped("# x")],
            ["\\- x", "-0.5", "\\---", "\\# x"]
        );
        let row = vec![Cell::from("a|b"), Cell { text: "70.1".into(), note: "+0.9".into(), stands_out: true }];
        let table = Table { head: vec!["x".into(), "y".into()], rows: vec![row] };
        assert_eq!(super::table(&table), "| x | y |\n|---|---:|\n| a\\|b | 70.1 (**+0.9**) |\n");
    }
}
