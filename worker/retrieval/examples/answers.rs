//! Which texts have an answer, and what cleaning makes of them: `answers < LINES`, of {"text": …, "answers": […]} a
//! line. tests/peers/test_answers.py holds it against Python.

use std::error::Error;
use std::io::{BufRead, Write};

use serde::Deserialize;
use serde_json::json;
use tercet_retrieval::{Answers, cleaned};

#[derive(Deserialize)]
struct Line {
    text: String,
    answers: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Line { text, answers } = serde_json::from_str(&line?)?;
        writeln!(out, "{}", json!({"has": Answers::new(&answers).are_in(&text), "cleaned": cleaned(&text)}))?;
    }
    Ok(())
}
