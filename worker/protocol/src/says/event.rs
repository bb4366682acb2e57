//! What `tercet-worker train --events` says on standard output: one JSON object a line, its `event` first. Every rank
//! gives a sign of life once a second; all else is rank 0's.
//!
//! ```text
//! {"event":"start","first_step":0,"last_step":600,"run_dir":"runs/demo","startup_secs":1.1,"warnings":["…"],
//!  "world_size":2}
//! {"event":"step","dataset":"man","epoch":0,…,"loss":1.2,…,"step":1,…}      (a line of metrics.jsonl)
//! {"event":"warning","text":"step 120: loss NaN, …: update skipped (1 in a row, 4 in all)"}
//! {"event":"evaluating","step":600}
//! {"event":"evaluated","best":true,"eval/mean/dense/ndcg@10":0.31,…,"eval_secs":9.1,…,"shown":"mean/dense/ndcg@10",
//!  "step":600}                                    (with a line of metrics.jsonl)
//! {"event":"checkpoint","path":"runs/demo/step-00000600","step":600}
//! {"event":"end","run_dir":"runs/demo","steps":600}
//! {"event":"stopped","step":412}
//! {"event":"heartbeat","rank":1,"host":"gpu04","pid":77,"step":413,"phase":"reduce","doing":"all-reduce of bucket 3",
//!  "waits":true,"saves":false,"evaluates":false,"secs":0.2,"still_secs":0.0}
//! ```
//!
//! Steps count from 1: `step` is how many are done, `last_step` how many there will be, and `first_step` how many were
//! done when this process started (0, or the checkpoint's after `--resume`). Keys that are not listed here are ignored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{EvalRecord, StepRecord};

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Training begins.
    Start {
        /// Where everything is written.
        run_dir: PathBuf,
        /// Steps that were done before.
        first_step: u64,
        /// Steps that will have been done at the end.
        last_step: u64,
        /// Ranks.
        world_size: usize,
        /// From the process's beginning until now.
        #[serde(default)]
        startup_secs: f64,
        /// What the user should know, one sentence each.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// A step is done.
    Step(Box<StepRecord>),
    /// Something that the user should know of.
    Warning {
        /// One line.
        text: String,
    },
    /// The model is about to be evaluated.
    Evaluating {
        /// Steps done.
        step: u64,
    },
    /// The model has been evaluated.
    Evaluated {
        /// The line of metrics.jsonl.
        #[serde(flatten)]
        record: EvalRecord,
        /// The figure to show: `mean/dense/ndcg@10`.
        shown: String,
        /// Its checkpoint is the best so far by this figure.
        best: bool,
    },
    /// A checkpoint is complete.
    Checkpoint {
        /// Its directory.
        path: PathBuf,
        /// Steps done in it.
        step: u64,
    },
    /// The ranks stop because they were asked to; what they have done is kept.
    Stopped {
        /// Steps done.
        step: u64,
    },
    /// A rank lives.
    Heartbeat(Beat),
    /// Training is complete.
    End {
        /// Where everything was written.
        run_dir: PathBuf,
        /// Steps done.
        #[serde(default)]
        steps: u64,
        /// Why it is, with fewer steps than the recipe has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        early: Option<String>,
    },
}

/// What a rank is doing when it gives a sign of life: where it is and nothing else, no rows and no paths.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// The rank.
    pub rank: usize,
    /// Its machine.
    pub host: String,
    /// Its process there.
    #[serde(default)]
    pub pid: u32,
    /// The step it is at, from 1; 0 before the first.
    pub step: u64,
    /// The step's phase.
    pub phase: String,
    /// In words, e.g. `all-reduce of bucket 3`.
    pub doing: String,
    /// That is a wait for other ranks.
    pub waits: bool,
    /// It waits for a checkpoint to be written.
    pub saves: bool,
    /// The model is being evaluated.
    #[serde(default)]
    pub evaluates: bool,
    /// Seconds for which nothing of this has changed.
    pub secs: f64,
    /// Seconds in which its training thread has used no processor time: who waits for other ranks asks for them all the
    /// time.
    pub still_secs: f64,
}

impl Event {
    /// How every event's line begins; within a JSON text its quotes would be escaped.
    pub const BEGINNING: &[u8] = b"{\"event\":\"";

    /// Its line, without a line feed: `event`, then a heartbeat's keys as they are declared, any other event's in
    /// alphabetical order.
    pub fn line(&self) -> String {
        // Plain structs of numbers and strings cannot fail to serialise.
        if let Self::Heartbeat(_) = self {
            return serde_json::to_string(self).expect("plain data");
        }
        let mut keys = serde_json::to_value(self).expect("plain data");
        let event = keys.as_object_mut().and_then(|keys| keys.remove("event")).unwrap_or_default();
        format!("{{\"event\":{event},{}", &keys.to_string()[1..])
    }

    /// The event in `line`, or none if it is something else.
    pub fn parse(line: &[u8]) -> Option<Self> {
        line.starts_with(b"{").then(|| serde_json::from_slice(line).ok()).flatten()
    }
}
