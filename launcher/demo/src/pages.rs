//! The unpacked packages' manual pages: which file is which page in which language.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rayon::prelude::*;

use crate::cjk::is_cjk;
use crate::fail::Fail;
use crate::mandoc::{self, Section};

/// Pages that one process reads: many, as starting one costs as much as reading five pages.
const PAGES_AT_ONCE: usize = 64;

/// One page in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Name and chapter: `ls.1`. The same in every language.
    pub name: String,
    /// `de`, `pt_BR`; the untranslated pages are `en`.
    pub language: String,
    /// What the page is about, in its language, without its name.
    pub description: String,
    /// Its sections but for NAME.
    pub sections: Vec<Section>,
}

/// A budget in characters of an alphabet; a Chinese or Japanese character counts as this many, for it says as much.
const CJK_CHARS: usize = 3;

impl Page {
    /// `de/ls.1`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.language, self.name)
    }

    /// The whole page but for NAME, cut to about `max_chars`.
    pub fn body(&self, max_chars: usize) -> String {
        let sections = self.sections.iter().map(|s| format!("{}\n{}", s.title, s.text));
        cut(&sections.collect::<Vec<_>>().join("\n"), max_chars)
    }

    /// The first section that tells something (neither a synopsis nor a library's name), cut to about `max_chars`.
    pub fn prose(&self, max_chars: usize) -> String {
        let tells =
            |s: &&Section| s.text.contains('。') || s.text.matches(". ").count() + s.text.matches(".\n").count() > 0;
        let longest = || self.sections.iter().max_by_key(|s| s.text.len());
        self.sections.iter().find(tells).or_else(longest).map(|s| cut(&s.text, max_chars)).unwrap_or_default()
    }
}

/// Every page below `roots`, by name and language; the first of two with the same name or the same text is kept.
///
/// # Errors
/// If a folder cannot be read, or if `mandoc` cannot be run. A file that is no page is passed over.
pub(crate) fn read(roots: &[PathBuf], mandoc: &Path) -> anyhow::Result<Vec<Page>> {
    let mut files = Vec::new();
    for root in roots {
        collect(&root.join("usr/share/man"), "en", &mut files)?;
    }
    let read = files.par_chunks(PAGES_AT_ONCE).map(|files| read_pages(files, mandoc));
    let mut pages = read.collect::<Result<Vec<_>, _>>()?.concat();
    pages.sort_by(|a, b| (&a.name, &a.language).cmp(&(&b.name, &b.language)));
    pages.dedup_by(|a, b| (&a.name, &a.language) == (&b.name, &b.language));
    let mut texts = HashSet::new();
    pages.retain(|page| texts.insert(blake3::hash(page.body(usize::MAX).as_bytes())));
    Ok(pages)
}

/// Adds the regular files of `folder`'s chapters and languages; links are aliases of pages that are there anyway.
fn collect(folder: &Path, language: &str, files: &mut Vec<(PathBuf, String)>) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("{}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("man") {
            for file in fs::read_dir(&path).with_context(|| format!("{}", path.display()))? {
                let file = file?;
                if file.file_type()?.is_file() {
                    files.push((file.path(), language.to_owned()));
                }
            }
        // zh_TW is zh_CN transliterated by a program: nearly the same text twice.
        } else if language == "en" && path.is_dir() && name != "zh_TW" {
            collect(&path, &name, files)?;
        }
    }
    Ok(())
}

/// Those of `files` (path, language) that are pages.
fn read_pages(files: &[(PathBuf, String)], mandoc: &Path) -> Result<Vec<Page>, Fail> {
    let paths: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    let named = |(page, (path, language)): (Option<mandoc::ManPage>, &(PathBuf, String))| {
        let (page, name) = (page?, path.file_name()?.to_str()?);
        Some(Page {
            name: name.to_owned(),
            language: language.clone(),
            description: page.description,
            sections: page.sections,
        })
    };
    Ok(mandoc::read(mandoc, &paths)?.into_iter().zip(files).filter_map(named).collect())
}

/// The start of `text`, at most about `max_chars`, ending with a word.
pub(crate) fn cut(text: &str, max_chars: usize) -> String {
    let (mut used, mut word_end) = (0, 0);
    for (at, c) in text.char_indices() {
        let cjk = is_cjk(c);
        if c.is_whitespace() || cjk {
            word_end = at;
        }
        used += if cjk { CJK_CHARS } else { 1 };
        if used > max_chars {
            let end = if word_end == 0 { at } else { word_end };
            return text[..end].trim_end().to_owned();
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(sections: &[(&str, &str)]) -> Page {
        let section = |&(title, text): &(&str, &str)| Section { title: title.into(), text: text.into() };
        Page {
            name: "ls.1".into(),
            language: "en".into(),
            description: "list files".into(),
            sections: sections.iter().map(section).collect(),
        }
    }

    #[test]
    fn prose_is_the_first_section_with_a_sentence() {
        let page =
            page(&[("SYNOPSIS", "ls [FILE]..."), ("DESCRIPTION", "Lists files. Sorts."), ("BUGS", "None. At all.")]);
        assert_eq!(page.prose(100), "Lists files. Sorts.");
        assert_eq!(page.body(100), "SYNOPSIS\nls [FILE]...\nDESCRIPTION\nLists files. Sorts.\nBUGS\nNone. At all.");
        assert_eq!(page.id(), "en/ls.1");
    }

    #[test]
    fn a_cut_ends_with_a_word() {
        assert_eq!(cut("one two three", 9), "one two");
        assert_eq!(cut("one two", 9), "one two");
        assert_eq!(cut("列出目录内容", 9), "列出目");
        assert_eq!(cut("onlyoneword", 4), "only");
    }

    #[test]
    fn chapters_and_languages_are_read_from_the_folders() {
        let root = tempfile::tempdir().unwrap();
        for (folder, text) in [("man1", "Lists files."), ("de/man1", "Listet Dateien auf."), ("zh_TW/man1", "x.")] {
            let folder = root.path().join("usr/share/man").join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("ls.1"), text).unwrap();
            fs::write(folder.join("again.1"), "Listet Dateien auf.").unwrap();
            fs::write(folder.join("broken.1"), "crash").unwrap();
            std::os::unix::fs::symlink("ls.1", folder.join("dir.1")).unwrap();
        }
        let mandoc = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mandoc.sh");
        let pages = read(&[root.path().to_owned()], &mandoc).unwrap();
        assert_eq!(pages.iter().map(Page::id).collect::<Vec<_>>(), ["de/again.1", "en/ls.1"]);
        assert_eq!(pages[1].sections[0].text, "Lists files.");
    }
}
