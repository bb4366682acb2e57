//! The numbers that kernels read and write: float32 and bfloat16, computed with in float32.

/// A number as it lies in a tensor.
pub trait Number: Copy + Send + Sync {
    /// The number times `factor`.
    fn times(self, factor: f32) -> Self;
}

/// A number that kernels compute with in float32.
pub trait Element: Number {
    /// The number in float32, for computing.
    fn widen(self) -> f32;
    /// Rounds to the nearest, ties to even.
    fn narrow(number: f32) -> Self;
}

impl Number for f64 {
    #[inline(always)]
    fn times(self, factor: f32) -> Self {
        self * f64::from(factor)
    }
}

impl Number for f32 {
    #[inline(always)]
    fn times(self, factor: f32) -> Self {
        self * factor
    }
}

impl Number for BFloat16 {
    #[inline(always)]
    fn times(self, factor: f32) -> Self {
        Self::narrow(self.widen() * factor)
    }
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(number: f32) -> Self {
        number
    }
}

/// The bits of a bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct BFloat16(u16);

impl Element for BFloat16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn narrow(number: f32) -> Self {
        let bits = number.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        // Rounding must not carry a NaN on to an infinity or to zero.
        Self(if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) as u16 | 0x40 } else { rounded })
    }
}

/// Does `$work` with `$element` as the type of the tensor's elements. The tensor is of a type that kernels exist for.
macro_rules! in_elements_of {
    ($tensor:expr, $element:ident => $work:expr) => {
        match $tensor.kind() {
            tch::Kind::BFloat16 => {
                type $element = $crate::ops::cpu::number::BFloat16;
                $work
            }
            _ => {
                type $element = f32;
                $work
            }
        }
    };
}
pub(super) use in_elements_of;
