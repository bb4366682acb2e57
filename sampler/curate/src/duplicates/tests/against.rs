//! Rows with texts of benchmarks.

use super::{Draw, Place, Row, row};
use crate::duplicates::Compared;
use crate::duplicates::benchmarks::benchmarks;
use crate::duplicates::contamination::{Hits, write_keys};
use crate::duplicates::keys::RowLayout;
use crate::duplicates::spans::Units;
use crate::error::CurateError;

const QRELS: &str = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n";

/// A place with a benchmark `eval/NAME`: two queries, of which one is for training, and three documents.
fn place(recipe: &str, draw: &mut Draw) -> (Place, [String; 5]) {
    let place = Place::new(recipe);
    let [q1, q2] = ["is this the first question of the benchmark", "or is it one for training"].map(str::to_owned);
    let documents = [draw.text(60), draw.text(60), draw.text(60)];
    place.write(
        "eval/one/queries.jsonl",
        format!("{{\"_id\": \"q1\", \"text\": \"{q1}\"}}\n{{\"_id\": \"q2\", \"text\": \"{q2}\"}}\n"),
    );
    let line =
        |(i, text): (usize, &String)| format!("{{\"_id\": \"d{}\", \"title\": \"T\", \"text\": \"{text}\"}}\n", i + 1);
    let corpus: String = documents.iter().enumerate().map(line).collect();
    place.write("eval/one/corpus.jsonl.zst", zstd::encode_all(corpus.as_bytes(), 1).unwrap());
    place.write("eval/one/qrels/test.tsv", QRELS);
    place.write("eval/one/qrels/train.tsv", "query-id\tcorpus-id\tscore\nq2\td3\t1\n");
    let [d1, d2, d3] = documents;
    (place, [q1, q2, d1, d2, d3])
}

fn rows([q1, q2, d1, d2, d3]: &[String; 5], draw: &mut Draw) -> Vec<Row> {
    let mut text = || draw.text(60);
    vec![
        row("harmless", &text()),
        row(&q1.to_uppercase(), &text()),
        row(q2, &text()),
        row("a", d1),
        row("b", &format!("T. {d2}")),
        row("c", &format!("{d3} and more")),
        row(&text(), q1),
        row(d1, &text()),
        row("d", &d1.replacen("w", "x", 1)),
    ]
}

fn found(place: &Place, rows: &[Row], threads: usize) -> Vec<(u32, String)> {
    let unit = place.unit("unit", Compared::Pair, rows);
    place.find(&[unit], threads).remove(0)
}

#[test]
fn rows_with_a_benchmarks_text_go() {
    for (documents, expected) in
        [("all", vec![1, 3, 4, 5, 6, 7, 8]), ("judged", vec![1, 3, 6, 7, 8]), ("none", vec![1, 6])]
    {
        let mut draw = Draw(1);
        let (place, texts) = place(&format!("against = [\"eval/*\"]\ndocuments = \"{documents}\""), &mut draw);
        let rows = rows(&texts, &mut draw);
        let found = found(&place, &rows, 2);
        assert_eq!(found.iter().map(|(row, _)| *row).collect::<Vec<_>>(), expected, "{documents}");
        assert!(found.iter().all(|(_, reason)| reason == "contaminated-one"));
    }
}

#[test]
fn all_planted_texts_are_found_and_counted_per_benchmark() {
    let mut draw = Draw(2);
    let (place, _) = place("against = [\"eval/*\", \"more/*.txt\", \"rows.jsonl\"]", &mut draw);
    let texts: Vec<String> = (0..300).map(|_| draw.text(30)).collect();
    place.write("more/two.txt", texts[..200].join("\n"));
    let lines: Vec<String> =
        texts[100..].iter().map(|text| format!("{{\"query\": \"q {text}\", \"pos\": [\"{text}\"]}}")).collect();
    place.write("rows.jsonl", lines.join("\n"));
    // A unit of several pieces of work, in which each text is planted once, exactly or nearly.
    let mut rows: Vec<Row> = (0..20_000).map(|i| row(&format!("query {i}"), &draw.text(20))).collect();
    for (i, text) in texts.iter().enumerate() {
        rows[i * 61].1 = if i % 2 == 0 { text.clone() } else { format!("{text} end") };
    }
    let expected: Vec<(u32, String)> = (0..300)
        .map(|i| (i * 61, format!("contaminated-{}", if i < 200 { "two.txt" } else { "rows.jsonl" })))
        .collect();
    for threads in [1, 2, 5] {
        let mut found = found(&place, &rows, threads);
        // What both have counts for the first in the order of paths.
        assert!(
            found
                .iter()
                .filter(|(row, _)| (100..200).contains(&(row / 61)))
                .all(|(_, reason)| reason.ends_with("two.txt"))
        );
        found.retain(|(_, reason)| reason.starts_with("contaminated"));
        assert_eq!(found, expected, "{threads}");
    }
}

#[test]
fn how_many_keys_are_in_memory_makes_no_difference() {
    let place = Place::new("against = [\"a.txt\", \"b.txt\"]");
    let mut draw = Draw(5);
    let texts: Vec<String> = (0..100).map(|_| draw.text(20)).collect();
    place.write("a.txt", texts[50..].join("\n"));
    place.write("b.txt", texts[..80].join("\n"));
    let rows: Vec<Row> = texts.iter().map(|text| row("a", &format!("{text} b"))).collect();
    let units = [place.unit("unit", Compared::Pair, &rows)];
    std::fs::create_dir(place.path("scratch")).unwrap();
    let layout = RowLayout::of(&place.recipe);
    let files = [layout.open(&units[0]).unwrap()];
    let units = Units::of(&files);
    let benchmarks = benchmarks(&place.recipe.against, &place.path("")).unwrap();
    let keys = write_keys(&benchmarks, &place.recipe, &place.path("scratch"), 1).unwrap();
    for block in [1, 7, 50, 1000] {
        let hits = Hits::find(&units, &layout, &keys, block, (&place.path("scratch"), 1)).unwrap();
        let found = hits.of_unit(0).unwrap();
        assert!(found.iter().copied().eq((0..100).map(|i| (i, u16::from(i < 50)))), "{block}: {found:?}");
        std::fs::remove_file(place.path("scratch/hits-00000")).unwrap();
    }
}

#[test]
fn a_benchmarks_text_is_the_first_reason_and_names_are_told_apart() {
    let place = Place::new("against = [\"a/de\", \"b/de\"]");
    let text = Draw(3).text(40);
    place.write("a/de/queries.jsonl", "{\"_id\": 1, \"text\": \"who\"}");
    place.write("b/de/corpus.jsonl", format!("{{\"_id\": \"1\", \"text\": \"{text}\"}}"));
    let found = found(&place, &[row("a", &text), row("a", &text), row("Who?", "it was him")], 1);
    let expected = [(0, "contaminated-b_de"), (1, "contaminated-b_de"), (2, "contaminated-a_de")];
    assert_eq!(found, expected.map(|(row, reason)| (row, reason.to_owned())));
}

#[test]
fn a_query_with_a_word_changed_goes_and_another_question_stays() {
    let place = Place::new("against = [\"eval/*\"]");
    let queries = [
        "what is the name of the highest mountain in north america",
        "who was president during the 2nd world war in the united states",
        "when was albert einstein born",
        "which river flows through the old town of heidelberg",
    ];
    let line = |(i, text): (usize, &&str)| format!("{{\"_id\": \"{i}\", \"text\": \"{text}\"}}\n");
    place.write("eval/a/corpus.jsonl", line((0, &"how high is the roof of the station in the middle of the town")));
    place.write("eval/b/queries.jsonl", queries[..3].iter().enumerate().map(line).collect::<String>());
    place.write("eval/c/queries.jsonl", queries[1..].iter().enumerate().map(line).collect::<String>());
    let text = |seed: u64| Draw(seed).text(60);
    let going = [
        ("What is the name of highest mountain in North America?", "b"),
        ("what is the name of the highest mountain in north amerika", "b"),
        ("what is the name of the tallest mountain in north america", "b"),
        ("who was president during the second world war in the united states", "b"),
        ("which river flows through old town of heidelberg", "c"),
    ];
    // Other questions; and a document with a word changed, for which nobody looks.
    let staying = [
        "when was isaac newton born",
        "when was marie curie born",
        "what is the length of the longest river in south america",
        "who was king when the first world war began",
        "how high is the roof of the tower in the middle of the town",
        "which river flows through the new part of budapest",
    ];
    let mut rows: Vec<Row> = going.iter().enumerate().map(|(i, (query, _))| row(query, &text(i as u64))).collect();
    // A passage as well, however long the query is.
    rows.push(row(&text(10), going[2].0));
    rows.extend(staying.iter().enumerate().map(|(i, query)| row(query, &text(20 + i as u64))));
    let benchmarks = going.iter().map(|(_, benchmark)| *benchmark).chain(["b"]);
    let expected: Vec<_> = benchmarks.enumerate().map(|(i, name)| (i as u32, format!("contaminated-{name}"))).collect();
    for threads in [1, 3] {
        assert_eq!(found(&place, &rows, threads), expected);
    }
}

#[test]
fn what_is_no_benchmark_is_refused() {
    let refused = |recipe: &str, code: u8, expected: &str| {
        let (place, _) = place(&format!("against = [{recipe}]"), &mut Draw(4));
        place.write("eval/empty/note.md", "x");
        place.write("none/queries.jsonl", "{\"_id\": \"1\", \"text\": \" \"}");
        place.write("bad/queries.jsonl", "{\"_id\": \"1\", \"text\": \"x\"}\n{\"_id\": \"2\"}");
        place.write("qrels/queries.jsonl", "{\"_id\": \"1\", \"text\": \"x\"}");
        place.write("qrels/qrels/test.tsv", "1 2\n");
        place.write("odd.jsonl", "{\"name\": \"x\"}");
        place.write("page.html", "x");
        let unit = place.unit("unit", Compared::Pair, &[row("a", "b")]);
        let error = place.try_find(&[unit], 2).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(expected), "{said}");
        let found = match error {
            CurateError::Usage(_) => 2,
            CurateError::Input(_) => 4,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, code, "{said}");
    };
    refused("\"nothing/*\"", 2, "duplicates.against: \"nothing/*\" matches no file in");
    refused("\"eval/***\"", 2, "is no pattern");
    refused("\"eval/*\"", 2, "eval/empty: the folder has neither queries.jsonl nor corpus.jsonl");
    refused("\"page.html\"", 2, "no evaluation folder, and no file of texts");
    refused("\"none\"", 2, "none: it has no text that counts");
    refused("\"bad\"", 4, "bad/queries.jsonl:2: no \"text\"");
    refused("\"qrels\"", 4, "test.tsv:1: expected 3 columns");
    refused("\"odd.jsonl\"", 4, "odd.jsonl:1: no text under a usual name");
}
