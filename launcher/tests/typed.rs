//! What is typed: help, version, and mistakes that are found before anything is started.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::stand_in::{Ran, StandIn};

fn tercet(words: &str) -> Ran {
    // A worker that is started here would be a mistake.
    StandIn::new().run(words, "echo the worker was started >&2; exit 9")
}

#[test]
fn help_has_one_line_for_every_command() {
    let ran = tercet("--help");
    assert_eq!(ran.code, Some(0));
    for command in ["prepare", "plan", "train", "step", "encode", "eval", "mine", "report", "export"] {
        let line = ran.stdout.lines().find(|line| line.trim_start().starts_with(command));
        assert!(line.is_some_and(|line| line.split_whitespace().count() > 4), "{command}: {}", ran.stdout);
        let help = tercet(&format!("{command} --help"));
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains(&format!("Usage: tercet {command}")), "{}", help.stdout);
    }
}

#[test]
fn version_is_one_line() {
    let ran = tercet("--version");
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("tercet {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_mistake_in_the_arguments_ends_with_2() {
    for words in [
        "",
        "trian r.toml",
        "train",
        "train r.toml other.toml",
        "train r.toml -n 0",
        "step r.toml --model m",
        "encode --model m --input t.txt --out o.jsonl --heads dense,sparse",
        "mine --model m --rows r.jsonl --out o.jsonl --range 100-10",
        "prepare --tokenizer t.json --out s a.jsonl,b.jsonl",
        "export model out",
        "report",
        "report a,b",
        "report a --out report.md",
    ] {
        let ran = tercet(words);
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.stderr);
        assert!(!ran.stderr.contains("the worker was started"), "{words}: {}", ran.stderr);
    }
}

#[test]
fn a_recipe_that_cannot_be_used_is_one_message_and_2() {
    let lab = StandIn::new();
    std::fs::write(lab.path("misspelt.toml"), "name = \"t\"\n[loss]\ntemprature = 0.05\n").unwrap();
    std::fs::write(lab.path("typed.toml"), "name = \"t\"\nsteps = \"many\"\n").unwrap();
    std::fs::write(lab.path("solo.toml"), "name = \"t\"\nbackend = \"solo\"\n").unwrap();
    for (words, expected) in [
        ("train misspelt.toml", "did you mean `temperature`?"),
        ("train typed.toml -n 2", "line 2"),
        ("train absent.toml", "recipe absent.toml: No such file or directory (os error 2)\n"),
        ("train r.toml --set loss.temperature=-1", "loss.temperature: is -1"),
        ("train r.toml --set loss.temprature=1", "did you mean `temperature`?"),
        ("step r.toml --model m --rows r.jsonl --set steps", "expected key=value"),
        ("train solo.toml -n 2", "recipe solo.toml: backend: is \"solo\""),
    ] {
        let ran = lab.run(words, "echo the worker was started >&2; exit 9");
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("tercet: ") && ran.stderr.contains(expected), "{words}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches("tercet: ").count(), 1, "{words}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{words}");
    }
}

#[test]
fn what_is_not_installed_is_named() {
    let lab = StandIn::without_worker();
    std::fs::write(lab.path("r.toml"), "name = \"t\"\n").unwrap();
    let ran = Ran::from(lab.tercet("train r.toml", "").env("PATH", "/nonexistent").output().unwrap());
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("tercet-worker") && ran.stderr.contains("make build"), "{}", ran.stderr);

    let lab = StandIn::new();
    let alone = |words| Ran::from(lab.tercet(words, "exit 0").env("PATH", "/nonexistent").output().unwrap());
    let ran = alone("train r.toml -n 2");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("openmpi-bin") && ran.stderr.contains("-n 1"), "{}", ran.stderr);
    assert_eq!(alone("train r.toml -n 1").code, Some(0), "one rank needs no mpirun");
}
