//! What ranks answer: each JSON that a worker writes and somebody else reads. So are the reports of `tercet bench` and
//! `tercet-test-gpu`, which other programs read.
//!
//! JSON has neither infinities nor NaN: a figure that is one is written as null.

pub mod bench;
pub mod bench_report;
pub mod card;
pub mod doctor;
pub mod dry_run;
pub mod eval;
mod event;
pub mod measure;
pub mod mine;
mod phase;
pub mod probe;
mod record;
pub mod score;
pub mod search;
pub mod step;

pub use event::{Beat, Event};
pub use phase::Phase;
pub use record::{EvalRecord, RankShares, StepRecord};

use serde::{Deserialize, Deserializer, Serialize};

/// `value` in one line, without a line feed; its keys are in alphabetical order.
pub fn line(value: &impl Serialize) -> String {
    // Plain structs of numbers and strings cannot fail to serialise.
    serde_json::to_value(value).expect("plain data").to_string()
}

/// A figure; NaN for null.
fn figure<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}
