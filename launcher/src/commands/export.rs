//! `tercet export`: a model in the layout of another program.

use crate::args::{Export, Layout};
use crate::export::{self, Outcome};
use crate::screen::Screen;

/// Writes the folder and says what it is.
///
/// # Errors
/// A model that cannot be read or has not what the layout needs; a folder that cannot be written or holds other files.
pub fn run(args: &Export) -> anyhow::Result<()> {
    let export = match args.layout {
        Layout::MaskedLm => export::masked_lm(&args.model)?,
    };
    let done = match export.write(&args.out)? {
        Outcome::Written => "written",
        Outcome::WasThere => "was there already, the same",
    };
    Screen::new().say(&format!("{} {done}: {}\n", args.out.display(), export.what));
    Ok(())
}
