//! How numbers are stored: bf16 or fp32, little-endian.

use serde::{Deserialize, Serialize};

/// The type of an index's vectors and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// bfloat16: 8 bits of precision, 2 bytes.
    #[default]
    Bf16,
    /// 32-bit floats.
    Fp32,
}

impl Stored {
    /// Its name, as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp32 => "fp32",
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::Fp32 => 4,
        }
    }

    /// Puts `value` at the end of `into`.
    pub(crate) fn push(self, value: f32, into: &mut Vec<u8>) {
        match self {
            Self::Bf16 => into.extend(to_bf16(value).to_le_bytes()),
            Self::Fp32 => into.extend(value.to_le_bytes()),
        }
    }

    /// What is read of `value` once it has been stored.
    pub fn rounded(self, value: f32) -> f32 {
        match self {
            Self::Bf16 => of_bf16(to_bf16(value)),
            Self::Fp32 => value,
        }
    }
}

/// The nearest, of two the even one. `value` is a number.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((u64::from(bits) + 0x7fff + u64::from(bits >> 16 & 1)) >> 16) as u16
}

fn of_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Numbers as they lie in a file.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a> {
    /// Little-endian.
    pub bytes: &'a [u8],
    /// Their type.
    pub stored: Stored,
}

impl<'a> Numbers<'a> {
    /// Numbers `first..first + count`.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn slice(self, first: usize, count: usize) -> Self {
        let size = self.stored.bytes();
        Self { bytes: &self.bytes[first * size..(first + count) * size], ..self }
    }

    /// Calls `visit` with each number and its place.
    #[inline(always)]
    pub fn for_each(self, mut visit: impl FnMut(usize, f32)) {
        match self.stored {
            Stored::Bf16 => {
                let numbers = self.bytes.as_chunks::<2>().0.iter().map(|bytes| of_bf16(u16::from_le_bytes(*bytes)));
                numbers.enumerate().for_each(|(i, number)| visit(i, number));
            }
            Stored::Fp32 => {
                let numbers = self.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                numbers.enumerate().for_each(|(i, number)| visit(i, number));
            }
        }
    }

    /// All of them.
    pub fn to_vec(self) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(self.bytes.len() / self.stored.bytes());
        self.for_each(|_, number| numbers.push(number));
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_the_nearest_and_of_two_to_the_even() {
        let ulp = 2f32.powi(-7);
        for (value, expected) in [
            (1.0, 1.0),
            (0.0, 0.0),
            (-2.5, -2.5),
            (1.0 + 0.4 * ulp, 1.0),
            (1.0 + 0.6 * ulp, 1.0 + ulp),
            (1.0 + 0.5 * ulp, 1.0),
            (1.0 + 1.5 * ulp, 1.0 + 2.0 * ulp),
        ] {
            assert_eq!(Stored::Bf16.rounded(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_stored_is_read() {
        for stored in [Stored::Bf16, Stored::Fp32] {
            let values = [0.5f32, -1.25, 3e-20, 1.0 / 3.0];
            let mut bytes = Vec::new();
            values.iter().for_each(|value| stored.push(*value, &mut bytes));
            let numbers = Numbers { bytes: &bytes, stored };
            assert_eq!(numbers.to_vec(), values.map(|value| stored.rounded(value)));
            assert_eq!(
                numbers.slice(1, 2).to_vec(),
                values[1..3].iter().map(|v| stored.rounded(*v)).collect::<Vec<_>>()
            );
        }
    }
}
