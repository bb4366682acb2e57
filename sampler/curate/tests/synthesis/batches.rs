//! Requests that go and come as files.

use serde_json::{Value, json};

use super::stub::{Stub, completion, question};
use super::{QUESTIONS, documents, ends, json_of, made, recipe};
use crate::Place;

/// What a batch interface makes of a request.
fn answer(request: &Value) -> Value {
    let (id, body) = (&request["custom_id"], &request["body"]);
    json!({"id": "batch_req_1", "custom_id": id, "error": null, "response":
           {"status_code": 200, "request_id": "1", "body": completion(body, &question(body))}})
}

fn lines(all: &[Value]) -> String {
    all.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn batches_come_back_in_any_order_with_errors_and_gaps() {
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, "http://127.0.0.1:9/v1", QUESTIONS, "");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &["requests.jsonl: 26 requests"]);
    let requests = place.objects("requests.jsonl");
    assert_eq!(requests.len(), 26);
    let first = &requests[0];
    assert_eq!((&first["method"], &first["url"]), (&json!("POST"), &json!("/v1/chat/completions")));
    assert!(!place.path("out/report.json").exists());

    // What is given out is given out once, and again as it was.
    let bytes = std::fs::read(place.path("requests.jsonl")).unwrap();
    std::fs::remove_file(place.path("requests.jsonl")).unwrap();
    let said = ends(&place, &["--batch-out", "requests.jsonl"], 0, &["the 26 requests that were written before"]);
    assert!(std::fs::read(place.path("requests.jsonl")).unwrap() == bytes, "{said}");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &["the 26 requests that were written before"]);
    place.write("mine.jsonl", "mine");
    ends(&place, &["--batch-out", "mine.jsonl"], 2, &["mine.jsonl: is there", "nothing is overwritten"]);
    assert_eq!(place.lines("mine.jsonl"), ["mine"]);
    ends(&place, &[], 2, &["26 of the requests stand in batch files", "--batch-in"]);

    // Backwards in two files, one twice, two with errors, one refused, one missing, one of somebody else.
    let mut back: Vec<Value> = requests[5..].iter().rev().map(answer).collect();
    back.push(answer(&requests[7]));
    back.push(
        json!({"id": "x", "custom_id": "somebody-else", "response": {"status_code": 200, "body": {}}, "error": null}),
    );
    let with = |request: &Value, status: u16| {
        let body = json!({"error": {"message": "no"}});
        json!({"id": "x", "custom_id": request["custom_id"], "response": {"status_code": status, "body": body}, "error": null})
    };
    let expired = json!({"id": "x", "custom_id": requests[1]["custom_id"], "response": null,
                         "error": {"code": "batch_expired", "message": "late"}});
    let errors = [with(&requests[0], 500), expired, with(&requests[2], 400), answer(&requests[3])];
    place.write("output.jsonl", lines(&back));
    place.write("errors.jsonl", lines(&errors));
    let expected = [
        "read: 22 answers, 1 requests that the server refused, 2 errors, which are asked again, 1 requests that did not come \
         back, which are asked again, 1 lines that had been read before, 1 lines of other requests",
        "22 of 26 questions",
        "4 more requests are wanted: --batch-out",
    ];
    ends(&place, &["--batch-in", "output.jsonl", "errors.jsonl"], 0, &expected);
    assert_eq!(json_of(&place, "out/report.json")["complete"], false);

    ends(&place, &["--batch-out", "mine.jsonl"], 2, &["mine.jsonl: is there"]);
    ends(&place, &["--batch-out", "more.jsonl"], 0, &["more.jsonl: 4 requests"]);
    place.write("output.jsonl", lines(&place.objects("more.jsonl").iter().map(answer).collect::<Vec<_>>()));
    ends(&place, &["--batch-in", "output.jsonl"], 0, &["26 of 26 questions"]);
    ends(&place, &["--batch-out", "more.jsonl"], 0, &["no request is wanted"]);

    // Over HTTP the same is made: only one answer, refused there, was another.
    let other = Place::new();
    documents(&other, 24);
    let stub = Stub::good();
    recipe(&other, &stub.endpoint, QUESTIONS, "");
    ends(&other, &[], 0, &[]);
    let eval =
        |place: &Place| -> Vec<_> { made(place).into_iter().filter(|(name, _)| name.ends_with("zst")).collect() };
    assert_eq!(eval(&place).len(), eval(&other).len());
}

#[test]
fn answers_that_come_late_are_taken() {
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, "http://127.0.0.1:9/v1", QUESTIONS, "");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &[]);
    let back: Vec<Value> = place.objects("requests.jsonl").iter().map(answer).collect();
    place.write("some.jsonl", lines(&back[..10]));
    place.write("rest.jsonl", lines(&back[10..]));
    ends(&place, &["--batch-in", "some.jsonl"], 0, &["10 answers, 16 requests that did not come back", "10 of 26"]);
    ends(&place, &["--batch-in", "rest.jsonl"], 0, &["read: 16 answers", "26 of 26", "used: 26 requests"]);
    let costs = json_of(&place, "out/costs.json");
    assert_eq!(costs["of_it_without_answer"]["requests"], 0);
}

#[test]
fn what_was_never_submitted_is_free_again() {
    let (place, stub) = (Place::new(), Stub::good());
    documents(&place, 24);
    recipe(&place, &stub.endpoint, QUESTIONS, "");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &[]);
    ends(&place, &["--batch-in", "requests.jsonl"], 0, &["26 requests that were not submitted"]);
    assert_eq!(json_of(&place, "out/costs.json")["used"]["requests"], 0);
    ends(&place, &[], 0, &["26 of 26"]);
    assert_eq!(stub.num_requests(), 26);
}

#[test]
fn files_hold_no_more_than_is_allowed() {
    let place = Place::new();
    let document = |n: usize| format!("{{\"text\": \"The letters of merchant number {n} tell of bridges.\"}}\n");
    place.write("articles.jsonl", (0..50_003).map(document).collect::<String>());
    place.write(
        "synth.toml",
        "[[documents]]\nfiles = [\"articles.jsonl\"]\nlanguage = \"en\"\n[lengths]\ndocument = [10, 100]\nparagraph = [10, 100]\n\
         [questions]\ntrain = 50_003\n[llm]\nendpoint = \"http://127.0.0.1:9\"\nmodel = \"m\"\n[caps]\nrequests = 50_002\n",
    );
    let expected = ["r.jsonl: 50000 requests", "r.2.jsonl: 2 requests", "caps.requests = 50002 is reached: 1 more"];
    ends(&place, &["--batch-out", "r.jsonl"], 0, &expected);
    assert_eq!((place.lines("r.jsonl").len(), place.lines("r.2.jsonl").len()), (50_000, 2));
    // What comes back of one file says nothing about the other.
    let request = place.objects("r.2.jsonl").remove(0);
    let body = completion(&request["body"], "Which bridges did merchants describe in letters?");
    let id = &request["custom_id"];
    let back = json!({"custom_id": id, "response": {"status_code": 200, "body": body}});
    place.write("back.jsonl", format!("{back}\n"));
    ends(&place, &["--batch-in", "back.jsonl"], 0, &["read: 1 answers, 1 requests that did not come back"]);
    ends(&place, &["--batch-out", "r.jsonl"], 0, &["the 50000 requests that were written before"]);
}

#[test]
fn a_line_that_is_none_of_a_batch_is_named() {
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, "http://127.0.0.1:9/v1", QUESTIONS, "");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &[]);
    let id = &place.objects("requests.jsonl")[0]["custom_id"];
    place.write("back.jsonl", format!("{}\n{{\"custom_id\": {id}}}\n", answer(&place.objects("requests.jsonl")[1])));
    ends(&place, &["--batch-in", "back.jsonl"], 4, &["back.jsonl:2: ", "no line of a batch"]);
    place.write("back.jsonl", "{\"id\": 1}\n");
    ends(&place, &["--batch-in", "back.jsonl"], 4, &["back.jsonl:1: ", "custom_id"]);
    ends(&place, &["--batch-in", "gone.jsonl"], 2, &["gone.jsonl"]);
}
