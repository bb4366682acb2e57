//! Lines of text, with a reason in the place of one that cannot be read.

use tercet_sampler::{LineReader, RowError, utf8};

/// A line's number from 1, and its text or what is wrong with it: it is too long, or not UTF-8.
pub type NumberedLine<'b> = (u64, Result<&'b str, String>);

/// The next line of `lines`, which `buffer` holds; None at the end of the file. A line follows one that is wrong.
///
/// # Errors
/// Reading fails; nothing follows it.
pub fn next_line<'b>(lines: &mut LineReader, buffer: &'b mut Vec<u8>) -> Result<Option<NumberedLine<'b>>, RowError> {
    match lines.read_line(buffer) {
        Ok(number) => Ok(number.map(|number| (number, utf8(buffer)))),
        Err(RowError::Line { line, reason, .. }) => Ok(Some((line, Err(reason)))),
        Err(error) => Err(error),
    }
}
