//! Documents: pages of dumps and of the web, texts.

use super::*;

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
            ("no_wikitext", "Common.js"),
            ("no_wikitext", "Gelöscht"),
        ];
        assert_eq!(given.dropped, pairs(&expected));
    }
    let given = Corpus::new("kind = \"heading-section\"", "de.xml-p1p9.bz2", dump(&page("Berlin", BERLIN))).given();
    let queries: Vec<&str> = given.pairs.iter().map(|(query, _)| query.as_str()).collect();
    assert_eq!(queries, ["Berlin Anfang", "Berlin Code"]);
    let given = Corpus::new("kind = \"heading-section\"", "a.xml", dump(&page("A", "x"))).given();
    assert_eq!(reasons(&given), ["no_heading"]);
    let keys = "kind = \"first-sentence-rest\"\nlanguage = \"xx\"";
    let given = Corpus::new(keys, "a.xml", dump(&page("Berlin", BERLIN))).given();
    assert_eq!(given.pairs[0].0, "Berlin ist die Haupt\u{ad}stadt von Deutschland.");
    assert_eq!(given.languages, [Some("xx".to_owned())]);
    // The last revision of a page's history counts.
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
        (page("Berlin", BERLIN).into_bytes(), ["a.xml:1: ", "a <page> begins, where a dump of a MediaWiki"]),
        (b"Not found\n".to_vec(), ["a.xml:2: ", "no <mediawiki> begins"]),
        (Vec::new(), ["a.xml:1: ", "no <mediawiki> begins"]),
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
}

#[test]
fn hostile_wikitext_takes_time_in_proportion_to_its_length() {
    let names = super::super::wikitext::Namespaces::default();
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
    assert_eq!(reasons(&Corpus::new("kind = \"title-body\"", "cats.html", "<p></p>").given()), ["no_main_text"]);
}

#[test]
fn a_bomb_of_html_is_dropped() {
    let attributes: String = (0..100_000).map(|i| format!(" a{i}")).collect();
    for (page, reason) in [
        ("<div>".repeat(300_000), "too_deep"),
        ("<table><tr><td>".repeat(100_000), "too_deep"),
        (format!("<div{attributes}>{HTML}</div>"), "too_deep"),
        (format!("<div title='x'{attributes}>{HTML}</div>"), "too_deep"),
        (format!("<div '{attributes}>{HTML}</div>"), "too_deep"),
        ("<p>x".repeat(1_500_000), "too_long"),
    ] {
        let given = Corpus::new("kind = \"title-body\"", "bomb.html", page).given();
        assert_eq!(reasons(&given), [reason]);
    }
    let meta = "<meta http-equiv=content-type content='text/html; charset'>";
    let given =
        Corpus::new("kind = \"title-body\"", "meta.html", HTML.replace("<title>", &format!("{meta}<title>"))).given();
    assert_eq!(reasons(&given), ["unparsed"]);
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
        ("http_status", "http://e"),
        ("not_html", "http://f"),
        ("content_encoding", "http://g"),
        ("content_encoding", "http://h"),
        ("not_html", "http://i"),
        ("too_long", "http://j"),
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
    assert_eq!(reasons(&Corpus::new("kind = \"title-body\"", "a.txt", "x").given()), ["no_passage"]);
    Corpus::new("kind = \"title-body\"", "a.txt", b"\xff").refuses(4, &["a.txt:1", "not UTF-8"]);
}

#[test]
fn whatever_bytes_change_reading_ends_with_what_there_is_or_with_the_place() {
    let sent = answer(200, "Content-Type: text/html", HTML.as_bytes());
    let files = [
        ("a.xml", "heading-section", dump(&page("Berlin", BERLIN)).into_bytes()),
        ("a.html", "title-body", HTML.as_bytes().to_vec()),
        (
            "a.warc",
            "title-body",
            [warc_record("response", "http://a", &sent), warc_record("request", "", b"")].concat(),
        ),
        ("a.jsonl", "title-body", b"{\"title\": \"a\", \"text\": [\"b\", null]}\n".repeat(20)),
        ("a.csv", "title-body", b"title,text\n\"a \"\"b\"\"\",c\n".repeat(20)),
        ("a.txt", "first-sentence-rest", "Ein Satz. Und ein anderer, 猫。".repeat(9).into_bytes()),
    ];
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for (name, kind, content) in files {
        let corpus = Corpus::new(&format!("kind = \"{kind}\""), name, "");
        for _ in 0..300 {
            let mut changed = content.clone();
            for _ in 0..=random(8) {
                let (at, end) = (random(changed.len()), random(changed.len()));
                match random(4) {
                    0 => changed[at] = random(256) as u8,
                    1 => changed[at] = b"<>&;[]{}|='\"\n\0"[random(14)],
                    2 => changed = [&changed[..at], &changed[end..]].concat(),
                    _ => changed.truncate(at + 1),
                }
            }
            corpus.write(name, &changed);
            if let Err(error) = corpus.read() {
                assert_eq!(error.exit_code().code(), 4, "{error}");
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
}
