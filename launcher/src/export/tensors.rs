//! Tensors of safetensors files, looked at through the files' headers and copied piece by piece: a model of any size
//! takes no memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use tercet_configs::{ModelFolderError, in_its_place, unreadable};

/// More bytes than this are no header.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The bytes of a header's length; what follows the header is aligned to as many.
const LEN_BYTES: usize = 8;

/// The bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// A tensor in a file.
#[derive(Debug, Clone)]
pub struct Place {
    file: PathBuf,
    /// Where its bytes begin in the file.
    start: u64,
    num_bytes: usize,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// The tensors of the safetensors file at `path`, by name.
///
/// # Errors
/// The file cannot be read, is something else, or is cut off.
pub fn read(path: &Path) -> Result<BTreeMap<String, Place>, ModelFolderError> {
    let fail = |reason: String| ModelFolderError::new(path, reason);
    let unreadable = |error: std::io::Error| fail(unreadable(path, &error));
    let mut file = File::open(path).map_err(unreadable)?;
    let file_bytes = file.metadata().map_err(unreadable)?.len();
    let mut head = Vec::new();
    (&file).take(512).read_to_end(&mut head).map_err(unreadable)?;
    if let Some(instead) = in_its_place(&head) {
        return Err(fail(instead.into()));
    }
    let cut_off =
        |what: String| fail(format!("not a readable safetensors file ({what}): is it cut off? fetch it again"));
    let Some(len) = head.first_chunk::<LEN_BYTES>().map(|len| u64::from_le_bytes(*len)) else {
        return Err(cut_off("it has no header".into()));
    };
    if len > MAX_HEADER_BYTES.min(file_bytes.saturating_sub(LEN_BYTES as u64)) {
        return Err(cut_off(format!("a header of {len} bytes, in a file of {file_bytes}")));
    }
    let mut header = Vec::new();
    file.seek(SeekFrom::Start(LEN_BYTES as u64)).map_err(unreadable)?;
    file.take(len).read_to_end(&mut header).map_err(unreadable)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| cut_off(e.to_string()))?;
    let data = LEN_BYTES as u64 + len;
    let expected = data + header.data_len() as u64;
    if file_bytes != expected {
        return Err(cut_off(format!("{file_bytes} bytes, and its header speaks of {expected}")));
    }
    let place = |info: &TensorInfo| Place {
        file: path.to_owned(),
        start: data + info.data_offsets.0 as u64,
        num_bytes: info.data_offsets.1 - info.data_offsets.0,
        dtype: info.dtype,
        shape: info.shape.clone(),
    };
    Ok(header.tensors().into_iter().map(|(name, info)| (name, place(info))).collect())
}

/// The tensors of a file that is to be written, each with where it is to be had.
pub struct Tensors {
    places: Vec<Place>,
    /// The new file's header with its length.
    header: Vec<u8>,
}

impl Tensors {
    /// A file with these tensors.
    ///
    /// # Errors
    /// There are more than a header can name.
    pub fn new(mut tensors: Vec<(String, Place)>) -> anyhow::Result<Self> {
        // The order of the safetensors crate: each type's elements lie at multiples of their size.
        tensors.sort_by(|(a, one), (b, other)| other.dtype.cmp(&one.dtype).then(a.cmp(b)));
        let mut end = 0;
        let infos = tensors.iter().map(|(name, place)| {
            let start = end;
            end += place.num_bytes;
            let info = TensorInfo { dtype: place.dtype, shape: place.shape.clone(), data_offsets: (start, end) };
            (name.clone(), info)
        });
        // Hugging Face's readers ask for this.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let json = Metadata::new(Some(metadata), infos.collect()).map_err(anyhow::Error::from);
        let mut json = json.and_then(|header| Ok(serde_json::to_vec(&header)?)).context("writing a header")?;
        json.resize(json.len().next_multiple_of(LEN_BYTES), b' ');
        let header = [(json.len() as u64).to_le_bytes().as_slice(), &json].concat();
        Ok(Self { places: tensors.into_iter().map(|(_, place)| place).collect(), header })
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The bytes of the file.
    pub fn num_bytes(&self) -> usize {
        self.header.len() + self.places.iter().map(|place| place.num_bytes).sum::<usize>()
    }

    /// Writes the file; `failed` makes an error of one of `to`.
    ///
    /// # Errors
    /// A tensor can no longer be read, or the file not be written.
    pub fn write(&self, to: &mut dyn Write, failed: &dyn Fn(std::io::Error) -> anyhow::Error) -> anyhow::Result<()> {
        to.write_all(&self.header).map_err(failed)?;
        let mut piece = vec![0; PIECE];
        for place in &self.places {
            let reading = || format!("reading {}", place.file.display());
            let mut file = File::open(&place.file).with_context(reading)?;
            file.seek(SeekFrom::Start(place.start)).with_context(reading)?;
            let mut left = place.num_bytes;
            while left > 0 {
                let piece = &mut piece[..left.min(PIECE)];
                file.read_exact(piece).with_context(reading)?;
                to.write_all(piece).map_err(failed)?;
                left -= piece.len();
            }
        }
        Ok(())
    }
}
