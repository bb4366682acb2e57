//! `precision`: the arithmetic of a run.

use serde::{Deserialize, Serialize};

use crate::device::Device;

/// Arithmetic of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Precision {
    /// bf16 where every rank has a GPU that computes in it (compute capability 8.0 and newer), else fp32. It is decided
    /// when the run begins; the run folder's recipe has what was decided, and a resumed run keeps it.
    #[default]
    Auto,
    /// 32-bit floats.
    Fp32,
    /// The encoder computes in bfloat16; weights, gradients' sums, optimizer state, representations, scores and loss
    /// are 32-bit floats. On a GPU the nearest multi-vectors are found by bfloat16, too.
    Bf16,
    /// 64-bit floats; for tests, on any device.
    Fp64,
}

impl Precision {
    /// As recipes and reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp64 => "fp64",
        }
    }

    /// What [`Precision::Auto`] is where ranks compute on `device`s, which compute in bfloat16 or not; any other is
    /// what it is.
    pub fn on(self, device: Device, has_bf16: bool) -> Self {
        match (self, device) {
            (Self::Auto, Device::Cuda) if has_bf16 => Self::Bf16,
            (Self::Auto, _) => Self::Fp32,
            _ => self,
        }
    }
}

impl TryFrom<String> for Precision {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "auto" => Ok(Self::Auto),
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "fp64" => Ok(Self::Fp64),
            "fp16" => Err("precision \"fp16\" is not supported: at a temperature of 0.02 scores reach 50 and their \
                           gradients leave fp16's range, so it would need loss scaling; use \"bf16\", which is as fast"
                .into()),
            _ => Err(format!("precision {name:?} is unknown: auto, fp32, bf16 or fp64 is expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_bf16_on_cards_that_have_it_and_nothing_else_changes() {
        assert_eq!(Precision::default(), Precision::Auto);
        for (device, has_bf16, auto) in [
            (Device::Cpu, false, Precision::Fp32),
            (Device::Cpu, true, Precision::Fp32),
            (Device::Cuda, false, Precision::Fp32),
            (Device::Cuda, true, Precision::Bf16),
        ] {
            assert_eq!(Precision::Auto.on(device, has_bf16), auto);
            for said in [Precision::Fp32, Precision::Bf16, Precision::Fp64] {
                assert_eq!(said.on(device, has_bf16), said);
            }
        }
    }
}
