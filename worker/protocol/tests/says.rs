//! What ranks say is read as it was said, and is written as readers of the files know it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use tercet_protocol::says::{self, Beat, EvalRecord, Event, StepRecord};

fn record() -> StepRecord {
    StepRecord {
        step: 3,
        dataset: "a \"quoted\" set".into(),
        loss: 1.5,
        terms: BTreeMap::from([("dense".to_owned(), Some(2.0)), ("hybrid".to_owned(), None)]),
        tokens_per_sec: 812.0,
        phase_secs: BTreeMap::from([("input".to_owned(), 0.25)]),
        ..StepRecord::default()
    }
}

fn evaluation() -> EvalRecord {
    let figures = BTreeMap::from([(EvalRecord::name_of("mean", "dense", "ndcg@10"), 0.25)]);
    EvalRecord { step: 6, eval_secs: 1.5, eval_secs_so_far: 2.5, eval_share: 0.125, figures }
}

fn events() -> Vec<Event> {
    let run_dir = std::path::PathBuf::from("runs/demo");
    let warnings = vec!["line\nfeed".to_owned()];
    vec![
        Event::Start {
            run_dir: run_dir.clone(),
            first_step: 0,
            last_step: 6,
            world_size: 2,
            startup_secs: 1.5,
            warnings,
        },
        Event::Step(Box::new(record())),
        Event::Warning { text: "{\"event\":\"else\"}".into() },
        Event::Checkpoint { path: run_dir.join("step-00000006"), step: 6 },
        Event::Stopped { step: 4 },
        Event::Heartbeat(Beat { rank: 1, host: "gpu04".into(), doing: "computing".into(), ..Beat::default() }),
        Event::End { run_dir: run_dir.clone(), steps: 6, early: None },
        Event::Evaluating { step: 6 },
        Event::Evaluated { record: evaluation(), shown: "mean/dense/ndcg@10".into(), best: true },
        Event::End { run_dir, steps: 6, early: Some("no better".into()) },
    ]
}

#[test]
fn every_event_is_one_line_that_begins_as_all_do_and_is_read_as_it_was_said() {
    for event in events() {
        let line = event.line();
        assert!(line.as_bytes().starts_with(Event::BEGINNING) && !line.contains('\n'), "{line}");
        let inner = &line.as_bytes()[1..];
        let again = inner.windows(Event::BEGINNING.len()).any(|bytes| bytes == Event::BEGINNING);
        assert!(!again, "a line within a line is told by its beginning: {line}");
        assert_eq!(Event::parse(line.as_bytes()), Some(event));
    }
}

#[test]
fn lines_are_to_the_byte_what_readers_know() {
    let line = |i: usize| events()[i].line();
    assert_eq!(
        line(0),
        r#"{"event":"start","first_step":0,"last_step":6,"run_dir":"runs/demo","startup_secs":1.5,"warnings":["line\nfeed"],"world_size":2}"#
    );
    assert_eq!(line(3), r#"{"event":"checkpoint","path":"runs/demo/step-00000006","step":6}"#);
    assert_eq!(
        line(5),
        r#"{"event":"heartbeat","rank":1,"host":"gpu04","pid":0,"step":0,"phase":"","doing":"computing","waits":false,"saves":false,"evaluates":false,"secs":0.0,"still_secs":0.0}"#
    );
    assert_eq!(line(6), r#"{"event":"end","run_dir":"runs/demo","steps":6}"#);
    let metrics = says::line(&record());
    assert_eq!(line(1), format!("{{\"event\":\"step\",{}", &metrics[1..]));
    let keys: Vec<&str> =
        metrics.split("\":").map(|part| part.rsplit('"').next().unwrap()).filter(|key| !key.is_empty()).collect();
    assert_eq!(keys[..3], ["all_reduce_bytes", "checkpoint_stall_secs", "dataset"], "in alphabetical order");
}

#[test]
fn an_evaluation_is_told_from_a_step_and_has_its_figures_by_their_names() {
    let line = says::line(&evaluation());
    let expected =
        r#"{"eval/mean/dense/ndcg@10":0.25,"eval_secs":1.5,"eval_secs_so_far":2.5,"eval_share":0.125,"step":6}"#;
    assert_eq!(line, expected);
    assert_eq!(serde_json::from_str::<EvalRecord>(&line).unwrap(), evaluation());
    let is_one = |line: &str| EvalRecord::is_one(&serde_json::from_str(line).unwrap());
    assert!(is_one(&line) && !is_one(&says::line(&record())));
}

#[test]
fn no_number_is_null_and_read_as_none() {
    let record = StepRecord { loss: f64::NAN, grad_norm: f64::INFINITY, ..record() };
    let line = says::line(&record);
    assert!(line.contains(r#""loss":null"#) && line.contains(r#""grad_norm":null"#), "{line}");
    let read: StepRecord = serde_json::from_str(&line).unwrap();
    assert!(read.loss.is_nan() && read.grad_norm.is_nan());
    assert_eq!((read.step, read.terms, read.tokens_per_sec), (3, record.terms, 812.0));
}

#[test]
fn a_step_may_carry_more_than_is_known_and_less() {
    let line = br#"{"event":"step","step":3,"epoch":0,"loss":1,"else":[1],"grad_norm":null}"#;
    let Some(Event::Step(step)) = Event::parse(line) else { unreachable!() };
    assert_eq!((step.step, step.loss), (3, 1.0));
    assert!(step.grad_norm.is_nan() && step.goodput.is_nan() && step.tokens_per_sec.is_nan());
}

#[test]
fn what_is_no_event_is_left_alone() {
    for line in ["{\"loss\": 1.0}", "{\"event\":\"else\"}", "text", "{", ""] {
        assert_eq!(Event::parse(line.as_bytes()), None, "{line}");
    }
}
