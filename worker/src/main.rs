//! `tercet-worker`: one rank. `tercet` starts it; `mpirun -n N tercet-worker …` does the same by hand.

use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tercet_cluster::{Collective, Counted, connect};
use tercet_configs::{Backend, ExitCode, Recipe, error_line};
use tercet_worker::commands::bench::{self, BenchArgs};
use tercet_worker::commands::doctor::{self, DoctorArgs};
use tercet_worker::commands::encode::{self, EncodeArgs};
use tercet_worker::commands::eval::{self, EvalArgs};
use tercet_worker::commands::measure::{self, MeasureArgs};
use tercet_worker::commands::mine::{self, MineArgs};
use tercet_worker::commands::step::{self, StepArgs};
use tercet_worker::errors::code_of;
use tercet_worker::machine::cores;
use tercet_worker::record::log::is_coloured;
use tercet_worker::run::{self, TrainArgs, stop};

/// What one operation between GPUs may take in a task without a recipe.
const DEADLINE: Duration = Duration::from_secs(600);

/// One training process per device; started by tercet, or by mpirun
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train as a recipe says
    Train(TrainArgs),
    /// How fast the ranks are with a recipe's model
    Measure(MeasureArgs),
    /// A recipe's steps, timed phase by phase
    Bench(BenchArgs),
    /// Whether the machines are fit for a run; ends with 3 if one is not
    Doctor(DoctorArgs),
    /// One step on given rows, without updating; prints its figures
    Step(StepArgs),
    /// Texts to representations
    Encode(EncodeArgs),
    /// Retrieval quality on BEIR folders
    Eval(EvalArgs),
    /// Hard negatives for rows
    Mine(MineArgs),
}

impl Task {
    /// What the task's recipe has the ranks joined with, and what one of their operations may take; of a recipe that cannot
    /// be read the task itself speaks, when the ranks have met.
    fn backend(&self) -> (Backend, Duration) {
        let (recipe, settings): (&Path, &[String]) = match self {
            Self::Train(args) => (&args.recipe, &args.settings),
            Self::Measure(args) => (&args.recipe, &args.settings),
            Self::Bench(args) => (&args.recipe, &args.settings),
            Self::Step(args) => (&args.recipe, &args.settings),
            Self::Doctor(DoctorArgs { recipe: Some(recipe), settings }) => (recipe, settings),
            Self::Doctor(_) | Self::Encode(_) | Self::Eval(_) | Self::Mine(_) => return (Backend::Auto, DEADLINE),
        };
        Recipe::load(recipe, settings).map_or((Backend::Auto, DEADLINE), |recipe| {
            (recipe.backend, Duration::from_secs(recipe.backend_deadline_secs))
        })
    }
}

/// What oneDNN and libtorch's layer over it keep, if nobody says otherwise: programs compiled for one shape each. Sub-batches
/// have as many shapes as numbers of tokens, so a thousand of them, the default, grow to hundreds of megabytes, most of which are
/// never asked for again; one sub-batch's layers share a dozen.
const KEPT_PROGRAMS: [(&str, &str); 2] = [("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32"), ("LRU_CACHE_CAPACITY", "32")];

fn main() {
    for (name, number) in KEPT_PROGRAMS {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread runs yet that might read the environment.
            unsafe { std::env::set_var(name, number) };
        }
    }
    let cli = Cli::parse();
    if matches!(cli.task, Task::Train(_))
        && let Err(error) = stop::listen()
    {
        eprintln!("tercet-worker: installing signal handlers: {error}");
        process::exit(ExitCode::Machine.code());
    }
    // Everything so far ran alike on every rank; from here on a rank that fails must end the others.
    let (backend, deadline) = cli.task.backend();
    let ranks = connect(backend, tch::Cuda::device_count() > 0, deadline).unwrap_or_else(|error| {
        eprintln!("tercet-worker: {error}");
        process::exit(code_of(&error.into()).code());
    });
    let ranks = Counted::new(ranks);
    cores::share(&ranks);
    if !matches!(cli.task, Task::Train(_)) && ranks.rank() == 0 {
        // Training logs to its run folder as well and begins that itself.
        let lines = tracing_subscriber::fmt().with_ansi(is_coloured()).with_writer(std::io::stderr);
        lines.without_time().with_target(false).init();
    }
    let done = match &cli.task {
        Task::Train(args) => run::run(args, &ranks),
        Task::Doctor(args) => doctor::run(args, &ranks),
        Task::Measure(args) => measure::run(args, &ranks).map(|()| ExitCode::Success),
        Task::Bench(args) => bench::run(args, &ranks).map(|()| ExitCode::Success),
        Task::Step(args) => step::run(args, &ranks).map(|()| ExitCode::Success),
        Task::Encode(args) => encode::run(args, &ranks).map(|()| ExitCode::Success),
        Task::Eval(args) => eval::run(args, &ranks).map(|()| ExitCode::Success),
        Task::Mine(args) => mine::run(args, &ranks).map(|()| ExitCode::Success),
    };
    let code = done.unwrap_or_else(|error| fail(&ranks, &error));
    // Leaves the job in good order first.
    drop(ranks);
    process::exit(code.code());
}

/// Says what went wrong, once, and ends every rank.
fn fail(ranks: &dyn Collective, error: &anyhow::Error) -> ! {
    let (rank, world) = (ranks.rank(), ranks.world_size());
    if rank > 0 {
        // Most mistakes are every rank's: rank 0 speaks for all, and ends this one before it speaks as well.
        thread::sleep(Duration::from_secs(1));
    }
    let place = if world == 1 { String::new() } else { format!("rank {rank}/{world} {}: ", ranks.host()) };
    // In one piece: ranks that speak at the same time share one pipe.
    let line = format!("tercet-worker: {place}{}\n", error_line(error.as_ref()));
    eprint!("{line}");
    ranks.abort(code_of(error).code())
}
