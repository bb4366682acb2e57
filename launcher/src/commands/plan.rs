//! `tercet plan`: what a run will do and cost, before anything is booked for it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context;
use tercet_configs::{Device, DeviceChoice, ExitCode, ModelShape, Recipe};
use tercet_protocol::Command;
use tercet_protocol::args::MeasureArgs;
use tercet_protocol::says::{StepRecord, measure};

use super::recipe;
use crate::args::{self, Plan, Ranks};
use crate::exit::Fail;
use crate::place::{Placement, gpus};
use crate::plan::{self, Rates};
use crate::screen::Screen;
use crate::start::{self, Input};

/// Says what the recipe's run will do: a table, and JSON and a picture where asked for.
///
/// # Errors
/// A recipe, a store or a model that cannot be used; all that can be said nevertheless is printed before.
pub fn run(args: &Plan) -> anyhow::Result<()> {
    let (mut recipe, world_size) = load(args)?;
    let device = match args.device {
        Some(args::Device::Cpu) => Device::Cpu,
        Some(args::Device::Cuda) => Device::Cuda,
        // What ranks would compute on if they were started here.
        None if recipe.device == DeviceChoice::Cuda || gpus::num_gpus(recipe.device) > 0 => Device::Cuda,
        None => Device::Cpu,
    };
    // A card that is booked for a run is taken for one that computes in bfloat16.
    recipe.precision = recipe.precision.on(device, true);
    let rates = |shape: &ModelShape, text_len| rates(args, &recipe, shape, world_size, text_len);
    let (mut report, code) = plan::report(&recipe, world_size, device, args.model_config.as_deref(), rates)?;
    report.measured_peak_bytes = measured_peak_bytes(&recipe.run_dir);
    let screen = Screen::new();
    let json = serde_json::to_string_pretty(&report).context("writing the plan as JSON")? + "\n";
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => screen.pass(json.as_bytes()),
        Some(path) => {
            screen.pass(plan::table(&report).as_bytes());
            tercet_sampler::write_durably(path, json.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        None => screen.pass(plan::table(&report).as_bytes()),
    }
    if let Some(path) = &args.picture {
        plan::draw(&report, path)?;
    }
    match report.errors.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Fail::with_code(code, format!("this run would fail: {first}")).into()),
    }
}

/// The most that a rank's tensors have taken on its GPU in the run of `run_dir`, if there is one on GPUs.
fn measured_peak_bytes(run_dir: &Path) -> Option<f64> {
    let metrics = File::open(run_dir.join("metrics.jsonl")).ok()?;
    let lines = BufReader::new(metrics).lines().map_while(Result::ok);
    let peaks = lines.filter_map(|line| serde_json::from_str::<StepRecord>(&line).ok()?.device_peak_bytes);
    peaks.max().map(|bytes| bytes as f64)
}

/// The recipe, and how many ranks it is planned for: they need not be here.
fn load(args: &Plan) -> anyhow::Result<(Recipe, NonZeroUsize)> {
    if let Some(world) = args.world {
        return Ok((recipe::load_for(&args.recipe, world)?, world));
    }
    let (recipe, placement) = recipe::load(&args.recipe, &Ranks::default())?;
    Ok((recipe, placement.num_ranks()))
}

/// From the command line, or measured on this machine with texts of `text_len` tokens.
fn rates(
    args: &Plan,
    recipe: &Recipe,
    shape: &ModelShape,
    world_size: NonZeroUsize,
    text_len: usize,
) -> anyhow::Result<Option<Rates>> {
    let several = world_size.get() > 1;
    if let Some(flops) = args.flops {
        if args.bandwidth.is_none() && several {
            let message = format!("--flops for {world_size} ranks needs --bandwidth BYTES_PER_SECOND as well");
            return Err(Fail::new(ExitCode::Usage, message).into());
        }
        return Ok(Some(Rates::given(flops, args.bandwidth.unwrap_or_default())));
    }
    if !args.measure {
        return Ok(None);
    }
    let ranks = args.measure_ranks.unwrap_or(world_size);
    if ranks.get() == 1 && several {
        let message =
            format!("--measure-ranks 1 cannot tell how fast {world_size} ranks exchange: measure with 2 or more");
        return Err(Fail::new(ExitCode::Usage, message).into());
    }
    let (placement, screen) = (Placement::here(ranks), Screen::new());
    let what = Command::Measure(MeasureArgs { recipe: args.recipe.clone(), text_len });
    let mut output = Vec::new();
    start::run(&placement, &what, Input::Nothing, &screen, |line| output.extend_from_slice(line))?;
    let found: measure::Report = serde_json::from_slice(&output).context("reading what the ranks measured")?;
    Ok(Some(Rates::measured(recipe, shape, &found)))
}
