//! A model's files: Hugging Face directories, read as whoever wrote them meant them and written for everybody to read.

mod host;
mod load;
mod pickle;
mod save;
mod tokenizer_config;
mod weights;

pub use host::{HostTensor, dtype};
pub use save::{ModelFiles, write_safetensors};
