//! The commands that need ranks: check what can be checked without them, start them, show what they say.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;

use tercet_configs::{Backend, ExitCode, Recipe};

use crate::args::{EncodeArgs, EvalArgs, MineArgs, Ranks, Settings, StepArgs, TrainArgs};
use crate::exit::{self, Fail};
use crate::noise::NoiseFilter;
use crate::place::Placement;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::watch::{Input, watch};
use crate::{start, step_table, worker_args};

/// `tercet train`: until the last step, with progress.
///
/// # Errors
/// A recipe that cannot be used, or ranks that did not end well.
pub fn train(args: &TrainArgs) -> anyhow::Result<()> {
    let (recipe, placement) = load(&args.recipe, &args.settings, &args.ranks)?;
    let screen = Screen::new();
    let mut progress = Progress::new(screen.clone(), recipe.log.every_steps);
    run(&placement, &worker_args::train(args), Input::Nothing, &screen, |line| progress.line(line))
}

/// `tercet step`: one JSON object on standard output, or its table.
///
/// # Errors
/// A recipe that cannot be used, or ranks that did not end well.
pub fn step(args: &StepArgs) -> anyhow::Result<()> {
    let recipe = Recipe::load(&args.recipe, &args.settings.all())?;
    check_backend(&recipe, &args.recipe, args.ranks)?;
    let placement = Placement::here(args.ranks);
    let words = worker_args::step(args);
    let screen = Screen::new();
    if args.json {
        return run(&placement, &words, Input::Nothing, &screen, |line| screen.pass(line));
    }
    let mut output = Vec::new();
    run(&placement, &words, Input::Nothing, &screen, |line| output.extend_from_slice(line))?;
    screen.pass(step_table::table(&output)?.as_bytes());
    Ok(())
}

/// `tercet encode`.
///
/// # Errors
/// Ranks that did not end well.
pub fn encode(args: &EncodeArgs) -> anyhow::Result<()> {
    let input = if args.input == Path::new("-") { Input::Ours } else { Input::Nothing };
    simple(&args.ranks, &worker_args::encode(args), input)
}

/// `tercet eval`.
///
/// # Errors
/// Ranks that did not end well.
pub fn eval(args: &EvalArgs) -> anyhow::Result<()> {
    simple(&args.ranks, &worker_args::eval(args), Input::Nothing)
}

/// `tercet mine`.
///
/// # Errors
/// Ranks that did not end well.
pub fn mine(args: &MineArgs) -> anyhow::Result<()> {
    simple(&args.ranks, &worker_args::mine(args), Input::Nothing)
}

/// Runs ranks whose standard output is for the user as it is.
fn simple(ranks: &Ranks, words: &[OsString], input: Input) -> anyhow::Result<()> {
    let screen = Screen::new();
    run(&Placement::find(ranks)?, words, input, &screen, |line| screen.pass(line))
}

/// Ranks that read nothing and whose standard output is taken line by line.
///
/// # Errors
/// Ranks that did not end well.
pub fn ranks(
    placement: &Placement,
    words: &[OsString],
    screen: &Screen,
    stdout: impl FnMut(&[u8]) + Send,
) -> anyhow::Result<()> {
    run(placement, words, Input::Nothing, screen, stdout)
}

/// Starts the ranks and stays until they are gone.
fn run(
    placement: &Placement,
    words: &[OsString],
    input: Input,
    screen: &Screen,
    stdout: impl FnMut(&[u8]) + Send,
) -> anyhow::Result<()> {
    let command = start::command(placement, words)?;
    let mut noise = NoiseFilter::default();
    let say = |line: &[u8]| {
        if let Some(text) = noise.line(&String::from_utf8_lossy(line)) {
            screen.say(&text);
        }
    };
    let ended = watch(command, input, stdout, say);
    screen.close_bar();
    let (held, death) = noise.finish();
    if let Some(text) = held {
        screen.say(&text);
    }
    let checked = exit::check(&ended?, death.as_ref());
    if checked.as_ref().is_err_and(Fail::is_machine) {
        say_who_is_lost(placement, screen);
    }
    Ok(checked?)
}

/// Names the hosts that do not answer any more.
fn say_who_is_lost(placement: &Placement, screen: &Screen) {
    let survey = placement.without_lost();
    if !survey.lost.is_empty() {
        let slots = survey.rest.map_or(0, |rest| rest.num_ranks().get());
        screen.say(&format!("tercet: no answer from {}: the other hosts have {slots} slots", survey.lost.join(", ")));
    }
}

/// The recipe, and where its ranks shall run.
///
/// # Errors
/// A recipe that cannot be used, or not on so many ranks; hosts that cannot be used.
pub fn load(path: &Path, settings: &Settings, asked: &Ranks) -> anyhow::Result<(Recipe, Placement)> {
    let recipe = Recipe::load(path, &settings.all())?;
    let alone = recipe.backend == Backend::Solo && asked.ranks.is_none() && asked.hosts.is_none();
    let placement = if alone { Placement::here(NonZeroUsize::MIN) } else { Placement::find(asked)? };
    check_backend(&recipe, path, placement.num_ranks())?;
    Ok((recipe, placement))
}

/// # Errors
/// The recipe's backend is not for so many ranks.
pub fn check_backend(recipe: &Recipe, path: &Path, num_ranks: NonZeroUsize) -> Result<(), Fail> {
    if recipe.backend == Backend::Solo && num_ranks.get() > 1 {
        let message = format!(
            "recipe {}: backend: is \"solo\", which is one rank, but {num_ranks} are asked for: set backend = \"auto\"",
            path.display()
        );
        return Err(Fail::new(ExitCode::Usage, message));
    }
    Ok(())
}
