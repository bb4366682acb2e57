//! MKQA (Longpre et al., 2021; apple/ml-mkqa) as Contriever and the M3 paper evaluate it: questions in 26 languages,
//! one corpus, and a question is answered by a passage that has one of its English answers.
//!
//! The corpus is BEIR's nq, title and text on two lines, in lower case and cleaned up ([`tercet_retrieval::cleaned`]).
//! All languages share it: one file with as many names.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::languages;
use crate::args::Mkqa;
use crate::error::CurateError;
use crate::input::{for_each_object, id_of};
use crate::output::{AnswersLine, Folder, Origin, TextLine};

/// The questions in the published file, and those that published figures are of.
const PUBLISHED: [usize; 2] = [10_000, 6_619];

/// What has no answer that could stand in a passage.
const WITHOUT: [&str; 3] = ["unanswerable", "binary", "long_answer"];

#[derive(Deserialize)]
struct Example {
    example_id: Option<Value>,
    queries: Map<String, Value>,
    answers: Answers,
}

#[derive(Deserialize)]
struct Answers {
    en: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    aliases: Option<Vec<String>>,
}

/// A question that is evaluated.
struct Question {
    id: String,
    queries: Map<String, Value>,
    answers: Vec<String>,
}

#[derive(Deserialize)]
struct Passage {
    #[serde(rename = "_id")]
    id: Option<Value>,
    title: Option<String>,
    text: String,
}

/// The answers of a question that is evaluated; none if it is not.
///
/// Whether it is depends on the last of its English answers alone, and the answers are those of all that are of an
/// answerable type, each after its aliases: Contriever's preprocess_xmkqa.py does so, and all published figures follow.
fn answers_of(answers: Vec<Answer>) -> Option<Vec<String>> {
    let is_answerable = |answer: &Answer| !WITHOUT.contains(&answer.kind.as_str());
    answers.last().filter(|last| is_answerable(last))?;
    let answerable = answers.into_iter().filter(is_answerable);
    Some(answerable.flat_map(|answer| answer.aliases.into_iter().flatten().chain(answer.text)).collect())
}

pub fn run(args: &Mkqa) -> Result<String, CurateError> {
    let (questions, read) = questions(&args.questions)?;
    let languages = match &args.languages.lang[..] {
        [] => questions.first().map(|first| first.queries.keys().cloned().collect()).unwrap_or_default(),
        asked => asked.to_vec(),
    };
    let mut said = vec![format!("{} of {read} questions are evaluated", questions.len())];
    if read == PUBLISHED[0] && questions.len() != PUBLISHED[1] {
        let reason = format!(
            "{} of its {read} questions would be evaluated, and published figures are of {}: it is not the published file",
            questions.len(),
            PUBLISHED[1]
        );
        return Err(CurateError::data(&args.questions, reason));
    }
    let mut with_corpus: Option<PathBuf> = None;
    for language in languages {
        let origin = Origin::of("mkqa", Some(&language), None, &[&args.questions, &args.corpus])?;
        said.push(languages::write(&args.languages.out, &language, origin, |folder| {
            write(args, &questions, &language, with_corpus.as_deref(), folder)
        })?);
        with_corpus.get_or_insert(args.languages.out.join(language));
    }
    Ok(said.join("\n"))
}

/// The questions that are evaluated, and the number of all.
fn questions(path: &Path) -> Result<(Vec<Question>, usize), CurateError> {
    let (mut questions, mut read) = (Vec::new(), 0);
    for_each_object(path, &["example_id", "queries", "answers"], |_, example: Example| {
        read += 1;
        if let Some(answers) = answers_of(example.answers.en) {
            let id = id_of("example_id", example.example_id.as_ref())?;
            questions.push(Question { id, queries: example.queries, answers });
        }
        Ok(())
    })?;
    match questions.is_empty() {
        true => Err(CurateError::data(path, "has no question with an answer that could stand in a passage")),
        false => Ok((questions, read)),
    }
}

fn write(
    args: &Mkqa,
    questions: &[Question],
    language: &str,
    with_corpus: Option<&Path>,
    folder: &Folder,
) -> Result<String, CurateError> {
    let (mut queries, mut answers) = (folder.queries()?, folder.answers()?);
    for question in questions {
        let Some(text) = question.queries.get(language).and_then(Value::as_str) else {
            let reason = format!("question {} is not there in {language:?}", question.id);
            return Err(CurateError::data(&args.questions, reason));
        };
        queries.object(&TextLine { id: &question.id, title: "", text })?;
        answers.object(&AnswersLine { id: &question.id, answers: &question.answers })?;
    }
    queries.finish()?;
    answers.finish()?;
    if let Some(other) = with_corpus {
        folder.share_corpus(other)?;
        return Ok(format!("{} queries, the same passages", questions.len()));
    }
    let (mut corpus, mut num_passages) = (folder.corpus()?, 0u64);
    for_each_object(&args.corpus, &["_id", "title", "text"], |_, passage: Passage| {
        let id = id_of("_id", passage.id.as_ref())?;
        let text = format!("{}\n{}", passage.title.unwrap_or_default(), passage.text).to_lowercase();
        num_passages += 1;
        Ok(corpus.object(&TextLine { id: &id, title: "", text: &tercet_retrieval::cleaned(&text) })?)
    })?;
    if num_passages == 0 {
        return Err(CurateError::data(&args.corpus, "holds no passage"));
    }
    corpus.finish()?;
    Ok(format!("{} queries, {num_passages} passages", questions.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(given: &[(&str, Option<&str>, &[&str])]) -> Option<Vec<String>> {
        let answer = |&(kind, text, aliases): &(&str, Option<&str>, &[&str])| Answer {
            kind: kind.into(),
            text: text.map(Into::into),
            aliases: (!aliases.is_empty()).then(|| aliases.iter().map(|alias| (*alias).to_owned()).collect()),
        };
        answers_of(given.iter().map(answer).collect())
    }

    #[test]
    fn the_last_answer_decides_and_all_answerable_ones_count() {
        let dates = answers(&[("date", Some("2017"), &["17"]), ("date", Some("2017-05-18"), &[])]);
        assert_eq!(dates.unwrap(), ["17", "2017", "2017-05-18"]);
        assert_eq!(answers(&[("entity", Some("a"), &[]), ("long_answer", None, &[])]), None);
        assert_eq!(answers(&[("binary", Some("yes"), &[]), ("entity", Some("a"), &[])]).unwrap(), ["a"]);
        for kind in WITHOUT {
            assert_eq!(answers(&[(kind, Some("x"), &[])]), None);
        }
        assert_eq!(answers(&[]), None);
    }
}
