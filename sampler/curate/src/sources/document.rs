//! Documents: a title and sections.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tercet_sampler::{ReadAt, Unpacked, utf8};

use super::kind::Kind;
use super::offers::Offers;
use crate::error::CurateError;
use crate::reason::Reason;

/// The longest document that a file is.
const MAX_BYTES: u64 = 64 << 20;

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

/// Offers the file's text as a document.
pub(super) fn read_text(file: &Path, offers: &mut Offers<'_>) -> Result<(), CurateError> {
    let at = ReadAt::line(&Arc::from(file), 1);
    let Some(bytes) = whole(file, MAX_BYTES)? else {
        return offers.drop(&at, TOO_LONG, &file.display().to_string());
    };
    match utf8(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes)) {
        Ok(text) => offers.document(&at, Document::of_text(text, offers.kind)),
        Err(reason) => offers.unreadable(&at, reason),
    }
}

/// All bytes of a file, unpacked; None if they are more than `max`.
///
/// # Errors
/// The file cannot be read or unpacked.
pub(super) fn whole(file: &Path, max: u64) -> Result<Option<Vec<u8>>, CurateError> {
    let mut content = Unpacked::open(file)?;
    let broken = content.broken(0);
    let mut bytes = Vec::new();
    content.by_ref().take(max + 1).read_to_end(&mut bytes).map_err(broken)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}
