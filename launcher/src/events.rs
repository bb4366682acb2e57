//! What `tercet-worker train --events` says on standard output: one JSON object a line, its `event` first. Every rank gives
//! a sign of life once a second; all else is rank 0's.
//!
//! ```text
//! {"event":"start","run_dir":"runs/demo","first_step":0,"last_step":600,"world_size":2,"startup_secs":1.1,
//!  "warnings":["…"]}
//! {"event":"step","step":1,"epoch":0,"loss":1.2,"terms":{"dense":1.1},"learning_rate":4.2e-4,"grad_norm":3.0,
//!  "tokens_per_sec":812.0,"padding_share":0.021,"imbalance":1.004,"step_secs":0.9,…}      (a line of metrics.jsonl)
//! {"event":"warning","text":"step 120: loss NaN, …: update skipped (1 in a row, 4 in all)"}
//! {"event":"checkpoint","path":"runs/demo/step-00000600","step":600}
//! {"event":"end","steps":600,"run_dir":"runs/demo"}
//! {"event":"stopped","step":412}
//! {"event":"heartbeat","rank":1,"host":"gpu04","pid":77,"step":413,"phase":"reduce","doing":"all-reduce of bucket 3",
//!  "waits":true,"saves":false,"secs":0.2,"still_secs":0.0}
//! ```
//!
//! Steps count from 1: `step` is how many are done, `last_step` how many there will be, and `first_step` how many were
//! done when this process started (0, or the checkpoint's after `--resume`). Numbers that are absent or null are not
//! shown; keys that are not listed here are ignored.

use std::path::PathBuf;

use serde::Deserialize;

/// One event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
        /// What the user should know, one sentence each.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// A step is done.
    Step(StepEvent),
    /// Something that the user should know of.
    Warning {
        /// One line.
        text: String,
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
    },
}

/// What a rank was doing when it gave a sign of life.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Beat {
    /// The rank.
    pub rank: usize,
    /// Its machine.
    pub host: String,
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
    /// Seconds for which nothing of this has changed.
    pub secs: f64,
    /// Seconds in which its training thread has used no processor time: who waits for other ranks asks for them all the time.
    pub still_secs: f64,
}

/// The part of a step's metrics that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
pub struct StepEvent {
    /// Steps done, this one included.
    pub step: u64,
    /// The loss over the global batch.
    pub loss: Option<f64>,
    /// The rate this step used.
    pub learning_rate: Option<f64>,
    /// Real tokens (without padding) per second, all ranks together.
    pub tokens_per_sec: Option<f64>,
    /// Padding's share of the tokens that went through the encoder, 0 to 1.
    pub padding_share: Option<f64>,
    /// The share of the run's time, from its first start on, that its steps took.
    pub goodput: Option<f64>,
}

/// The event in `line`, or none if it is something else.
pub fn parse(line: &[u8]) -> Option<Event> {
    line.starts_with(b"{").then(|| serde_json::from_slice(line).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_carry_more_than_is_shown_and_less() {
        let line = br#"{"event":"step","step":3,"epoch":0,"loss":1.5,"terms":{"dense":2.0},"grad_norm":null}"#;
        assert_eq!(parse(line), Some(Event::Step(StepEvent { step: 3, loss: Some(1.5), ..StepEvent::default() })));
    }

    #[test]
    fn what_is_no_event_is_left_alone() {
        for line in ["{\"loss\": 1.0}", "{\"event\":\"else\"}", "text", "{", ""] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
