//! DPR's JSON (facebookresearch/DPR): a list of questions with positive_ctxs, hard_negative_ctxs (BM25's) and
//! negative_ctxs (random ones, which are not taken, because a batch has others' positives).

use serde::Deserialize;

use crate::args::RowFiles;
use crate::error::CurateError;
use crate::input::{for_each_entry, titled};
use crate::output::{Row, Rows};

#[derive(Deserialize)]
struct Question {
    question: String,
    positive_ctxs: Vec<Passage>,
    #[serde(default)]
    hard_negative_ctxs: Vec<Passage>,
}

#[derive(Deserialize)]
struct Passage {
    title: Option<String>,
    text: String,
}

fn texts(passages: Vec<Passage>) -> Vec<String> {
    passages.into_iter().map(|passage| titled(passage.title.as_deref(), &passage.text)).collect()
}

pub fn run(args: &RowFiles) -> Result<String, CurateError> {
    let mut rows = Rows::create(&args.rows.out)?;
    for path in &args.files {
        for_each_entry(path, "data", |question: Question| {
            let Question { question, positive_ctxs, hard_negative_ctxs } = question;
            Ok(rows.write(Row { query: question, pos: texts(positive_ctxs), neg: texts(hard_negative_ctxs) })?)
        })?;
    }
    rows.finish()
}
