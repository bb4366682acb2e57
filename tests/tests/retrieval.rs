//! `tercet index` and `tercet search`: every list against scoring each pair by itself, from what `tercet encode` makes
//! of the texts; the same bytes from any number of ranks; and what is refused.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tercet_tests::library::{Library, NUM_DOCS, NUM_QUERIES};
use tercet_tests::place::files_below;
use tercet_tests::program::Tercet;

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn common(a: &BTreeMap<i64, f32>, b: &BTreeMap<i64, f32>) -> f64 {
    a.iter().map(|(token, weight)| f64::from(*weight) * f64::from(*b.get(token).unwrap_or(&0.0))).sum()
}

fn late(query: &[Vec<f32>], doc: &[Vec<f32>]) -> f64 {
    let best = |q: &Vec<f32>| doc.iter().map(|d| inner(q, d)).fold(f64::NEG_INFINITY, f64::max);
    query.iter().map(best).sum::<f64>() / query.len() as f64
}

/// Lucene's formula, from words.
fn bm25(query: &[usize], doc: &[usize], docs: &[(String, Vec<usize>)]) -> f64 {
    let mean = docs.iter().map(|(_, words)| words.len()).sum::<usize>() as f64 / docs.len() as f64;
    let count = |words: &[usize], word: usize| words.iter().filter(|other| **other == word).count() as f64;
    let norm = 0.9 * (1.0 - 0.4 + 0.4 * doc.len() as f64 / mean);
    let of_word = |word: &usize| {
        let frequency = docs.iter().filter(|(_, words)| words.contains(word)).count() as f64;
        let idf = (1.0 + (docs.len() as f64 - frequency + 0.5) / (frequency + 0.5)).ln();
        let tf = count(doc, *word);
        idf * tf / (tf + norm)
    };
    query.iter().map(of_word).sum()
}

/// The lists of a run file: query → documents with scores, in order.
type Run = BTreeMap<String, Vec<(String, f32)>>;

fn run(path: &Path) -> Run {
    let mut lists = Run::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let [query, q0, doc, rank, score, tag]: [&str; 6] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let list = lists.entry(query.to_owned()).or_default();
        list.push((doc.to_owned(), score.parse().unwrap()));
        assert_eq!((q0, rank.parse::<usize>().unwrap()), ("Q0", list.len()));
        assert_eq!(tag, path.file_stem().unwrap());
    }
    lists
}

/// A list must be in trec_eval's order, have the scores that `expected` gives, and leave out nothing that is better
/// than its last, of the documents that `expected` names.
fn assert_is_best(list: &[(String, f32)], expected: &BTreeMap<&str, f64>, depth: usize, what: &str) {
    assert_eq!(list.len(), depth.min(expected.len()), "{what}");
    for pair in list.windows(2) {
        let ((a, first), (b, second)) = (&pair[0], &pair[1]);
        assert!(first > second || (first == second && a > b), "{what}: {pair:?}");
    }
    let listed: BTreeMap<&str, f32> = list.iter().map(|(doc, score)| (doc.as_str(), *score)).collect();
    assert_eq!(listed.len(), list.len(), "{what}: a document twice");
    let (worst_id, worst) = list.last().map_or(("", f64::INFINITY), |(doc, score)| (doc, f64::from(*score)));
    for (doc, score) in expected {
        match listed.get(doc) {
            Some(found) => assert!((f64::from(*found) - score).abs() < 1e-5, "{what}: {doc}: {found} for {score}"),
            None => assert!(*score < worst + 1e-5, "{what}: {doc} with {score} is not listed; {worst_id} {worst} is"),
        }
    }
    assert!(listed.keys().all(|doc| expected.contains_key(doc)), "{what}");
}

fn assert_same_files(found: &Path, expected: &Path) {
    let (found, expected) = (files_below(found), files_below(expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let differ: Vec<_> = expected.keys().filter(|name| found[*name] != expected[*name]).collect();
    assert!(differ.is_empty(), "{differ:?} differ");
}

const RANKINGS: [&str; 7] = ["dense", "lexical", "bm25", "bm25_words", "dense_lexical", "multi_vector", "all"];
const ALL: [&str; 2] = ["--rankings", "dense,lexical,bm25,bm25_words,dense_lexical,multi_vector,all"];
const HEADS: [&str; 2] = ["--heads", "dense,lexical,bm25,words"];

#[test]
fn every_list_is_that_of_scoring_each_pair_by_itself() {
    let library = Library::new();
    library.index("index", 2).arg("--store").arg("fp32").arg(HEADS[0]).arg(HEADS[1]).succeed();
    let (top, rerank) = (50, 20);
    let search = library.search("index", "runs", 2).arg(ALL[0]).arg(ALL[1]).arg("--top").arg(top.to_string());
    let search = search.arg("--rerank").arg(rerank.to_string()).arg("--all-weights").arg("0.15,0.5,0.35");
    search.arg("--dense-lexical-weights").arg("0.2,0.8").succeed();
    let record: Value = serde_json::from_slice(&fs::read(library.place().path("runs/search.json")).unwrap()).unwrap();
    assert_eq!((&record["queries"], &record["passages"]), (&json!(NUM_QUERIES), &json!(NUM_DOCS)));
    assert_eq!((&record["rankings"], &record["all_weights"]), (&json!(RANKINGS), &json!([0.15, 0.5, 0.35])));
    library.search("index", "runs", 1).run().fails_with(2, &["runs/search.json is there already"]);
    let runs: BTreeMap<&str, Run> =
        RANKINGS.map(|name| (name, run(&library.place().path(&format!("runs/{name}.trec"))))).into();

    let (docs, queries) = (library.encoded("corpus"), library.encoded("queries"));
    for (q, (query, words)) in library.queries.iter().enumerate() {
        let by_doc = |score: &dyn Fn(usize) -> f64| -> BTreeMap<&str, f64> {
            library.docs.iter().enumerate().map(|(d, (id, _))| (id.as_str(), score(d))).collect()
        };
        let dense = by_doc(&|d| inner(&queries.dense[q], &docs.dense[d]));
        let lexical = by_doc(&|d| common(&queries.lexical[q], &docs.lexical[d]));
        let lucene = by_doc(&|d| bm25(words, &library.docs[d].1, &library.docs));
        let multi_vector = by_doc(&|d| late(&queries.multi_vector[q], &docs.multi_vector[d]));
        let above_zero = |of: &BTreeMap<&'_ str, f64>| -> Vec<String> {
            of.iter().filter(|(_, score)| **score > 0.0).map(|(doc, _)| (*doc).to_owned()).collect()
        };
        let among = |of: &BTreeMap<&str, f64>, ids: &[String]| -> BTreeMap<String, f64> {
            ids.iter().map(|id| (id.clone(), of[id.as_str()])).collect()
        };
        let check = |name: &str, expected: &BTreeMap<String, f64>, depth: usize| {
            let list = runs[name].get(query).map_or(&[][..], Vec::as_slice);
            let expected = expected.iter().map(|(id, score)| (id.as_str(), *score)).collect();
            assert_is_best(list, &expected, depth, &format!("{name} of {query}"));
        };
        let everything: Vec<String> = library.docs.iter().map(|(id, _)| id.clone()).collect();
        check("dense", &among(&dense, &everything), top);
        check("lexical", &among(&lexical, &above_zero(&lexical)), top);
        check("bm25", &among(&lucene, &above_zero(&lucene)), top);
        // A token is a word here.
        check("bm25_words", &among(&lucene, &above_zero(&lucene)), top);

        // The lists as they are written: what one of them lacks counts as nothing.
        let listed = |name: &str| -> BTreeMap<&str, f64> {
            let list = runs[name].get(query).into_iter().flatten();
            list.map(|(doc, score)| (doc.as_str(), f64::from(*score))).collect()
        };
        let (of_dense, of_lexical) = (listed("dense"), listed("lexical"));
        let union: BTreeSet<&str> = of_dense.keys().chain(of_lexical.keys()).copied().collect();
        let part = |list: &BTreeMap<&str, f64>, doc: &str| list.get(doc).copied().unwrap_or(0.0);
        let fused = union
            .iter()
            .map(|doc| ((*doc).to_owned(), 0.2 * part(&of_dense, doc) + 0.8 * part(&of_lexical, doc)))
            .collect();
        check("dense_lexical", &fused, top);

        let candidates: Vec<String> = runs["dense"][query].iter().take(rerank).map(|(doc, _)| doc.clone()).collect();
        check("multi_vector", &among(&multi_vector, &candidates), rerank);
        let all = candidates
            .iter()
            .map(|doc| {
                let doc = doc.as_str();
                (doc.to_owned(), 0.15 * dense[doc] + 0.5 * lexical[doc] + 0.35 * multi_vector[doc])
            })
            .collect();
        check("all", &all, rerank);
    }
}

/// The model's weights of each passage, as an index of 32-bit floats has them.
fn weights_in(index: &Path, num_docs: usize) -> Vec<BTreeMap<i64, f32>> {
    let mut docs = Vec::new();
    for (_, bytes) in files_below(&index.join("blocks")) {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |name: &str, size: usize| -> Vec<u64> {
            let data = file.tensor(name).unwrap().data().to_vec();
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            data.chunks_exact(size).map(number).collect()
        };
        let (tokens, offsets) = (numbers("lexical.tokens", 4), numbers("lexical.offsets", 8));
        let (places, weights) = (numbers("lexical.docs", 2), numbers("lexical.weights", 4));
        let first = docs.len();
        docs.resize(first + numbers("ids.offsets", 8).len() - 1, BTreeMap::new());
        for (token, ends) in tokens.iter().zip(offsets.windows(2)) {
            for posting in ends[0] as usize..ends[1] as usize {
                let weight = f32::from_bits(weights[posting] as u32);
                docs[first + places[posting] as usize].insert(*token as i64, weight);
            }
        }
    }
    assert_eq!(docs.len(), num_docs);
    docs
}

/// Passages are not encoded for it, and it gives the same.
#[test]
fn an_index_of_counts_alone_is_searched_by_them() {
    let library = Library::new();
    let place = library.place();
    library.index("whole", 1).arg(HEADS[0]).arg(HEADS[1]).succeed();
    library.index("counts", 2).arg("--heads").arg("bm25,words").succeed();
    library.search("whole", "runs-whole", 1).succeed();
    library.search("counts", "runs-counts", 1).succeed();
    let names: BTreeSet<String> = files_below(&place.path("runs-counts")).into_keys().collect();
    assert_eq!(names, ["bm25.trec", "bm25_words.trec", "search.json"].map(str::to_owned).into());
    for ranking in ["bm25", "bm25_words"] {
        let list = |runs: &str| fs::read(place.path(&format!("{runs}/{ranking}.trec"))).unwrap();
        assert!(list("runs-counts") == list("runs-whole"), "{ranking}");
    }
}

#[test]
fn published_scores_are_whole_numbers_of_ten_thousandths() {
    let library = Library::new();
    let place = library.place();
    library.index("index", 1).arg("--store").arg("fp32").succeed();
    let search = |index: &str, out: &str| library.search(index, out, 2).arg("--lexical").arg("published");
    let said = search("index", "runs").run();
    assert!(said.code == Some(0) && !said.stderr().contains("--store fp32"), "{}", said.stderr());
    let record: Value = serde_json::from_slice(&fs::read(place.path("runs/search.json")).unwrap()).unwrap();
    assert_eq!(record["lexical"], "published");

    let (docs, queries) = (weights_in(&place.path("index"), NUM_DOCS), library.encoded("queries").lexical);
    let hundredths = |weight: &f32| (100.0 * f64::from(*weight)).ceil() as u64;
    let [dense, lexical, both] =
        ["dense", "lexical", "dense_lexical"].map(|name| run(&place.path(&format!("runs/{name}.trec"))));
    for ((query, _), own) in library.queries.iter().zip(&queries) {
        let mut expected: Vec<(String, f32)> = Vec::new();
        for ((id, _), doc) in library.docs.iter().zip(&docs) {
            let terms = own.iter().map(|(token, weight)| hundredths(weight) * doc.get(token).map_or(0, hundredths));
            let score = terms.sum::<u64>();
            if score > 0 {
                expected.push((id.clone(), score as f32));
            }
        }
        expected.sort_by(|(a, first), (b, second)| second.total_cmp(first).then_with(|| b.cmp(a)));
        assert_eq!(lexical.get(query).cloned().unwrap_or_default(), expected, "{query}");

        let part = |list: &Run, doc: &str| -> f64 {
            let list = list.get(query).into_iter().flatten();
            list.clone().find(|(own, _)| own == doc).map_or(0.0, |(_, score)| f64::from(*score))
        };
        for (doc, score) in &both[query] {
            let expected = part(&dense, doc) + 0.3 * part(&lexical, doc) / 1e4;
            assert!((f64::from(*score) - expected).abs() < 1e-6, "{query} {doc}: {score} for {expected}");
        }
    }

    library.index("rounded", 1).succeed();
    let said = search("rounded", "runs-rounded").run();
    assert!(said.code == Some(0) && said.stderr().contains("the index stores weights in bf16"), "{}", said.stderr());
}

#[test]
fn any_number_of_ranks_and_threads_and_any_memory_give_the_same_bytes() {
    let library = Library::new();
    let place = library.place();
    library.index("index-1", 1).arg(HEADS[0]).arg(HEADS[1]).succeed();
    assert_eq!(fs::read_dir(place.path("index-1/blocks")).unwrap().count(), 3);
    library.search("index-1", "runs-1", 1).arg(ALL[0]).arg(ALL[1]).arg("--top").arg("30").succeed();
    for ranks in [2, 3, 4] {
        let (index, runs) = (format!("index-{ranks}"), format!("runs-{ranks}"));
        let threads = (5 - ranks).to_string();
        let made = library.index(&index, ranks).arg(HEADS[0]).arg(HEADS[1]);
        made.env("OMP_NUM_THREADS", &threads).succeed();
        assert_same_files(&place.path(&index), &place.path("index-1"));
        // A batch of 64 queries, of 70.
        let search = library.search(&index, &runs, ranks).arg(ALL[0]).arg(ALL[1]).arg("--top").arg("30");
        search.arg("--memory").arg("1").env("OMP_NUM_THREADS", &threads).succeed();
        assert_same_files(&place.path(&runs), &place.path("runs-1"));
    }
}

#[test]
fn bf16_is_half_as_large_and_nearly_the_same() {
    let library = Library::new();
    let size = |store: &str| -> usize {
        library.index(store, 1).arg("--store").arg(store).arg("--heads").arg("dense,lexical").succeed();
        library.search(store, &format!("runs-{store}"), 1).succeed();
        files_below(&library.place().path(store)).values().map(Vec::len).sum()
    };
    assert!(size("bf16") < size("fp32"));
    let list = |store: &str| run(&library.place().path(&format!("runs-{store}/dense.trec")));
    let (rounded, whole) = (list("bf16"), list("fp32"));
    for (query, whole) in &whole {
        let rounded: BTreeMap<_, _> = rounded[query].iter().cloned().collect();
        assert!(whole.iter().all(|(doc, score)| (rounded[doc] - score).abs() < 0.02));
    }
}

#[test]
fn what_is_begun_goes_on_and_what_is_finished_stays() {
    let library = Library::new();
    let place = library.place();
    library.index("whole", 1).succeed();
    place.copy(&place.path("whole"), "begun");
    fs::remove_file(place.path("begun/manifest.json")).unwrap();
    fs::remove_file(place.path("begun/blocks/000001.safetensors")).unwrap();
    library.search("begun", "runs", 1).run().fails_with(2, &["begun: this index is not finished", "tercet index"]);
    library.index("begun", 2).succeed();
    assert_same_files(&place.path("begun"), &place.path("whole"));
    library.index("begun", 2).succeed();
    assert_same_files(&place.path("begun"), &place.path("whole"));
}

#[test]
fn another_model_another_corpus_and_other_settings_are_refused_by_name() {
    let library = Library::new();
    library.index("index", 1).succeed();
    for ranks in [1, 2] {
        let cut = library.index("index", ranks).arg("--passage-max-len").arg("16").run();
        cut.fails_with(2, &["begun with something else", "encoding.passage_max_len: 8192 there, 16 here"]);
    }
    let other = library.index("index", 1).arg("--store").arg("fp32").arg("--heads").arg("dense").run();
    other.fails_with(2, &["encoding.stored: \"bf16\" there, \"fp32\" here", "encoding.heads.bm25: true there"]);

    library.scene.train("other", 1).set("steps=0").set("seed=7").succeed();
    let model = library.scene.checkpoint("other", 0).join("model");
    let others = Library { model, scene: library.scene, docs: library.docs, queries: library.queries };
    others.index("index", 1).run().fails_with(2, &["begun with something else", "model.weights: "]);
    let words = ["the index was made with another model: weights: ", "Name the model it was made with"];
    others.search("index", "runs", 2).run().fails_with(2, &words);
    assert!(!others.place().path("runs").exists());

    let corpus = fs::read_to_string(others.place().path("corpus.jsonl")).unwrap();
    others.place().write("corpus.jsonl", &corpus.replacen("w", "w4 w", 1));
    others.index("index", 1).run().fails_with(2, &["corpus.blake3: ", "corpus.text_bytes: "]);
}

#[test]
fn what_cannot_be_indexed_or_searched_is_named() {
    let library = Library::new();
    let place = library.place();
    let with_line = |line: &str| {
        let corpus = fs::read_to_string(place.path("corpus.jsonl")).unwrap();
        let path = place.write("bad.jsonl", &format!("{corpus}{line}\n"));
        let command = Tercet::new("index").arg("--model").arg(&library.model).arg("--corpus").arg(path);
        command.arg("--out").arg(place.path("bad")).ranks(2).run()
    };
    let at = format!("bad.jsonl:{}: ", NUM_DOCS + 1);
    let first = "bad.jsonl:1 has; ids must be unique";
    let twice = json!({"_id": library.docs[0].0, "text": "w5"}).to_string();
    with_line(&twice).fails_with(4, &[&at, "a second passage with the _id", first]);
    with_line(r#"{"text": "w5"}"#).fails_with(4, &[&at, "no \"_id\""]);
    with_line(r#"{"_id": "a b", "text": "w5"}"#).fails_with(4, &[&at, "has a blank in it"]);
    with_line(r#"{"_id": "x"}"#).fails_with(4, &[&at, "no \"text\""]);
    assert!(!place.path("bad").exists(), "nothing is begun");
    // As `eval` has it: BEIR's corpora have such documents.
    let blank = with_line(r#"{"_id": "blank", "text": " "}"#);
    assert_eq!(blank.code, Some(0), "{}", blank.stderr());
    assert!(blank.stderr().contains("1 passages are blank or without a token"), "{}", blank.stderr());

    place.write("occupied/file", "somebody's");
    library.index("occupied", 1).run().fails_with(2, &["occupied is there already"]);
    library.search("occupied", "runs", 1).run().fails_with(2, &["occupied: no index is here"]);
    library.search("nowhere", "runs", 1).run().fails_with(2, &["nowhere: no index is here"]);

    library.index("dense", 1).arg("--heads").arg("dense").succeed();
    let lexical = library.search("dense", "runs", 2).arg("--rankings").arg("all").run();
    lexical.fails_with(2, &["the ranking all: the index lacks a head", "it has dense", "--heads"]);
    place.write("queries.jsonl", "{\"_id\": \"q 1\", \"text\": \"w5\"}\n");
    library.search("dense", "runs", 1).run().fails_with(4, &["queries.jsonl: the _id \"q 1\" has a blank in it"]);
    place.write("queries.jsonl", "");
    library.search("dense", "runs", 1).run().fails_with(4, &["queries.jsonl: holds no query"]);
}

#[test]
fn a_block_that_is_not_what_was_written_is_refused_and_made_anew() {
    let library = Library::new();
    let place = library.place();
    library.index("index", 1).succeed();
    place.copy(&place.path("index"), "whole");
    let block = place.path("index/blocks/000002.safetensors");
    let mut bytes = fs::read(&block).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&block, &bytes).unwrap();
    for ranks in [1, 2] {
        let words = ["blocks/000002.safetensors: damaged", "Remove the file", "tercet index"];
        library.search("index", "runs", ranks).run().fails_with(4, &words);
    }
    assert!(!place.path("runs").exists());
    fs::remove_file(&block).unwrap();
    library
        .search("index", "runs", 1)
        .run()
        .fails_with(2, &["000002.safetensors: a block of the index is gone", "tercet index"]);
    library.index("index", 1).succeed();
    assert_same_files(&place.path("index"), &place.path("whole"));
}

/// The same passages in other clothes: packed, cut in two, a BEIR folder.
#[test]
fn a_corpus_is_the_same_in_whatever_files() {
    let library = Library::new();
    let place = library.place();
    library.index("whole", 1).succeed();
    let corpus = fs::read_to_string(place.path("corpus.jsonl")).unwrap();
    let (first, second) = corpus.split_at(corpus.match_indices('\n').nth(99).unwrap().0 + 1);
    let parts = [place.write("a.jsonl", first), place.write("b.jsonl", second)];
    let index = |out: &str, corpus: &[PathBuf]| {
        let command = Tercet::new("index").arg("--model").arg(&library.model).arg("--out").arg(place.path(out));
        corpus.iter().fold(command.arg("--corpus"), |command, path| command.arg(path)).succeed();
        assert_same_files(&place.path(out), &place.path("whole"));
    };
    index("parts", &parts);
    place.write("beir/corpus.jsonl", &corpus);
    index("beir-index", &[place.path("beir")]);
    let rows: Vec<Value> = corpus.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), NUM_DOCS);
}
