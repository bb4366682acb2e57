//! What a part has found.

use serde_json::Value;
use tercet_protocol::says::card::Figures;

/// Figures for the file, lines for the page, and what is wrong.
#[derive(Debug, Default)]
pub struct Found {
    /// For programs.
    pub figures: Figures,
    /// Markdown.
    pub lines: Vec<String>,
    /// Sentences; none if all is right.
    pub wrong: Vec<String>,
    /// What could not be tried here, and why.
    pub left_out: Vec<String>,
}

impl Found {
    /// Keeps a figure that no program looks for.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.others.insert(name.to_owned(), value.into());
    }

    /// A line of the page.
    pub fn line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// Something is not as it must be.
    pub fn wrong(&mut self, text: impl Into<String>) {
        self.wrong.push(text.into());
    }

    /// Something is not tried here.
    pub fn left_out(&mut self, text: impl Into<String>) {
        self.left_out.push(text.into());
    }

    /// A table of the page; the first row is its head.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        for (number, row) in rows.iter().enumerate() {
            self.line(format!("| {} |", row.join(" | ")));
            if number == 0 {
                self.line(format!("|{}", "---|".repeat(row.len())));
            }
        }
        self.line("");
    }
}

/// Why a part has nothing to do on this machine. A part that gives this as its error counts as not run.
#[derive(Debug)]
pub struct NothingToDo(pub String);

impl std::fmt::Display for NothingToDo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NothingToDo {}
