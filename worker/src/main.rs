//! `tercet-worker`: one rank. `tercet` starts it; `mpirun -n N tercet-worker …` does the same by hand.

use std::process;
use std::thread;
use std::time::Duration;

use tercet_cluster::{Collective, Counted, connect};
use tercet_configs::{Backend, ExitCode, error_line};
use tercet_protocol::Command;
use tercet_worker::commands::{bench, doctor, encode, eval, measure, mine, probe, step};
use tercet_worker::errors::code_of;
use tercet_worker::machine::cores;
use tercet_worker::record::log::is_coloured;
use tercet_worker::run::{self, stop};

/// What one operation between GPUs may take in a command without a recipe.
const DEADLINE: Duration = Duration::from_secs(600);

/// What the recipe of a command has the ranks joined with, and what one of their operations may take; of a recipe that
/// cannot be read the command itself speaks, when the ranks have met.
fn backend_of(command: &Command) -> (Backend, Duration) {
    match command.recipe() {
        Some(Ok(recipe)) => (recipe.backend, Duration::from_secs(recipe.backend_deadline_secs)),
        Some(Err(_)) | None => (Backend::Auto, DEADLINE),
    }
}

/// What oneDNN and libtorch's layer over it keep, if nobody says otherwise: programs compiled for one shape each.
/// Sub-batches have as many shapes as numbers of tokens, so a thousand of them, the default, grow to hundreds of
/// megabytes, most of which are never asked for again; one sub-batch's layers share a dozen.
const KEPT_PROGRAMS: [(&str, &str); 2] = [("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32"), ("LRU_CACHE_CAPACITY", "32")];

fn main() {
    for (name, number) in KEPT_PROGRAMS {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread runs yet that might read the environment.
            unsafe { std::env::set_var(name, number) };
        }
    }
    let command = Command::of_this_process();
    if matches!(command, Command::Train(_))
        && let Err(error) = stop::listen()
    {
        eprintln!("tercet-worker: installing signal handlers: {error}");
        process::exit(ExitCode::Machine.code());
    }
    // Everything so far ran alike on every rank; from here on a rank that fails must end the others.
    let (backend, deadline) = backend_of(&command);
    let ranks = connect(backend, tch::Cuda::device_count() > 0, deadline).unwrap_or_else(|error| {
        eprintln!("tercet-worker: {error}");
        process::exit(code_of(&error.into()).code());
    });
    let ranks = Counted::new(ranks);
    cores::share(&ranks);
    if !matches!(command, Command::Train(_)) && ranks.rank() == 0 {
        // Training logs to its run folder as well and begins that itself.
        let lines = tracing_subscriber::fmt().with_ansi(is_coloured()).with_writer(std::io::stderr);
        lines.without_time().with_target(false).init();
    }
    let done = match &command {
        Command::Train(args) => run::run(args, &ranks),
        Command::Doctor(args) => doctor::run(args, &ranks),
        Command::Measure(args) => measure::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Bench(args) => bench::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Step(args) => step::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Encode(args) => encode::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Eval(args) => eval::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Mine(args) => mine::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Probe(args) => probe::run(args, &ranks).map(|()| ExitCode::Success),
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
