//! Errors of a recipe.

use std::path::PathBuf;

use crate::json_file::ModelFolderError;

/// A recipe that cannot be used. The message says where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file could not be read.
    #[error("recipe {}: {source}", path.display())]
    Read {
        /// The recipe's path.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The text is not TOML, a key is unknown, or a value has the wrong type; `message` shows the line.
    #[error("recipe {}: {message}", path.display())]
    Syntax {
        /// The recipe's path.
        path: PathBuf,
        /// Line, caret and reason.
        message: String,
    },
    /// A `--set` cannot be applied.
    #[error("--set {setting}: {message}")]
    Override {
        /// The override as typed.
        setting: String,
        /// The reason and the remedy.
        message: String,
    },
    /// Well-formed values do not make a run.
    #[error("recipe {}: {key}: {message}", path.display())]
    Value {
        /// The recipe's path.
        path: PathBuf,
        /// The key to change.
        key: String,
        /// The reason, with the actual numbers.
        message: String,
    },
    /// A recipe of a run that needs a model, and names none.
    #[error("the recipe's model.path is missing (or model.config, for fresh weights)")]
    NoModel,
    /// The model that it names cannot be used.
    #[error(transparent)]
    Model(#[from] ModelFolderError),
}
