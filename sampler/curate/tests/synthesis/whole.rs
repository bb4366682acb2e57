//! A run from documents to rows and folders.

use std::collections::HashSet;

use serde_json::json;

use super::server::{Act, Server};
use super::{QUESTIONS, documents, ends, json_of, made, recipe, synthesize};
use crate::Place;

#[test]
fn rows_and_folders_are_made_and_share_no_document() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "");
    ends(&place, &[], 0, &["26 of 26 questions are written to out", "used: 26 requests"]);
    assert_eq!(server.num_requests(), 26);
    let rows = place.objects("out/train.jsonl.zst");
    assert_eq!(rows.len(), 15);
    let languages: Vec<&str> = rows.iter().map(|row| row["lang"].as_str().unwrap()).collect();
    assert_eq!(languages, [["de"; 5], ["en"; 5], ["zh"; 5]].concat());
    let mut trained = HashSet::new();
    for row in &rows {
        let (query, pos) = (row["query"].as_str().unwrap(), row["pos"][0].as_str().unwrap());
        // The whole document, with its title, about what the question names.
        let name = query.split_whitespace().find(|word| word.starts_with("Topic") || word.starts_with("Thema"));
        assert!(
            name.is_none_or(|name| pos.contains(&format!("{name}.")) || pos.contains(&format!("{name} "))),
            "{row}"
        );
        assert!(pos.chars().count() > 600 && pos.starts_with(row["lang"].as_str().unwrap()), "{row}");
        trained.insert(pos.to_owned());
    }
    for (language, test) in [("en", 3), ("de", 1), ("zh", 1)] {
        let eval = |name: &str| format!("out/eval/{language}/{name}");
        let corpus = place.objects(&eval("corpus.jsonl.zst"));
        assert_eq!(corpus.len(), 6);
        let ids: HashSet<&str> = corpus.iter().map(|document| document["_id"].as_str().unwrap()).collect();
        let queries: HashSet<String> =
            place.objects(&eval("queries.jsonl")).iter().map(|query| query["_id"].as_str().unwrap().into()).collect();
        assert_eq!(queries.len(), 2 + test);
        for (split, count) in [("dev", 2), ("test", test)] {
            let judged = place.lines(&eval(&format!("qrels/{split}.tsv")));
            assert_eq!(judged.len(), 1 + count);
            for line in &judged[1..] {
                let fields: Vec<&str> = line.split('\t').collect();
                assert!(queries.contains(fields[0]) && ids.contains(fields[1]) && fields[2] == "1", "{line}");
            }
        }
        for document in &corpus {
            let whole = format!("{} {}", document["title"].as_str().unwrap(), document["text"].as_str().unwrap());
            assert!(!trained.contains(&whole));
        }
    }
    let body = &server.seen.lock().unwrap().requests[0].0;
    let expected = json!({"model": "a-model", "temperature": 0.0, "max_tokens": 128, "seed": 42});
    expected.as_object().unwrap().iter().for_each(|(key, value)| assert_eq!(&body[key], value));
    let prompt = body["messages"][0]["content"].as_str().unwrap();
    assert!(prompt.starts_with("You are a curious AI assistant, please generate one specific"), "{prompt}");
    let report = json_of(&place, "out/report.json");
    assert_eq!(report["complete"], true);
    assert_eq!(report["languages"]["en"]["questions"], json!({"train": 5, "dev": 2, "test": 3}));
}

#[test]
fn the_same_bytes_whatever_the_concurrency_and_the_order_of_files() {
    let mut first = None;
    for (concurrency, order) in [(1, ["en", "de", "zh"]), (16, ["zh", "en", "de"])] {
        // One answer in four does not pass.
        let server = Server::new(|_, body| {
            let prompt = body["messages"][0]["content"].as_str().unwrap();
            match prompt.bytes().map(u64::from).sum::<u64>() % 4 {
                0 => Act::Say("No question at all.".into()),
                _ => Act::Answer,
            }
        });
        let place = Place::new();
        documents(&place, 24);
        // All languages in one file, in another order.
        let read = |name: &str| std::fs::read_to_string(place.path(&format!("articles.{name}.jsonl"))).unwrap();
        let all: String = order.iter().map(|name| read(name)).collect();
        let all: Vec<&str> = if concurrency == 1 { all.lines().collect() } else { all.lines().rev().collect() };
        order.iter().for_each(|name| std::fs::remove_file(place.path(&format!("articles.{name}.jsonl"))).unwrap());
        place.write("articles.1.jsonl", all.join("\n"));
        recipe(&place, &server.endpoint, QUESTIONS, &format!("concurrency = {concurrency}"));
        ends(&place, &[], 0, &["26 of 26"]);
        let report = json_of(&place, "out/report.json");
        assert!(report["languages"]["en"]["refused"]["no_question"].as_u64().unwrap() > 0, "{report}");
        let made = made(&place);
        match &first {
            None => first = Some(made),
            Some(first) => assert!(*first == made),
        }
        // The same command again asks nothing and makes the same.
        let asked = server.num_requests();
        ends(&place, &[], 0, &["26 of 26"]);
        assert_eq!(server.num_requests(), asked);
        assert!(first == Some(super::made(&place)));
    }
}

#[test]
fn answers_that_do_not_pass_are_replaced_and_counted() {
    let server = Server::new(|number, _| match number % 5 {
        0 => Act::Say("What is this text about, and who wrote the letters?".into()),
        1 => Act::Say("When? And why?".into()),
        _ => Act::Answer,
    });
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, &server.endpoint, "train = { en = 4 }", "concurrency = 1\n[checks]\nattempts = 1");
    ends(&place, &[], 0, &["4 of 4", "pronoun", "several_questions"]);
    let refused = place.objects("out/refused.jsonl");
    assert_eq!(refused.len(), server.num_requests() - 4);
    assert!(refused.iter().all(|line| line["document"].as_str().unwrap().starts_with('d')), "{refused:?}");
    // A model that never passes: each document twice, and then there are no more.
    let server = Server::new(|_, _| Act::Say("Why is it?".into()));
    let place = Place::new();
    documents(&place, 5);
    recipe(&place, &server.endpoint, "train = { en = 4 }", "");
    ends(&place, &[], 0, &["0 of 4", "of 5 documents 0 are too short", "no request can bring them", "10 pronoun"]);
    assert_eq!(server.num_requests(), 10);
    assert_eq!(place.objects("out/train.jsonl.zst").len(), 0);
}

#[test]
fn a_dry_run_prices_it_and_does_nothing() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    let prices = "requests_per_minute = 10\n[caps]\nprice_in = 0.5\nprice_out = 1.5\ncost = 0.001";
    recipe(&place, &server.endpoint, QUESTIONS, prices);
    let before = place.names();
    let expected =
        ["requests: 26, if each", "tokens out: at most 3328", "at least 3 minutes", "caps.cost = 0.001 may be reached"];
    ends(&place, &["--dry-run"], 0, &expected);
    recipe(&place, &server.endpoint, QUESTIONS, "[caps]\nprice_in = 0.5");
    let said = ends(&place, &["--dry-run"], 0, &["cost unknown (caps.price_out is not given)"]);
    assert!(!said.contains("cost: ") && !said.contains("cost about"), "{said}");
    recipe(&place, &server.endpoint, "train = { en = 1, fr = 2 }", "");
    let expected =
        ["cost unknown (caps.price_in and caps.price_out are not given)", "fr: 0 documents", "no document is of this"];
    ends(&place, &["--dry-run"], 0, &expected);
    assert_eq!((place.names(), server.num_requests()), (before, 0));
}

#[test]
fn what_is_wrong_in_a_recipe_is_named() {
    let place = Place::new();
    documents(&place, 2);
    let refuse = |questions: &str, more: &str, expected: &[&str]| {
        recipe(&place, "http://127.0.0.1:1/v1", questions, more);
        ends(&place, &[], 2, expected);
        assert!(!place.path("out").exists());
    };
    refuse("train = 0", "", &["synth.toml: questions: none is asked for"]);
    refuse("train = 1\nvalid = 3", "", &["valid"]);
    refuse("train = 1", "[llm.parameters]\ntemperature = 0", &["llm.parameters", "max_tokens"]);
    refuse("train = 1", "[llm.parameters]\nmax_tokens = 9\nstream = true", &["llm.parameters.stream"]);
    for (more, key, expected) in [
        ("seed = \"7\"", "seed", "a whole number"),
        ("seed = 9_223_372_036_854_775_807", "seed", "below"),
        ("top_p = nan", "top_p", "nan has no place in JSON"),
        ("top_p = 1.5", "top_p", "found 1.5"),
        ("temperature = \"hot\"", "temperature", "a number from 0 to 2"),
        ("stop = [inf]", "stop", "inf"),
        ("since = 2026-01-01", "since", "date"),
        ("max_completion_tokens = 9", "", "not both"),
    ] {
        let key = if key.is_empty() { "llm.parameters: ".to_owned() } else { format!("llm.parameters.{key}: ") };
        refuse("train = 1", &format!("[llm.parameters]\nmax_tokens = 9\n{more}"), &[&key, expected]);
    }
    refuse("train = 1", "[llm.parameters]\nmax_tokens = 0", &["llm.parameters.max_tokens", "at least 1"]);
    refuse("train = 1", "[caps]\ncost = 3", &["caps.cost", "price_in"]);
    refuse("train = 1", "[caps]\ncost = 3\nprice_in = 1", &["caps.cost", "caps.price_out is not given"]);
    refuse("train = 1", "api_key_env = \"NOT_SET_HERE\"", &["llm.api_key_env", "NOT_SET_HERE"]);
    refuse("train = 1", "api_key_env = \"sk-9-x\"", &["llm.api_key_env", "name of an environment variable"]);
    let said = synthesize(&place, &[]).1;
    assert!(!said.contains("sk-9"), "{said}");
    recipe(&place, "http://127.0.0.1:1/v1/chat/completions/", "train = 1", "");
    ends(&place, &[], 2, &["llm.endpoint", "write \"http://127.0.0.1:1/v1\""]);
    recipe(&place, &format!("http://user:{}@127.0.0.1/v1", super::KEY), "train = 1", "");
    let said = ends(&place, &[], 2, &["llm.endpoint"]);
    assert!(!said.contains(super::KEY));
    recipe(&place, "http://127.0.0.1:1/v1", "train = 1", "");
    place.write("articles.en.jsonl", "{\"text\": \"a\"}\n{\"title\": \"b\"}\n");
    ends(&place, &[], 4, &["articles.en.jsonl:2: ", "\"text\""]);
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "");
    place.write("out/journal.jsonl", "");
    place.write("out/eval/en/queries.jsonl", "mine");
    ends(&place, &[], 2, &["out/eval/en: is there, and was not made by"]);
    assert_eq!(server.num_requests(), 0);
    assert_eq!(place.lines("out/eval/en/queries.jsonl"), ["mine"]);
    std::fs::remove_dir_all(place.path("out/eval")).unwrap();
    place.write("out/eval/notes/text", "mine");
    ends(&place, &[], 2, &["out/eval/notes: is there, and was not made by"]);
    std::fs::remove_dir_all(place.path("out/eval")).unwrap();
    place.write("out/notes.txt", "mine");
    std::fs::remove_file(place.path("out/journal.jsonl")).unwrap();
    for words in [&[][..], &["--dry-run"], &["--batch-out", "r.jsonl"]] {
        ends(&place, words, 2, &["out: is there, and is not a folder of", "nothing is overwritten"]);
    }
    place.write("out/journal.jsonl", "my diary");
    ends(&place, &[], 4, &["out/journal.jsonl", "somebody else's"]);
    assert_eq!(place.lines("out/journal.jsonl"), ["my diary"]);
    // A file, and below a file.
    std::fs::remove_dir_all(place.path("out")).unwrap();
    for out in ["out", "out/below"] {
        place.write("out", "mine");
        for words in [&[][..], &["--dry-run"], &["--batch-out", "r.jsonl"]] {
            let (code, said) = place.run(&[&["synthesize", "synth.toml", "--out", out], words].concat());
            assert!(code == 2 && said.contains(&format!("{out}: is a file, or lies below one")), "{code} {said}");
        }
    }
    std::fs::remove_file(place.path("out")).unwrap();
    place.write("out/journal.jsonl", "");
    // Documents at a place that is written to.
    std::fs::remove_dir_all(place.path("out")).unwrap();
    place.write("out/journal.jsonl", "");
    std::fs::copy(place.path("articles.en.jsonl"), place.path("out/refused.jsonl")).unwrap();
    let text = std::fs::read_to_string(place.path("synth.toml")).unwrap();
    place.write("synth.toml", text.replace("\"articles.*.jsonl\"", "\"out/refused.jsonl\""));
    ends(&place, &[], 2, &["out/refused.jsonl: is a file of documents"]);
    assert_eq!(place.objects("out/refused.jsonl").len(), 24);
    assert_eq!(server.num_requests(), 0);
}

#[test]
fn what_lies_there_is_one_runs_work() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "");
    ends(&place, &[], 0, &["26 of 26"]);
    // Another run makes folders of other languages.
    recipe(&place, &server.endpoint, "train = 2\ndev = { en = 1 }\ncorpus = 3", "");
    ends(&place, &[], 0, &["7 of 7"]);
    let folders = std::fs::read_dir(place.path("out/eval")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(folders.collect::<Vec<_>>(), ["en"]);
    recipe(&place, &server.endpoint, "train = 2", "");
    ends(&place, &[], 0, &["6 of 6"]);
    assert!(!place.path("out/eval").exists());
}

#[test]
fn languages_without_documents_lack() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, "train = { en = 2, fr = 3 }\ntest = { ko = 1, en = 0, default = 0 }", "");
    let expected = ["2 of 6", "fr: 3 questions lack: no document is of this language", "ko: 1 questions lack"];
    ends(&place, &[], 0, &expected);
    let report = json_of(&place, "out/report.json");
    assert_eq!((&report["complete"], &report["languages"]["fr"]["lacking"]["train"]), (&json!(false), &json!(3)));
}

#[test]
fn it_says_how_far_it_is() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "[caps]\nprice_in = 0.5\nprice_out = 1.5");
    let expected = [
        "tercet: 26 requests are wanted, 8 are sent at a time",
        "tercet: 26 of 26 requests are settled, 26 with an answer that passes; used so far: ",
    ];
    let said = ends(&place, &[], 0, &expected);
    assert!(said.contains(" tokens, cost 0.0"), "{said}");
}
