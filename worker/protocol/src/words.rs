//! The words of a command line, written so that they are read as they were meant.

use std::ffi::{OsStr, OsString};

/// A command line without its program. A value is one word with its flag, and what has no flag comes last, behind `--`:
/// either may begin with a dash.
#[derive(Debug)]
pub struct Words(Vec<OsString>);

impl Words {
    /// The words of a command, which begin with its name.
    pub fn of(command: &str) -> Self {
        Self(vec![command.into()])
    }

    /// A flag without a value, where it is set.
    pub fn flag(mut self, flag: &str, is_set: bool) -> Self {
        self.0.extend(is_set.then(|| flag.into()));
        self
    }

    /// A flag with its value.
    pub fn value(mut self, flag: &str, value: impl AsRef<OsStr>) -> Self {
        let mut word = OsString::from(flag);
        word.push("=");
        word.push(value);
        self.0.push(word);
        self
    }

    /// A flag with a value that is written as it is displayed.
    pub fn shown(self, flag: &str, value: impl ToString) -> Self {
        self.value(flag, value.to_string())
    }

    /// A flag once for each of `values`.
    pub fn each<V: AsRef<OsStr>>(self, flag: &str, values: impl IntoIterator<Item = V>) -> Self {
        values.into_iter().fold(self, |words, value| words.value(flag, value))
    }

    /// The whole line, with what has no flag.
    pub fn ending_with<V: Into<OsString>>(mut self, values: impl IntoIterator<Item = V>) -> Vec<OsString> {
        let mut values = values.into_iter().map(Into::into).peekable();
        self.0.extend(values.peek().is_some().then(|| "--".into()));
        self.0.extend(values);
        self.0
    }

    /// The whole line.
    pub fn all(self) -> Vec<OsString> {
        self.0
    }
}
