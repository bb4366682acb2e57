//! `tercet synthesize`: questions to long documents by a language model, as MultiLongDoc's were made (M3 paper,
//! appendix A.2).
//!
//! [`documents`] chooses documents, [`paragraph`] draws a paragraph of each, [`request`] asks about it with a
//! [`prompt`]. [`plan`] says which requests are wanted, by what the [`journal`] knows. [`ask`] sends them to an
//! [`endpoint`], within [`caps`] and at a [`pace`]; [`batch`] has them carried by files. [`checks`] judge answers, and
//! [`outputs`] and the [`report`] are made of those that passed: of the same journal, the same bytes. What [`progress`]
//! says meanwhile goes to standard error.

mod ask;
mod batch;
mod caps;
mod checks;
mod documents;
mod dry_run;
mod endpoint;
mod journal;
mod lacking;
mod languages;
mod measure;
mod outputs;
mod pace;
mod paragraph;
mod parameters;
mod plan;
mod progress;
mod prompt;
mod recipe;
mod reply;
mod report;
mod request;

use std::fs;
use std::path::Path;

use crate::args::Synthesize;
use crate::error::CurateError;
use ask::{Asked, End};
use documents::Chosen;
use endpoint::Endpoint;
use journal::{Journal, Ledger};
use measure::Measure;
use plan::{Plan, Wanted};
use recipe::Recipe;
use report::Report;
use request::Requests;

/// Makes what is asked for, and returns what to say of it.
///
/// # Errors
/// Something else must be asked for, a limit is reached, files cannot be read or written, or the language model does
/// not answer. In the second and the last case what there is so far is written.
pub fn run(args: &Synthesize) -> Result<String, CurateError> {
    let recipe = Recipe::load(&args.recipe)?;
    let base = args.recipe.parent().unwrap_or(Path::new(""));
    let measure = Measure::new(&recipe.lengths, base)?;
    let sends = !args.dry_run && args.batch_out.is_none() && args.batch_in.is_empty();
    // What is wrong with a key is told before all documents are read.
    let endpoint = sends.then(|| Endpoint::new(&recipe.llm)).transpose()?;
    let journal_path = args.out.join("journal.jsonl");
    outputs::check_place(&args.out, &Chosen::files(&recipe, base)?)?;
    if args.dry_run {
        let chosen = Chosen::of(&recipe, &measure, base, &std::env::temp_dir())?;
        let requests = Requests::new(&recipe, &measure, &chosen, base)?;
        let (mut plan, ledger) = (Plan::new(&recipe, &chosen, &requests), Journal::look_at(&journal_path)?);
        let (stands, wanted) = plan.stand(&ledger)?;
        return dry_run::priced(&recipe, &plan, (&stands, &wanted), measure.unit(), &ledger);
    }
    fs::create_dir_all(&args.out).map_err(CurateError::io(&args.out))?;
    let mut journal = Journal::open(&journal_path)?;
    let chosen = Chosen::of(&recipe, &measure, base, &args.out)?;
    let requests = Requests::new(&recipe, &measure, &chosen, base)?;
    let mut plan = Plan::new(&recipe, &chosen, &requests);
    let read = match args.batch_in.as_slice() {
        [] => None,
        files => Some(batch::read(files, &mut journal)?),
    };
    let (mut stands, mut wanted) = plan.stand(journal.ledger())?;
    if let Some(file) = &args.batch_out {
        return batch::write((file, args.batch_again), &wanted, &plan, &recipe.caps, &mut journal);
    }
    let mut end = None;
    if let Some(endpoint) = &endpoint {
        refuse_batches(num_in_batches(&plan, &wanted, journal.ledger())?, journal.ledger())?;
        while end.is_none() && !wanted.is_empty() {
            let asked = Asked {
                count: wanted.len(),
                request: |number: usize| plan.request(&wanted[number]),
                passes: |number: usize, request: &_, answer: &_| plan.passes(&wanted[number], request, answer),
            };
            end = ask::ask(&asked, endpoint, (&recipe.llm, &recipe.caps), &mut journal);
            (stands, wanted) = plan.stand(journal.ledger())?;
        }
    }
    // With few documents there are fewer requests than that.
    let least = if wanted.is_empty() { 1 } else { ask::REFUSED };
    if end.is_none()
        && let Some(why) = journal.free_refused(least)?
    {
        end = Some(End::Stop(why));
    }
    if let Some(End::Failed(error)) = end {
        return Err(error);
    }
    let report = Report::new(&recipe, &chosen, &stands);
    report::write_costs(&args.out, &recipe.caps, journal.ledger())?;
    let (there, all) = report.questions();
    // What is not finished takes the place of nothing that has more.
    let earlier = Report::questions_in(&args.out);
    let is_finished = end.is_none() && wanted.is_empty();
    let so_far = if is_finished || there >= earlier {
        outputs::write(&args.out, (&recipe, &args.recipe), &chosen, &stands)?;
        report.write(&args.out, &recipe.caps, journal.ledger())?;
        format!("{there} of {all} questions are written to {}", args.out.display())
    } else {
        let out = args.out.display();
        format!("{there} of {all} questions are there, so {out} keeps the {earlier} of an earlier run")
    };
    if let Some(end) = end {
        return Err(end.told(&so_far));
    }
    let mut lines: Vec<String> = read.into_iter().collect();
    lines.push(report.table(&recipe.caps, journal.ledger()));
    lines.push(so_far);
    let to_write = wanted.len() - num_in_batches(&plan, &wanted, journal.ledger())?;
    if to_write > 0 {
        lines.push(format!("{to_write} more requests are wanted: --batch-out writes them"));
    } else if is_finished && there < all {
        lines.push("the others lack, and no request can bring them: the lines above say why".to_owned());
    }
    Ok(lines.join("\n"))
}

/// How many of the wanted requests stand in batch files.
fn num_in_batches(plan: &Plan<'_>, wanted: &[Wanted], ledger: &Ledger) -> Result<usize, CurateError> {
    if ledger.open_batches().is_empty() {
        return Ok(0);
    }
    let mut count = 0;
    for one in wanted {
        count += usize::from(ledger.batch_of(&plan.request(one)?.key).is_some());
    }
    Ok(count)
}

/// Refuses to send what stands in a batch file.
fn refuse_batches(count: usize, ledger: &Ledger) -> Result<(), CurateError> {
    match batch::open(ledger).filter(|_| count > 0) {
        None => Ok(()),
        Some(open) => Err(CurateError::Usage(format!(
            "{count} of the requests stand in batch files ({open}): read with --batch-in what came back of them, or the \
             files themselves if they were never submitted"
        ))),
    }
}
