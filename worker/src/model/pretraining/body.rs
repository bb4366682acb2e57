//! What pre-training's parts stand on.

use crate::model::encoder::Encoder;
use crate::model::parameters::Parameters;

/// The encoder, and all weights.
#[derive(Clone, Copy)]
pub struct Body<'a> {
    pub encoder: &'a Encoder,
    pub parameters: &'a Parameters,
}
