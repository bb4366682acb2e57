//! Sources on miniatures of the layouts in which corpora are published, and on files that are damaged or hostile.

use std::fmt::Debug;
use std::io::Write;
use std::path::Path;

use tercet_sampler::PackedWriter;

use super::*;

/// A folder, and a source that reads files in it.
struct Corpus {
    dir: tempfile::TempDir,
    source: Source,
}

/// What was offered: pairs with their languages and scores, and reasons with texts.
#[derive(Debug, Default, PartialEq)]
struct Given {
    pairs: Vec<(String, String)>,
    languages: Vec<Option<String>>,
    scores: Vec<Vec<f64>>,
    dropped: Vec<(String, String)>,
    places: Vec<String>,
}

impl Corpus {
    /// A source with these keys, whose one file has this name and content, packed as it is named.
    fn new(keys: &str, name: &str, content: impl AsRef<[u8]>) -> Self {
        let corpus = Self { dir: tempfile::tempdir().unwrap(), source: source(&format!("{keys}\nfiles = [{name:?}]")) };
        corpus.write(name, content);
        corpus
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = PackedWriter::new(&path, std::fs::File::create(&path).unwrap()).unwrap();
        file.write_all(content.as_ref()).unwrap();
        file.finish().unwrap();
    }

    fn read(&self) -> Result<Given, CurateError> {
        let mut given = Given::default();
        for file in self.source.files(self.dir.path())? {
            self.source.read(&file, &mut |at, offered| {
                match offered {
                    Offered::Pair(pair) => {
                        given.pairs.push((pair.query, pair.passage));
                        given.languages.push(pair.language);
                        given.scores.push(pair.scores);
                        let place = at.error("x".into()).to_string();
                        given.places.push(place.rsplit('/').next().unwrap().trim_end_matches(": x").to_owned());
                    }
                    Offered::Dropped(reason, text) => given.dropped.push((reason.to_string(), text)),
                }
                Ok(())
            })?;
        }
        Ok(given)
    }

    fn given(&self) -> Given {
        self.read().unwrap()
    }

    /// Reading ends with this exit code and a message that has all of these parts.
    fn refuses(&self, code: i32, parts: &[&str]) {
        let error = self.read().unwrap_err();
        let said = error.to_string();
        assert_eq!(error.exit_code().code(), code, "{said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{said:?} lacks {part:?}"));
    }
}

fn source(keys: &str) -> Source {
    let source: Source = toml::from_str(&format!("name = \"s\"\n{keys}")).unwrap();
    source.check().unwrap();
    source
}

fn pairs<T: AsRef<str> + Debug>(expected: &[(T, T)]) -> Vec<(String, String)> {
    expected.iter().map(|(query, passage)| (query.as_ref().to_owned(), passage.as_ref().to_owned())).collect()
}

fn reasons(given: &Given) -> Vec<&str> {
    given.dropped.iter().map(|(reason, _)| reason.as_str()).collect()
}

const PACKINGS: [&str; 4] = ["", ".gz", ".bz2", ".zst"];

#[test]
fn records_of_the_papers_sources_need_no_names_of_fields() {
    for packing in PACKINGS {
        let s2orc = r#"{"corpusid": 1, "title": " On cats ", "abstract": "Cats sleep.", "year": 2020, "authors": [{"n": 1}]}
{"corpusid": 2, "title": null, "abstract": "x"}

{"corpusid": 3, "title": "On dogs", "abstract": " "}
"#;
        let given = Corpus::new("kind = \"title-abstract\"", &format!("s2orc.jsonl{packing}"), s2orc).given();
        assert_eq!(given.pairs, pairs(&[("On cats", "Cats sleep.")]));
        assert_eq!(given.places, ["s2orc.jsonl:1".replace(".jsonl", &format!(".jsonl{packing}"))]);
        assert_eq!(given.dropped, pairs(&[("no-query", "x"), ("no-passage", "On dogs")]));
    }
    let xp3 = r#"{"inputs": "Translate: Hund", "targets": "dog", "language": "en", "split": "train"}"#;
    let given =
        Corpus::new("kind = \"instruction-output\"\nlanguage = { column = \"language\" }", "x.jsonl", xp3).given();
    assert_eq!(given.pairs, pairs(&[("Translate: Hund", "dog")]));
    assert_eq!(given.languages, [Some("en".to_owned())]);
    let mc4 = r#"{"text": "ข่าววันนี้\nเนื้อหาของข่าว", "timestamp": "2019", "url": "https://x"}
{"text": "one line", "timestamp": "2019", "url": "https://y"}
{"text": "", "timestamp": "2019", "url": "https://y"}"#;
    let given = Corpus::new("kind = \"first-sentence-rest\"\nlanguage = \"th\"", "c4-th.json.gz", mc4).given();
    assert_eq!(given.pairs, pairs(&[("ข่าววันนี้", "เนื้อหาของข่าว")]));
    assert_eq!(given.languages, [Some("th".to_owned())]);
    assert_eq!(reasons(&given), ["one-sentence", "no-passage"]);
    let news = r#"{"title": "Rain", "text": "It rained.", "domain": "a.b", "date": "2017", "description": "", "url": "u", "image_url": null}"#;
    assert_eq!(Corpus::new("kind = \"title-body\"", "cc.jsonl", news).given().pairs, pairs(&[("Rain", "It rained.")]));
    let asked = r#"{"question": "Why?", "answer": ["So.", "", "Thus."], "n": 1}"#;
    let given = Corpus::new("kind = \"question-answer\"", "qa.jsonl", asked).given();
    assert_eq!(given.pairs, pairs(&[("Why?", "So."), ("Why?", "Thus.")]));
    assert_eq!(reasons(&given), ["no-passage"]);
    let given = Corpus::new("kind = \"question-answer\"\nmax_pairs = 1", "qa.jsonl", asked).given();
    assert_eq!((given.pairs.len(), reasons(&given)), (1, vec!["no-passage", "max-pairs"]));
    let named = r#"{"t": {"head": "h"}, "a": "x", "b": "y"}"#;
    let given = Corpus::new("kind = \"title-body\"\nquery = \"t.head\"\npassage = \"a+b\"", "n.jsonl", named).given();
    assert_eq!(given.pairs, pairs(&[("h", "x y")]));
}

#[test]
fn rows_of_columns_give_what_lines_give() {
    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("title", Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]))),
        ("text", Arc::new(StringArray::from(vec![Some("A"), Some("B"), Some("C")]))),
        ("score", Arc::new(Float64Array::from(vec![Some(0.9), Some(0.9), Some(0.1)]))),
        ("other", Arc::new(StringArray::from(vec!["x"; 3]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let keys = "kind = \"title-body\"\nmin = { score = 0.5 }";
    let given = Corpus::new(keys, "rows.parquet", &bytes).given();
    assert_eq!(given.pairs, pairs(&[("a", "A")]));
    assert_eq!((given.scores, given.places), (vec![vec![0.9]], vec!["rows.parquet: row 1".to_owned()]));
    assert_eq!(given.dropped, pairs(&[("no-query", "B"), ("score-score", "c")]));
    Corpus::new("kind = \"title-abstract\"", "rows.parquet", &bytes).refuses(4, &["row 1: ", "\"abstract\""]);
    Corpus::new(keys, "cut.parquet", &bytes[..bytes.len() / 2]).refuses(4, &["cut.parquet"]);
}

#[test]
fn parallel_sentences_are_columns_or_files() {
    let nllb = "Hallo Welt\tHello world\t1.2\t0.99\t0.98\tcrawl-data/a\thttp://a\tcrawl-data/b\thttp://b\n\
                Nein\tNo\t1.059\t0.99\t0.98\ts\t_\ts\t_\n\
                Ja\tYes\t1.06\t0.4\t1.0\ts\t_\ts\t_\n\
                \"Zitat\tQuote\t1.3\t0.9\tnan\ts\t_\ts\t_\n";
    let keys = "kind = \"parallel\"\nformat = \"tsv\"\nlanguage = \"en\"\n";
    let named = "columns = [\"src\", \"tgt\", \"laser\", \"src_lid\", \"tgt_lid\"]\n\
                 min = { laser = 1.06, src_lid = 0.5, tgt_lid = 0.5 }";
    for packing in PACKINGS {
        let given = Corpus::new(&format!("{keys}{named}"), &format!("deu_Latn-eng_Latn{packing}"), nllb).given();
        assert_eq!(given.pairs, pairs(&[("Hallo Welt", "Hello world")]));
        assert_eq!(given.scores, [[1.2, 0.99, 0.98]]);
        let expected = [("score-laser", "Nein"), ("score-src_lid", "Ja"), ("score-tgt_lid", "\"Zitat")];
        assert_eq!(given.dropped, pairs(&expected));
    }
    let given = Corpus::new(&format!("{keys}min = {{ 3 = 1.06 }}"), "d", nllb).given();
    assert_eq!((given.pairs.len(), given.dropped.len()), (3, 1));
    let csv = "de,en\n\"a, b\",\"x\ny\"\nc,z\n";
    let given = Corpus::new("kind = \"parallel\"\nquery = \"de\"\npassage = \"en\"", "p.csv", csv).given();
    assert_eq!(
        (given.pairs, given.places),
        (pairs(&[("a, b", "x\ny"), ("c", "z")]), vec!["p.csv:2".into(), "p.csv:4".into()])
    );
    let opus = r#"{"translation": {"de": "Hund", "en": "dog"}}"#;
    let keys = "kind = \"parallel\"\nquery = \"translation.de\"\npassage = \"translation.en\"";
    assert_eq!(Corpus::new(keys, "o.jsonl", opus).given().pairs, pairs(&[("Hund", "dog")]));

    let moses = "kind = \"parallel\"\naligned = [\"de\", \"en\", \"scores\"]\nmin = { scores = 1.06 }";
    let corpus = Corpus::new(moses, "CCMatrix.de-en.de", "Hund\n\nKatze\nMaus\n");
    corpus.write("CCMatrix.de-en.en.gz", "dog\nx\n\nmouse\n");
    corpus.refuses(2, &["aligned", "CCMatrix.de-en.scores", "is not there"]);
    corpus.write("CCMatrix.de-en.scores", "1.1\n1.2\n1.3\n1.0\n");
    let given = corpus.given();
    assert_eq!(given.pairs, pairs(&[("Hund", "dog")]));
    assert_eq!(given.dropped, pairs(&[("no-query", "x"), ("no-passage", "Katze"), ("score-scores", "Maus")]));
    corpus.write("CCMatrix.de-en.scores", "1.1\n1.2\n1.3\n");
    corpus.refuses(4, &["CCMatrix.de-en.de has a line 4", "CCMatrix.de-en.scores has not"]);
    let other = Corpus::new(moses, "a.fr", "x\n");
    other.refuses(2, &["does not end with .de"]);
}

#[test]
fn what_is_not_as_the_source_says_is_an_error_or_dropped() {
    let lines = b"{\"title\": \"a\", \"text\": \"A\"}\n{\"title\": \"b\"}\n{\"title\": 5, \"text\": \"x\"}\n{\"title\": \"c\n\xff\xfe{}\n[1]\n{\"title\": \"d\", \"text\": \"D\"}\n";
    let corpus = Corpus::new("kind = \"title-body\"", "a.jsonl", lines);
    corpus.refuses(4, &["a.jsonl:2: no \"text\" among \"title\""]);
    let skipping = Corpus::new("kind = \"title-body\"\non_error = \"skip\"", "a.jsonl", lines);
    let given = skipping.given();
    assert_eq!(given.pairs, pairs(&[("a", "A"), ("d", "D")]));
    assert_eq!(reasons(&given), ["unreadable"; 5]);
    let said = ["no \"text\"", "a text is expected", "inside a string", "not UTF-8", "a list"];
    given.dropped.iter().zip(said).for_each(|((_, text), part)| assert!(text.contains(part), "{text} lacks {part}"));

    let table = "title\ttext\nx\ty\nz\nq\tr\ts\n";
    Corpus::new("kind = \"title-body\"", "t.tsv", table).refuses(4, &["t.tsv:3: expected 2 columns, found 1"]);
    let given = Corpus::new("kind = \"title-body\"\non_error = \"skip\"", "t.tsv", table).given();
    assert_eq!((given.pairs.len(), given.dropped.len()), (1, 2));
    // A column that no line has is not a matter of single lines.
    Corpus::new("kind = \"title-abstract\"\non_error = \"skip\"", "t.tsv", table)
        .refuses(4, &["t.tsv:1: no column \"abstract\""]);
    let skipping = "kind = \"title-body\"\non_error = \"skip\"";
    let given = Corpus::new(skipping, "t.csv", b"title,text\na,\xff\nb,B\n").given();
    assert_eq!(
        (given.pairs, reasons(&Given { dropped: given.dropped.clone(), ..Given::default() })),
        (pairs(&[("b", "B")]), vec!["unreadable"])
    );
    let scored = "kind = \"title-body\"\nmin = { s = 1.0 }";
    Corpus::new(scored, "s.jsonl", r#"{"title": "a", "text": "b", "s": true}"#)
        .refuses(4, &["\"s\" is true: a number"]);
    let spoken = "kind = \"title-body\"\nlanguage = { column = \"l\" }";
    Corpus::new(spoken, "s.jsonl", r#"{"title": "a", "text": "b", "l": 1}"#).refuses(4, &["a language is expected"]);
}

#[test]
fn a_packed_file_that_is_cut_off_is_always_an_error() {
    let line = |i: u32| format!("{{\"title\": \"{i}\", \"text\": \"{}\"}}\n", i.wrapping_mul(2_654_435_761));
    let text: String = (0..20_000).map(line).collect();
    for packing in &PACKINGS[1..] {
        let name = format!("a.jsonl{packing}");
        let corpus = Corpus::new("kind = \"title-body\"\non_error = \"skip\"", &name, &text);
        assert_eq!(corpus.given().pairs.len(), 20_000);
        let path = corpus.dir.path().join(&name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
        corpus.refuses(4, &[&name, "ends early"]);
        std::fs::write(&path, [&whole[..], &whole[..]].concat()).unwrap();
        assert_eq!(corpus.given().pairs.len(), 40_000, "{packing} has several streams");
    }
}

#[test]
fn files_are_found_once_in_order_and_a_pattern_that_finds_none_is_told() {
    let row = r#"{"title": "a", "text": "b"}"#;
    let mut corpus = Corpus::new("kind = \"title-body\"", "b.jsonl", row);
    for name in ["a.jsonl", "deep/er/c.jsonl", "[x].jsonl", ".hidden.jsonl", "z.txt"] {
        corpus.write(name, row);
    }
    let mut named = |patterns: &[&str]| {
        corpus.source.files = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        corpus.source.files(corpus.dir.path()).map(|found| {
            let shown = |path: &PathBuf| path.strip_prefix(corpus.dir.path()).unwrap().to_string_lossy().into_owned();
            found.iter().map(shown).collect::<Vec<_>>()
        })
    };
    assert_eq!(named(&["*.jsonl", "a.jsonl", "[a-b].jsonl"]).unwrap(), ["[x].jsonl", "a.jsonl", "b.jsonl"]);
    assert_eq!(named(&["**/*.jsonl"]).unwrap(), ["[x].jsonl", "a.jsonl", "b.jsonl", "deep/er/c.jsonl"]);
    assert_eq!(named(&["?.jsonl"]).unwrap(), ["a.jsonl", "b.jsonl"]);
    assert_eq!(named(&["[x].jsonl"]).unwrap(), ["[x].jsonl"]);
    for (patterns, part) in [
        (&["a.jsonl", "*.parquet"][..], "\"*.parquet\" matches no file in "),
        (&["none.jsonl"][..], "\"none.jsonl\" matches no file"),
        (&["***"][..], "is no pattern"),
    ] {
        let error = named(patterns).unwrap_err();
        assert_eq!(error.exit_code().code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_named() {
    for (keys, key) in [
        ("kind = \"title-abstract\"\nformat = \"mediawiki\"", "kind"),
        ("kind = \"heading-section\"\nformat = \"text\"", "kind"),
        ("kind = \"title-body\"\nformat = \"html\"\nquery = \"x\"", "query"),
        ("kind = \"title-body\"\nformat = \"warc\"\nmin = { x = 1 }", "min"),
        ("kind = \"title-body\"\nformat = \"html\"\nlanguage = { column = \"x\" }", "language"),
        ("kind = \"first-sentence-rest\"\nformat = \"jsonl\"\nquery = \"x\"", "query"),
        ("kind = \"title-body\"\nformat = \"jsonl\"\ncolumns = [\"title\", \"text\"]", "columns"),
        ("kind = \"parallel\"\nformat = \"tsv\"\ncolumns = [\"a\", \"a\"]", "columns"),
        ("kind = \"parallel\"\naligned = [\"de\"]", "aligned"),
        ("kind = \"parallel\"\naligned = [\"de\", \"en\"]\nformat = \"tsv\"", "aligned"),
        ("kind = \"parallel\"\nmin = { x = nan }", "min"),
    ] {
        let source: Source = toml::from_str(&format!("name = \"s\"\nfiles = [\"x\"]\n{keys}")).unwrap();
        assert_eq!(source.check().unwrap_err().0, key, "{keys}");
    }
    // What only a file's name says is told before any file is read.
    Corpus::new("kind = \"title-abstract\"", "a.xml", "").refuses(2, &["source \"s\": kind", "mediawiki", "a.xml"]);
    Corpus::new("kind = \"title-body\"", "a.dat", "").refuses(2, &["source \"s\": format", "a.dat", "jsonl, parquet"]);
    let unknown =
        toml::from_str::<Source>("name = \"s\"\nfiles = []\nkind = \"title-body\"\nquerry = \"x\"").unwrap_err();
    assert!(unknown.to_string().contains("querry"));
}

fn dump(pages: &str) -> String {
    format!(
        r#"<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <namespaces>
      <namespace key="-2" case="first-letter">Medium</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
{pages}</mediawiki>
"#
    )
}

fn page(title: &str, text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "  <page>\n    <title>{title}</title>\n    <ns>0</ns>\n    <id>1</id>\n    <revision>\n      <id>2</id>\n      \
         <model>wikitext</model>\n      <format>text/x-wiki</format>\n      <text bytes=\"9\" sha1=\"x\" \
         xml:space=\"preserve\">{escaped}</text>\n      <sha1>x</sha1>\n    </revision>\n  </page>\n"
    )
}

const BERLIN: &str = "{{Infobox Ort\n|Name=Berlin\n|Bild={{Bild|x}}\n}}\n[[Datei:Berlin.jpg|mini|Der [[Reichstag]] in \
    [[Berlin]]]]\n'''Berlin''' ({{IPA|bɛʁˈliːn}}) ist die [[Hauptstadt|Haupt&shy;stadt]] von [[Deutschland]].<ref \
    name=\"a\">Quelle</ref> Es hat 3,7&nbsp;Mio. Einwohner.<!-- alt\n\nalt -->\n\n== Geschichte ==\n=== ''Anfang'' \
    ===\n* 1237 gegründet<ref name=\"b\" />\n* [https://x.y/z Akten] der Stadt\n{| class=\"wikitable\"\n| {{a}} || b\n|}\n\n\
    == Leer ==\n{{Navi}}\n\n== Code ==\nEin <nowiki>[[Link]]</nowiki> und<br />Zeile, H<sub>2</sub>O und \
    <math>a<b</math>.\n[[Kategorie:Stadt]]\n[[en:Berlin]]\n__NOTOC__";

#[test]
fn a_dump_gives_its_articles_and_says_what_else_it_has() {
    let pages = [
        page("Berlin", BERLIN),
        page("Spree", "#WEITERLEITUNG [[Berlin]]")
            .replace("<ns>0</ns>", "<ns>0</ns>\n    <redirect title=\"Berlin\" />"),
        page("Diskussion:Berlin", "Hallo").replace("<ns>0</ns>", "<ns>1</ns>"),
        page("Common.js", "var a;").replace("wikitext", "javascript"),
        page("Gelöscht", "").replace("<text bytes", "<text deleted=\"deleted\" bytes"),
        page("Ä &amp; Ö", "Nur ein Satz &amp; mehr."),
    ]
    .concat();
    for packing in PACKINGS {
        let name = format!("dewiki-20260901-pages-articles-multistream.xml{packing}");
        let given = Corpus::new("kind = \"title-body\"", &name, dump(&pages)).given();
        assert_eq!(given.pairs.len(), 2);
        let (title, body) = &given.pairs[0];
        assert_eq!(title, "Berlin");
        let expected = "Berlin ist die Haupt\u{ad}stadt von Deutschland. Es hat 3,7 Mio. Einwohner.\n\nAnfang\n1237 \
                        gegründet\nAkten der Stadt\n\nCode\nEin [[Link]] und Zeile, H2O und .";
        assert_eq!(body, expected);
        assert_eq!(given.pairs[1], ("Ä & Ö".to_owned(), "Nur ein Satz & mehr.".to_owned()));
        assert_eq!(given.languages, vec![Some("de".to_owned()); 2]);
        assert_eq!(given.places[0], format!("{name}:11"));
        let expected = [
            ("redirect", "Spree"),
            ("namespace", "Diskussion:Berlin"),
            ("no-wikitext", "Common.js"),
            ("no-wikitext", "Gelöscht"),
        ];
        assert_eq!(given.dropped, pairs(&expected));
    }
    let given = Corpus::new("kind = \"heading-section\"", "de.xml-p1p9.bz2", dump(&page("Berlin", BERLIN))).given();
    let queries: Vec<&str> = given.pairs.iter().map(|(query, _)| query.as_str()).collect();
    assert_eq!(queries, ["Berlin Anfang", "Berlin Code"]);
    let given = Corpus::new("kind = \"heading-section\"", "a.xml", dump(&page("A", "x"))).given();
    assert_eq!(reasons(&given), ["no-heading"]);
    let keys = "kind = \"first-sentence-rest\"\nlanguage = \"xx\"";
    let given = Corpus::new(keys, "a.xml", dump(&page("Berlin", BERLIN))).given();
    assert_eq!(given.pairs[0].0, "Berlin ist die Haupt\u{ad}stadt von Deutschland.");
    assert_eq!(given.languages, [Some("xx".to_owned())]);
    // Of a page's history the last revision counts.
    let history = page("A", "new")
        .replace("<revision>", "<revision><text xml:space=\"preserve\">old</text></revision><revision>");
    assert_eq!(Corpus::new("kind = \"title-body\"", "a.xml", dump(&history)).given().pairs, pairs(&[("A", "new")]));
}

#[test]
fn a_damaged_dump_is_told_with_the_line() {
    let whole = dump(&page("Berlin", BERLIN));
    let skipping = "kind = \"title-body\"\non_error = \"skip\"";
    for (content, parts) in [
        (whole.as_bytes()[..whole.len() - 13].to_vec(), ["a.xml:", "ends within <mediawiki>"]),
        (whole.as_bytes()[..whole.len() - 200].to_vec(), ["a.xml:", "not valid XML"]),
        (whole.replace("</title>", "</titel>").into_bytes(), ["a.xml:12: ", "not valid XML"]),
        (whole.replace("&amp;shy;", "&shy;").into_bytes(), ["a.xml:", "what is &shy;?"]),
        (b"<html><p>404</html>".to_vec(), ["a.xml:1: ", "a dump of a MediaWiki is expected"]),
        (
            whole
                .replace("Deutschland", "\u{1}")
                .into_bytes()
                .iter()
                .map(|b| if *b == 1 { 0xff } else { *b })
                .collect(),
            ["a.xml", ""],
        ),
        (
            "<mediawiki>".to_owned().into_bytes().into_iter().chain("<a>".repeat(1000).into_bytes()).collect(),
            ["a.xml:1", "too deep"],
        ),
    ] {
        Corpus::new(skipping, "a.xml", content).refuses(4, &parts);
    }
    assert_eq!(Corpus::new(skipping, "a.xml", "").given(), Given::default());
}

#[test]
fn hostile_wikitext_takes_time_in_proportion_to_its_length() {
    let names = wikitext::Namespaces::default();
    for piece in [
        "{{",
        "}}",
        "{|\n",
        "\n|}",
        "{{{",
        "[[",
        "]]",
        "[[a|",
        "[[File:a|",
        "[http://a b",
        "<ref>",
        "<ref ",
        "<ref name=a>",
        "</ref>",
        "<!--",
        "-->",
        "<nowiki>",
        "<pre>[[",
        "''",
        "'''''",
        "<a",
        "<",
        "&",
        "&amp",
        "__",
        "__A",
        "==",
        "(",
        "( ",
        "（",
        "*",
        "*#:",
        "|",
        "\n",
        "\n\n",
        "{{a|[[b|",
        "<gallery>",
        "<math",
        "[[a]",
        "]] [[",
        "'",
        "\u{3000}",
        "|}}",
        "\n{|\n{{",
        ":{|",
    ] {
        let text = piece.repeat((2 << 20) / piece.len());
        let sections = wikitext::sections(&text, &names);
        assert!(sections.iter().map(|s| s.text.len() + s.heading.len()).sum::<usize>() <= 8 * text.len(), "{piece}");
    }
}

const HTML: &str = "<!DOCTYPE html><html lang=en><head><meta charset=\"utf-8\"><title>All about cats and their mice - Site</title>\
    <script>if (a<b) alert('<div>')</script></head><body><nav><ul><li><a href=/>Home</a><li><a href=/x>Else</a></ul></nav>\
    <article><h1>All about cats and their mice</h1><p>Cats are small animals, and they sleep for most of the day, which is well known.</p>\
    <p>They eat fish &amp; meat, drink water, and hunt mice, birds, and whatever else moves around in a garden.</p>\
    <h2>Where they live</h2><p>Cats live with people,\n   in barns, and in the streets of most towns of the world, as dogs do.</p>\
    <pre>cat a\ncat b</pre><h2> </h2><p>Nobody has counted all of them, but it is said that there are many millions.</p></article>\
    <footer><a href=/imprint>Imprint</a></footer></body></html>";

#[test]
fn a_page_gives_its_main_text_by_headings() {
    let given = Corpus::new("kind = \"title-body\"", "cats.html.gz", HTML).given();
    let (title, body) = &given.pairs[0];
    assert_eq!(title, "All about cats and their mice");
    assert!(body.starts_with("Cats are small animals, and") && body.contains("fish & meat"), "{body}");
    assert!(
        body.contains("Where they live\nCats live with people, in barns") && body.contains("cat a\ncat b"),
        "{body}"
    );
    assert!(!body.contains("Home") && !body.contains("Imprint") && !body.contains("alert"), "{body}");
    let given = Corpus::new("kind = \"heading-section\"", "cats.html", HTML).given();
    assert_eq!(given.pairs.len(), 1, "{:?}", given.pairs);
    assert_eq!(given.pairs[0].0, "All about cats and their mice Where they live");
    assert!(given.pairs[0].1.ends_with("many millions."), "{:?}", given.pairs);
    let latin: Vec<u8> = HTML.replace("utf-8", "iso-8859-1").replace("fish", "fïsh").chars().map(|c| c as u8).collect();
    let given = Corpus::new("kind = \"title-body\"", "cats.html", &latin).given();
    assert!(given.pairs[0].1.contains("fïsh & meat"));
    let wrong: Vec<u8> = HTML.replace("fish", "fïsh").chars().map(|c| c as u8).collect();
    assert_eq!(reasons(&Corpus::new("kind = \"title-body\"", "cats.html", &wrong).given()), ["encoding"]);
    assert_eq!(reasons(&Corpus::new("kind = \"title-body\"", "cats.html", "<p></p>").given()), ["no-main-text"]);
}

#[test]
fn a_bomb_of_html_is_dropped() {
    let attributes: String = (0..100_000).map(|i| format!(" a{i}")).collect();
    for (page, reason) in [
        ("<div>".repeat(300_000), "too-deep"),
        ("<table><tr><td>".repeat(100_000), "too-deep"),
        (format!("<div{attributes}>{HTML}</div>"), "too-deep"),
        (format!("<div title='x'{attributes}>{HTML}</div>"), "too-deep"),
        (format!("<div '{attributes}>{HTML}</div>"), "too-deep"),
        ("<p>x".repeat(1_500_000), "too-long"),
    ] {
        let given = Corpus::new("kind = \"title-body\"", "bomb.html", page).given();
        assert_eq!(reasons(&given), [reason]);
    }
    // What is long, and neither deep nor without an end.
    let long = HTML.replace("<footer>", &"<p>A sentence with some words, and a comma.<br>".repeat(50_000));
    let path = "<path d=\"M 1 2 L 3 4\"/>".repeat(1000);
    let given = Corpus::new("kind = \"title-body\"", "long.html", long.replace("<footer>", &path)).given();
    assert_eq!(given.pairs.len(), 1);
}

fn warc_record(kind: &str, uri: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:1>\r\n\
         WARC-Target-URI: {uri}\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {}\r\n\r\n",
        block.len()
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status} X\r\n{headers}\r\n\r\n").as_bytes(), body].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = PackedWriter::new(Path::new("a.gz"), Vec::new()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_warc_file_gives_its_pages() {
    let html = HTML.as_bytes();
    let (begin, end) = html.split_at(500);
    let chunked =
        [b"1f4\r\n", begin, format!("\r\n{:x};x=y\r\n", end.len()).as_bytes(), end, b"\r\n0\r\n\r\n"].concat();
    let records = [
        warc_record("warcinfo", "", b"software: x\r\n"),
        warc_record("request", "http://a", b"GET / HTTP/1.1\r\n\r\n"),
        warc_record(
            "response",
            "http://a",
            &answer(200, "Content-Type: text/html; charset=UTF-8\r\nX-Crawl-Content-Encoding: gzip", html),
        ),
        warc_record("metadata", "http://a", b"x"),
        warc_record(
            "response",
            "http://b",
            &answer(200, "content-type: text/html\r\nTransfer-Encoding: chunked", &chunked),
        ),
        warc_record(
            "response",
            "http://c",
            &answer(200, "Content-Type: text/html\r\nContent-Encoding: gzip", &gzip(html)),
        ),
        warc_record(
            "response",
            "http://d",
            &answer(200, "Content-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked", html),
        ),
        warc_record("response", "http://e", &answer(404, "Content-Type: text/html", html)),
        warc_record("response", "http://f", &answer(200, "Content-Type: image/png", b"\x89PNG")),
        warc_record(
            "response",
            "http://g",
            &answer(200, "Content-Type: text/html\r\nContent-Encoding: br", b"\xff\xfe\x01"),
        ),
        warc_record(
            "response",
            "http://h",
            &answer(200, "Content-Type: text/html\r\nContent-Encoding: gzip", &gzip(html)[..100]),
        ),
        warc_record("response", "http://i", b"no http"),
        warc_record("response", "http://j", &answer(200, "Content-Type: text/html", &vec![b'x'; 7 << 20])),
        warc_record("conversion", "http://k", "Ein Titel\nEin Text.\n".as_bytes()),
    ];
    let expected = pairs(&[
        ("http-status", "http://e"),
        ("not-html", "http://f"),
        ("content-encoding", "http://g"),
        ("content-encoding", "http://h"),
        ("not-html", "http://i"),
        ("too-long", "http://j"),
    ]);
    // Each record is a member of its own, as in Common Crawl's files, or all are one stream.
    let members: Vec<u8> = records.iter().flat_map(|record| gzip(record)).collect();
    for (name, content, is_packed) in
        [("a.warc", records.concat(), false), ("a.warc.gz", records.concat(), false), ("a.warc.gz", members, true)]
    {
        let corpus = Corpus::new("kind = \"title-body\"", name, &content);
        if is_packed {
            std::fs::write(corpus.dir.path().join(name), &content).unwrap();
        }
        let given = corpus.given();
        assert_eq!(given.pairs.len(), 5, "{:?}", given.dropped);
        assert!(
            given.pairs[..4]
                .iter()
                .all(|(title, body)| title == "All about cats and their mice" && body.contains("fish & meat"))
        );
        assert_eq!(given.pairs[4], ("Ein Titel".to_owned(), "Ein Text.".to_owned()));
        assert_eq!(given.places[0], format!("{name}: row 3"));
        assert_eq!(given.dropped, expected);
    }
    let skipping = "kind = \"title-body\"\non_error = \"skip\"";
    for (content, parts) in [
        (records.concat()[..900].to_vec(), ["a.warc: row 3", "the file ends within the record"]),
        (b"<html>".to_vec(), ["a.warc: row 1", "WARC/1.0"]),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n".to_vec(), ["row 1", "Content-Length"]),
        (
            b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 99999999999999\r\n\r\nx".to_vec(),
            ["row 1", "ends within"],
        ),
        ([b"WARC/1.0\r\n".to_vec(), b"a: b\r\n".repeat(1000)].concat(), ["row 1", "does not end"]),
    ] {
        Corpus::new(skipping, "a.warc", content).refuses(4, &parts);
    }
}

#[test]
fn a_text_is_a_document() {
    let given = Corpus::new("kind = \"title-body\"", "a.txt", "\u{feff}\n A title \n\nThe body.\n").given();
    assert_eq!(given.pairs, pairs(&[("A title", "The body.")]));
    let given = Corpus::new("kind = \"first-sentence-rest\"", "a.txt.zst", "Is it? It is.").given();
    assert_eq!(given.pairs, pairs(&[("Is it?", "It is.")]));
    assert_eq!(reasons(&Corpus::new("kind = \"title-body\"", "a.txt", "x").given()), ["no-passage"]);
    Corpus::new("kind = \"title-body\"", "a.txt", b"\xff").refuses(4, &["a.txt:1", "not UTF-8"]);
}
