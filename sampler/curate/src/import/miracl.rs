//! MIRACL (Zhang et al., 2023) as it is on Hugging Face: miracl/miracl has topics and judgments, miracl/miracl-corpus
//! the passages.
//!
//! `miracl-v1.0-LANG/topics/topics.miracl-v1.0-LANG-SPLIT.tsv` are lines of id and query, `…/qrels/qrels.…tsv` TREC's
//! four columns, `miracl-corpus-v1.0-LANG/docs-N.jsonl.gz` objects with docid, title and text. Published figures are of
//! the whole corpus, with title and text of a passage.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::languages;
use crate::args::Miracl;
use crate::error::CurateError;
use crate::input::{Text, for_each_cells, for_each_object, for_each_text, id_of};
use crate::output::{Folder, Origin, TextLine};

#[derive(Deserialize)]
struct Passage {
    docid: Option<Value>,
    title: Option<String>,
    text: String,
}

pub fn run(args: &Miracl) -> Result<String, CurateError> {
    let mut said = Vec::new();
    for language in languages::chosen(&args.languages, &args.dirs, "miracl-v1.0-")? {
        let files = Files::of(&args.dirs, &language, &args.split)?;
        let all: Vec<&Path> =
            [&files.topics, &files.qrels].into_iter().chain(&files.docs).map(PathBuf::as_path).collect();
        let origin = Origin::of("miracl", Some(&language), Some(&args.split), &all)?;
        said.push(languages::write(&args.languages.out, &language, origin, |folder| {
            write(&files, &args.split, folder)
        })?);
    }
    Ok(said.join("\n"))
}

/// The files of one language.
struct Files {
    topics: PathBuf,
    qrels: PathBuf,
    /// In the order of their numbers.
    docs: Vec<PathBuf>,
}

impl Files {
    fn of(dirs: &[PathBuf], language: &str, split: &str) -> Result<Self, CurateError> {
        let missing = |name: String| CurateError::Usage(format!("{name}: no such folder where the files should be"));
        let folder = |prefix: &str| {
            languages::folder_of(dirs, prefix, language).ok_or_else(|| missing(format!("{prefix}{language}")))
        };
        let (judged, corpus) = (folder("miracl-v1.0-")?, folder("miracl-corpus-v1.0-")?);
        let file = |what: &str| judged.join(what).join(format!("{what}.miracl-v1.0-{language}-{split}.tsv"));
        let entries = fs::read_dir(&corpus).map_err(CurateError::io(&corpus))?;
        let number = |path: &Path| -> Option<u64> {
            path.file_name()?.to_str()?.strip_prefix("docs-")?.split_once('.')?.0.parse().ok()
        };
        let paths = entries.flatten().map(|entry| entry.path());
        let mut docs: Vec<(u64, PathBuf)> = paths.filter_map(|path| Some((number(&path)?, path))).collect();
        docs.sort();
        // What is missing at the end is found by the judgments.
        if let Some(lacking) = (0..docs.len().max(1)).find(|&i| docs.get(i).is_none_or(|doc| doc.0 != i as u64)) {
            let what = corpus.join(format!("docs-{lacking}.jsonl.gz"));
            let reason = "no such file: published figures are of the whole corpus";
            return Err(CurateError::Usage(format!("{}: {reason}", what.display())));
        }
        let docs = docs.into_iter().map(|(_, path)| path).collect();
        Ok(Self { topics: file("topics"), qrels: file("qrels"), docs })
    }
}

fn write(files: &Files, split: &str, folder: &Folder) -> Result<String, CurateError> {
    let (mut queries, mut topics) = (folder.queries()?, HashSet::new());
    for_each_text(&files.topics, None, |_, Text { id, text }| {
        queries.object(&TextLine { id: &id, title: "", text: &text })?;
        match topics.insert(id) {
            true => Ok(()),
            false => Err("a second query with the same id".into()),
        }
    })?;
    queries.finish()?;
    let (mut qrels, mut judged) = (folder.qrels(split)?, HashMap::new());
    let (mut num_judgments, mut queries_judged) = (0, HashSet::new());
    for_each_cells(&files.qrels, |_, cells| {
        let [query, _, doc, score] = cells else {
            let found = cells.len();
            return Err(format!("expected TREC's 4 columns (query, Q0, document, score), found {found}").into());
        };
        if !topics.contains(*query) {
            return Err(format!("judges the query {query:?}, which {} does not have", files.topics.display()).into());
        }
        let score: i64 = score.trim().parse().map_err(|_| format!("the score {score:?} is no whole number"))?;
        judged.insert((*doc).to_owned(), false);
        queries_judged.insert((*query).to_owned());
        num_judgments += 1;
        Ok(qrels.line(&format!("{query}\t{doc}\t{score}"))?)
    })?;
    qrels.finish()?;
    let (mut corpus, mut num_docs) = (folder.corpus()?, 0u64);
    for path in &files.docs {
        for_each_object(path, &["docid", "title", "text"], |_, passage: Passage| {
            let id = id_of("docid", passage.docid.as_ref())?;
            if let Some(is_there) = judged.get_mut(&id) {
                *is_there = true;
            }
            num_docs += 1;
            let title = passage.title.as_deref().unwrap_or_default();
            Ok(corpus.object(&TextLine { id: &id, title, text: &passage.text })?)
        })?;
    }
    corpus.finish()?;
    let mut lacking: Vec<&str> = judged.iter().filter(|(_, is_there)| !**is_there).map(|(id, _)| id.as_str()).collect();
    lacking.sort_unstable();
    if let Some(first) = lacking.first() {
        let (some, all) = (lacking.len(), judged.len());
        let reason = format!(
            "{some} of {all} judged passages are in no file docs-N.jsonl.gz ({first:?}): a file is missing, and published \
             figures are of the whole corpus"
        );
        return Err(CurateError::data(&files.qrels, reason));
    }
    Ok(format!("{num_docs} passages, {} queries, {num_judgments} judgments ({split})", queries_judged.len()))
}
