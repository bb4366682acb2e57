//! `tercet report`: runs and evaluations side by side.

use anyhow::Context;

use crate::args::Report;
use crate::plan::counted;
use crate::report;
use crate::screen::Screen;

/// Writes the page and its Markdown, and says what could not be compared.
///
/// # Errors
/// Folders that hold neither a run nor an evaluation; files that cannot be read or written.
pub fn run(args: &Report) -> anyhow::Result<()> {
    let (report, screen) = (report::report(&args.folders)?, Screen::new());
    let markdown = args.out.with_extension("md");
    for (path, text) in [(&markdown, &report.markdown), (&args.out, &report.html)] {
        tercet_sampler::write_durably(path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    report.remarks.iter().for_each(|remark| screen.say(&format!("warning: {remark}\n")));
    let (runs, evaluations) = (counted(report.num_runs, "run"), counted(report.num_evaluations, "evaluation"));
    screen.say(&format!("{} and {}: {runs}, {evaluations}\n", args.out.display(), markdown.display()));
    Ok(())
}
