//! Pictures as SVG files.

pub mod bars;
pub mod lengths;
pub mod plan;
