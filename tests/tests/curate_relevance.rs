//! `tercet curate` with `[relevance]`: what a model drops, against scoring each pair by itself; the same from any
//! number of ranks and after kills; ranks' failures.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::path::PathBuf;

use serde_json::{Value, json};
use tercet_tests::killer::{Killer, Strike};
use tercet_tests::library::{Encoded, Library, written};
use tercet_tests::place::files_below;
use tercet_tests::program::{Tercet, program};

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// What differs by less may be in either order: other texts were encoded beside.
const NEAR: f64 = 1e-5;

/// Titles and bodies in three files of two sources, and a model.
struct Raw {
    library: Library,
    /// A pair's query and passage, by source and in order.
    pairs: Vec<(&'static str, String, String)>,
    queries: Encoded,
    passages: Encoded,
}

impl Raw {
    fn new() -> Self {
        let library = Library::of(180, 180);
        let place = library.place();
        let mut pairs = Vec::new();
        for (number, ((_, query), (_, passage))) in library.queries.iter().zip(&library.docs).enumerate() {
            let source = if number < 130 { "pages" } else { "others" };
            pairs.push((source, format!("{} w{}", written(query), 4 + number % 90), written(passage)));
        }
        let lines = |pairs: &[(&str, String, String)]| -> String {
            pairs.iter().map(|(_, query, passage)| format!("{}\n", json!({"title": query, "text": passage}))).collect()
        };
        place.write("raw/pages-1.jsonl", &lines(&pairs[..70]));
        place.write("raw/pages-2.jsonl", &lines(&pairs[70..130]));
        place.write("raw/others.jsonl", &lines(&pairs[130..]));
        let texts = |name: &str, text: &dyn Fn(&(&str, String, String)) -> String| {
            let lines: String = pairs.iter().map(|pair| format!("{}\n", json!({"text": text(pair)}))).collect();
            place.write(name, &lines);
        };
        texts("asked.jsonl", &|pair| pair.1.clone());
        texts("passages.jsonl", &|pair| pair.2.clone());
        let (queries, passages) = (library.encoded("asked"), library.encoded("passages"));
        Self { library, pairs, queries, passages }
    }

    /// The command that curates by `relevance` into the folder `out`.
    fn curate(&self, out: &str, relevance: &str) -> Tercet {
        // `tercet` starts the program beside it, which must be that of the sources.
        program("tercet-curate");
        let place = self.library.place();
        let model = self.library.model.display();
        let recipe = format!(
            "[[source]]\nname = \"pages\"\nkind = \"title-body\"\nfiles = [\"raw/pages-*.jsonl\"]\n\
             [[source]]\nname = \"others\"\nkind = \"title-body\"\nfiles = [\"raw/others.jsonl\"]\n\
             [duplicates]\nexact = false\nnear = \"none\"\n\
             [relevance]\nmodel = \"{model}\"\n{relevance}\n"
        );
        place.write(&format!("{out}.toml"), &recipe);
        Tercet::new("curate").arg(place.path(&format!("{out}.toml"))).arg("--out").arg(place.path(out))
    }

    /// The score of each pair, from what `tercet encode` makes of its texts.
    fn scores(&self) -> Vec<f64> {
        self.queries.dense.iter().zip(&self.passages.dense).map(|(query, passage)| inner(query, passage)).collect()
    }

    /// How many of all different passages but a pair's own score more than `more` above it.
    fn better(&self, pair: usize, more: f64) -> usize {
        let own = inner(&self.queries.dense[pair], &self.passages.dense[pair]) + more;
        let others: BTreeMap<&str, usize> =
            self.pairs.iter().enumerate().map(|(number, (_, _, passage))| (passage.as_str(), number)).collect();
        let others = others.into_iter().filter(|(passage, _)| *passage != self.pairs[pair].2);
        others.filter(|(_, number)| inner(&self.queries.dense[pair], &self.passages.dense[*number]) > own).count()
    }

    /// Queries and passages that were kept, by source.
    fn kept(&self, out: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for source in ["pages", "others"] {
            let path = self.library.place().path(&format!("{out}/rows/{source}.jsonl.zst"));
            all.extend(tercet_sampler::unpacked(&path).unwrap().lines().map(|line| {
                let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
                (row["query"].as_str().unwrap().to_owned(), row["pos"][0].as_str().unwrap().to_owned())
            }));
        }
        all
    }

    fn report(&self, out: &str) -> Value {
        serde_json::from_slice(&fs::read(self.library.place().path(&format!("{out}/report.json"))).unwrap()).unwrap()
    }
}

#[test]
fn a_pair_stays_that_scores_enough_and_is_among_the_best_of_all() {
    let raw = Raw::new();
    let scores = raw.scores();
    let mut sorted = scores.clone();
    sorted.sort_by(f64::total_cmp);
    // Between two scores, so that nothing is near it.
    let middle = (sorted[45] + sorted[46]) / 2.0;
    assert!(sorted[46] - middle > NEAR);
    let relevance = format!("min_score = {middle}\nconsistency = {{ passages = 1000, top = 40 }}\nranks = ");
    raw.curate("one", &format!("{relevance}1")).succeed();
    raw.curate("two", &format!("{relevance}2")).succeed();
    let place = raw.library.place();
    let (one, two) = (files_below(&place.path("one")), files_below(&place.path("two")));
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    let differ: Vec<_> = one.keys().filter(|name| one[*name] != two[*name]).collect();
    assert!(differ.iter().all(|name| name.as_str() == "curation.json"), "{differ:?}");

    let kept = raw.kept("one");
    let mut counts = BTreeMap::from([("kept", 0), ("low_relevance", 0), ("inconsistent", 0)]);
    for (pair, (_, query, passage)) in raw.pairs.iter().enumerate() {
        let is_kept = kept.contains(&(query.clone(), passage.clone()));
        let (least, most) = (raw.better(pair, NEAR), raw.better(pair, -NEAR));
        let what = match scores[pair] < middle {
            true => "low_relevance",
            // What is too near to call may be either.
            false if least < 40 && most >= 40 => {
                if is_kept {
                    "kept"
                } else {
                    "inconsistent"
                }
            }
            false if most < 40 => "kept",
            false => "inconsistent",
        };
        assert_eq!(is_kept, what == "kept", "pair {pair}: {what}");
        *counts.get_mut(what).unwrap() += 1;
    }
    assert!(counts.values().all(|count| *count > 5), "{counts:?}");
    let report = raw.report("one");
    assert_eq!(report["all"]["kept"], counts["kept"]);
    for reason in ["low_relevance", "inconsistent"] {
        assert_eq!(report["all"]["dropped"][reason], counts[reason], "{reason}");
    }
    let sum = |of: &Value| of.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum(&report["relevance"]["hundredths"]), sum(&report["relevance"]["better"])), (180, 180));
}

#[test]
fn a_killed_curation_goes_on_with_what_ranks_have_done() {
    let raw = Raw::new();
    let relevance = "consistency = { passages = 100, top = 40 }\nranks = 1";
    raw.curate("whole", relevance).succeed();
    let place = raw.library.place();
    let killer = Killer::new(&place.path(""));
    let mut killed = 0;
    for (strike, (program, at)) in
        [("tercet-curate", 40), ("tercet-curate", 60), ("tercet-worker", 12), ("tercet-worker", 25)]
            .into_iter()
            .enumerate()
    {
        let out = format!("killed-{strike}");
        let folder = place.path(&out);
        fs::create_dir_all(&folder).unwrap();
        let command = killer.variables(&folder, Strike::at(program, at)).into_iter();
        let ended = command.fold(raw.curate(&out, relevance), |command, (name, value)| command.env(name, value)).run();
        killed += usize::from(ended.code != Some(0));
        raw.curate(&out, relevance).succeed();
        let rows = |out: &str| files_below(&place.path(&format!("{out}/rows")));
        assert!(rows(&out) == rows("whole"), "{out}");
    }
    assert!(killed > 1, "only {killed} were killed");
}

#[test]
fn what_ranks_refuse_is_said_with_their_code() {
    let raw = Raw::new();
    let wrong = raw.curate("wrong", "min_score = 0.5\nmodel_of = 1").run();
    wrong.fails_with(2, &["wrong.toml", "model_of"]);
    raw.curate("wrong", "min_score = 2").run().fails_with(2, &["relevance.min_score: 2 is no cosine"]);
    let place = raw.library.place();
    // The curation is begun, the model cannot be read; put right, it goes on.
    let weights: PathBuf = raw.library.model.join("model.safetensors");
    fs::rename(&weights, place.path("away")).unwrap();
    let ended = raw.curate("out", "min_score = 0.5").run();
    ended.fails_with(2, &["model.safetensors", "tercet score ended with code 2"]);
    fs::rename(place.path("away"), &weights).unwrap();
    raw.curate("out", "min_score = 0.5").succeed();
}
