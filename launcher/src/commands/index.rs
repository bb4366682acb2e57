//! `tercet index`: from a corpus to an index.

use tercet_configs::{EncoderConfig, LossSection, ModelFolder, ModelSection, ModelShape, Precision};
use tercet_protocol::Command;
use tercet_protocol::args::IndexArgs;
use tercet_protocol::says::dry_run::IndexSample;

use super::dry_run::{measured, scale};
use crate::args::Scaled;
use crate::place::Placement;
use crate::plan::index_table;
use crate::screen::Screen;
use crate::start::{self, Input};

/// Has the ranks do it; what they print is for the user as it is. With `--dry-run` they measure, and what all of it
/// would take is reckoned here.
///
/// # Errors
/// Ranks that did not end well.
pub fn run(args: &Scaled<IndexArgs>) -> anyhow::Result<()> {
    let what = &args.on.what;
    let (placement, screen) = (Placement::find(&args.on.ranks, what.device.into())?, Screen::new());
    let command = Command::Index(what.clone());
    if !what.dry_run {
        return start::run(&placement, &command, Input::Nothing, &screen, |line| screen.pass(line));
    }
    let sample: IndexSample = measured(&placement, &command, &screen)?;
    let scale = scale(args, sample.passages, sample.world_size);
    screen.pass(index_table(&sample, &shape(what)?, scale).as_bytes());
    Ok(())
}

/// The model, as far as it works for an index.
fn shape(what: &IndexArgs) -> anyhow::Result<ModelShape> {
    let folder = ModelFolder::open(&what.model)?;
    let config = EncoderConfig::load(&folder.transformer.join("config.json"))?;
    let pooling = folder.pooling(what.pooling.map(Into::into))?;
    let loss = LossSection::default();
    let mut shape = ModelShape::new(config, &ModelSection::default(), &loss, Precision::Fp32, (true, pooling));
    shape.heads = shape.heads.in_an_index();
    Ok(shape)
}
