//! Finds the files that hold the rows of a folder written by `save_to_disk` of Hugging Face `datasets`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::RowError;

/// The files of rows that `path` stands for: itself, or those of its folder.
///
/// # Errors
/// The folder is not one of `datasets`, or has several splits.
pub(crate) fn files_of(path: &Path) -> Result<Vec<PathBuf>, RowError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let refused = |reason: String| RowError::Folder { path: path.to_owned(), reason };
    if let Some(Splits { splits }) = read(&path.join("dataset_dict.json")).map_err(refused)? {
        return match splits.as_slice() {
            [split] => files_of(&path.join(split)),
            _ => {
                let first = splits.first().map_or("train", String::as_str);
                let reason = format!("has the splits {splits:?}: name one, as {}", path.join(first).display());
                Err(refused(reason))
            }
        };
    }
    let Some(State { files, indices }) = read(&path.join("state.json")).map_err(refused)? else {
        return Err(refused(
            "is a folder, and not one of Hugging Face `datasets` (it has no state.json): name its files".into(),
        ));
    };
    if indices.is_some_and(|indices| !indices.is_empty()) {
        let reason = "is a selection of rows, kept as indices by an old version of Hugging Face `datasets`: call \
                      flatten_indices() and save it again";
        return Err(refused(reason.into()));
    }
    Ok(files.into_iter().map(|file| path.join(file.filename)).collect())
}

#[derive(Deserialize)]
struct Splits {
    splits: Vec<String>,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    files: Vec<DataFile>,
    /// Which rows of the files the data set has, and in which order; current versions no longer write it.
    #[serde(rename = "_indices_data_files")]
    indices: Option<Vec<DataFile>>,
}

#[derive(Deserialize)]
struct DataFile {
    filename: PathBuf,
}

/// None if there is no such file.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, String> {
    match std::fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).map_err(|e| format!("{} is not as expected: {e}", path.display()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}
