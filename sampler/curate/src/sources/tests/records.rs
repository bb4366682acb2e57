//! Records, the files that they are in, and the keys of sources.

use super::*;

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
        assert_eq!(given.dropped, pairs(&[("no_query", "x"), ("no_passage", "On dogs")]));
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
    assert_eq!(reasons(&given), ["one_sentence", "no_passage"]);
    let news = r#"{"title": "Rain", "text": "It rained.", "domain": "a.b", "date": "2017", "description": "", "url": "u", "image_url": null}"#;
    assert_eq!(Corpus::new("kind = \"title-body\"", "cc.jsonl", news).given().pairs, pairs(&[("Rain", "It rained.")]));
    let asked = r#"{"question": "Why?", "answer": ["So.", "", "Thus."], "n": 1}"#;
    let given = Corpus::new("kind = \"question-answer\"", "qa.jsonl", asked).given();
    assert_eq!(given.pairs, pairs(&[("Why?", "So."), ("Why?", "Thus.")]));
    assert_eq!(reasons(&given), ["no_passage"]);
    let given = Corpus::new("kind = \"question-answer\"\nmax_pairs = 1", "qa.jsonl", asked).given();
    assert_eq!((given.pairs.len(), reasons(&given)), (1, vec!["no_passage", "max_pairs"]));
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
    assert_eq!(given.places, ["rows.parquet: row 1"]);
    assert_eq!(given.dropped, pairs(&[("no_query", "B"), ("score-score", "c")]));
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
    assert_eq!(given.dropped, pairs(&[("no_query", "x"), ("no_passage", "Katze"), ("score-scores", "Maus")]));
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
    assert_eq!(reasons(&given)[0], "no_column");
    assert_eq!(reasons(&given)[1..], ["unreadable"; 4]);
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
        ("kind = \"first-sentence-rest\"\naligned = [\"de\", \"en\"]", "aligned"),
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
