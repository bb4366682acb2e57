//! `tercet curate`: raw files to training rows, by a recipe.
//!
//! A unit is some files of one source, or a large one. [`reading`] makes rows of each unit, and keys by which
//! duplicates are found; units are read in any order, by threads, and by processes that share them. When all are read,
//! what must see all rows comes: duplicates, and a model's judgment. [`writing`] puts the rows that stay into one file
//! a source, and [`accounts`] say of every pair what became of it.
//!
//! What is finished is kept in the folder `work`, so that a killed curation goes on with what it lacks, and one whose
//! files were mended with what they changed. It is removed with the end of the work.

mod accounts;
mod asked;
mod global;
mod parallel;
mod place;
mod reading;
mod recipe;
mod report;
mod samples;
mod units;
mod writing;

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use crate::args::Curate;
use crate::error::CurateError;
use asked::Asked;
use place::Place;
use recipe::Recipe;

/// Threads at most: each has some files open.
const MOST_JOBS: usize = 128;

/// Curates what is asked for, and returns what to say of it.
///
/// # Errors
/// The recipe or the data are not what they should be, or files cannot be read or written.
pub fn run(args: &Curate) -> Result<String, CurateError> {
    let recipe = Recipe::load(&args.recipe)?;
    let units = units::all(&recipe)?;
    let jobs = args.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get).min(MOST_JOBS);
    // Whatever is wrong is said before the folder is begun.
    let filters = recipe.filters()?;
    let tokenizer = recipe.tokenizer()?;
    for (index, source) in recipe.source.iter().enumerate() {
        let first = units.iter().find(|unit| unit.source == index).and_then(|unit| unit.files.first());
        first.map_or(Ok(()), |(file, _)| source.try_columns(file))?;
    }
    let place = Place::open(&args.out, &Asked::new(&recipe, args.first, &units)?, &units, args.share)?;
    if place.is_done() {
        place.check_written()?;
        place.finish()?;
        return Ok(format!("{}: is done already\n\n{}", args.out.display(), place.told()?));
    }
    let own: Vec<_> = units.iter().filter(|unit| args.share.is_none_or(|share| share.has(unit.number))).collect();
    if own.is_empty() {
        return Ok(format!("{}: nothing falls to this share: there are {} units", args.out.display(), units.len()));
    }
    reading::read(&own, &recipe, &filters, &place, (args.first, jobs))?;
    if let Some(share) = args.share {
        let (out, recipe) = (args.out.display(), args.recipe.display());
        let first = args.first.map_or(String::new(), |first| format!(" --first {first}"));
        return Ok(format!("{out}: share {share} is read; when all are: tercet curate {recipe} --out {out}{first}"));
    }
    let dropped = global::find(&units, &recipe, &place, jobs)?;
    let written = writing::write(&units, (&recipe, tokenizer.as_ref()), &place, &dropped, jobs)?;
    report::write(written, &filters, dropped.scores.as_ref(), &recipe, &place)?;
    place.finish()?;
    place.told()
}
