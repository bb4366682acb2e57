//! Requests that go and come as files.

use serde_json::{Value, json};

use super::server::{Server, completion, question};
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

    // What is given out is given out once.
    let path = place.path("requests.jsonl");
    let bytes = std::fs::read(&path).unwrap();
    let again = ["--batch-out", "requests.jsonl"];
    ends(&place, &again, 0, &["written before and not read back yet: 26 requests in requests.jsonl"]);
    assert!(std::fs::read(&path).unwrap() == bytes);
    for others in [["--batch-out", "other.jsonl"], again] {
        let expected = ["no requests are wanted but", "26 requests in requests.jsonl", "--batch-again"];
        ends(&place, &others, 2, &expected);
        assert!(!place.path("other.jsonl").exists());
        _ = std::fs::rename(&path, place.path("elsewhere.jsonl"));
    }
    ends(&place, &[], 2, &["26 of the requests stand in batch files (26 requests in requests.jsonl)", "--batch-in"]);

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
        "read: 22 answers, 1 requests that the server refused, 2 errors, which are asked again (one of them: HTTP 500: no), \
         1 lines that had been read before, 1 lines of other requests",
        "not read back yet: 1 requests in requests.jsonl",
        "22 of 26 questions",
        "3 more requests are wanted: --batch-out",
    ];
    ends(&place, &["--batch-in", "output.jsonl", "errors.jsonl"], 0, &expected);
    assert_eq!(json_of(&place, "out/report.json")["complete"], false);

    place.write("mine.jsonl", "mine");
    ends(&place, &["--batch-out", "mine.jsonl"], 2, &["mine.jsonl: is there", "nothing is overwritten"]);
    assert_eq!(place.lines("mine.jsonl"), ["mine"]);
    let expected = ["more.jsonl: 3 requests", "not read back yet: 1 requests in requests.jsonl"];
    ends(&place, &["--batch-out", "more.jsonl"], 0, &expected);
    let mut back = place.objects("more.jsonl");
    assert!(back.iter().all(|request| request["custom_id"] != requests[4]["custom_id"]));
    back.push(requests[4].clone());
    place.write("output.jsonl", lines(&back.iter().map(answer).collect::<Vec<_>>()));
    ends(&place, &["--batch-in", "output.jsonl"], 0, &["26 of 26 questions"]);
    ends(&place, &["--batch-out", "more.jsonl"], 0, &["no request is wanted"]);

    // Over HTTP the same is made: only one answer, refused there, was another.
    let other = Place::new();
    documents(&other, 24);
    let server = Server::good();
    recipe(&other, &server.endpoint, QUESTIONS, "");
    ends(&other, &[], 0, &[]);
    let names = |place: &Place| made(place).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&place), names(&other));
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
    let some = ["read: 10 answers", "not read back yet: 16 requests in requests.jsonl", "10 of 26"];
    let said = ends(&place, &["--batch-in", "some.jsonl"], 0, &some);
    assert!(!said.contains("more requests are wanted"), "{said}");
    ends(&place, &["--batch-out", "more.jsonl"], 2, &["16 requests in requests.jsonl"]);
    ends(&place, &["--batch-in", "rest.jsonl"], 0, &["read: 16 answers", "26 of 26", "used: 26 requests"]);
    let costs = json_of(&place, "out/costs.json");
    assert_eq!(costs["of_it_without_answer"]["requests"], 0);
}

#[test]
fn an_error_that_comes_late_is_its_requests() {
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, "http://127.0.0.1:9/v1", "train = { en = 2 }", "");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &[]);
    let requests = place.objects("requests.jsonl");
    let id = |number: usize| &requests[number]["custom_id"];
    let failed = json!({"custom_id": id(0), "response": {"status_code": 500, "body": {}}});
    place.write("output.jsonl", lines(&[failed, answer(&requests[1])]));
    ends(&place, &["--batch-in", "output.jsonl"], 0, &["1 answers, 1 errors", "(of it 1 requests without an answer"]);
    // The server said that it failed, and now that it did not even begin.
    let late = json!({"custom_id": id(0), "response": null, "error": {"code": "batch_expired", "message": "too late"}});
    place.write("errors.jsonl", lines(&[late]));
    let said = ends(&place, &["--batch-in", "errors.jsonl"], 0, &["read: 1 errors", "one of them: too late"]);
    assert!(!said.contains("other requests") && !said.contains("without an answer"), "{said}");
    assert_eq!(json_of(&place, "out/costs.json")["used"]["requests"], 2);
    ends(&place, &["--batch-in", "errors.jsonl"], 0, &["1 lines that had been read before"]);
}

#[test]
fn what_is_written_once_more_counts_once_more() {
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, "http://127.0.0.1:9/v1", QUESTIONS, "[caps]\nrequests = 60");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &[]);
    ends(&place, &["--batch-again"], 2, &["--batch-out"]);
    std::fs::remove_file(place.path("requests.jsonl")).unwrap();
    ends(&place, &["--batch-out", "more.jsonl", "--batch-again"], 0, &["more.jsonl: 26 requests"]);
    let back: Vec<Value> = place.objects("more.jsonl").iter().map(answer).collect();
    place.write("back.jsonl", lines(&back));
    ends(&place, &["--batch-in", "back.jsonl"], 0, &["26 of 26", "used: 52 requests"]);
}

#[test]
fn a_kill_before_a_file_has_its_name_leaves_it_to_the_same_command() {
    let place = Place::new();
    documents(&place, 24);
    recipe(&place, "http://127.0.0.1:9/v1", QUESTIONS, "");
    let command = ["--batch-out", "requests.jsonl"];
    ends(&place, &command, 0, &[]);
    let (path, partial) = (place.path("requests.jsonl"), place.path("requests.jsonl.tercet-partial"));
    let bytes = std::fs::read(&path).unwrap();
    // Just before, and just after the journal was written.
    std::fs::rename(&path, &partial).unwrap();
    ends(&place, &command, 0, &["not read back yet: 26 requests in requests.jsonl"]);
    assert!(std::fs::read(&path).unwrap() == bytes && !partial.exists());
    std::fs::rename(&path, &partial).unwrap();
    std::fs::remove_file(place.path("out/journal.jsonl")).unwrap();
    std::fs::remove_dir(place.path("out")).unwrap();
    ends(&place, &command, 0, &["requests.jsonl: 26 requests"]);
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn what_was_never_submitted_is_free_again() {
    let (place, server) = (Place::new(), Server::good());
    documents(&place, 24);
    recipe(&place, &server.endpoint, QUESTIONS, "");
    ends(&place, &["--batch-out", "requests.jsonl"], 0, &[]);
    ends(&place, &["--batch-in", "requests.jsonl"], 0, &["26 requests that were not submitted"]);
    assert_eq!(json_of(&place, "out/costs.json")["used"]["requests"], 0);
    ends(&place, &[], 0, &["26 of 26"]);
    assert_eq!(server.num_requests(), 26);
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
    let expected = ["r.jsonl: 50000 requests", "r.2.jsonl: 2 requests", "caps.requests = 50002 is reached, and 1 more"];
    ends(&place, &["--batch-out", "r.jsonl"], 2, &expected);
    assert_eq!((place.lines("r.jsonl").len(), place.lines("r.2.jsonl").len()), (50_000, 2));
    // What comes back of one file says nothing about the other.
    let request = place.objects("r.2.jsonl").remove(0);
    let body = completion(&request["body"], "Which bridges did merchants describe in letters?");
    let id = &request["custom_id"];
    let back = json!({"custom_id": id, "response": {"status_code": 200, "body": body}});
    place.write("back.jsonl", format!("{back}\n"));
    let expected = ["read: 1 answers", "not read back yet: 50000 requests in r.jsonl, 1 requests in r.2.jsonl"];
    ends(&place, &["--batch-in", "back.jsonl"], 0, &expected);
    ends(&place, &["--batch-out", "r.jsonl"], 2, &["caps.requests = 50002 is reached, and 1 more", "r.2.jsonl"]);
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
    place.write("back.jsonl", "");
    ends(&place, &["--batch-in", "back.jsonl"], 4, &["back.jsonl: is empty"]);
    for foreign in
        ["custom_id,answer\n", "\u{1f}\u{8b}", "[]\n", "{\"custom_id\": \"x\", \"response\": null, \"error\": {}}\n"]
    {
        place.write("back.jsonl", foreign);
        ends(&place, &["--batch-in", "back.jsonl"], 4, &["back.jsonl"]);
    }
    ends(&place, &["--batch-in", "back.jsonl"], 4, &["none of its 1 lines is of a request that was written"]);
    assert!(!place.path("out/report.json").exists());
}
