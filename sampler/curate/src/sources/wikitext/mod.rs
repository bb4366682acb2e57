//! Plain text of wikitext.
//!
//! What is kept: prose, headings, lists, labels of links, and the text within other tags. What is left out: comments,
//! templates and tables (`{{…}}`, `{|…|}`), references, formulas, galleries and code, files, categories, links to other
//! languages' pages. Templates are not expanded, so that a number or a word that one writes is missing.
//!
//! [`elements`], [`braces`] and [`links`] pass over the page one after the other, and [`lines`] over what is left. Each
//! looks at a byte a bounded number of times and calls nothing recursively, so that a page takes time in proportion to
//! its length whatever it holds. (A parser into a tree, as the crate parse_wiki_text_2 has it, takes minutes for pages
//! with unclosed templates, and stops by the clock.)

mod braces;
mod elements;
mod lines;
mod links;

use super::document::Section;
use super::entities;
use braces::without_braces;
use elements::without_hidden_elements;
use lines::plain;
use links::with_labels;

pub(super) use links::Namespaces;

/// The sections of a page, the first of which has no heading.
pub(super) fn sections(wikitext: &str, names: &Namespaces) -> Vec<Section> {
    let shown = without_hidden_elements(wikitext);
    let prose = without_braces(&shown);
    let linked = with_labels(&prose, names);
    let mut sections = vec![Section::default()];
    let mut is_after_blank = false;
    for line in linked.lines() {
        if let Some(heading) = heading(line) {
            sections.push(Section { heading: plain(heading), text: String::new() });
            continue;
        }
        let line = line.trim().trim_start_matches(['*', '#', ':', ';']);
        // What is left of a table that is not closed.
        let is_markup = line.starts_with(['|', '!']) || line.starts_with("{|");
        let line = if is_markup { String::new() } else { plain(line.trim_start_matches("----")) };
        let Some(Section { text, .. }) = sections.last_mut() else { continue };
        if line.is_empty() {
            is_after_blank = true;
            continue;
        }
        if !text.is_empty() {
            text.push_str(if is_after_blank { "\n\n" } else { "\n" });
        }
        text.push_str(&line);
        is_after_blank = false;
    }
    sections
}

/// The text between the signs of a heading.
fn heading(line: &str) -> Option<&str> {
    let line = line.trim();
    let signs = |line: &mut dyn Iterator<Item = u8>| line.take_while(|byte| *byte == b'=').count();
    let level = signs(&mut line.bytes()).min(signs(&mut line.bytes().rev())).min(6);
    let inside = line.get(level..line.len().checked_sub(level)?)?.trim();
    (level > 0 && !inside.is_empty()).then_some(inside)
}
