//! `tercet submit`: trains on nodes that Slurm gives.

use super::recipe;
use crate::args::Submit;
use crate::screen::Screen;
use crate::submit;

/// Checks what was typed, writes a job script and submits it, or prints it with `--dry-run`.
///
/// # Errors
/// A recipe that cannot be used; a run folder that cannot be written to; what `sbatch` refuses.
pub fn run(args: &Submit) -> anyhow::Result<()> {
    let screen = Screen::new();
    submit::check(args, &screen)?;
    let recipe = recipe::load_for(&args.recipe, args.num_ranks())?;
    submit::check_device(args, &recipe)?;
    submit::submit(args, &recipe, &screen)
}
