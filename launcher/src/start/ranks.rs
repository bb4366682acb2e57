//! The commands that need ranks: check what can be checked without them, start them, show what they say.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context;
use tercet_configs::{Backend, ExitCode, Recipe};

use crate::args::{EncodeArgs, EvalArgs, MineArgs, Ranks, Settings, StepArgs};
use crate::exit::{self, Fail};
use crate::noise::{Cause, NoiseFilter};
use crate::place::{self, Launch, Placement};
use crate::screen::Screen;
use crate::signals::Noted;
use crate::watch::{Ended, Input, Stop, watch};
use crate::{start, step_table, worker_args};

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
    let signals = Noted::begin().context("installing signal handlers")?;
    let (ended, cause) = attempt(placement, words, input, Stop::AT_ONCE, &signals, screen, || false, stdout)?;
    Ok(exit::check(&ended, &cause)?)
}

/// Starts the ranks once and stays until they are gone; says on the screen what they say on standard error.
///
/// # Errors
/// The ranks cannot be started.
#[expect(clippy::too_many_arguments, reason = "each is one thing, used once")]
pub fn attempt(
    placement: &Placement,
    words: &[OsString],
    input: Input,
    stop: Stop,
    signals: &Noted,
    screen: &Screen,
    hangs: impl FnMut() -> bool,
    stdout: impl FnMut(&[u8]) + Send,
) -> anyhow::Result<(Ended, Cause)> {
    let command = start::command(placement, words)?;
    let mut noise = NoiseFilter::default();
    let say = |line: &[u8]| {
        if let Some(text) = noise.line(&String::from_utf8_lossy(line)) {
            screen.say(&text);
        }
    };
    let ended = watch(command, input, stop, signals, hangs, stdout, say);
    screen.close_bar();
    let (held, cause) = noise.finish();
    if let Some(text) = held {
        screen.say(&text);
    }
    let (ended, mut cause) = (ended?, cause);
    if cause.no_daemon && cause.mistake.is_none() && placement.launch() == Launch::Slurm {
        cause.mistake = place::no_such_job();
    }
    Ok((ended, cause))
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
