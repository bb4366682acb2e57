//! Matrices of a model, as they are or quantized by products.
//!
//! Source of the quantization: Jégou et al., 2011, <https://doi.org/10.1109/TPAMI.2010.57>, as fastText's
//! `productquantizer.cc` has it: a row's parts are each one of 256 vectors, and its length may be one of 256 numbers.

use std::io::{self, Read};

use super::file::{Input, wrong};

/// The vectors of one part.
const NUM_CENTROIDS: usize = 256;

/// A matrix.
#[derive(Debug)]
pub struct Matrix {
    num_rows: usize,
    width: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Plain(Vec<f32>),
    Quantized { codes: Vec<u8>, parts: Quantizer, lengths: Option<(Vec<u8>, Quantizer)> },
}

#[derive(Debug)]
struct Quantizer {
    num_parts: usize,
    part_width: usize,
    last_width: usize,
    /// [parts, 256, width of the part]
    centroids: Vec<f32>,
}

impl Matrix {
    /// Reads it.
    ///
    /// # Errors
    /// The file is not what it should be.
    pub fn read<R: Read>(input: &mut Input<R>, is_quantized: bool) -> io::Result<Self> {
        let has_lengths = is_quantized && input.flag()?;
        let (num_rows, width) = (input.long()?, input.long()?);
        let (num_rows, width) = (input.count(num_rows)?, input.count(width)?);
        let values = match is_quantized {
            false => Values::Plain(input.floats(num_rows.saturating_mul(width))?),
            true => {
                let num_codes = i64::from(input.int()?);
                let num_codes = input.count(num_codes)?;
                let codes = input.bytes(num_codes)?;
                let parts = Quantizer::read(input)?;
                if parts.width() != width || num_rows.checked_mul(parts.num_parts) != Some(num_codes) {
                    return Err(wrong("codes and rows of a quantized matrix do not agree"));
                }
                let lengths = match has_lengths {
                    true => Some((input.bytes(num_rows)?, Quantizer::read(input)?)),
                    false => None,
                };
                Values::Quantized { codes, parts, lengths }
            }
        };
        Ok(Self { num_rows, width, values })
    }

    /// The number of rows.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// The numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Adds a row to `sum`. A row that is not there adds nothing.
    pub fn add_row(&self, row: usize, sum: &mut [f32]) {
        self.for_each_of(row, |place, value| sum[place] += value);
    }

    /// The inner product of a row and `vector`.
    pub fn dot_row(&self, row: usize, vector: &[f32]) -> f32 {
        let mut dot = 0.0;
        self.for_each_of(row, |place, value| dot += value * vector[place]);
        dot
    }

    fn for_each_of(&self, row: usize, mut visit: impl FnMut(usize, f32)) {
        if row >= self.num_rows {
            return;
        }
        match &self.values {
            Values::Plain(values) => {
                values[row * self.width..][..self.width]
                    .iter()
                    .enumerate()
                    .for_each(|(place, value)| visit(place, *value));
            }
            Values::Quantized { codes, parts, lengths } => {
                let length = lengths.as_ref().map_or(1.0, |(codes, lengths)| lengths.centroid(0, codes[row])[0]);
                for part in 0..parts.num_parts {
                    let code = codes[row * parts.num_parts + part];
                    for (place, value) in parts.centroid(part, code).iter().enumerate() {
                        visit(part * parts.part_width + place, length * value);
                    }
                }
            }
        }
    }
}

impl Quantizer {
    fn read<R: Read>(input: &mut Input<R>) -> io::Result<Self> {
        let mut numbers = [0; 4];
        for number in &mut numbers {
            let int = i64::from(input.int()?);
            *number = input.count(int)?;
        }
        let [width, num_parts, part_width, last_width] = numbers;
        let found = Self { num_parts, part_width, last_width, centroids: Vec::new() };
        if num_parts == 0 || last_width > part_width || found.width() != width {
            return Err(wrong("the parts of a quantized row do not make a row"));
        }
        let centroids = input.floats(width * NUM_CENTROIDS)?;
        Ok(Self { centroids, ..found })
    }

    fn width(&self) -> usize {
        (self.num_parts - 1).saturating_mul(self.part_width).saturating_add(self.last_width)
    }

    fn centroid(&self, part: usize, code: u8) -> &[f32] {
        let width = if part + 1 == self.num_parts { self.last_width } else { self.part_width };
        &self.centroids[part * NUM_CENTROIDS * self.part_width + usize::from(code) * width..][..width]
    }
}
