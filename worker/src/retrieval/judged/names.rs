//! What texts of a BEIR folder may be called.

use crate::files::records::no_id;

/// The name of the text on `line`.
///
/// # Errors
/// The reason, to be put behind its place.
pub fn required_id(id: Option<String>, line: &str) -> Result<String, String> {
    let id = id.ok_or_else(|| no_id(line))?;
    // Judgments put names between tabs, one a line.
    if id.trim().is_empty() || id.trim() != id || id.contains(['\t', '\n', '\r']) {
        return Err(format!(
            "the _id {id:?} is empty, or has a blank at an end or a tab in it, which judgments cannot carry"
        ));
    }
    Ok(id)
}
