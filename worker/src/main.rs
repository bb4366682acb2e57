//! `tercet-worker`: one rank. `tercet` starts it; `mpirun -n N tercet-worker …` does the same by hand.

use std::process;
use std::thread;
use std::time::Duration;

use tercet_cluster::{Collective, CollectiveError, Counted, card, meet};
use tercet_configs::{Backend, DeviceChoice, ExitCode, error_line};
use tercet_protocol::Command;
use tercet_worker::commands::{bench, doctor, encode, eval, index, measure, mine, probe, score, search, step};
use tercet_worker::errors::code_of;
use tercet_worker::machine::{self, cores, device, gpu_settings};
use tercet_worker::preflight::{SickMachine, agree_on_device};
use tercet_worker::record::log::is_coloured;
use tercet_worker::run::{self, stop};

/// What one operation between GPUs may take in a command without a recipe.
const DEADLINE: Duration = Duration::from_secs(600);

/// What a command has the ranks joined with and compute on, and what one of their operations may take.
struct Asked {
    backend: Backend,
    deadline: Duration,
    device: DeviceChoice,
    /// Whether GPUs compute deterministically: they do, unless a recipe says otherwise.
    deterministic: bool,
}

impl Asked {
    /// By the command's recipe, if it has one; of a recipe that cannot be read the command itself speaks, when the
    /// ranks have met.
    fn of(command: &Command) -> Self {
        let recipe = command.recipe().and_then(Result::ok);
        let device = command.device_choice(recipe.as_ref());
        let deterministic = recipe.as_ref().is_none_or(|recipe| recipe.deterministic);
        let of_recipe = recipe.map(|recipe| (recipe.backend, Duration::from_secs(recipe.backend_deadline_secs)));
        let (backend, deadline) = of_recipe.unwrap_or((Backend::Auto, DEADLINE));
        Self { backend, deadline, device, deterministic }
    }
}

/// What oneDNN and libtorch's layer over it keep, if nobody says otherwise: programs compiled for one shape each.
/// Sub-batches have as many shapes as numbers of tokens, so a thousand of them, the default, grow to hundreds of
/// megabytes, most of which are never asked for again; one sub-batch's layers share a dozen.
const KEPT_PROGRAMS: [(&str, &str); 2] = [("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32"), ("LRU_CACHE_CAPACITY", "32")];

/// Sets variables that libraries read when they start, unless somebody has set them.
fn set_environment() {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let set = |(name, value): (&str, &str)| {
        // SAFETY: no other thread runs yet that might read the environment.
        unsafe { std::env::set_var(name, value) };
    };
    KEPT_PROGRAMS.into_iter().chain(gpu_settings::ENVIRONMENT).filter(|(name, _)| !is_set(name)).for_each(set);
    if !gpu_settings::SEGMENTS.iter().any(|(name, _)| is_set(name)) {
        set(gpu_settings::SEGMENTS[0]);
    }
}

fn main() {
    set_environment();
    let command = Command::of_this_process();
    let Asked { mut backend, deadline, device, deterministic } = Asked::of(&command);
    let found = device::look(device, backend);
    if device == DeviceChoice::Cpu {
        // SAFETY: no other thread runs yet that might read the environment.
        unsafe { device::hide_gpus() };
    }
    if matches!(command, Command::Train(_))
        && let Err(error) = stop::listen()
    {
        eprintln!("tercet-worker: installing signal handlers: {error}");
        process::exit(ExitCode::Machine.code());
    }
    // Everything so far ran alike on every rank; from here on a rank that fails must end the others.
    let not_joined = |error: CollectiveError| -> ! {
        eprintln!("tercet-worker: {error}");
        process::exit(code_of(&error.into()).code());
    };
    let met = meet(backend).unwrap_or_else(|error| not_joined(error));
    match agree_on_device(found, met.ranks()) {
        Ok(()) => {}
        // It reports all of it, and measures on processors.
        Err(error) if matches!(command, Command::Doctor(_)) && error.is::<SickMachine>() => backend = Backend::Mpi,
        Err(error) => fail(met.ranks(), &error),
    }
    let ranks = met.connect(backend, device::is_cuda(), deadline).unwrap_or_else(|error| not_joined(error));
    let ranks = Counted::new(ranks);
    cores::bind(&ranks);
    let own_device = device::device_of(&ranks);
    gpu_settings::settle(own_device, deterministic);
    machine::card::name_in_messages(own_device);
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
        Command::Index(args) => index::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Search(args) => search::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Eval(args) => eval::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Mine(args) => mine::run(args, &ranks).map(|()| ExitCode::Success),
        Command::Score(args) => score::run(args, &ranks).map(|()| ExitCode::Success),
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
    let (line, code) = explained(error_line(error.as_ref()), code_of(error));
    // In one piece: ranks that speak at the same time share one pipe.
    let line = format!("tercet-worker: {place}{line}\n");
    eprint!("{line}");
    ranks.abort(code.code())
}

/// An error's line and its code; if a GPU is behind it, with what to do.
fn explained(line: String, code: ExitCode) -> (String, ExitCode) {
    // A user's mistake, or one in the data, is said by ourselves, and may quote anything.
    let may_be_a_gpus = matches!(code, ExitCode::Machine | ExitCode::Bug);
    match card::failure_in(&line).filter(|_| may_be_a_gpus) {
        Some(failure) => {
            let gpu = card::own().map_or(String::new(), |gpu| format!("{gpu}: "));
            (format!("{gpu}{line}: {}", failure.remedy()), failure.code)
        }
        None => (line, code),
    }
}
