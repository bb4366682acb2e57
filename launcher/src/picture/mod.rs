//! Pictures as SVG files.

pub mod bars;
pub mod plan;
