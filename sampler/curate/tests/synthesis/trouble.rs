//! Servers that are busy, broken, wrong or gone, and kills.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::server::{Act, Server, completion, question};
use super::{KEY, QUESTIONS, begin, documents, ends, json_of, made, recipe, synthesize};
use crate::Place;

/// What a good server's answers make.
fn undisturbed() -> Vec<(String, Vec<u8>)> {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "");
    ends(&place, &[], 0, &[]);
    made(&place)
}

#[test]
fn a_server_in_trouble_is_asked_again_until_it_answers() {
    // Each of the troubles six times, and then no more.
    let trouble = |number: usize| if number < 48 { number % 8 } else { 7 };
    let server = Server::new(move |number, body| {
        let answer = || completion(body, &question(body)).to_string();
        match trouble(number) {
            0 => Act::Status(429, "retry-after: 0\r\n", "{\"error\": {\"message\": \"slow down\"}}".into()),
            1 => Act::Status(500, "", "oh".into()),
            2 => Act::Cut,
            3 => Act::Status(200, "", "{\"choices\": \"nonsense\"}".into()),
            4 => Act::Status(200, "", answer() + &answer()),
            5 => Act::Status(503, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "<html>busy</html>".into()),
            _ => Act::Answer,
        }
    });
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "retries = 60");
    ends(&place, &[], 0, &["26 of 26", "requests without an answer"]);
    assert!(made(&place) == undisturbed());
    let (costs, seen) = (json_of(&place, "out/costs.json"), server.seen.lock().unwrap());
    assert_eq!(costs["used"]["requests"], seen.requests.len());
    let used = &costs["used"];
    assert!(used["tokens_in"].as_u64().unwrap() + used["tokens_out"].as_u64().unwrap() >= seen.tokens, "{costs}");
    let lost = (0..seen.requests.len()).filter(|&number| (1..5).contains(&trouble(number))).count();
    assert_eq!(costs["of_it_without_answer"]["requests"], lost);
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let busy = |number: usize, _: &Value| match number {
        0 => Act::Status(429, "retry-after: 1\r\n", "{\"error\": \"slow down\"}".into()),
        _ => Act::Answer,
    };
    let (place, server) = (Place::new(), Server::new(busy));
    documents(&place, 24);
    recipe(&place, &server.endpoint, "train = { en = 3 }", "concurrency = 1");
    ends(&place, &[], 0, &["3 of 3", "tercet: waiting 1 s: the server says HTTP 429: slow down"]);
    let seen = server.seen.lock().unwrap();
    assert!(seen.requests[1].1 - seen.requests[0].1 >= Duration::from_secs(1));
    assert_eq!(seen.requests[1].0, seen.requests[0].0);
    // More than it is given.
    let (place, server) = (Place::new(), Server::new(|_, _| Act::Status(429, "retry-after: 7000\r\n", "later".into())));
    documents(&place, 24);
    recipe(&place, &server.endpoint, "train = { en = 3 }", "concurrency = 1");
    ends(&place, &[], 3, &["asks for 7000 s", "llm.patience_secs", "later"]);
    assert_eq!(server.num_requests(), 1);
}

#[test]
fn a_wrong_key_ends_it_and_is_nowhere_to_be_read() {
    for status in [401, 403, 404] {
        let server = Server::new(move |_, _| {
            let body = format!("{{\"error\": {{\"message\": \"no: {KEY} nor sk-test-****ghij\"}}}}");
            Act::Status(status, "", body)
        });
        let place = Place::new();
        documents(&place, 24);
        recipe(&place, &server.endpoint, QUESTIONS, "api_key_env = \"TEST_KEY\"\nconcurrency = 2");
        let said = ends(&place, &[], 2, &[&format!("HTTP {status}: no: [key]"), "0 of 26"]);
        assert!(!said.contains("sk-test"), "{said}");
        assert!(server.num_requests() <= 2);
        let key = format!("authorization: bearer {KEY}\r\n");
        assert!(server.seen.lock().unwrap().requests.iter().all(|(_, _, headers)| headers.contains(&key)));
        for path in place.names() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(7).any(|part| part == b"sk-test"), "{}", path.display());
        }
    }
    // Nor does anybody else get it.
    let elsewhere = Server::good();
    let location = format!("location: {}/chat/completions\r\n", elsewhere.endpoint);
    let location: &'static str = location.leak();
    let server = Server::new(move |_, _| Act::Status(307, location, String::new()));
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "api_key_env = \"TEST_KEY\"");
    let route = format!("write llm.endpoint = \"{}\"", elsewhere.endpoint);
    ends(&place, &[], 2, &["HTTP 307: the endpoint redirects to ", &route]);
    assert_eq!(elsewhere.num_requests(), 0);
    // A server without TLS where it is expected.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    recipe(&place, &format!("https://{}/v1", listener.local_addr().unwrap()), QUESTIONS, "");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A client that has seen enough breaks its connection.
            _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .and_then(|()| stream.read_to_end(&mut Vec::new()));
        }
    });
    ends(&place, &[], 2, &["does not speak TLS", "http://"]);
}

#[test]
fn a_request_that_a_server_refuses_is_not_sent_again() {
    let server = Server::new(|number, _| match number {
        0..3 => Act::Status([400, 413, 422][number], "", "{\"error\": {\"message\": \"too long for me\"}}".into()),
        _ => Act::Answer,
    });
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, &server.endpoint, "train = { en = 4 }", "concurrency = 1");
    ends(&place, &[], 0, &["4 of 4", "3 refused_by_server", ": too long for me"]);
    assert_eq!(server.num_requests(), 7);
    assert!(place.lines("out/refused.jsonl")[0].contains("too long for me"));
    ends(&place, &[], 0, &["4 of 4"]);
    assert_eq!(server.num_requests(), 7);
}

#[test]
fn a_server_that_refuses_everything_is_left_and_asked_again_after_a_repair() {
    let server = Server::new(|number, _| match number {
        0..40 => Act::Status(400, "", "{\"error\": {\"message\": \"no such parameter\"}}".into()),
        _ => Act::Answer,
    });
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "concurrency = 4");
    let mut before = 0;
    while server.num_requests() < 40 - 12 {
        ends(&place, &[], 2, &["has refused", "HTTP 400: no such parameter", "0 of 26"]);
        assert!((8..12).contains(&(server.num_requests() - before)));
        before = server.num_requests();
    }
    // Fewer than that in all.
    let (few, other) = (Place::new(), Server::new(|_, _| Act::Status(422, "", "no".into())));
    documents(&few, 24);
    recipe(&few, &other.endpoint, "train = { en = 1 }", "");
    ends(&few, &[], 2, &["HTTP 422: no"]);
    // It takes what it refused before.
    let good = Server::good();
    recipe(&place, &good.endpoint, QUESTIONS, "");
    ends(&place, &[], 0, &["26 of 26"]);
    assert!(made(&place) == undisturbed());
}

#[test]
fn a_server_that_is_gone_can_come_back() {
    let server = Server::new(|number, _| if number < 4 { Act::Answer } else { Act::Status(502, "", "gone".into()) });
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "retries = 1\nconcurrency = 1");
    ends(&place, &[], 3, &["does not answer: HTTP 502: gone", "4 of 26", "type the same command again"]);
    assert_eq!(json_of(&place, "out/report.json")["complete"], false);
    // Nobody listens at all: nothing was used.
    let before = json_of(&place, "out/costs.json")["used"].clone();
    recipe(&place, "http://127.0.0.1:9/v1", QUESTIONS, "retries = 1");
    ends(&place, &[], 3, &["http://127.0.0.1:9/v1/chat/completions", "4 of 26"]);
    assert_eq!(json_of(&place, "out/costs.json")["used"], before);
    let back = Server::good();
    recipe(&place, &back.endpoint, QUESTIONS, "");
    ends(&place, &[], 0, &["26 of 26"]);
    assert_eq!(back.num_requests(), 22);
    assert!(made(&place) == undisturbed());
}

#[test]
fn one_bad_request_does_not_stop_the_others() {
    let server = Server::new(|_, body| match question(body).contains("Topic3 ") {
        true => Act::Status(500, "", "crash".into()),
        false => Act::Answer,
    });
    let place = Place::new();
    documents(&place, 12);
    recipe(&place, &server.endpoint, "train = { en = 6 }", "retries = 1\nconcurrency = 2");
    let (code, said) = synthesize(&place, &[]);
    match code {
        0 => assert!(said.contains("6 of 6"), "{said}"),
        _ => assert!(said.contains("5 of 6") && said.contains("1 requests were given up"), "{said}"),
    }
}

/// Killed after each number of requests, with some under way: nothing that was answered is sent again, but what was in
/// flight, and less is never counted than came.
#[test]
fn a_kill_at_any_moment_costs_no_more_than_what_was_under_way() {
    const CONCURRENCY: usize = 3;
    let place = Place::new();
    documents(&place, 24);
    // Requests beyond this number wait for their answers.
    let allowed = Arc::new((Mutex::new(0), Condvar::new()));
    let gate = allowed.clone();
    let server = Server::new(move |number, _| {
        drop(gate.1.wait_while(gate.0.lock().unwrap(), |allowed| number >= *allowed).unwrap());
        Act::Answer
    });
    let allow = |number: usize| {
        *allowed.0.lock().unwrap() = number;
        allowed.1.notify_all();
    };
    recipe(&place, &server.endpoint, QUESTIONS, &format!("concurrency = {CONCURRENCY}"));
    const KILLS: [usize; 7] = [0, 1, 2, 1, 3, 4, 2];
    for more in KILLS {
        let last = server.num_requests() + more;
        allow(last);
        let mut child = begin(&place);
        // One more is under way.
        while server.num_requests() <= last {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // As a disk may leave it.
        let path = place.path("out/journal.jsonl");
        let mut journal = std::fs::read(&path).unwrap();
        journal.extend_from_slice(b"{\"event\":\"answered\",\"key\":\"0");
        std::fs::write(&path, journal).unwrap();
    }
    allow(usize::MAX);
    ends(&place, &[], 0, &["26 of 26"]);
    assert!(made(&place) == undisturbed());
    let (costs, seen) = (json_of(&place, "out/costs.json"), server.seen.lock().unwrap());
    let used = |name: &str| costs["used"][name].as_u64().unwrap();
    assert!(used("requests") as usize >= seen.requests.len(), "{costs}");
    assert!(used("tokens_in") + used("tokens_out") >= seen.tokens);
    let mut times: HashMap<String, usize> = HashMap::new();
    seen.requests.iter().for_each(|(body, ..)| *times.entry(body.to_string()).or_default() += 1);
    assert_eq!(times.len(), 26);
    assert!(seen.requests.len() - 26 <= KILLS.len() * CONCURRENCY);
}

#[test]
fn what_was_made_stays_when_nothing_is_answered() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "");
    ends(&place, &[], 0, &["26 of 26"]);
    let before = made(&place);
    let kept = "0 of 26 questions are there, so out keeps the 26 of an earlier run";
    // Another temperature asks anew.
    let anew = "[llm.parameters]\nmax_tokens = 9\ntemperature = 1";
    recipe(&place, "http://127.0.0.1:9/v1", QUESTIONS, &format!("retries = 0\n{anew}"));
    ends(&place, &[], 3, &[kept, "type the same command again"]);
    assert!(made(&place) == before);
    recipe(&place, &server.endpoint, QUESTIONS, &format!("{anew}\n[caps]\nrequests = 0"));
    ends(&place, &[], 2, &["caps.requests = 0 is reached", kept]);
    recipe(&place, &server.endpoint, QUESTIONS, &format!("concurrency = 1\n{anew}\n[caps]\nrequests = 30"));
    ends(&place, &[], 2, &["caps.requests = 30", "4 of 26 questions are there, so out keeps the 26"]);
    assert!(made(&place) == before);
    recipe(&place, &server.endpoint, QUESTIONS, anew);
    ends(&place, &[], 0, &["26 of 26 questions are written to out"]);
}
