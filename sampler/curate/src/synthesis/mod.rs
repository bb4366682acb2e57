//! Questions to long documents by a language model, as MultiLongDoc's were made.

use crate::args::Synthesize;
use crate::error::CurateError;

/// Makes what is asked for, and returns what to say of it.
///
/// # Errors
/// Something else must be asked for, files cannot be read or written, or the language model does not answer.
pub fn run(_args: &Synthesize) -> Result<String, CurateError> {
    Ok(String::new())
}
