//! Captures of web pages in WARC files (ISO 28500, versions 0.18 to 1.1), as Common Crawl and CC-News have them: pages
//! in responses, and in WET files the plain texts that were made of them.
//!
//! A capture's number in its file is where it is. What is no capture (requests, metadata, revisits) is passed over.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use tercet_sampler::{ReadAt, RowError, Unpacked};

use super::document::{Document, TOO_LONG};
use super::html;
use super::offers::Offers;
use crate::input::Refusal;
use crate::reason::Reason;

/// The server did not send the page (a status other than 200).
const HTTP_STATUS: Reason = Reason::new("http_status");
/// What was sent is no page of HTML.
const NOT_HTML: Reason = Reason::new("not_html");
/// What was sent is cut off, or packed so that it cannot be unpacked.
const CONTENT_ENCODING: Reason = Reason::new("content_encoding");
/// The text is not in UTF-8.
const ENCODING: Reason = Reason::new("encoding");

/// The longest line of a record's header.
const MAX_LINE_BYTES: u64 = 64 << 10;
/// Lines of a record's header.
const MAX_LINES: usize = 200;
/// Headers of an answer that are read.
const MAX_HEADERS: usize = 256;
/// Bytes of an answer's headers.
const HEAD_BYTES: u64 = 1 << 20;

/// Offers the captures of `file`.
pub(super) fn read(file: &Path, offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let content = Unpacked::open(file)?;
    let mut records = Records { path: Arc::from(file), broken: Box::new(content.broken(0)), content, number: 0 };
    while let Some(record) = records.next()? {
        let at = ReadAt::row(&records.path, records.number);
        match (record.kind.as_str(), record.block) {
            ("response", Some(block)) => page(&at, &record.target, &block, offers)?,
            ("conversion", Some(block)) => match std::str::from_utf8(&block) {
                Ok(text) => offers.document(&at, Document::of_text(text, offers.kind))?,
                Err(_) => offers.drop(&at, ENCODING, &record.target)?,
            },
            ("response" | "conversion", None) => offers.drop(&at, TOO_LONG, &record.target)?,
            _ => {}
        }
    }
    Ok(())
}

/// Offers the page that an answer of HTTP is.
fn page(at: &ReadAt, target: &str, answer: &[u8], offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_len)) = head.parse(answer) else {
        return offers.drop(at, NOT_HTML, target);
    };
    if head.code != Some(200) {
        return offers.drop(at, HTTP_STATUS, target);
    }
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(|value| value.trim().to_ascii_lowercase())
    };
    let content_type = header("content-type").unwrap_or_default();
    if !content_type.starts_with("text/html") && !content_type.starts_with("application/xhtml+xml") {
        return offers.drop(at, NOT_HTML, target);
    }
    let is_chunked = header("transfer-encoding").is_some_and(|encoding| encoding.contains("chunked"));
    let packing = header("content-encoding").unwrap_or_default();
    let Some(body) = body(&answer[head_len..], is_chunked, &packing) else {
        return offers.drop(at, CONTENT_ENCODING, target);
    };
    if body.len() as u64 > html::MAX_BYTES {
        return offers.drop(at, TOO_LONG, target);
    }
    let charset = content_type.split_once("charset=").map(|(_, name)| name.trim_matches(['"', '\'', ' ', ';']));
    html::offer(at, target, &body, charset, offers)
}

/// The body as it was before it was sent: most crawlers write it so, with headers that say otherwise. None if it cannot
/// be unpacked.
fn body(sent: &[u8], is_chunked: bool, packing: &str) -> Option<Vec<u8>> {
    let joined = is_chunked.then(|| dechunked(sent)).flatten();
    let packed = joined.as_deref().unwrap_or(sent);
    let is_gzip = packed.starts_with(&[0x1f, 0x8b]);
    let unpacked = |packed: &mut dyn Read| {
        let mut body = Vec::new();
        packed.take(html::MAX_BYTES + 1).read_to_end(&mut body).ok().map(|_| body)
    };
    match packing {
        "gzip" | "x-gzip" if is_gzip => unpacked(&mut flate2::read::MultiGzDecoder::new(packed)),
        "deflate" if packed.starts_with(&[0x78]) => unpacked(&mut flate2::read::ZlibDecoder::new(packed)),
        "br" | "zstd" if std::str::from_utf8(packed).is_err() => None,
        _ if is_gzip => None,
        _ => Some(packed.to_vec()),
    }
}

/// The chunks of `sent` in one; None if it is not in chunks.
fn dechunked(sent: &[u8]) -> Option<Vec<u8>> {
    let (mut joined, mut rest) = (Vec::with_capacity(sent.len()), sent);
    loop {
        let Ok(httparse::Status::Complete((at, len))) = httparse::parse_chunk_size(rest) else { return None };
        if len == 0 {
            return Some(joined);
        }
        let end = at.checked_add(usize::try_from(len).ok()?)?;
        joined.extend_from_slice(rest.get(at..end)?);
        rest = rest.get(end..)?.strip_prefix(b"\r\n")?;
    }
}

/// A record.
struct Record {
    kind: String,
    target: String,
    /// What it holds, if that may be a capture and is not too long.
    block: Option<Vec<u8>>,
}

/// The records of a file.
struct Records {
    path: Arc<Path>,
    content: Unpacked,
    broken: Box<dyn Fn(io::Error) -> RowError>,
    /// The number of the record that was read last.
    number: u64,
}

impl Records {
    fn next(&mut self) -> Result<Option<Record>, RowError> {
        let mut line = self.line()?;
        while line.as_deref().is_some_and(|line| line.trim().is_empty()) {
            line = self.line()?;
        }
        let Some(version) = line else { return Ok(None) };
        self.number += 1;
        if !version.starts_with("WARC/") {
            let reason = "\"WARC/1.0\" or another version is expected where a record begins: this is no WARC file, or \
                          damaged";
            return Err(self.wrong(reason));
        }
        let (mut record, mut len) = (Record { kind: String::new(), target: String::new(), block: None }, None);
        for num_lines in 0.. {
            let line = self.line()?.ok_or_else(|| self.ends_early())?;
            if line.trim().is_empty() {
                break;
            }
            if num_lines == MAX_LINES {
                return Err(self.wrong("the record's header does not end"));
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "warc-type" => record.kind = value.to_ascii_lowercase(),
                "warc-target-uri" => record.target = value.trim_matches(['<', '>']).to_owned(),
                "content-length" => len = value.parse::<u64>().ok(),
                _ => {}
            }
        }
        let len = len.ok_or_else(|| self.wrong("the record's header has no Content-Length, which is a number"))?;
        let is_capture = matches!(record.kind.as_str(), "response" | "conversion");
        if is_capture && len <= html::MAX_BYTES + HEAD_BYTES {
            let mut block = Vec::new();
            (&mut self.content).take(len).read_to_end(&mut block).map_err(&self.broken)?;
            if block.len() as u64 != len {
                return Err(self.ends_early());
            }
            record.block = Some(block);
        } else if io::copy(&mut (&mut self.content).take(len), &mut io::sink()).map_err(&self.broken)? != len {
            return Err(self.ends_early());
        }
        Ok(Some(record))
    }

    /// The next line; None at the end of the file.
    fn line(&mut self) -> Result<Option<String>, RowError> {
        let mut line = Vec::new();
        (&mut self.content).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(&self.broken)?;
        Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()))
    }

    fn wrong(&self, reason: &str) -> RowError {
        ReadAt::row(&self.path, self.number).error(reason.to_owned())
    }

    fn ends_early(&self) -> RowError {
        self.wrong("the file ends within the record: copy the file again")
    }
}
