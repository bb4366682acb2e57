//! Which library multiplies float32 matrices on a CPU.

use serde::{Deserialize, Serialize};

/// A library of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatmulLibrary {
    /// oneDNN, which comes with libtorch.
    #[default]
    Onednn,
    /// The BLAS that libtorch was built with, which is MKL in its builds for x86-64.
    Blas,
}

impl MatmulLibrary {
    /// All libraries.
    pub const ALL: [Self; 2] = [Self::Onednn, Self::Blas];

    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onednn => "onednn",
            Self::Blas => "blas",
        }
    }
}

/// `cpu_matmul`: a library, or the one that turns out to be faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuMatmul {
    /// The faster one, found by timing both.
    #[default]
    Auto,
    /// [`MatmulLibrary::Onednn`].
    Onednn,
    /// [`MatmulLibrary::Blas`].
    Blas,
}

impl CpuMatmul {
    /// The requested library; none for [`CpuMatmul::Auto`].
    pub fn library(self) -> Option<MatmulLibrary> {
        match self {
            Self::Auto => None,
            Self::Onednn => Some(MatmulLibrary::Onednn),
            Self::Blas => Some(MatmulLibrary::Blas),
        }
    }
}
