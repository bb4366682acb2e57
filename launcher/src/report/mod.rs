//! `tercet report`: runs and evaluations side by side, as one page of HTML and as Markdown.
//!
//! What is said ([`document`]) follows from the folders alone: no time of making, no order of a hash table. The same
//! folders make the same bytes. [`run`] and [`evaluated`] read, [`runs`], [`planned`], [`faults`] and [`compared`] say,
//! [`html`] and [`markdown`] write.

mod bootstrap;
mod compared;
mod curve;
mod document;
mod evaluated;
mod faults;
mod files;
mod folders;
mod html;
mod log;
mod markdown;
mod planned;
mod run;
mod runs;
mod tenths;

use std::path::Path;

use crate::args::ReportInput;
use document::Document;
use evaluated::Evaluated;
use run::Run;

/// A report, written out.
pub struct Report {
    /// The page as HTML.
    pub html: String,
    /// The page as Markdown.
    pub markdown: String,
    /// How many runs it is of.
    pub num_runs: usize,
    /// How many evaluations it is of.
    pub num_evaluations: usize,
    /// What could not be compared, a sentence each.
    pub remarks: Vec<String>,
}

/// Makes the report of the folders that were `typed`.
///
/// # Errors
/// Folders that hold neither, and files that cannot be read.
pub fn report(typed: &[ReportInput]) -> anyhow::Result<Report> {
    let named = folders::look(typed)?;
    let (mut runs, mut evaluations) = (Vec::new(), Vec::new());
    for own in &named {
        if let [folder] = own.folders.as_slice()
            && folder.is_run
        {
            runs.push(Run::read(&own.name, &folder.path)?);
        }
        if own.folders[0].is_eval {
            let folders: Vec<&Path> = own.folders.iter().map(|folder| folder.path.as_path()).collect();
            evaluations.push(Evaluated::read(&own.name, &folders)?);
        }
    }
    let names: Vec<&str> = named.iter().map(|own| own.name.as_str()).collect();
    let (compared, remarks) = compared::sections(&evaluations);
    let summary = (!runs.is_empty()).then(|| runs::summary(&runs));
    let others = [
        runs::evaluations(&runs),
        runs::curves(&runs),
        planned::section(&runs),
        faults::section(&runs),
        runs::recipes(&runs),
    ];
    let sections = summary.into_iter().chain(compared).chain(others.into_iter().flatten()).collect();
    let document = Document { title: format!("Report: {}", names.join(", ")), sections };
    Ok(Report {
        html: html::page(&document)?,
        markdown: markdown::text(&document),
        num_runs: runs.len(),
        num_evaluations: evaluations.len(),
        remarks,
    })
}
