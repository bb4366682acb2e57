//! Every command, with every option at values of every kind, is read from its words as it was written.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use tercet_configs::Head;
use tercet_protocol::Command;
use tercet_protocol::args::{
    BenchArgs, Bm25Lengths, DeviceArg, DoctorArgs, Draw, EncodeArgs, EvalArgs, EvalChoices, Few, Filters, IndexArgs,
    IndexHead, LexicalArg, Lists, MeasureArgs, MineArgs, PoolingArg, PrecisionArg, Prefixes, ProbeArgs, RankRange,
    RankTrainArgs, Ranking, RecipeArgs, ScoreArgs, SearchArgs, Side, StepArgs, StoreArg, TrainArgs, Weights,
};

/// What a user, or a file's name, may bring along.
const HOSTILE: [&str; 14] = [
    "plain",
    "with a blank",
    "-n",
    "--",
    "--model",
    "--set=a=b",
    "-",
    "=",
    "a=b=c",
    "=-",
    "'\"$(touch x)`\\",
    "a,b",
    "two\nlines",
    "é中🙂",
];

fn recipe(text: &str) -> RecipeArgs {
    RecipeArgs { path: text.into(), set: vec![format!("{text}=1"), text.into(), String::new()], more: Vec::new() }
}

/// Each command with all of its options, each of which is `text` where it may be.
fn full(text: &str) -> Vec<Command> {
    let path = || PathBuf::from(text);
    let paths = || vec![path(), PathBuf::from(OsStr::from_bytes(b"not\xffUTF-8"))];
    let prefixes = Prefixes { query_prefix: Some(text.into()), passage_prefix: Some(String::new()) };
    let mcls = NonZeroUsize::new(256);
    let lists = Lists {
        top: 1,
        rerank: 2,
        dense_lexical_weights: Weights([0.2, 0.8]),
        all_weights: Weights([0.15, 0.5, 1e-300]),
        lexical: LexicalArg::Published,
        bm25_k1: 0.0,
        bm25_b: 1.0,
        bm25_lengths: Bm25Lengths::Lucene,
    };
    let step = |rows, tokens, dataset| StepArgs { recipe: recipe(text), model: path(), rows, dataset, tokens };
    vec![
        Command::Train(RankTrainArgs {
            what: TrainArgs { recipe: recipe(text), resume: true },
            events: true,
            lock_wait_secs: 60,
        }),
        Command::Measure(MeasureArgs { recipe: recipe(text), text_len: 17 }),
        Command::Bench(BenchArgs { recipe: recipe(text), steps: NonZeroU64::new(7).unwrap(), from: u64::MAX }),
        Command::Doctor(DoctorArgs { recipe: Some(path()), set: recipe(text).set, device: Some(DeviceArg::Auto) }),
        Command::Step(step(Some(path()), None, Some(text.into()))),
        Command::Step(step(None, Some(path()), None)),
        Command::Encode(EncodeArgs {
            model: path(),
            input: path(),
            out: path(),
            side: Some(Side::Passage),
            prefix: Some(text.into()),
            heads: vec![Head::MultiVector, Head::Dense, Head::Lexical],
            max_len: 3,
            mcls,
            pooling: Some(PoolingArg::Mean),
            sub_batch_tokens: 0,
            device: DeviceArg::Cuda,
            precision: PrecisionArg::Bf16,
        }),
        Command::Index(IndexArgs {
            model: path(),
            corpus: paths(),
            out: path(),
            heads: vec![IndexHead::Bm25, IndexHead::Words, IndexHead::Dense],
            store: StoreArg::Fp32,
            passage_prefix: Some(text.into()),
            passage_max_len: 3,
            mcls,
            pooling: Some(PoolingArg::Cls),
            sub_batch_tokens: 1,
            device: DeviceArg::Cpu,
            precision: PrecisionArg::Fp32,
            dry_run: true,
        }),
        Command::Search(SearchArgs {
            model: path(),
            index: path(),
            queries: path(),
            out: path(),
            rankings: vec![Ranking::All, Ranking::DenseLexical, Ranking::Bm25],
            lists: lists.clone(),
            query_prefix: Some(text.into()),
            query_max_len: 3,
            memory: 1,
            sub_batch_tokens: 0,
            device: DeviceArg::Cuda,
            precision: PrecisionArg::Bf16,
            dry_run: true,
        }),
        Command::Eval(EvalArgs {
            model: path(),
            data: paths(),
            suite: Some(path()),
            choices: EvalChoices {
                split: Some(text.into()),
                keep_identical_ids: true,
                rankings: vec![Ranking::All, Ranking::Bm25],
                metrics: vec!["map@7".parse().unwrap(), "answer_recall@1".parse().unwrap()],
                query_max_len: Some(3),
                passage_max_len: Some(usize::MAX),
                top: Some(1),
                rerank: Some(2),
                dense_lexical_weights: Some(Weights([0.0, 0.8])),
                all_weights: Some(Weights([0.15, 0.5, 1e-300])),
                lexical: Some(LexicalArg::Published),
                bm25_k1: Some(0.0),
                bm25_b: Some(1.0),
                bm25_lengths: Some(Bm25Lengths::Lucene),
            },
            prefixes: prefixes.clone(),
            out: Some(path()),
            index: Some(path()),
            store: StoreArg::Bf16,
            mcls,
            json: Some(path()),
            memory: 1,
            sub_batch_tokens: 1,
            device: DeviceArg::Cpu,
            precision: PrecisionArg::Fp32,
        }),
        Command::Mine(MineArgs {
            model: path(),
            rows: paths(),
            out: path(),
            index: None,
            corpus: paths(),
            ranking: Ranking::Bm25,
            lists: lists.clone(),
            prefixes: prefixes.clone(),
            negatives: 0,
            range: RankRange { skip: 0, depth: 1 },
            draw: Draw::Top,
            few: Few::Drop,
            filters: Filters {
                near_duplicates: Some(0.5),
                answers: true,
                max_share: Some(1.0),
                margin: Some(1e-300),
                max_score: Some(-1.5),
                min_score: Some(-1e300),
                same_language: true,
                per_document: Some(1),
            },
            write_scores: true,
            teacher: Some(path()),
            temperature: 1e-9,
            query_max_len: 4,
            passage_max_len: 5,
            seed: u64::MAX,
            memory: 1,
            sub_batch_tokens: 2,
            device: DeviceArg::Auto,
            precision: PrecisionArg::Auto,
        }),
        Command::Mine(MineArgs {
            model: path(),
            rows: paths(),
            out: path(),
            index: Some(path()),
            corpus: Vec::new(),
            ranking: Ranking::All,
            lists,
            prefixes: Prefixes { passage_prefix: None, ..prefixes.clone() },
            negatives: 1,
            range: RankRange { skip: 1, depth: 2 },
            draw: Draw::Uniform,
            few: Few::Keep,
            filters: Filters::default(),
            write_scores: false,
            teacher: None,
            temperature: 1.0,
            query_max_len: 4,
            passage_max_len: 5,
            seed: 0,
            memory: 7,
            sub_batch_tokens: 2,
            device: DeviceArg::Cuda,
            precision: PrecisionArg::Fp32,
        }),
        Command::Score(ScoreArgs {
            model: path(),
            rows: paths(),
            out: path(),
            index: None,
            top: 10,
            prefixes: prefixes.clone(),
            query_max_len: 4,
            passage_max_len: Some(5),
            memory: 7,
            sub_batch_tokens: 2,
            device: DeviceArg::Cuda,
            precision: PrecisionArg::Fp32,
        }),
        Command::Score(ScoreArgs {
            model: path(),
            rows: paths(),
            out: path(),
            index: Some(path()),
            top: 1,
            prefixes: Prefixes { passage_prefix: None, ..prefixes },
            query_max_len: 4,
            passage_max_len: None,
            memory: 7,
            sub_batch_tokens: 2,
            device: DeviceArg::Auto,
            precision: PrecisionArg::Auto,
        }),
        Command::Probe(ProbeArgs { tokens: 100, lens: vec![1, usize::MAX], heads: 3 }),
    ]
}

/// The words of what is typed, and what they are read as.
fn typed(line: &str) -> Result<Command, String> {
    Command::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
}

#[test]
fn every_command_is_read_as_it_was_written() {
    for text in HOSTILE {
        for command in full(text) {
            let words = command.words();
            assert_eq!(Command::parse(words.iter().cloned()).unwrap(), command, "{words:?}");
        }
    }
}

#[test]
fn every_command_and_every_option_is_among_them() {
    let written: BTreeSet<(OsString, String)> = full("x")
        .iter()
        .flat_map(|command| {
            let mut words = command.words().into_iter();
            let name = words.next().unwrap();
            words.map(move |word| (name.clone(), word.to_str().unwrap_or("").split('=').next().unwrap().to_owned()))
        })
        .collect();
    let all = Command::augment_subcommands(clap::Command::new("all"));
    let mut num_options = 0;
    for command in all.get_subcommands() {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
            let name = format!("--{}", argument.get_long().unwrap());
            assert!(written.contains(&(command.get_name().into(), name.clone())), "{} {name}", command.get_name());
            assert!(names.insert(name), "twice");
            num_options += 1;
        }
    }
    assert!(num_options > 40, "{num_options}");
}

#[test]
fn what_is_typed_alone_has_defaults_and_they_are_read_as_they_are() {
    for line in [
        "train r.toml",
        "measure r.toml",
        "bench r.toml",
        "doctor",
        "step r.toml --model m --rows r.jsonl",
        "encode --model m --input - --out o.jsonl",
        "index --model m --corpus c --out o",
        "search --model m --index i --queries q --out o",
        "eval --model m --data a",
        "mine --model m --rows r.jsonl --out o.jsonl",
        "score --model m --rows r.jsonl --out o",
        "probe",
    ] {
        let command = typed(line).unwrap();
        assert_eq!(Command::parse(command.words()).unwrap(), command, "{line}");
    }
    let Command::Encode(encode) = typed("encode --model m --input - --out o.jsonl").unwrap() else { unreachable!() };
    assert_eq!(encode.heads, [Head::Dense, Head::Lexical, Head::MultiVector]);
    assert_eq!((encode.max_len, encode.sub_batch_tokens, encode.mcls, encode.pooling), (8192, 8192, None, None));
    let Command::Mine(mine) = typed("mine --model m --rows r s --out o").unwrap() else { unreachable!() };
    let lens = (mine.query_max_len, mine.passage_max_len);
    assert_eq!((lens, mine.negatives, mine.seed, mine.range.to_string().as_str()), ((512, 8192), 7, 42, "10-100"));
    assert_eq!(
        (mine.rows.len(), mine.ranking, mine.few, &mine.filters),
        (2, Ranking::Dense, Few::Widen, &Filters::default())
    );
    let Command::Index(index) = typed("index --model m --corpus a b --out o").unwrap() else { unreachable!() };
    assert_eq!((index.corpus.len(), index.heads.len(), index.store), (2, 3, StoreArg::Bf16));
    let Command::Search(search) = typed("search --model m --index i --queries q --out o --memory 2GiB").unwrap() else {
        unreachable!()
    };
    assert_eq!((search.memory, search.lists.top, search.lists.rerank), (2 << 30, 1000, 200));
    assert_eq!((search.lists.dense_lexical_weights.0, search.lists.all_weights.0), ([1.0, 0.3], [1.0, 0.3, 1.0]));
    assert!(search.rankings.is_empty());
    let Command::Eval(eval) = typed("eval --model m --data a b --data c").unwrap() else { unreachable!() };
    assert_eq!((eval.data.len(), eval.choices), (3, EvalChoices::default()));
}

#[test]
fn settings_are_the_same_in_either_spelling() {
    for line in [
        "train r.toml --set a=1 --set b=2 --resume",
        "train r.toml --set a=1 b=2 --resume",
        "train --resume --set a=1 r.toml b=2",
    ] {
        let Command::Train(train) = typed(line).unwrap() else { unreachable!() };
        assert_eq!(train.what.recipe.settings(), ["a=1", "b=2"], "{line}");
        assert!(train.what.resume && train.what.recipe.path == OsStr::new("r.toml"), "{line}");
        let Command::Train(again) = Command::parse(Command::Train(train.clone()).words()).unwrap() else {
            unreachable!()
        };
        assert_eq!(again.what.recipe.settings(), train.what.recipe.settings());
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_named() {
    for (line, named) in [
        ("train r.toml other.toml", "a recipe is given only once"),
        ("bench r.toml --steps 0", "--steps"),
        ("doctor --set a=1", "RECIPE"),
        ("step r.toml --model m", "--rows"),
        ("step r.toml --model m --tokens t --rows r", "--tokens"),
        ("encode --model m --input i --out o.jsonl --max-len 2", "need 3"),
        ("eval --model m --data d --query-max-len 2", "need 3"),
        ("mine --model m --rows r.jsonl --out o.jsonl --passage-max-len 2", "need 3"),
        ("mine --model m --rows r.jsonl --out o.jsonl --range 100-10", "nothing is left between 100 and 10"),
        ("mine --model m --rows r.jsonl --out o.jsonl --range 10", "expected two ranks"),
        ("mine --model m --rows r.jsonl --out o.jsonl --index i --corpus c", "--corpus"),
        ("mine --model m --rows r.jsonl --out o.jsonl --index i --passage-prefix p", "--passage-prefix"),
        ("mine --model m --rows r.jsonl --out o.jsonl --teacher t", "--write-scores"),
        ("mine --model m --rows r.jsonl --out o.jsonl --near-duplicates 80", "from 0 to 1"),
        ("mine --model m --rows r.jsonl --out o.jsonl --temperature 0", "above 0"),
        ("encode --model m --input i --out o.jsonl --heads dense,sparse", "sparse"),
        ("index --model m --out o", "--corpus"),
        ("index --model m --corpus c --out o --heads multi_vector", "multi_vector"),
        ("search --model m --index i --queries q --out o --all-weights 1,0.3", "expected 3 numbers"),
        ("search --model m --index i --queries q --out o --dense-lexical-weights 0,0", "must be above 0"),
        ("search --model m --index i --queries q --out o --bm25-b 1.5", "from 0 to 1"),
        ("search --model m --index i --queries q --out o --top 0", "above 0"),
        ("search --model m --index i --queries q --out o --memory auto", "4GiB"),
        ("trian r.toml", "trian"),
    ] {
        let error = typed(line).unwrap_err();
        assert!(error.contains(named), "{line}: {error}");
    }
}

#[test]
fn every_suite_loads_and_what_is_typed_goes_before_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/eval");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let suite = EvalChoices::load(&path).unwrap();
        assert!(suite.rankings.len() == 7 && suite.metrics.iter().all(|metric| metric.at <= suite.lists().top));
        names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        let long = suite.passage_max_len == Some(8192);
        assert_eq!(suite.lists().all_weights.0, if long { [0.15, 0.5, 0.35] } else { [1.0, 0.3, 1.0] });
        let typed = EvalChoices { top: Some(7), metrics: vec!["map@7".parse().unwrap()], ..EvalChoices::default() };
        let both = typed.clone().over(suite.clone());
        assert_eq!((both.top, &both.metrics, both.rerank), (Some(7), &typed.metrics, suite.rerank));
    }
    names.sort();
    assert_eq!(names, ["beir", "miracl", "mkqa", "mldr", "narrativeqa"]);
}
