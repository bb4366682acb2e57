//! Documents: a title and sections.

use super::kind::Kind;
use crate::reason::Reason;

/// The document is longer than any that can be used.
pub(super) const TOO_LONG: Reason = Reason::new("too_long");

/// A document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Document {
    /// Its title; empty if it has none.
    pub(super) title: String,
    /// What it says, in order.
    pub(super) sections: Vec<Section>,
    /// Its language, if it states one.
    pub(super) language: Option<String>,
}

/// A part of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// What stands above it; empty for what stands before all headings.
    pub(super) heading: String,
    /// The text up to the next heading of any level.
    pub(super) text: String,
}

impl Document {
    /// A text without headings. Its first line is the title if the pair is to have one.
    pub(super) fn of_text(text: &str, kind: Kind) -> Self {
        let text = text.trim_start();
        let (title, body) = match kind {
            Kind::TitleBody => text.split_once('\n').unwrap_or((text, "")),
            _ => ("", text),
        };
        let section = Section { heading: String::new(), text: body.to_owned() };
        Self { title: title.to_owned(), sections: vec![section], language: None }
    }

    /// The whole text: sections with their headings, those left out that have no text.
    pub(super) fn body(&self) -> String {
        let mut body = String::with_capacity(self.sections.iter().map(|s| s.heading.len() + s.text.len() + 4).sum());
        for Section { heading, text } in &self.sections {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            if !body.is_empty() {
                body.push_str("\n\n");
            }
            if !heading.is_empty() {
                body.push_str(heading);
                body.push('\n');
            }
            body.push_str(text);
        }
        body
    }
}
