//! SQuAD's JSON (rajpurkar.github.io/SQuAD-explorer) and what looks like it: a question's positive is its paragraph.
//!
//! `{"data": [{"title", "paragraphs": [{"context", "qas": [{"question", "is_impossible"}]}]}]}`; or CMRC 2018's own
//! form, `[{"context_text", "qas": [{"query_text"}]}]`. Questions that the paragraph does not answer (SQuAD 2.0) are
//! left out. The title is not put before the paragraph.

use serde::Deserialize;

use crate::args::RowFiles;
use crate::error::CurateError;
use crate::input::for_each_entry;
use crate::output::{Row, Rows};

#[derive(Deserialize)]
struct Article {
    paragraphs: Option<Vec<Paragraph>>,
    /// CMRC 2018's own form has one paragraph in the article's place.
    context_text: Option<String>,
    qas: Option<Vec<Question>>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    #[serde(alias = "query_text")]
    question: String,
    #[serde(default)]
    is_impossible: bool,
}

pub fn run(args: &RowFiles) -> Result<String, CurateError> {
    let mut rows = Rows::create(&args.rows.out)?;
    for path in &args.files {
        for_each_entry(path, "data", |article: Article| {
            let paragraphs = match article {
                Article { paragraphs: Some(paragraphs), .. } => paragraphs,
                Article { context_text: Some(context), qas: Some(qas), .. } => vec![Paragraph { context, qas }],
                _ => return Err("no \"paragraphs\": articles of paragraphs with a context and qas are expected".into()),
            };
            for Paragraph { context, qas } in paragraphs {
                for Question { question, is_impossible } in qas {
                    match is_impossible {
                        true => rows.leave_out("questions that their paragraph does not answer", 1),
                        false => rows.write(Row { query: question, pos: vec![context.clone()], neg: Vec::new() })?,
                    }
                }
            }
            Ok(())
        })?;
    }
    rows.finish()
}
