//! `mine` against every list, filter and draw done by hand, from what `encode` makes of the texts.

mod lab;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_configs::ExitCode;

use super::fixture::lines;
use super::job;
use lab::{Lab, NUM_ROWS, numbers};

fn negatives(row: &Value) -> Vec<String> {
    serde_json::from_value(row["neg"].clone()).unwrap()
}

/// The 5-grams of characters of words and single blanks.
fn grams(text: &str) -> BTreeSet<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.windows(5).map(|window| window.iter().collect()).collect()
}

fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b) = (grams(a), grams(b));
    a.intersection(&b).count() as f64 / a.union(&b).count() as f64
}

#[test]
fn every_ranking_gives_the_ranks_and_scores_of_scoring_each_pair_by_itself() {
    let lab = Lab::new();
    let index = lab.index();
    for ranking in ["dense", "lexical", "dense_lexical", "multi_vector", "all"] {
        // All of the dense list is encoded again.
        let options = format!(
            "{index} --ranking {ranking} --range 3-9 --negatives 4 --draw top --few keep --rerank 1000 --write-scores \
             --temperature 0.5"
        );
        let (mined, _) = lab.mine(2, &options).unwrap();
        for (i, row) in mined.iter().enumerate() {
            let expected: Vec<&str> =
                lab.ranked(i, ranking).into_iter().skip(3).take(4).map(|doc| lab.docs[doc].1.as_str()).collect();
            assert_eq!(negatives(row), expected, "{ranking} {i}");
            for (key, texts) in [("pos_scores", lab.positives(i)), ("neg_scores", expected)] {
                let expected: Vec<f64> = texts.iter().map(|text| lab.score(i, text, ranking) / 0.5).collect();
                let found = numbers(&row[key]);
                let near = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 2e-5);
                assert!(near && found.len() == expected.len(), "{ranking} {i} {key}: {found:?} {expected:?}");
            }
        }
    }
}

#[test]
fn bm25_scores_a_positive_as_its_list_would() {
    let lab = Lab::new();
    let options = format!(
        "{} --ranking bm25 --range 0-50 --negatives 50 --few keep --draw top --write-scores --temperature 1",
        lab.corpus()
    );
    let (mined, _) = lab.mine(1, &options).unwrap();
    // By words: a tokenizer's token is one here.
    let tokens = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let docs: Vec<Vec<String>> = lab.docs.iter().map(|(_, text)| tokens(text)).collect();
    let mean = docs.iter().map(Vec::len).sum::<usize>() as f64 / docs.len() as f64;
    let score = |query: &str, text: &str| -> f64 {
        let doc = tokens(text);
        let norm = 0.9 * (0.6 + 0.4 * doc.len() as f64 / mean);
        let of = |word: &String| {
            let frequency = docs.iter().filter(|doc| doc.contains(word)).count() as f64;
            let idf = (1.0 + (docs.len() as f64 - frequency + 0.5) / (frequency + 0.5)).ln();
            let count = doc.iter().filter(|other| *other == word).count() as f64;
            idf * count / (count + norm)
        };
        tokens(query).iter().map(of).sum()
    };
    for (i, row) in mined.iter().enumerate() {
        for (key, texts) in [("pos_scores", &row["pos"]), ("neg_scores", &row["neg"])] {
            let texts: Vec<String> = serde_json::from_value(texts.clone()).unwrap();
            for (text, found) in texts.iter().zip(numbers(&row[key])) {
                let expected = score(lab.query(i), text);
                assert!((found - expected).abs() < 1e-4, "{i} {key}: {found} {expected}");
            }
        }
    }
}

#[test]
fn every_filter_takes_what_it_is_told_to_and_is_counted() {
    let lab = Lab::new();
    let index = lab.index();
    // Between a quarter and nine tenths of what is looked at.
    let (_, plain) = lab.mine(1, &format!("{index} --range 1-60 --negatives 59")).unwrap();
    let [low, high] = ["p25", "p90"].map(|part| plain["all"]["scores"][part].as_f64().unwrap() + 1e-4);
    let (min_score, max_score) = (format!("--min-score {low}"), format!("--max-score {high}"));
    type Takes<'a> = Box<dyn Fn(&Lab, usize, &(String, String)) -> bool + 'a>;
    let lowest = |lab: &Lab, row: usize| {
        lab.positives(row).iter().map(|text| lab.score(row, text, "dense")).fold(f64::INFINITY, f64::min)
    };
    let dense = |lab: &Lab, row: usize, doc: &(String, String)| lab.score(row, &doc.1, "dense");
    let filters: [(&str, &str, Takes); 7] = [
        (
            "--near-duplicates 0.7",
            "near_duplicate",
            Box::new(|lab, row, (_, text)| lab.positives(row).iter().any(|positive| jaccard(positive, text) >= 0.7)),
        ),
        (
            "--answers",
            "answer",
            Box::new(|lab, row, (_, text)| {
                text.split(' ').any(|word| word == lab.rows[row]["answers"][0].as_str().unwrap())
            }),
        ),
        (
            "--max-share 0.95",
            "max_share",
            Box::new(|lab, row, doc| {
                let lowest = lowest(lab, row);
                dense(lab, row, doc) > lowest - 0.05 * lowest.abs()
            }),
        ),
        ("--margin 0.1", "margin", Box::new(|lab, row, doc| dense(lab, row, doc) > lowest(lab, row) - 0.1)),
        (&max_score, "max_score", Box::new(|lab, row, doc| dense(lab, row, doc) > high)),
        (&min_score, "min_score", Box::new(|lab, row, doc| dense(lab, row, doc) < low)),
        ("--per-document 1", "document", Box::new(|_, _, _| false)),
    ];
    let mut alone = vec![0u64; filters.len()];
    // Each by itself, then all of them together.
    for chosen in (0..filters.len()).map(|i| i..i + 1).chain(std::iter::once(0..filters.len())) {
        let options: Vec<&str> = filters[chosen.clone()].iter().map(|filter| filter.0).collect();
        let options = format!("{index} --range 1-60 --negatives 20 --draw top --few keep {}", options.join(" "));
        let (mined, report) = lab.mine(1, &options).unwrap();
        let mut removed = BTreeMap::<&str, u64>::new();
        for (row, mined) in mined.iter().enumerate() {
            let (mut expected, mut documents) = (Vec::new(), BTreeSet::new());
            for doc in lab.ranked(row, "dense").into_iter().skip(1).take(59) {
                let doc = &lab.docs[doc];
                let document = doc.0.split('#').next().unwrap();
                let taking = filters[chosen.clone()].iter().find(|(_, name, takes)| match *name {
                    "document" => !documents.insert(document),
                    _ => takes(&lab, row, doc),
                });
                match taking {
                    Some((_, name, _)) => *removed.entry(*name).or_default() += 1,
                    None => expected.push(doc.1.clone()),
                }
            }
            expected.truncate(20);
            assert_eq!(negatives(mined), expected, "{options} {row}");
        }
        for (i, (_, name, _)) in filters.iter().enumerate() {
            let counted = report["all"]["removed"][*name].as_u64().unwrap_or(0);
            assert_eq!(counted, removed.get(name).copied().unwrap_or(0), "{options} {name}");
            alone[i] += counted;
        }
    }
    assert!(alone.iter().all(|count| *count > 20), "each filter had something to do: {alone:?}");
}

#[test]
fn any_number_of_ranks_any_memory_and_any_way_to_the_passages_give_the_same_bytes() {
    let lab = Lab::new();
    let options = "--ranking all --negatives 5 --range 2-40 --near-duplicates 0.8 --answers --max-share 0.99 \
                   --per-document 1 --write-scores";
    let (mined, report) = lab.mine(1, &format!("{} {options}", lab.corpus())).unwrap();
    let bytes = || ["mined.jsonl", "mined.jsonl.mine.json"].map(|name| fs::read(lab.fixture.path(name)).unwrap());
    let expected = bytes();
    for ranks in [2, 3] {
        lab.mine(ranks, &format!("{} {options}", lab.corpus())).unwrap();
        assert!(bytes() == expected, "{ranks} ranks");
    }
    lab.mine(2, &format!("{} {options} --memory 1", lab.corpus())).unwrap();
    assert_eq!(bytes()[0], expected[0], "little memory");
    lab.mine(2, &format!("{} {options}", lab.index())).unwrap();
    assert_eq!(bytes()[0], expected[0], "an index that was there");

    let all = &report["all"];
    assert_eq!((all["rows"].as_u64(), mined.len()), (Some(NUM_ROWS as u64), NUM_ROWS));
    let counted: usize = mined.iter().map(|row| negatives(row).len()).sum();
    assert_eq!(all["negatives"].as_u64(), Some(counted as u64));
    assert_eq!(report["by_file"]["rows.jsonl"], *all);
    let of = |language: &str| report["by_language"][language]["rows"].as_u64().unwrap();
    assert_eq!((of("aa"), of("bb")), (NUM_ROWS as u64 / 2, NUM_ROWS as u64 / 2));
    assert!(all["known_elsewhere"]["rows"].as_u64().unwrap() >= 10, "{all}");
}

#[test]
fn several_files_go_to_one_or_each_to_its_own() {
    let lab = Lab::new();
    let (model, corpus) = (lab.fixture.path("model"), lab.corpus());
    let half = |name: &str, rows: &[Value]| lab.fixture.write(name, lines(rows.iter().cloned()));
    let [a, b] = [half("a.jsonl", &lab.rows[..30]), half("b.jsonl", &lab.rows[30..])];
    let mine = |out: &Path, ranks: usize| {
        let paths = format!("--rows {} {} --out {}", a.display(), b.display(), out.display());
        job::run(ranks, &format!("mine --model {} {paths} {corpus}", model.display())).unwrap();
    };
    let (one, folder): (PathBuf, PathBuf) = (lab.fixture.path("one.jsonl"), lab.fixture.path("folder"));
    mine(&one, 2);
    mine(&folder, 1);
    let names: BTreeSet<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["a.jsonl", "b.jsonl", "mine.json"].map(str::to_owned).into());
    let parts = ["a.jsonl", "b.jsonl"].map(|name| fs::read(folder.join(name)).unwrap()).concat();
    assert!(parts == fs::read(&one).unwrap());
    assert_eq!(fs::read(folder.join("mine.json")).unwrap(), fs::read(lab.fixture.path("one.jsonl.mine.json")).unwrap());
}

#[test]
fn a_teacher_scores_what_was_drawn() {
    let lab = Lab::new();
    let teacher = lab.fixture.path("model").display().to_string();
    let options = format!(
        "{} --write-scores --temperature 1 --negatives 3 --teacher {teacher} --ranking lexical --few keep",
        lab.corpus()
    );
    let (mined, _) = lab.mine(2, &options).unwrap();
    for (i, row) in mined.iter().enumerate() {
        for (key, texts) in [("pos_scores", &row["pos"]), ("neg_scores", &row["neg"])] {
            let texts: Vec<String> = serde_json::from_value(texts.clone()).unwrap();
            let expected: Vec<f64> = texts.iter().map(|text| lab.score(i, text, "all")).collect();
            let found = numbers(&row[key]);
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 2e-5), "{found:?} {expected:?}");
            assert_eq!(found.len(), texts.len());
        }
    }
}

#[test]
fn too_few_are_said_and_a_query_with_many_answers_is_searched_deeper() {
    let lab = Lab::new();
    // One query of whose best thirty passages all are known.
    let known: Vec<String> = lab.ranked(0, "dense").into_iter().take(30).map(|doc| lab.docs[doc].1.clone()).collect();
    let rows: Vec<Value> = known.iter().map(|text| json!({"query": lab.query(0), "pos": [text]})).collect();
    let own = lab.positives(0)[0].to_owned();
    lab.fixture.write("rows.jsonl", lines(rows.into_iter().chain([json!({"query": lab.query(0), "pos": [own]})])));
    let (mined, report) =
        lab.mine(2, &format!("{} --top 30 --range 2-6 --negatives 4 --draw top", lab.corpus())).unwrap();
    let same = |other: &usize| lab.query(*other) == lab.query(0);
    let answers: BTreeSet<&str> = (0..NUM_ROWS).filter(same).flat_map(|other| lab.positives(other)).collect();
    let expected: Vec<String> =
        lab.ranked(0, "dense").into_iter().skip(32).take(4).map(|doc| lab.docs[doc].1.clone()).collect();
    assert!(answers.len() == 1, "{answers:?}");
    mined.iter().for_each(|row| assert_eq!(negatives(row), expected));
    let elsewhere = &report["all"]["known_elsewhere"];
    assert!(elsewhere["rate"].as_f64().unwrap() > 0.8, "{elsewhere}");

    let (mined, report) = lab.mine(1, &format!("{} --range 2-6 --negatives 9 --few drop", lab.corpus())).unwrap();
    assert_eq!((mined.len(), report["all"]["dropped"].as_u64()), (0, Some(31)));
}

#[test]
fn what_cannot_be_mined_is_named() {
    let lab = Lab::new();
    let refused = |options: &str| {
        let (code, message) = lab.mine(1, options).unwrap_err();
        assert_eq!(code, ExitCode::Usage.code(), "{message}");
        message
    };
    let message = refused("--range 10-2000");
    assert!(message.contains("lists end at rank 1000: lower it, or raise --top"), "{message}");
    let message = refused("--range 10-300 --ranking all");
    assert!(message.contains("raise --rerank"), "{message}");
    let [model, corpus, out] = ["model", "corpus.jsonl", "narrow"].map(|name| lab.fixture.path(name));
    let paths = format!("--model {} --corpus {} --out {}", model.display(), corpus.display(), out.display());
    job::run(1, &format!("index {paths} --heads dense")).unwrap();
    let message = refused(&format!("--index {} --ranking bm25", out.display()));
    assert!(message.contains("bm25: the index lacks a head"), "{message}");
    lab.fixture.write("rows.jsonl", lines([json!({"query": "w1", "pos": ["w2"], "answers": [5]})].into_iter()));
    let (code, message) = lab.mine(1, "--answers --range 0-5").unwrap_err();
    assert_eq!(code, ExitCode::Data.code(), "{message}");
    assert!(message.contains("rows.jsonl:1: \"answers\" is [5]"), "{message}");
}
