//! The numbers of a model's file, little-endian, one after the other.

use std::io::{self, Read};

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;
/// Version 11 has no n-grams of characters in classifiers.
const VERSION_WITHOUT_SUBWORDS: i32 = 11;
const SUPERVISED: i32 = 3;
/// More elements than memory would hold are a file that is something else.
const MAX_ELEMENTS: i64 = 1 << 34;

/// What was asked for when the model was trained, as far as predictions need it.
#[derive(Debug, Clone, Copy)]
pub struct Arguments {
    /// Words of an n-gram of words at most.
    pub word_n_grams: usize,
    /// 1 for a tree over labels, 3 for a softmax.
    pub loss: i32,
    /// Rows for n-grams.
    pub num_buckets: u32,
    /// Characters of an n-gram of characters, from and to.
    pub subword_lens: (usize, usize),
}

/// A model's file.
#[derive(Debug)]
pub struct Input<R>(R);

/// The file is not what it should be.
pub fn wrong(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

impl<R: Read> Input<R> {
    /// What `reader` has.
    pub fn new(reader: R) -> Self {
        Self(reader)
    }

    /// What stands at a file's beginning.
    ///
    /// # Errors
    /// It is no classifier of fastText's.
    pub fn arguments(&mut self) -> io::Result<Arguments> {
        if self.int()? != MAGIC {
            return Err(wrong("not a model of fastText's"));
        }
        let version = self.int()?;
        if version != VERSION && version != VERSION_WITHOUT_SUBWORDS {
            return Err(wrong(format!("version {version} of fastText's models: {VERSION} is known")));
        }
        // In order: width, window, epochs, least count, negatives, word n-grams, loss, kind of model, buckets, shortest
        // and longest n-gram of characters, learning rate's updates; a threshold.
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = self.int()?;
        }
        self.skip(8)?;
        let [_, _, _, _, _, word_n_grams, loss, kind, num_buckets, shortest, longest, _] = numbers;
        if kind != SUPERVISED {
            return Err(wrong("vectors of words and no classifier"));
        }
        let longest = if version == VERSION_WITHOUT_SUBWORDS { 0 } else { longest };
        Ok(Arguments {
            word_n_grams: word_n_grams.max(1) as usize,
            loss,
            num_buckets: num_buckets.max(0) as u32,
            subword_lens: (shortest.max(0) as usize, longest.max(0) as usize),
        })
    }

    /// A number of 32 bits.
    pub fn int(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    /// A number of 64 bits.
    pub fn long(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A byte.
    pub fn byte(&mut self) -> io::Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> io::Result<bool> {
        self.byte().map(|byte| byte != 0)
    }

    /// A number of elements.
    ///
    /// # Errors
    /// There cannot be as many.
    pub fn count(&mut self, number: i64) -> io::Result<usize> {
        match (0..=MAX_ELEMENTS).contains(&number) {
            true => Ok(number as usize),
            false => Err(wrong(format!("{number} elements, which cannot be"))),
        }
    }

    /// Bytes up to a zero.
    pub fn word(&mut self) -> io::Result<Vec<u8>> {
        let mut word = Vec::new();
        loop {
            match self.byte()? {
                0 => return Ok(word),
                byte => word.push(byte),
            }
        }
    }

    /// Bytes.
    ///
    /// # Errors
    /// The file ends before.
    pub fn bytes(&mut self, num: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.0).take(num as u64).read_to_end(&mut bytes)?;
        match bytes.len() == num {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Numbers with a point.
    ///
    /// # Errors
    /// The file ends before.
    pub fn floats(&mut self, num: usize) -> io::Result<Vec<f32>> {
        let bytes = self.bytes(num.saturating_mul(4))?;
        let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok(bytes.chunks_exact(4).map(float).collect())
    }

    fn skip(&mut self, num: usize) -> io::Result<()> {
        self.bytes(num).map(drop)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
