//! What commands without a recipe are told of the device.

use clap::ValueEnum;
use tercet_configs::DeviceChoice;

/// What ranks are to compute on: [`DeviceChoice`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DeviceArg {
    /// GPUs wherever the machine has an NVIDIA driver, else the CPU
    #[default]
    Auto,
    /// One NVIDIA GPU for each rank
    Cuda,
    /// CPUs, even where there are GPUs
    Cpu,
}

impl DeviceArg {
    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        DeviceChoice::from(self).name()
    }
}

impl From<DeviceArg> for DeviceChoice {
    fn from(typed: DeviceArg) -> Self {
        match typed {
            DeviceArg::Auto => Self::Auto,
            DeviceArg::Cuda => Self::Cuda,
            DeviceArg::Cpu => Self::Cpu,
        }
    }
}
