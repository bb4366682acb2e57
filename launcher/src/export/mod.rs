//! A model in the layout of another program: read, checked and written without its tensors in memory.
//!
//! `masked_lm` says what becomes of which weight, `tensors` reads and writes safetensors, and `folder` puts the files
//! in their place, all of them or none.

mod folder;
mod masked_lm;
mod tensors;

pub use folder::Outcome;
pub use masked_lm::masked_lm;
