//! TensorBoard's event files, as far as scalars need them.
//!
//! A file is a sequence of TFRecords (length, its checksum, data, its checksum); each holds a protocol buffer `Event`, of
//! which this writes wall_time (1), step (2), file_version (3) and summary (5) with values of tag (1) and simple_value (2).
//! Formats: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto. By hand, because a full disk has
//! to be an error here: the crates that write these files panic, on threads of their own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One run's event file.
pub(super) struct EventFile(File);

impl EventFile {
    /// Begins a new file in `dir`; TensorBoard shows all files of a folder as one run.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn create(dir: &Path, host: &str) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let name = format!("events.out.tfevents.{:010}.{host}.{}.0", wall_time() as u64, std::process::id());
        let mut file = Self(File::create(dir.join(name))?);
        let mut event = event_now();
        bytes_field(&mut event, 3, b"brain.Event:2");
        file.record(&event)?;
        Ok(file)
    }

    /// The values of one step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, number) in scalars {
            let mut value = Vec::new();
            bytes_field(&mut value, 1, tag.as_bytes());
            value.push(2 << 3 | FIXED_32);
            value.extend((*number as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &value);
        }
        let mut event = event_now();
        event.push(2 << 3 | VARINT);
        varint(&mut event, step);
        bytes_field(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let (before, after) = (masked_crc(&length).to_le_bytes(), masked_crc(data).to_le_bytes());
        // In one call: a reader that looks in between sees whole records.
        self.0.write_all(&[&length[..], &before, data, &after].concat())
    }
}

/// Seconds since 1970; 0 on a machine whose clock is before that.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

/// An event with its time.
fn event_now() -> Vec<u8> {
    [&[1 << 3 | FIXED_64][..], &wall_time().to_le_bytes()].concat()
}

fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | LENGTH_DELIMITED);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// CRC-32C as TFRecords store it: rotated and shifted, so that it is no checksum of data that holds checksums.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| (crc >> 8) ^ CRC32C[usize::from(crc as u8 ^ byte)])
}

/// The remainder of every byte (Castagnoli's polynomial, bits reversed).
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn long_numbers_take_more_bytes() {
        let encoded = |number| {
            let mut out = Vec::new();
            varint(&mut out, number);
            out
        };
        assert_eq!(encoded(127), [127]);
        assert_eq!(encoded(300), [0xac, 0x02]);
    }

    #[test]
    fn a_file_is_records_of_their_own_length() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(dir.path(), "host").unwrap();
        file.scalars(300, &[("loss/total".into(), 1.5)]).unwrap();
        let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(path).unwrap();
        let first = 12 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 4;
        let data = &bytes[first + 12..bytes.len() - 4];
        assert_eq!(bytes[first..first + 8], (data.len() as u64).to_le_bytes());
        let value = [&b"\x0a\x0aloss/total\x15"[..], &1.5f32.to_le_bytes()].concat();
        let expected = [&[0x10, 0xac, 0x02, 0x2a, 19, 0x0a, 17][..], &value].concat();
        assert_eq!(data[9..], expected);
    }
}
