//! The parts of the test, in the order in which they are done: what says most in the shortest time comes first.

mod attention;
mod collectives;
mod device;
mod golden;
mod memory;
mod out_of_memory;
mod ranks;
mod repeat;
mod speed;
mod training;

use std::time::Instant;

use tercet_protocol::says::card::{ATTENTION, COLLECTIVES, DEVICE, SPEED};

use crate::found::Found;
use crate::stage::Stage;

pub use golden::cpu_steps;
pub use training::cpu_runs;

/// A part of the test.
pub struct Part {
    /// As `--only` names it.
    pub name: &'static str,
    /// What it answers.
    pub question: &'static str,
    /// What it may take at most.
    pub limit_secs: u64,
    /// Does it; it must be done at the given moment.
    pub run: fn(&Stage, &mut Found, Instant) -> anyhow::Result<()>,
}

/// All parts.
pub const PARTS: [Part; 10] = [
    Part { name: DEVICE, question: "What is the machine, and is it fit?", limit_secs: 60, run: device::run },
    Part {
        name: "golden",
        question: "Are loss, scores and gradients the CPU's, in fp64, fp32 and bf16?",
        limit_secs: 150,
        run: golden::run,
    },
    Part { name: "training", question: "Is a run of several steps the CPU's?", limit_secs: 60, run: training::run },
    Part {
        name: "repeat",
        question: "Has a second run the same bits, and one that was stopped and resumed?",
        limit_secs: 120,
        run: repeat::run,
    },
    Part {
        name: ATTENTION,
        question: "Which attention kernels are chosen, and how fast are they?",
        limit_secs: 60,
        run: attention::run,
    },
    Part {
        name: COLLECTIVES,
        question: "Does NCCL do every operation, and how fast is it?",
        limit_secs: 60,
        run: collectives::run,
    },
    Part {
        name: SPEED,
        question: "How many tokens a second, and which share of the card's matrix products?",
        limit_secs: 200,
        run: speed::run,
    },
    Part {
        name: "memory",
        question: "Is the memory what was planned, and does a budget fill the card?",
        limit_secs: 100,
        run: memory::run,
    },
    Part { name: "ranks", question: "Do several GPUs compute what one does?", limit_secs: 100, run: ranks::run },
    Part {
        name: "out-of-memory",
        question: "Does a step that is too large end with a sentence and the right code?",
        limit_secs: 60,
        run: out_of_memory::run,
    },
];
