//! Plain texts: a file is a document.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tercet_sampler::{ReadAt, Unpacked, utf8};

use super::document::{Document, TOO_LONG};
use super::offers::Offers;
use crate::error::CurateError;
use crate::input::Refusal;

/// The longest document that a file is.
const MAX_BYTES: u64 = 64 << 20;

/// Offers the file's text as a document.
pub(super) fn read(file: &Path, offers: &mut Offers<'_>) -> Result<(), Refusal> {
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
