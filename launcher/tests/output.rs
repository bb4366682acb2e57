//! What of the worker's output reaches the user, and in which form.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::process::Stdio;

use crate::stand_in::{Ran, StandIn};

const EVENTS: &str = r#"
echo '{"event":"start","run_dir":"runs/t","first_step":0,"last_step":5,"world_size":2,"warnings":["few rows"]}'
for step in 1 2 3 4 5; do
    echo '{"event":"step","step":'$step',"loss":1.5,"learning_rate":4.2e-4,"tokens_per_sec":812}'
done
echo 'no event'
echo '{"event":"checkpoint","path":"runs/t/step-00000005","step":5}'
echo '{"event":"end","steps":5,"run_dir":"runs/t"}'
"#;

#[test]
fn training_in_a_log_is_plain_lines_on_standard_error() {
    for ranks in [1, 2] {
        let script = format!("[ ${{OMPI_COMM_WORLD_RANK:-0}} = 0 ] || exit 0\n{EVENTS}");
        let ran = StandIn::new().run(&format!("train r.toml -n {ranks}"), &script);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(ran.stdout, "no event\n");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines[..3], ["training to step 5 on 2 ranks", "run folder runs/t", "warning: few rows"]);
        let steps = ["2/5", "4/5", "5/5"].map(|step| format!("step {step}  loss 1.5000  lr 4.20e-4  812 tok/s"));
        assert!(steps.iter().zip(&lines[3..6]).all(|(step, line)| line.starts_with(step)), "{}", ran.stderr);
        assert!(lines[3].contains("812 tok/s  left "), "{}", lines[3]);
        assert_eq!(lines[6], "checkpoint runs/t/step-00000005");
        assert!(lines[7].starts_with("5 steps in ") && lines[7].ends_with("run folder runs/t"), "{}", lines[7]);
    }
}

#[test]
fn the_json_of_a_step_is_passed_on_to_the_byte() {
    let json = r#"{ "loss":1.50, "terms":{"dense":2.0},"scores":{"dense":[[1,2]]},"param_grad_norm":{"w":3.0},"total_grad_norm":3.0,"world_size":1}"#;
    let lab = StandIn::new();
    let script = format!("[ ${{OMPI_COMM_WORLD_RANK:-0}} = 0 ] || exit 0; printf '%s' '{json}'");
    for ranks in [1, 2] {
        let ran = lab.run(&format!("step r.toml --model m --rows r.jsonl --json -n {ranks}"), &script);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), json, ""));
    }
    let ran = lab.run("step r.toml --model m --rows r.jsonl", &script);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout.lines().any(|line| line.split_whitespace().eq(["loss", "1.500000"])), "{}", ran.stdout);
}

#[test]
fn the_worker_gets_the_arguments_as_typed() {
    let ran =
        StandIn::new().run("encode --model m --input a.txt --out o.jsonl --heads dense --mcls 256", "echo \"$@\"");
    assert_eq!(
        ran.stdout,
        "encode --model=m --input=a.txt --out=o.jsonl --heads=dense --max-len=8192 --mcls=256 \
                    --sub-batch-tokens=8192 --device=auto --precision=auto\n"
    );
}

#[test]
fn texts_on_standard_input_reach_rank_0_whole() {
    let text: String = (0..20_000).map(|line| format!("text number {line}\n")).collect();
    for ranks in [1, 2] {
        let script = "[ ${OMPI_COMM_WORLD_RANK:-0} = 0 ] || exit 0; cat";
        let lab = StandIn::new();
        let mut command = lab.tercet(&format!("encode --model m --input - --out o.jsonl -n {ranks}"), script);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = text.clone();
        let writer = std::thread::spawn(move || stdin.write_all(bytes.as_bytes()).unwrap());
        let ran = Ran::from(child.wait_with_output().unwrap());
        writer.join().unwrap();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout == text, "{} of {} bytes", ran.stdout.len(), text.len());
    }
}
