//! `tercet plan`: what a run will do and cost, before anything is booked for it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context;
use tercet_configs::{Device, DeviceChoice, ExitCode, ModelShape, Precision, Recipe};
use tercet_protocol::Command;
use tercet_protocol::args::MeasureArgs;
use tercet_protocol::says::{StepRecord, measure};

use super::recipe;
use crate::args::{self, Plan, Ranks};
use crate::exit::Fail;
use crate::place::{Placement, gpus};
use crate::plan::{self, Card, Flat, Measured, Network, Rates, Speed, Target};
use crate::screen::Screen;
use crate::start::{self, Input};

/// Says what the recipe's run will do: a table, and JSON and a picture where asked for.
///
/// # Errors
/// A recipe, a store or a model that cannot be used; all that can be said nevertheless is printed before.
pub fn run(args: &Plan) -> anyhow::Result<()> {
    let (mut recipe, world_size) = load(args)?;
    let on_card = OnCard::of(args)?;
    let device = match args.device {
        _ if on_card.is_some() => Device::Cuda,
        Some(args::Device::Cpu) => Device::Cpu,
        Some(args::Device::Cuda) => Device::Cuda,
        // What ranks would compute on if they were started here.
        None if recipe.device == DeviceChoice::Cuda || gpus::num_gpus(recipe.device) > 0 => Device::Cuda,
        None => Device::Cpu,
    };
    // A card that is booked for a run is taken for one that computes in bfloat16.
    recipe.precision = recipe.precision.on(device, true);
    if on_card.is_some() && recipe.precision != Precision::Bf16 {
        let message = format!(
            "--gpu and --measured reckon with bfloat16, and the recipe's precision is {}: say how fast a rank is with --flops",
            recipe.precision.name()
        );
        return Err(Fail::new(ExitCode::Usage, message).into());
    }
    let memory_bytes = on_card.as_ref().map(|on_card| on_card.card.memory_bytes);
    let speed = on_card.as_ref().map(|on_card| on_card.speed(args, world_size));
    let rates = |shape: &ModelShape, text_len| match &speed {
        Some(speed) => Ok(Some(Rates::Card(speed.clone()))),
        None => rates(args, &recipe, shape, world_size, text_len),
    };
    let target = Target { world_size, device, memory_bytes };
    let (mut report, code) = plan::report(&recipe, target, args.model_config.as_deref(), rates)?;
    report.measured_peak_bytes = measured_peak_bytes(&recipe.run_dir);
    let measured = on_card.as_ref().and_then(|on_card| on_card.measured.as_ref());
    report.compared = measured.zip(speed.as_ref()).map_or_else(Vec::new, |(found, speed)| found.compared(speed));
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

/// The card that the run is planned for.
struct OnCard {
    card: Card,
    /// What was measured on one.
    measured: Option<Measured>,
}

impl OnCard {
    /// The one that is named, or that the report is of.
    fn of(args: &Plan) -> anyhow::Result<Option<Self>> {
        let measured = args.measured.as_deref().map(Measured::read).transpose()?;
        let of_report = measured.as_ref().and_then(Measured::card);
        let refused = |message: String| anyhow::Error::from(Fail::new(ExitCode::Usage, message));
        let name = measured.as_ref().map_or("", |measured| &measured.driver_name);
        let card = match (args.gpu.map(Card::of), of_report) {
            (Some(asked), Some(found)) if asked.kind != found.kind => {
                return Err(refused(format!("--measured is of a card named {name:?}, which is no {}", asked.kind)));
            }
            (Some(card), _) | (None, Some(card)) => card,
            (None, None) if measured.is_some() => {
                let why = format!("--measured is of a card named {name:?}, of which nothing is known here");
                return Err(refused(format!("{why}: say with --gpu which of the known ones it is most like")));
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Self { card, measured }))
    }

    /// What is measured and, for the rest, assumed of it.
    fn speed(&self, args: &Plan, world_size: NonZeroUsize) -> Speed {
        let [within, adapter] = self.card.sends();
        let within = self.measured.as_ref().and_then(Measured::nvlink).unwrap_or(within);
        let network = match args.bandwidth {
            Some(rate) => Network::given(rate),
            None => Network::of([within, adapter], world_size.get(), args.gpus_per_node.get()),
        };
        let assumed = Speed::assumed(&self.card, network);
        match &self.measured {
            Some(measured) => measured.instead_of(assumed, args.bandwidth.is_some()),
            None => assumed,
        }
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
        return Ok(Some(Rates::Flat(Flat::given(flops, args.bandwidth.unwrap_or_default()))));
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
    Ok(Some(Rates::Flat(Flat::measured(recipe, shape, &found))))
}
