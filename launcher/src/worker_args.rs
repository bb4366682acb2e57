//! What the worker is told: each command's arguments as `tercet-worker` takes them (see [`crate::start`]).

use std::ffi::OsString;
use std::path::Path;

use clap::ValueEnum;

use crate::args::{BenchArgs, DoctorArgs, EncodeArgs, EvalArgs, MineArgs, PlanArgs, Prefixes, StepArgs, TrainArgs};

/// A worker's command line, without the program.
#[derive(Debug, Default)]
struct Line(Vec<OsString>);

impl Line {
    fn new(command: &str) -> Self {
        Self(vec![command.into()])
    }

    fn word(mut self, word: impl Into<OsString>) -> Self {
        self.0.push(word.into());
        self
    }

    fn flag(self, flag: &str, value: impl Into<OsString>) -> Self {
        self.word(flag).word(value)
    }

    fn number(self, flag: &str, value: usize) -> Self {
        self.flag(flag, value.to_string())
    }

    fn optional(self, flag: &str, value: Option<impl Into<OsString>>) -> Self {
        match value {
            Some(value) => self.flag(flag, value),
            None => self,
        }
    }

    /// What is typed may begin with a dash, so flag and value are one word.
    fn text(self, flag: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.word(format!("{flag}={value}")),
            None => self,
        }
    }

    fn prefixes(self, prefixes: &Prefixes) -> Self {
        self.text("--query-prefix", prefixes.query_prefix.as_deref())
            .text("--passage-prefix", prefixes.passage_prefix.as_deref())
    }

    fn each<V: Into<OsString>>(self, flag: &str, values: impl IntoIterator<Item = V>) -> Self {
        values.into_iter().fold(self, |line, value| line.flag(flag, value))
    }
}

/// `tercet-worker train …`; `again` goes on with what the ranks before, who may not all be gone yet, have left.
pub fn train(args: &TrainArgs, again: bool) -> Vec<OsString> {
    let mut line = Line::new("train").word(&args.recipe).each("--set", args.settings.all());
    if args.resume || again {
        line = line.word("--resume");
    }
    if again {
        line = line.number("--lock-wait-secs", 60);
    }
    line.word("--events").0
}

/// `tercet-worker measure …`.
pub fn measure(args: &PlanArgs, text_len: usize) -> Vec<OsString> {
    Line::new("measure").word(&args.recipe).each("--set", args.settings.all()).number("--text-len", text_len).0
}

/// `tercet-worker bench …`.
pub fn bench(args: &BenchArgs) -> Vec<OsString> {
    Line::new("bench")
        .word(&args.recipe)
        .each("--set", args.settings.all())
        .flag("--steps", args.steps.to_string())
        .flag("--from", args.from.to_string())
        .0
}

/// `tercet-worker doctor …`.
pub fn doctor(args: &DoctorArgs) -> Vec<OsString> {
    let line = Line::new("doctor");
    let line = args.recipe.iter().fold(line, |line, recipe| line.word(recipe));
    line.each("--set", &args.set).0
}

/// `tercet-worker step …`.
pub fn step(args: &StepArgs) -> Vec<OsString> {
    Line::new("step")
        .word(&args.recipe)
        .flag("--model", &args.model)
        .optional("--rows", args.rows.as_deref())
        .text("--dataset", args.dataset.as_deref())
        .optional("--tokens", args.tokens.as_deref())
        .each("--set", args.settings.all())
        .0
}

/// `tercet-worker encode …`.
pub fn encode(args: &EncodeArgs) -> Vec<OsString> {
    let heads: Vec<String> = args.heads.iter().map(name_of).collect();
    Line::new("encode")
        .flag("--model", &args.model)
        .flag("--input", &args.input)
        .flag("--out", &args.out)
        .optional("--as", args.side.as_ref().map(name_of))
        .text("--prefix", args.prefix.as_deref())
        .flag("--heads", heads.join(","))
        .number("--max-len", args.max_len)
        .optional("--mcls", args.mcls.map(|n| n.to_string()))
        .optional("--pooling", args.pooling.as_ref().map(name_of))
        .number("--sub-batch-tokens", args.sub_batch_tokens)
        .0
}

/// `tercet-worker eval …`.
pub fn eval(args: &EvalArgs) -> Vec<OsString> {
    let line = Line::new("eval").flag("--model", &args.model).each("--data", &args.data);
    let line = if args.keep_identical_ids { line.word("--keep-identical-ids") } else { line };
    line.flag("--split", &args.split)
        .prefixes(&args.prefixes)
        .optional("--out", args.out.as_deref())
        .number("--query-max-len", args.query_max_len)
        .number("--passage-max-len", args.passage_max_len)
        .optional("--mcls", args.mcls.map(|n| n.to_string()))
        .optional("--json", args.json.as_deref())
        .number("--sub-batch-tokens", args.sub_batch_tokens)
        .0
}

/// `tercet-worker mine …`.
pub fn mine(args: &MineArgs) -> Vec<OsString> {
    Line::new("mine")
        .flag("--model", &args.model)
        .flag("--rows", &args.rows)
        .flag("--out", &args.out)
        .optional("--corpus", args.corpus.as_deref().map(Path::as_os_str))
        .prefixes(&args.prefixes)
        .number("--negatives", args.negatives)
        .flag("--range", &args.range)
        .number("--query-max-len", args.query_max_len)
        .number("--passage-max-len", args.passage_max_len)
        .flag("--seed", args.seed.to_string())
        .number("--sub-batch-tokens", args.sub_batch_tokens)
        .0
}

/// A value as it is typed.
fn name_of<V: ValueEnum>(value: &V) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn forwarded(typed: &str) -> String {
        let words = match Cli::try_parse_from(typed.split(' ')).unwrap().command {
            Command::Train(args) => train(&args, false),
            Command::Bench(args) => bench(&args),
            Command::Doctor(args) => doctor(&args),
            Command::Step(args) => step(&args),
            Command::Encode(args) => encode(&args),
            Command::Eval(args) => eval(&args),
            Command::Mine(args) => mine(&args),
            Command::Plan(args) => measure(&args, 256),
            Command::Prepare(_) | Command::Submit(_) => unreachable!("runs without a worker"),
        };
        words.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn settings_reach_the_worker_in_either_spelling() {
        let expected = "train r.toml --set a=1 --set b=2 --resume --events";
        assert_eq!(forwarded("tercet train r.toml -n 2 --set a=1 --set b=2 --resume"), expected);
        assert_eq!(forwarded("tercet train r.toml --set a=1 b=2 --resume -n 2"), expected);
        assert_eq!(forwarded("tercet train --resume --set a=1 r.toml b=2"), expected);
    }

    #[test]
    fn defaults_are_spelt_out_and_absent_options_are_left_out() {
        assert_eq!(
            forwarded("tercet encode --model m --input - --out o.jsonl"),
            "encode --model m --input - --out o.jsonl --heads dense,lexical,multi_vector --max-len 8192 \
             --sub-batch-tokens 8192"
        );
        assert_eq!(
            forwarded("tercet eval --model m --data a b --data c --mcls 256 -n 3"),
            "eval --model m --data a --data b --data c --split test --query-max-len 512 --passage-max-len 8192 --mcls 256 \
             --sub-batch-tokens 8192"
        );
        assert_eq!(
            forwarded("tercet mine --model m --rows r.jsonl --out o.jsonl --range 2-50"),
            "mine --model m --rows r.jsonl --out o.jsonl --negatives 7 --range 2-50 \
             --query-max-len 512 --passage-max-len 8192 --seed 42 --sub-batch-tokens 8192"
        );
    }

    #[test]
    fn prefixes_may_be_empty_and_begin_with_a_dash() {
        let words = "tercet mine --model m --rows r.jsonl --out o.jsonl --query-prefix= --passage-prefix=-p";
        assert!(forwarded(words).contains("--query-prefix= --passage-prefix=-p --negatives"));
        let words = "tercet eval --model m --data d --keep-identical-ids --split dev --query-prefix q";
        assert!(
            forwarded(words).contains("--data d --keep-identical-ids --split dev --query-prefix=q --query-max-len")
        );
        let words = "tercet encode --model m --input i --out o.jsonl --as query --prefix p";
        assert!(forwarded(words).contains("--out o.jsonl --as query --prefix=p --heads"));
        let words = "tercet step r.toml --model m --rows r.jsonl --dataset d";
        assert!(forwarded(words).contains("--rows r.jsonl --dataset=d"));
    }

    #[test]
    fn a_text_has_room_for_a_token() {
        for (typed, option) in [
            ("tercet encode --model m --input i --out o.jsonl", "--max-len"),
            ("tercet eval --model m --data d", "--query-max-len"),
            ("tercet mine --model m --rows r.jsonl --out o.jsonl", "--passage-max-len"),
        ] {
            let parsed = |len: usize| Cli::try_parse_from(format!("{typed} {option} {len}").split(' '));
            let message = parsed(2).unwrap_err().to_string();
            assert!(message.contains(option) && message.contains("need 3"), "{message}");
            assert!(parsed(3).is_ok());
        }
    }

    #[test]
    fn a_bench_says_which_steps() {
        let typed = "tercet bench r.toml -n 2 --steps 7 --set a=1 b=2 --json";
        assert_eq!(forwarded(typed), "bench r.toml --set a=1 --set b=2 --steps 7 --from 0");
        assert!(Cli::try_parse_from("tercet bench r.toml --steps 0".split(' ')).is_err());
    }

    #[test]
    fn a_doctor_may_do_without_a_recipe() {
        assert_eq!(forwarded("tercet doctor -n 2"), "doctor");
        assert_eq!(forwarded("tercet doctor r.toml --set a=1 --json - -n 2"), "doctor r.toml --set a=1");
        assert!(Cli::try_parse_from("tercet doctor --set a=1".split(' ')).is_err());
    }

    #[test]
    fn a_step_takes_rows_or_tokens() {
        assert_eq!(
            forwarded("tercet step r.toml --model m --tokens t.safetensors --json"),
            "step r.toml --model m --tokens t.safetensors"
        );
        let both = "tercet step r.toml --model m --tokens t --rows r";
        assert!(Cli::try_parse_from(both.split(' ')).is_err());
        assert!(Cli::try_parse_from("tercet step r.toml --model m".split(' ')).is_err());
    }
}
