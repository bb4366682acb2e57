//! `[eval]`: a run that is judged while it lasts computes what it would compute otherwise, whatever happens to it in
//! between; its figures are those of `tercet eval`; and what they decide, which checkpoint stays and when the run ends.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tercet_tests::hold::Hold;
use tercet_tests::killer::{Killer, Strike};
use tercet_tests::program::{Tercet, send};
use tercet_tests::scene::{Scene, assert_same_run, evaluations, metrics};

const FIGURE: &str = "mean/dense/ndcg@10";

/// A run's start, and data sets of rows like those that it trains on.
struct Judged {
    scene: Scene,
}

impl Judged {
    fn new(steps: u64, checkpoint_every: u64) -> Self {
        let scene = Scene::new(steps, checkpoint_every);
        scene.write_judged("small", 12);
        scene.write_judged("other", 20);
        Self { scene }
    }

    /// The command that trains in the run folder `run` and evaluates every `every` steps.
    fn train(&self, run: &str, ranks: usize, every: u64) -> Tercet {
        let data = ["small", "other"].map(|name| self.scene.place.path(name));
        let run = self.scene.train(run, ranks).set(format!("eval.data={data:?}"));
        run.set("eval.split=test").set(format!("eval.every_steps={every}"))
    }

    fn run_dir(&self, run: &str) -> std::path::PathBuf {
        self.scene.place.path(run)
    }

    /// Steps and values of a figure, as the run has recorded them.
    fn values(&self, run: &str, figure: &str) -> Vec<(u64, f64)> {
        let value = |line: &Value| line[format!("eval/{figure}")].as_f64().unwrap();
        evaluations(&self.run_dir(run)).iter().map(|line| (line["step"].as_u64().unwrap(), value(line))).collect()
    }

    /// The steps whose checkpoints are there.
    fn kept(&self, run: &str) -> BTreeSet<u64> {
        let names = fs::read_dir(self.run_dir(run)).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.to_str()?.strip_prefix("step-")?.parse().ok()).collect()
    }

    /// That two runs have found the same, and have written it down in the same places.
    fn assert_same_evaluations(&self, found: &str, expected: &str) {
        let [found_lines, lines] = [found, expected].map(|run| evaluations(&self.run_dir(run)));
        let timeless = |lines: &[Value]| lines.iter().map(without_secs).collect::<Vec<_>>();
        assert_eq!(timeless(&found_lines), timeless(&lines), "{found}");
        let [found_files, files] = [found, expected].map(|run| {
            let mut files: Vec<_> = fs::read_dir(self.run_dir(run).join("eval"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| (path.file_name().unwrap().to_owned(), read_json(&path)))
                .collect();
            files.sort_by(|a, b| a.0.cmp(&b.0));
            files.into_iter().map(|(name, json)| (name, without_secs(&json))).collect::<Vec<_>>()
        });
        assert_eq!(found_files, files, "{found}");
        let order = |run: &str| {
            let text = fs::read_to_string(self.run_dir(run).join("metrics.jsonl")).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.map(|line| (line["step"].as_u64(), line.get("eval_secs").is_some())).collect::<Vec<_>>()
        };
        assert_eq!(order(found), order(expected), "{found}");
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// An evaluation without its seconds.
fn without_secs(line: &Value) -> Value {
    let mut line = line.clone();
    for key in ["eval_secs", "eval_secs_so_far", "eval_share"] {
        assert!(line.as_object_mut().unwrap().remove(key).is_some(), "{line} has no {key}");
    }
    line
}

#[test]
fn training_computes_the_same_and_the_figures_are_those_of_eval() {
    let judged = Judged::new(8, 4);
    let scene = &judged.scene;
    for ranks in [1, 2] {
        let (without, with) = (format!("without-{ranks}"), format!("with-{ranks}"));
        scene.train(&without, ranks).succeed();
        let ended = judged.train(&with, ranks, 3).run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr());
        for file in ["model/model.safetensors", "model/colbert_linear.pt", "train/optimizer.safetensors"] {
            let read = |run: &str| fs::read(scene.checkpoint(run, 8).join(file)).unwrap();
            assert!(read(&with) == read(&without), "{file} of {ranks} ranks");
        }
        let losses = |run: &str| {
            let lines = metrics(&judged.run_dir(run)).into_iter();
            lines.map(|line| [&line["step"], &line["loss"], &line["grad_norm"]].map(Clone::clone)).collect::<Vec<_>>()
        };
        assert_eq!(losses(&with), losses(&without));
        assert_eq!(judged.kept(&with), BTreeSet::from([3, 4, 6, 8]));
        let values = judged.values(&with, FIGURE);
        assert_eq!(values.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 6, 8]);
        for (step, value) in values {
            let line = format!("evaluated step {step} in ");
            let shown = format!("dense ndcg@10 {value:.4}");
            let said = ended.stderr();
            assert!(said.lines().any(|own| own.starts_with(&line) && own.contains(&shown)), "{step}: {said}");
        }
        assert!(ended.stderr().contains(", evaluations "), "{}", ended.stderr());
        assert!(!judged.run_dir(&with).join("eval/index").exists());

        let figures = scene.place.path(&format!("figures-{ranks}.json"));
        let eval = Tercet::new("eval").arg("--model").arg(scene.checkpoint(&with, 6).join("model")).arg("--data");
        let eval = eval.arg(scene.place.path("small")).arg(scene.place.path("other")).arg("--json").arg(&figures);
        let lens = ["--query-max-len", "16", "--passage-max-len", "64", "--sub-batch-tokens", "256"];
        lens.into_iter().fold(eval, Tercet::arg).succeed();
        let (figures, recorded) = (read_json(&figures), &evaluations(&judged.run_dir(&with))[1]);
        let mut count = 0;
        for (dataset, by_ranking) in figures.as_object().unwrap() {
            for (ranking, by_metric) in by_ranking.as_object().unwrap() {
                for (metric, figure) in by_metric.as_object().unwrap() {
                    let name = format!("eval/{dataset}/{ranking}/{metric}");
                    assert_eq!(recorded[&name], *figure, "{name} with {ranks} ranks");
                    count += 1;
                }
            }
        }
        assert_eq!(count, 2 * 5 * 3);
        let of = |dataset: &str| recorded[format!("eval/{dataset}/all/mrr@10")].as_f64().unwrap();
        assert_eq!(of("mean"), (of("other") + of("small")) / 2.0);
    }
}

/// Between a checkpoint and its evaluation, and behind it.
#[test]
fn a_run_that_is_killed_or_stopped_makes_every_evaluation_once() {
    let judged = Judged::new(6, 0);
    let scene = &judged.scene;
    let train = |run: &str| judged.train(run, 2, 2).set(format!("checkpoint.keep_best={FIGURE}"));
    train("whole").succeed();
    for (at, signal) in [(4, libc::SIGKILL), (5, libc::SIGKILL), (4, libc::SIGTERM)] {
        let run = format!("run-{at}-{signal}");
        let hold = Hold::after(at, &scene.place.path(""), &format!("go-{at}-{signal}"));
        let mut running = hold.on(train(&run)).set("restart.limit=0").start();
        hold.wait(&mut running, 2);
        let first = scene.checkpoint(&run, 4);
        running.wait_until("checkpoint", |_| first.exists());
        if signal == libc::SIGKILL {
            let workers = running.wait_for_ranks(2);
            workers.iter().for_each(|rank| send(*rank, libc::SIGSTOP));
            send(running.wait_for_processes("mpirun", 1)[0], libc::SIGKILL);
            running.wait().fails_with(3, &["signal 9"]);
        } else {
            send(running.pid(), signal);
            assert_eq!(running.wait().code, Some(75));
        }
        let made = judged.values(&run, FIGURE).len();
        assert_eq!(made, if at == 4 { 1 } else { 2 }, "the one that is next was not to be begun");
        train(&run).arg("--resume").succeed();
        assert_same_run(scene, &run, "whole", 6);
        judged.assert_same_evaluations(&run, "whole");
    }
}

/// While indices, lists and figures are written and removed.
#[test]
fn a_run_that_is_killed_anywhere_makes_every_evaluation_once() {
    let judged = Judged::new(3, 1);
    let scene = &judged.scene;
    let train = |run: &str| {
        let run = judged.train(run, 1, 1).set("checkpoint.keep=1").set(format!("checkpoint.keep_best={FIGURE}"));
        run.arg("--resume").set("restart.limit=0")
    };
    train("whole").succeed();
    let killer = Killer::new(&scene.place.path(""));
    let at_the = |only: &'static str, at: &[usize]| {
        at.iter().map(|at| Strike::at_the("tercet-worker", only, *at)).collect::<Vec<_>>()
    };
    let strikes =
        [at_the("rename", &[4, 6, 7, 8, 9]), at_the("remove", &[2, 5, 9, 20]), at_the("mkdir", &[6])].concat();
    for (number, strike) in strikes.into_iter().enumerate() {
        let run = format!("killed-{number}");
        fs::create_dir(judged.run_dir(&run)).unwrap();
        let variables = killer.variables(&judged.run_dir(&run), strike);
        let killed = variables.into_iter().fold(train(&run), |run, (name, value)| run.env(name, value)).start();
        let ended = killed.wait_for_all();
        assert_eq!(ended.code, Some(3), "{strike:?}: {}", ended.stderr());
        train(&run).succeed();
        assert_same_run(scene, &run, "whole", 3);
        judged.assert_same_evaluations(&run, "whole");
        assert_eq!(judged.kept(&run), judged.kept("whole"), "{strike:?}");
    }
}

#[test]
fn the_best_checkpoint_stays_beside_the_newest() {
    let judged = Judged::new(8, 0);
    // So large a rate soon makes the model worse.
    let train = |run: &str, ranks| {
        let run = judged.train(run, ranks, 1).set("optimizer.learning_rate=0.05").set("checkpoint.keep=2");
        run.set(format!("checkpoint.keep_best={FIGURE}"))
    };
    let ended = train("run", 1).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    let values = judged.values("run", FIGURE);
    let best = values.iter().copied().reduce(|best, own| if own.1 > best.1 { own } else { best }).unwrap();
    assert!(best.0 < 7, "the best is among the newest: {values:?}");
    assert_eq!(judged.kept("run"), BTreeSet::from([best.0, 7, 8]), "{values:?}");
    let said = ended.stderr();
    let is_told = |line: &str| line.starts_with(&format!("evaluated step {} ", best.0)) && line.ends_with("ndcg@10)");
    assert!(said.lines().any(is_told) && said.contains(&format!("(the best so far by {FIGURE})")), "{said}");
    // Who goes on from an earlier one knows the best of those before.
    judged.scene.copy_until("run", 7, "again");
    train("again", 2).arg("--resume").succeed();
    assert_eq!(judged.kept("again"), BTreeSet::from([best.0, 7, 8]), "{:?}", judged.values("again", FIGURE));
}

#[test]
fn a_run_that_gets_no_better_ends_early() {
    let judged = Judged::new(12, 0);
    let train = |run: &str| {
        let run = judged.train(run, 1, 1).set("optimizer.learning_rate=0.1");
        run.set(format!("checkpoint.keep_best={FIGURE}"))
    };
    train("whole").succeed();
    let ended = train("early").set("eval.early_stop=3").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    let values = judged.values("early", FIGURE);
    let (last, _) = *values.last().unwrap();
    assert!(last < 12, "{values:?}");
    assert_eq!(values[..], judged.values("whole", FIGURE)[..last as usize]);
    let (rest, newest) = values.split_at(values.len() - 3);
    let best = rest.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    assert!(rest.last().unwrap().1 == best && newest.iter().all(|(_, value)| *value <= best), "{values:?}");
    let why =
        format!("ended after step {last}: 3 evaluations have not bettered {FIGURE} {best:.4} of step {}", last - 3);
    assert!(ended.stderr().contains(&why), "{}", ended.stderr());

    // It knows it when it is asked to go on; and with more patience it does.
    let again = train("early").set("eval.early_stop=3").arg("--resume").run();
    assert!(again.code == Some(0) && again.stderr().contains(&why), "{}", again.stderr());
    assert_eq!(judged.values("early", FIGURE), values);
    train("early").arg("--resume").succeed();
    assert_same_run(&judged.scene, "early", "whole", 12);
    judged.assert_same_evaluations("early", "whole");
}

#[test]
fn what_cannot_be_judged_by_is_refused_before_the_first_step() {
    let judged = Judged::new(2, 0);
    let scene = &judged.scene;
    let place = &scene.place;
    scene.write_judged("mean", 2);
    scene.write_judged("below/small", 2);
    scene.write_judged("strange", 2);
    place.write("strange/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\tgone\t1\n");
    let train = |folders: &[&str]| {
        let data: Vec<_> = folders.iter().map(|name| place.path(name)).collect();
        scene.train("run", 2).set(format!("eval.data={data:?}")).set("eval.split=test")
    };
    let refused = |run: Tercet, code: i32, expected: &[&str]| {
        run.run().fails_with(code, expected);
        assert!(!judged.run_dir("run").join("metrics.jsonl").exists());
    };
    refused(train(&["nowhere"]), 2, &["nowhere"]);
    refused(train(&["small"]).set("eval.split=dev"), 2, &["eval.data", "qrels/dev.tsv: no such file", "has test"]);
    refused(train(&["strange"]), 4, &["qrels/test.tsv", "judges no document of corpus.jsonl"]);
    refused(train(&["mean"]), 2, &["is called mean, which means all of them"]);
    refused(train(&["small", "below/small"]), 2, &["is called small, as another one is"]);
    let unknown = train(&["small"]).set("checkpoint.keep_best=large/dense/ndcg@10");
    refused(unknown, 2, &["no data set of eval.data is called \"large\"; there are mean, small"]);
    refused(train(&["small"]).set("eval.early_stop=2"), 2, &["eval.early_stop: goes by the figure"]);
}
