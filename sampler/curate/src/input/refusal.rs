//! Why reading ends before the end of a file.

use tercet_sampler::RowError;

use crate::error::CurateError;

/// What a visitor ends reading with.
#[derive(Debug)]
pub enum Refusal {
    /// What was read is wrong. It is the reason alone; whoever reads adds file and line.
    Wrong(String),
    /// Something else failed, such as writing.
    Failed(CurateError),
    /// Nothing is wrong, and no more is wanted: reading ends well.
    Enough,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Wrong(reason.to_owned())
    }
}

impl From<CurateError> for Refusal {
    fn from(error: CurateError) -> Self {
        Self::Failed(error)
    }
}

impl From<RowError> for Refusal {
    fn from(error: RowError) -> Self {
        Self::Failed(error.into())
    }
}

/// Keeps what a visitor ended with while a reader passes on reasons only.
#[derive(Debug, Default)]
pub(super) struct Kept(Option<Refusal>);

impl Kept {
    /// The reason for the reader.
    pub(super) fn reason(&mut self, refusal: Refusal) -> String {
        match refusal {
            Refusal::Wrong(reason) => reason,
            other => {
                self.0 = Some(other);
                String::new()
            }
        }
    }

    /// What reading ended with: the visitor's own end, if it had one.
    pub(super) fn or<E: Into<CurateError>>(self, read: Result<(), E>) -> Result<(), CurateError> {
        match self.0 {
            Some(Refusal::Failed(error)) => Err(error),
            Some(Refusal::Enough) => Ok(()),
            Some(Refusal::Wrong(_)) | None => read.map_err(Into::into),
        }
    }
}
