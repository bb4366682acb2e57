//! From pages to training rows and held-out retrieval tasks.
//!
//! A page's description is a query; the page, or the section of it that tells most, is the passage. Pages are split by
//! name: a held-out page was never seen in any language. Everything is decided by hashes of names, so the same pages
//! give the same files.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::json;

use crate::mandoc::Section;
use crate::pages::Page;

/// Characters of a page's telling section that make a short passage (about 120 tokens).
const SECTION_CHARS: usize = 420;
/// Characters of a page that is a passage as a whole: a little over 8,192 tokens, which `prepare` cuts exactly.
const PAGE_CHARS: usize = 32_000;
/// The number of page names in a hundred that are held out.
const HELD_OUT_PERCENT: u64 = 20;
/// Other languages whose text a description is paired with.
const CROSS_LANGUAGES: usize = 2;
/// Whole pages: the most tokens of a page, and the number of pages. There are batches of every length group, and few of
/// the expensive long ones.
const WHOLE_PAGES: [(usize, usize); 10] = [
    (120, 0),
    (500, 64),
    (1000, 32),
    (2000, 16),
    (3000, 4),
    (4000, 2),
    (5000, 2),
    (6000, 2),
    (7000, 2),
    (usize::MAX, 2),
];
/// Characters of a page that is long: a little over 1,000 tokens.
const LONG_CHARS: usize = 4_000;
/// Tokens of a description that is paired with another one at most: the few longer ones would fill no batch.
const TITLE_TOKENS: usize = 40;
/// Queries per held-out task at most.
const NUM_QUERIES: usize = 400;

/// What was written: files and folders by their names, in a fixed order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Training data sets (`rows/NAME.jsonl`) and their rows.
    pub data_sets: Vec<(&'static str, usize)>,
    /// Held-out tasks (`eval/NAME/`), their queries and passages.
    pub tasks: Vec<(&'static str, usize, usize)>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: Vec<_> = self.data_sets.iter().map(|(name, num_rows)| format!("{num_rows} {name}")).collect();
        write!(f, "training rows: {}; held out: {}", sets.join(", "), self.describe_tasks())
    }
}

impl Written {
    /// `mono 400 queries in 1200 passages, cross …`
    pub fn describe_tasks(&self) -> String {
        let task = |(name, queries, passages): &(_, _, _)| format!("{name} {queries} queries in {passages} passages");
        self.tasks.iter().map(task).collect::<Vec<_>>().join(", ")
    }
}

/// A number that depends on `key` and `purpose` only.
fn dice(purpose: &str, key: &str) -> u64 {
    let hash = blake3::hash(format!("{purpose}:{key}").as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |n, &byte| n << 8 | u64::from(byte))
}

/// Whether the page of this name (`ls.1`) is kept for evaluation. Decided without the chapter: `write.1` explains
/// things that `write.2` does.
fn is_held_out(name: &str) -> bool {
    let bare = name.split('.').next().unwrap_or(name);
    dice("split", bare) % 100 < HELD_OUT_PERCENT
}

/// What a tokenizer is trained on: each training page's description and the start of what it tells.
pub(crate) fn sample_texts(pages: &[Page]) -> Vec<String> {
    let train = pages.iter().filter(|page| !is_held_out(&page.name));
    train.map(|page| format!("{}\n{}", page.description, page.prose(SECTION_CHARS))).collect()
}

/// The same of rows of the user's own, `num_bytes` in all: from all of them alike, whatever their order in the files.
pub(crate) fn sample_rows(rows: &[Row], num_bytes: usize) -> Vec<String> {
    let mut order: Vec<&Row> = rows.iter().collect();
    order.sort_by_cached_key(|(query, passage)| dice("sample", &format!("{query}\n{passage}")));
    let beginning = |text: &str| text.chars().take(SECTION_CHARS).collect::<String>();
    let mut taken = 0;
    let texts = order.into_iter().map(|(query, passage)| format!("{}\n{}", beginning(query), beginning(passage)));
    let fits = |text: &String| {
        taken += text.len();
        taken <= num_bytes
    };
    texts.take_while(fits).collect()
}

/// Writes training rows and held-out tasks below `out`; `num_tokens` measures a text.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(pages: &[Page], num_tokens: impl Fn(&str) -> usize, out: &Path) -> anyhow::Result<Written> {
    let (held_out, train): (Vec<&Page>, Vec<&Page>) = pages.iter().partition(|p| is_held_out(&p.name));
    let translations = by_name(&train);
    let mut written = Written::default();
    let sets = [
        ("section", sections(&train)),
        ("page", whole_pages(&train, &num_tokens)),
        ("cross", cross(&translations)),
        ("title", titles(&translations, &num_tokens)),
    ];
    write_pages(&train, out)?;
    write_texts(sets[..2].iter().flat_map(|(_, rows)| rows), &out.join("rows"))?;
    for (name, rows) in sets {
        write_rows(&rows, &out.join("rows"), name)?;
        written.data_sets.push((name, rows.len()));
    }
    // Not for the demo, which has no time for long pages: for pipelines of one's own.
    write_rows(&long_pages(&train), &out.join("rows"), "long")?;
    long_task(&held_out).write(&out.join("eval/long"))?;
    for (name, task) in [("mono", mono_task(&held_out)), ("cross", cross_task(&held_out))] {
        task.write(&out.join("eval").join(name))?;
        written.tasks.push((name, task.queries.len(), task.passages.len()));
    }
    Ok(written)
}

/// The training pages as raw text: `out/pages/LANGUAGE.jsonl`, a page a line with its sections, `out/texts.jsonl`, all
/// pages as texts alone, and `out/corpus.jsonl`, their telling sections with ids.
fn write_pages(pages: &[&Page], out: &Path) -> anyhow::Result<()> {
    let folder = out.join("pages");
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut languages: BTreeMap<&str, Vec<&Page>> = BTreeMap::new();
    for page in pages {
        languages.entry(&page.language).or_default().push(page);
    }
    for (language, pages) in languages {
        let section = |s: &Section| json!({"heading": s.title, "text": s.text});
        let line = |p: &&Page| {
            let sections: Vec<_> = p.sections.iter().map(section).collect();
            json!({"id": p.id(), "title": p.description, "text": p.body(PAGE_CHARS), "sections": sections})
        };
        write_lines(&folder.join(format!("{language}.jsonl")), pages.iter().map(line))?;
    }
    write_lines(&out.join("texts.jsonl"), pages.iter().map(|p| json!({"text": p.body(PAGE_CHARS)})))?;
    let passages = pages.iter().map(|p| json!({"_id": p.id(), "text": p.prose(SECTION_CHARS)}));
    write_lines(&out.join("corpus.jsonl"), passages)
}

/// `folder/NAME.jsonl` in the published trainer's row format.
fn write_rows(rows: &[Row], folder: &Path, name: &str) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let lines = rows.iter().map(|(query, passage)| json!({"query": query, "pos": [passage]}));
    write_lines(&folder.join(format!("{name}.jsonl")), lines)
}

/// `folder/texts.jsonl`: the passages as texts alone, each once, for pre-training.
fn write_texts<'a>(rows: impl Iterator<Item = &'a Row>, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let mut seen = HashSet::new();
    let texts = rows.map(|(_, passage)| passage).filter(|passage| seen.insert(*passage));
    write_lines(&folder.join("texts.jsonl"), texts.map(|text| json!({"text": text})))
}

/// (query, passage)
pub(crate) type Row = (String, String);

fn by_name<'a>(pages: &[&'a Page]) -> BTreeMap<&'a str, Vec<&'a Page>> {
    let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for page in pages {
        names.entry(page.name.as_str()).or_default().push(*page);
    }
    names
}

/// Same language: description → the page's telling section.
fn sections(pages: &[&Page]) -> Vec<Row> {
    pages.iter().map(|p| (p.description.clone(), p.prose(SECTION_CHARS))).collect()
}

/// Same language: description → the whole page, of each length as many as [`WHOLE_PAGES`] says.
fn whole_pages(pages: &[&Page], num_tokens: impl Fn(&str) -> usize) -> Vec<Row> {
    let mut order: Vec<&Page> = pages.to_vec();
    order.sort_by_key(|p| dice("page", &p.id()));
    let mut wanted = WHOLE_PAGES;
    let mut rows = Vec::new();
    for page in order {
        if wanted.iter().all(|(_, left)| *left == 0) {
            break;
        }
        let body = page.body(PAGE_CHARS);
        let len = num_tokens(&body);
        if let Some((_, left)) = wanted.iter_mut().find(|(max_len, _)| len <= *max_len).filter(|(_, left)| *left > 0) {
            *left -= 1;
            rows.push((page.description.clone(), body));
        }
    }
    rows
}

/// Same language: description → the whole page, of all pages that are long.
fn long_pages(pages: &[&Page]) -> Vec<Row> {
    let rows = pages.iter().map(|page| (page.description.clone(), page.body(PAGE_CHARS)));
    rows.filter(|(_, body)| body.chars().count() >= LONG_CHARS).collect()
}

/// Another language: description → the telling section of the page's translations.
fn cross(translations: &BTreeMap<&str, Vec<&Page>>) -> Vec<Row> {
    let pair = |a: &Page, b: &Page| (a.description.clone(), b.prose(SECTION_CHARS));
    translations.values().flat_map(|pages| partners(pages, "cross", pair)).collect()
}

/// Another language: description → description. A parallel corpus: either may be the query.
fn titles(translations: &BTreeMap<&str, Vec<&Page>>, num_tokens: impl Fn(&str) -> usize) -> Vec<Row> {
    let pair = |a: &Page, b: &Page| (a.description.clone(), b.description.clone());
    let fits = |(a, b): &Row| a != b && num_tokens(a).max(num_tokens(b)) <= TITLE_TOKENS;
    translations.values().flat_map(|pages| partners(pages, "title", pair)).filter(fits).collect()
}

/// `pair` of each page with up to [`CROSS_LANGUAGES`] of its translations.
fn partners(pages: &[&Page], purpose: &str, pair: impl Fn(&Page, &Page) -> Row) -> Vec<Row> {
    let mut rows = Vec::new();
    for page in pages {
        let mut others: Vec<_> = pages.iter().filter(|p| p.language != page.language).collect();
        others.sort_by_key(|other| dice(purpose, &format!("{} {}", page.id(), other.id())));
        rows.extend(others.into_iter().take(CROSS_LANGUAGES).map(|other| pair(page, other)));
    }
    rows
}

/// Rows of the user's own: all but a tenth (at most [`NUM_QUERIES`]) train as data set `section`, the others ask for
/// their passage among the held-out ones.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write_own(rows: Vec<Row>, out: &Path) -> anyhow::Result<Written> {
    let num_held_out = (rows.len() / 10).min(NUM_QUERIES);
    let mut order = rows;
    order.sort_by_cached_key(|(query, passage)| dice("own", &format!("{query}\n{passage}")));
    let train = order.split_off(num_held_out);
    write_rows(&train, &out.join("rows"), "section")?;
    write_texts(train.iter(), &out.join("rows"))?;
    let (mut task, mut ids) = (Task { passages: Vec::new(), queries: Vec::new() }, BTreeMap::new());
    for (number, (query, passage)) in order.into_iter().enumerate() {
        let id = ids.entry(passage).or_insert_with_key(|passage| {
            task.passages.push((format!("p{number}"), passage.clone()));
            format!("p{number}")
        });
        task.queries.push((format!("q{number}"), query, vec![id.clone()]));
    }
    task.write(&out.join("eval/mono"))?;
    Ok(Written {
        data_sets: vec![("section", train.len())],
        tasks: vec![("mono", task.queries.len(), task.passages.len())],
    })
}

/// A retrieval task.
struct Task {
    /// (id, text)
    passages: Vec<(String, String)>,
    /// (id, text, the right passages' ids)
    queries: Vec<(String, String, Vec<String>)>,
}

/// Description → the page in the same language, of which it has the telling section.
fn mono_task(held_out: &[&Page]) -> Task {
    same_language(held_out, |page| page.prose(SECTION_CHARS))
}

/// Description → the whole page in the same language, among pages that are long.
fn long_task(held_out: &[&Page]) -> Task {
    let long = held_out.iter().filter(|page| page.body(PAGE_CHARS).chars().count() >= LONG_CHARS);
    same_language(&long.copied().collect::<Vec<_>>(), |page| page.body(PAGE_CHARS))
}

/// The corpus has pages of all languages mixed, but each in one language only: its translations would be right as well.
fn same_language(held_out: &[&Page], passage: impl Fn(&Page) -> String) -> Task {
    let names = by_name(held_out).into_values();
    let mut pages: Vec<&Page> =
        names.filter_map(|pages| pages.into_iter().min_by_key(|p| dice("mono", &p.id()))).collect();
    pages.sort_by_key(|p| dice("mono queries", &p.id()));
    let asked = pages.iter().take(NUM_QUERIES);
    Task {
        queries: asked.map(|p| (format!("q/{}", p.id()), p.description.clone(), vec![p.id()])).collect(),
        passages: pages.iter().map(|p| (p.id(), passage(p))).collect(),
    }
}

/// Description → the page in other languages. Half of a page's languages ask and the other half are in the
/// corpus, so that a query's own language cannot answer it.
fn cross_task(held_out: &[&Page]) -> Task {
    let (mut passages, mut asked) = (Vec::new(), Vec::new());
    for mut pages in by_name(held_out).into_values() {
        pages.sort_by_key(|p| dice("cross side", &p.id()));
        let asking = pages.split_off(pages.len().div_ceil(2));
        let right: Vec<String> = pages.iter().map(|p| p.id()).collect();
        passages.extend(pages);
        asked.extend(asking.into_iter().map(|p| (p, right.clone())));
    }
    asked.sort_by_key(|(p, _)| dice("cross queries", &p.id()));
    asked.truncate(NUM_QUERIES);
    Task {
        queries: asked.into_iter().map(|(p, right)| (format!("q/{}", p.id()), p.description.clone(), right)).collect(),
        passages: passages.iter().map(|p| (p.id(), p.prose(SECTION_CHARS))).collect(),
    }
}

impl Task {
    /// BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv.
    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder.join("qrels")).with_context(|| format!("{}", folder.display()))?;
        let passages = self.passages.iter().map(|(id, text)| json!({"_id": id, "title": "", "text": text}));
        write_lines(&folder.join("corpus.jsonl"), passages)?;
        write_lines(
            &folder.join("queries.jsonl"),
            self.queries.iter().map(|(id, text, _)| json!({"_id": id, "text": text})),
        )?;
        let judged = self.queries.iter().flat_map(|(id, _, right)| right.iter().map(move |r| format!("{id}\t{r}\t1")));
        let header = std::iter::once("query-id\tcorpus-id\tscore".to_owned());
        write_lines(&folder.join("qrels/test.tsv"), header.chain(judged))
    }
}

fn write_lines(path: &Path, lines: impl Iterator<Item = impl std::fmt::Display>) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for line in lines {
            writeln!(file, "{line}")?;
        }
        file.flush()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Vec<Page> {
        let mut pages = Vec::new();
        for n in 0..200 {
            for language in ["de", "en", "fr", "pl"] {
                let text = format!("{language} text {n}. It tells something about number {n}.");
                pages.push(Page {
                    name: format!("page{n}.1"),
                    language: language.into(),
                    description: format!("{language} {n}"),
                    sections: vec![Section { title: "T".into(), text }],
                });
            }
        }
        pages
    }

    #[test]
    fn a_held_out_page_is_seen_in_no_language() {
        let out = tempfile::tempdir().unwrap();
        let written = write(&pages(), str::len, out.path()).unwrap();
        let num_held_out = pages().iter().filter(|p| is_held_out(&p.name)).count();
        assert!((40..200).contains(&num_held_out), "{num_held_out}");
        assert_eq!(written.data_sets[0], ("section", 800 - num_held_out));
        let held: HashSet<String> =
            pages().iter().filter(|p| is_held_out(&p.name)).map(|p| p.description.clone()).collect();
        for (name, num_rows) in written.data_sets {
            let rows = fs::read_to_string(out.path().join(format!("rows/{name}.jsonl"))).unwrap();
            assert_eq!(rows.lines().count(), num_rows);
            for line in rows.lines() {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(!held.contains(row["query"].as_str().unwrap()), "{line}");
                assert!(!held.contains(row["pos"][0].as_str().unwrap()), "{line}");
            }
        }
    }

    #[test]
    fn a_cross_task_asks_in_another_language() {
        let pages = pages();
        let held_out: Vec<&Page> = pages.iter().filter(|p| is_held_out(&p.name)).collect();
        let task = cross_task(&held_out);
        assert_eq!(task.queries.len(), task.passages.len());
        for (query, _, right) in &task.queries {
            let (language, name) = query.strip_prefix("q/").unwrap().split_once('/').unwrap();
            assert_eq!(right.len(), 2);
            assert!(right.iter().all(|id| id.ends_with(name) && !id.starts_with(language)), "{query} {right:?}");
        }
    }

    #[test]
    fn the_same_name_in_another_chapter_is_on_the_same_side() {
        assert_eq!(is_held_out("write.1"), is_held_out("write.2"));
    }
}
