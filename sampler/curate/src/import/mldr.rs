//! MLDR (MultiLongDoc of the M3 paper) as it is on Hugging Face, Shitao/MLDR.
//!
//! `mldr-v1.0-LANG/corpus.jsonl.gz` are objects with docid and text, `mldr-v1.0-LANG/SPLIT.jsonl.gz` queries with their
//! positive_passages; others of the corpus are distractors.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tercet_sampler::plain_or_packed;

use super::languages;
use super::tevatron::KEYS;
use crate::args::Mldr;
use crate::error::CurateError;
use crate::input::{for_each_object, id_of};
use crate::output::{Folder, Origin, TextLine};

#[derive(Deserialize)]
struct Query {
    query_id: Option<Value>,
    query: String,
    positive_passages: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    docid: Option<Value>,
}

#[derive(Deserialize)]
struct Document {
    docid: Option<Value>,
    text: String,
}

pub fn run(args: &Mldr) -> Result<String, CurateError> {
    let mut said = Vec::new();
    for language in languages::chosen(&args.languages, &args.dirs, "mldr-v1.0-")? {
        let Some(dir) = languages::folder_of(&args.dirs, "mldr-v1.0-", &language) else {
            return Err(CurateError::Usage(format!("mldr-v1.0-{language}: no such folder where the files should be")));
        };
        let file = |name: &str| plain_or_packed(&dir.join(format!("{name}.jsonl")));
        let (queries, corpus) = (file(&args.split), file("corpus"));
        let origin = Origin::of("mldr", Some(&language), Some(&args.split), &[&queries, &corpus])?;
        said.push(languages::write(&args.languages.out, &language, origin, |folder| {
            write(&queries, &corpus, &args.split, folder)
        })?);
    }
    Ok(said.join("\n"))
}

fn write(queries: &Path, corpus: &Path, split: &str, folder: &Folder) -> Result<String, CurateError> {
    let (mut lines, mut qrels) = (folder.queries()?, folder.qrels(split)?);
    let (mut ids, mut lacking) = (HashSet::new(), HashSet::new());
    for_each_object(queries, &KEYS, |_, query: Query| {
        let id = id_of("query_id", query.query_id.as_ref())?;
        if query.positive_passages.is_empty() {
            return Err("no \"positive_passages\": the document that the query is about is expected".into());
        }
        lines.object(&TextLine { id: &id, title: "", text: &query.query })?;
        for passage in &query.positive_passages {
            let doc = id_of("docid", passage.docid.as_ref())?;
            qrels.line(&format!("{id}\t{doc}\t1"))?;
            lacking.insert(doc);
        }
        match ids.insert(id) {
            true => Ok(()),
            false => Err("a second query with the same query_id".into()),
        }
    })?;
    lines.finish()?;
    qrels.finish()?;
    let (mut lines, mut num_docs) = (folder.corpus()?, 0u64);
    for_each_object(corpus, &["docid", "text"], |_, document: Document| {
        let id = id_of("docid", document.docid.as_ref())?;
        lacking.remove(&id);
        num_docs += 1;
        Ok(lines.object(&TextLine { id: &id, title: "", text: &document.text })?)
    })?;
    lines.finish()?;
    if let Some(first) = lacking.iter().min() {
        let reason = format!("lacks {} of the documents that queries are about ({first:?})", lacking.len());
        return Err(CurateError::data(corpus, reason));
    }
    Ok(format!("{num_docs} documents, {} queries ({split})", ids.len()))
}
