//! Pages of an XML export of a MediaWiki (schema export-0.11 and earlier ones), as Wikipedia publishes it.
//!
//! Articles alone are offered: pages of the main namespace, in wikitext, that do not lead to another. A page with
//! several revisions has its last one. The dump states the language.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use tercet_sampler::{ReadAt, RowError, Unpacked};

use super::document::Document;
use super::offers::Offers;
use super::wikitext::{Namespaces, sections};
use crate::input::Refusal;
use crate::reason::Reason;

/// The page leads to another.
const REDIRECT: Reason = Reason::new("redirect");
/// The page is no article.
const NAMESPACE: Reason = Reason::new("namespace");
/// The page is written in something other than wikitext, or its text was deleted or left out.
const NO_WIKITEXT: Reason = Reason::new("no_wikitext");

/// The longest piece of a dump between two tags. MediaWiki's own limit of a page is 2 MiB.
const MAX_PIECE_BYTES: u64 = 64 << 20;

/// Elements within each other. A dump has seven.
const MAX_DEPTH: usize = 32;

/// What a page is found to be.
#[derive(Debug, Default)]
struct Page {
    /// The line on which it begins.
    line: u64,
    title: String,
    namespace: String,
    is_redirect: bool,
    model: String,
    text: String,
}

/// Offers the articles of `file`.
pub(super) fn read(file: &Path, offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let content = Unpacked::open(file)?;
    let path: Arc<Path> = Arc::from(file);
    let (line, held) = (Rc::new(Cell::new(1)), Rc::new(Cell::new(0)));
    let mut dump = Dump {
        broken: Box::new({
            let (line, broken_from) = (line.clone(), content.broken(0));
            move |source| match broken_from(source) {
                RowError::Read { path, reason, source, .. } => {
                    RowError::Read { path, reason, source, line: line.get() }
                }
                other => other,
            }
        }),
        xml: Reader::from_reader(Counted { content, line: line.clone(), held: held.clone() }),
        path,
        line,
        held,
        within: Vec::new(),
        is_begun: false,
        names: Namespaces::default(),
        language: None,
        page: None,
    };
    dump.xml.config_mut().check_end_names = true;
    let mut piece = Vec::new();
    loop {
        dump.held.set(0);
        piece.clear();
        match dump.xml.read_event_into(&mut piece) {
            Ok(Event::Eof) => return Ok(dump.end()?),
            Ok(event) => dump.take(&event, offers)?,
            Err(quick_xml::Error::Io(error)) => {
                let error = io::Error::new(error.kind(), error.to_string());
                return Err((dump.broken)(error).into());
            }
            Err(error) => return Err(dump.wrong(&format!("not valid XML: {error}")).into()),
        }
    }
}

struct Dump {
    xml: Reader<Counted>,
    path: Arc<Path>,
    /// The line that is read.
    line: Rc<Cell<u64>>,
    /// Bytes of the piece that is read.
    held: Rc<Cell<u64>>,
    broken: Box<dyn Fn(io::Error) -> RowError>,
    /// The elements that are open.
    within: Vec<String>,
    /// Whether the element that a dump is has begun.
    is_begun: bool,
    names: Namespaces,
    language: Option<String>,
    page: Option<Page>,
}

impl Dump {
    fn wrong(&self, reason: &str) -> RowError {
        ReadAt::line(&self.path, self.line.get()).error(reason.to_owned())
    }

    /// The end of the file, which is that of the dump.
    fn end(&self) -> Result<(), RowError> {
        match self.within.last() {
            Some(open) => Err(self.wrong(&format!("the dump ends within <{open}>: copy the file again"))),
            None if self.is_begun => Ok(()),
            None => Err(self.wrong("no <mediawiki> begins, which a dump of a MediaWiki is within")),
        }
    }

    fn take(&mut self, event: &Event<'_>, offers: &mut Offers<'_>) -> Result<(), Refusal> {
        match event {
            Event::Start(element) => {
                self.open(element)?;
                if self.within.len() == MAX_DEPTH {
                    return Err(self.wrong("elements stand too deep in each other: this is no dump of pages").into());
                }
                self.within.push(element.name().as_ref().to_owned());
            }
            Event::Empty(element) => self.open(element)?,
            Event::End(element) => {
                self.within.pop();
                if element.name().as_ref() == "page"
                    && let Some(page) = self.page.take()
                {
                    self.offer(page, offers)?;
                }
            }
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) => self.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let name = reference.xml10_content();
                let meant = match reference.resolve_char_ref() {
                    Ok(Some(c)) => Some(c.to_string()),
                    _ => quick_xml::escape::resolve_xml_entity(&name).map(str::to_owned),
                };
                let meant = meant.ok_or_else(|| self.wrong(&format!("not valid XML: what is &{name};?")))?;
                self.text(&meant);
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), RowError> {
        let attribute = |name: &str| {
            let found = element.try_get_attribute(name).ok().flatten();
            found.and_then(|found| found.normalized_value(XmlVersion::Explicit1_0).ok().map(|value| value.into_owned()))
        };
        match (self.within.as_slice(), element.name().as_ref()) {
            ([], "mediawiki") => {
                self.is_begun = true;
                self.language = attribute("xml:lang").filter(|language| !language.is_empty());
            }
            ([_], "page") => {
                self.page = Some(Page { line: self.line.get(), ..Page::default() });
            }
            ([], found) => {
                let reason = format!("a <{found}> begins, where a dump of a MediaWiki is expected (<mediawiki>)");
                return Err(self.wrong(&reason));
            }
            ([.., namespaces], "namespace") if namespaces == "namespaces" => {
                self.names.begin(attribute("key").as_deref().unwrap_or_default());
            }
            ([.., page], "redirect") if page == "page" => {
                if let Some(page) = &mut self.page {
                    page.is_redirect = true;
                }
            }
            // A later revision takes the place of an earlier one.
            ([.., page], "revision") if page == "page" => {
                if let Some(page) = &mut self.page {
                    page.text.clear();
                    page.model.clear();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let mut names = self.within.iter().rev().map(String::as_str);
        let (Some(of), parent) = (names.next(), names.next()) else { return };
        match (&mut self.page, parent, of) {
            (None, Some("namespaces"), "namespace") => self.names.name(text),
            (Some(page), Some("page"), "title") => page.title.push_str(text),
            (Some(page), Some("page"), "ns") => page.namespace.push_str(text.trim()),
            (Some(page), Some("revision"), "model") => page.model.push_str(text.trim()),
            (Some(page), Some("revision"), "text") => page.text.push_str(text),
            _ => {}
        }
    }

    fn offer(&self, page: Page, offers: &mut Offers<'_>) -> Result<(), Refusal> {
        let at = ReadAt::line(&self.path, page.line);
        // Exports before schema 0.6 do not name the namespace, before 0.7 the model.
        if !matches!(page.namespace.as_str(), "" | "0") {
            return offers.drop(&at, NAMESPACE, &page.title);
        }
        if page.is_redirect {
            return offers.drop(&at, REDIRECT, &page.title);
        }
        if !matches!(page.model.as_str(), "" | "wikitext") || page.text.is_empty() {
            return offers.drop(&at, NO_WIKITEXT, &page.title);
        }
        let sections = sections(&page.text, &self.names);
        offers.document(&at, Document { title: page.title, sections, language: self.language.clone() })
    }
}

/// A dump's content, whose lines are counted and whose pieces have a limit.
struct Counted {
    content: Unpacked,
    line: Rc<Cell<u64>>,
    held: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.held.get() > MAX_PIECE_BYTES {
            let reason = format!("more than {} MiB without a tag: this is no dump of pages", MAX_PIECE_BYTES >> 20);
            return Err(io::Error::other(reason));
        }
        self.content.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        // What is passed over was returned by the last call, so it is there without reading.
        let passed = self.content.fill_buf().map_or(0, |held| line_ends(&held[..len.min(held.len())]));
        self.line.set(self.line.get() + passed);
        self.held.set(self.held.get() + len as u64);
        self.content.consume(len);
    }
}

/// Line ends among these bytes.
fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}
