//! NarrativeQA (Kočiský et al., 2018) as it is on Hugging Face, deepmind/narrativeqa: rows with `document` (id, text,
//! …), `question` (text, …) and `answers`. Which whole story is a question about?
//!
//! A story is repeated in the row of each of its questions, and is written once.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::args::NarrativeQa;
use crate::error::CurateError;
use crate::input::{for_each_object, id_of};
use crate::output::{Begun, Folder, Origin, TextLine};

#[derive(Deserialize)]
struct Row {
    document: Document,
    question: Question,
}

#[derive(Deserialize)]
struct Document {
    id: Option<Value>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Question {
    text: String,
}

pub fn run(args: &NarrativeQa) -> Result<String, CurateError> {
    let files: Vec<&Path> = args.files.iter().map(AsRef::as_ref).collect();
    let origin = Origin::of("narrativeqa", None, Some(&args.split), &files)?;
    let Begun::New(folder) = Folder::begin(&args.out, origin)? else {
        return Ok(format!("{}: was there already, of the same files", args.out.display()));
    };
    let (mut corpus, mut queries, mut qrels) = (folder.corpus()?, folder.queries()?, folder.qrels(&args.split)?);
    let (mut stories, mut num_queries) = (HashSet::new(), 0u64);
    for path in files {
        for_each_object(path, &["document", "question"], |_, Row { document, question }: Row| {
            let story = id_of("document.id", document.id.as_ref())?;
            let text = document.text.as_deref().unwrap_or_default();
            if text.trim().is_empty() {
                return Err("\"document.text\" has no text: the whole story is expected, not its summary alone".into());
            }
            // A query must not have a document's id, which evaluation would leave out of its list.
            let id = format!("q{num_queries}");
            queries.object(&TextLine { id: &id, title: "", text: &question.text })?;
            qrels.line(&format!("{id}\t{story}\t1"))?;
            num_queries += 1;
            if !stories.contains(&story) {
                corpus.object(&TextLine { id: &story, title: "", text })?;
                stories.insert(story);
            }
            Ok(())
        })?;
    }
    if num_queries == 0 {
        return Err(CurateError::data(&args.files[0], "holds no question"));
    }
    corpus.finish()?;
    queries.finish()?;
    qrels.finish()?;
    folder.finish()?;
    Ok(format!("{}: {} stories, {num_queries} queries ({})", args.out.display(), stories.len(), args.split))
}
