//! `precision`: the arithmetic of a run.

use serde::{Deserialize, Serialize};

/// Arithmetic of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// The encoder computes in bfloat16; weights, gradients' sums, optimizer state, representations, scores and loss
    /// are 32-bit floats.
    Bf16,
    /// 64-bit floats; for tests, on the CPU.
    Fp64,
}

impl Precision {
    /// As recipes and reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp64 => "fp64",
        }
    }
}

impl TryFrom<String> for Precision {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "fp64" => Ok(Self::Fp64),
            "fp16" => Err("precision \"fp16\" is not supported: at a temperature of 0.02 scores reach 50 and their \
                           gradients leave fp16's range, so it would need loss scaling; use \"bf16\", which is as fast"
                .into()),
            _ => Err(format!("precision {name:?} is unknown: fp32, bf16 or fp64 is expected")),
        }
    }
}
