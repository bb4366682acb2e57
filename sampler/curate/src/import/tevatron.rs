//! Tevatron's JSON Lines: `{"query_id", "query", "positive_passages": [{"docid", "title", "text"}],
//! "negative_passages": […]}`, as MIRACL, Mr. TyDi and MLDR have their training queries on Hugging Face.

use serde::Deserialize;

use crate::args::RowFiles;
use crate::error::CurateError;
use crate::input::{for_each_object, titled};
use crate::output::{Row, Rows};

/// The keys that are looked at.
pub const KEYS: [&str; 4] = ["query_id", "query", "positive_passages", "negative_passages"];

#[derive(Deserialize)]
struct Query {
    query: String,
    positive_passages: Vec<Passage>,
    negative_passages: Option<Vec<Passage>>,
}

#[derive(Deserialize)]
struct Passage {
    docid: Option<serde_json::Value>,
    title: Option<String>,
    text: Option<String>,
}

fn texts(passages: Vec<Passage>) -> Result<Vec<String>, String> {
    let text = |passage: Passage| match passage.text {
        Some(text) if !text.trim().is_empty() => Ok(titled(passage.title.as_deref(), &text)),
        // Mr. TyDi's dev and test sets have ids alone.
        _ => Err(match passage.docid {
            Some(id) => format!(
                "passage {id} has no text: training sets have it; where only ids are given, `tercet import tsv` joins \
                 them with the collection"
            ),
            None => "a passage without a text".into(),
        }),
    };
    passages.into_iter().map(text).collect()
}

pub fn run(args: &RowFiles) -> Result<String, CurateError> {
    let mut rows = Rows::create(&args.rows.out)?;
    for path in &args.files {
        for_each_object(path, &KEYS, |_, query: Query| {
            let neg = texts(query.negative_passages.unwrap_or_default())?;
            Ok(rows.write(Row { query: query.query, pos: texts(query.positive_passages)?, neg })?)
        })?;
    }
    rows.finish()
}
