//! The launcher's tests, a module each, in one program: it is linked once.

#![allow(clippy::unwrap_used, missing_docs)]

mod batch;
mod export;
mod output;
mod plan;
mod prepare;
mod prepare_hostile;
mod prepare_resumed;
mod ranks;
mod report;
mod signals;
mod stand_in;
mod typed;
mod word_rows;
