//! Limits are reached and never passed, whatever is under way.

use std::time::Duration;

use super::server::{Act, Server, completion, question};
use super::{QUESTIONS, begin, documents, ends, json_of, recipe};
use crate::Place;

/// A server that takes a moment, so that many requests are under way.
fn slow() -> Server {
    Server::new(|_, _| {
        std::thread::sleep(Duration::from_millis(5));
        Act::Answer
    })
}

#[test]
fn requests_end_at_their_limit_and_go_on_beyond_a_higher_one() {
    let (place, server) = (Place::new(), slow());
    documents(&place, 24);
    let with_cap = |cap: usize| {
        recipe(&place, &server.endpoint, QUESTIONS, &format!("concurrency = 16\n[caps]\nrequests = {cap}"));
    };
    with_cap(7);
    ends(&place, &[], 2, &["caps.requests = 7 is reached", "7 of 26 questions are written to out", "raise it"]);
    assert_eq!(server.num_requests(), 7);
    let written = place.objects("out/train.jsonl.zst").len() + place.lines("out/eval/de/queries.jsonl").len();
    assert!(written > 0);
    ends(&place, &[], 2, &["caps.requests = 7 is reached"]);
    assert_eq!(server.num_requests(), 7);
    with_cap(26);
    ends(&place, &[], 0, &["26 of 26"]);
    assert_eq!(server.num_requests(), 26);
}

#[test]
fn requests_that_are_sent_again_count() {
    let server = Server::new(|_, _| Act::Status(500, "", String::new()));
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "retries = 50\n[caps]\nrequests = 9");
    ends(&place, &[], 2, &["caps.requests = 9"]);
    assert_eq!(server.num_requests(), 9);
}

#[test]
fn tokens_and_cost_stay_below_their_limits() {
    for (caps, name) in [
        ("tokens = 3000", "caps.tokens = 3000"),
        ("cost = 0.003\nprice_in = 1.0\nprice_out = 1.0", "caps.cost = 0.003"),
    ] {
        let (place, server) = (Place::new(), slow());
        documents(&place, 24);
        recipe(&place, &server.endpoint, QUESTIONS, &format!("concurrency = 16\n[caps]\n{caps}"));
        ends(&place, &[], 2, &[name]);
        let (costs, seen) = (json_of(&place, "out/costs.json"), server.seen.lock().unwrap());
        let used = costs["used"]["tokens_in"].as_u64().unwrap() + costs["used"]["tokens_out"].as_u64().unwrap();
        // The server counts fewer than could be, so more than one round of estimates went out.
        assert_eq!(used, seen.tokens);
        assert!(used <= 3000 && used > 1400, "{used}");
    }
}

#[test]
fn kills_do_not_widen_a_limit() {
    let (place, server) = (Place::new(), slow());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "concurrency = 4\n[caps]\nrequests = 15");
    for more in [1, 3, 2] {
        let (mut child, target) = (begin(&place), server.num_requests() + more);
        while server.num_requests() < target && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    ends(&place, &[], 2, &["caps.requests = 15"]);
    assert!(server.num_requests() <= 15);
}

#[test]
fn silence_ends_with_the_timeout_and_counts_as_used() {
    let (place, server) = (Place::new(), Server::new(|_, _| Act::Silence));
    documents(&place, 24);
    let short = "retries = 0\nconcurrency = 1\ntimeout_secs = 0.1";
    recipe(&place, &server.endpoint, "train = { en = 1 }", short);
    ends(&place, &[], 3, &["1 requests were given up", "timeout"]);
    let costs = json_of(&place, "out/costs.json");
    assert_eq!(costs["used"], costs["of_it_without_answer"]);
    assert!(costs["used"]["tokens_in"].as_u64().unwrap() > 300, "{costs}");
}

#[test]
fn a_server_that_counts_more_than_can_be_passes_a_limit_by_one_answer() {
    let server = Server::new(|_, body| {
        let mut reply = completion(body, &question(body));
        // Ten times what the longest answer can have.
        reply["usage"]["completion_tokens"] = 1280.into();
        Act::Status(200, "", reply.to_string())
    });
    let place = Place::new();
    documents(&place, 24);
    let more = "concurrency = 16\n[caps]\ntokens = 500";
    recipe(&place, &server.endpoint, QUESTIONS, more);
    let used = |place: &Place| {
        let costs = json_of(place, "out/costs.json");
        costs["used"]["tokens_in"].as_u64().unwrap() + costs["used"]["tokens_out"].as_u64().unwrap()
    };
    ends(&place, &[], 2, &["caps.tokens = 500 is reached"]);
    assert_eq!(server.num_requests(), 0);
    for cap in [10_000, 20_000] {
        recipe(&place, &server.endpoint, QUESTIONS, &more.replace("500", &cap.to_string()));
        ends(&place, &[], 2, &[&format!("caps.tokens = {cap} is reached")]);
        let used = used(&place);
        assert!(used <= cap && used > cap / 2, "{used} of {cap}");
    }
    assert!(place.lines("out/report.txt").iter().any(|line| line.starts_with("an answer used 10.00 times")));
    // Only one request is under way while nobody knows by how much answers exceed what was asked for.
    let (other, before) = (Place::new(), server.num_requests());
    documents(&other, 24);
    recipe(&other, &server.endpoint, QUESTIONS, &more.replace("500", "1400"));
    ends(&other, &[], 2, &["caps.tokens = 1400 is reached"]);
    assert_eq!(server.num_requests() - before, 1);
    assert!(used(&other) > 1400);
}
