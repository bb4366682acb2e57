//! `judge FILTERS.toml [TIMES]`: what the filters of a recipe say of texts, for comparisons with other programs.
//!
//! FILTERS.toml has the keys of `[filters]`; its paths are relative to its folder. Each line of standard input is an
//! object. `passage` is judged as a pair's, with `query` if it is there, and answered by `broken`, `language` and
//! `passage`. `split` is a text to split, and answered by `words` and `sentences`. With TIMES all lines are read first
//! and judged TIMES times by one thread; the answers are the seconds of each time.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};
use tercet_curate::filters::{Filters, FiltersRecipe, words_and_sentences};
use tercet_curate::pair::Pair;

#[derive(Deserialize)]
#[serde(untagged)]
enum Asked {
    Judge {
        passage: String,
        #[serde(default)]
        query: String,
        language: Option<String>,
    },
    Split {
        split: String,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("the file of filters is missing")?;
    let recipe: FiltersRecipe = tercet_configs::from_toml(&fs::read_to_string(&path)?)?;
    let base = Path::new(&path).parent().unwrap_or(Path::new(""));
    let filters = Filters::new(&recipe, base).map_err(|(key, reason)| format!("{path}: {key}: {reason}"))?;
    let answer = |asked: Asked| match asked {
        Asked::Judge { passage, query, language } => {
            let judged = filters.judge(&Pair { query, passage, language });
            let broken = judged.broken.map(|reason| reason.to_string());
            json!({ "broken": broken, "language": judged.language, "passage": judged.passage })
        }
        Asked::Split { split } => {
            let (words, sentences) = words_and_sentences(&split, &recipe);
            json!({ "words": words, "sentences": sentences })
        }
    };
    let mut out = io::stdout().lock();
    let Some(times) = args.next() else {
        for line in io::stdin().lock().lines() {
            writeln!(out, "{}", answer(serde_json::from_str(&line?)?))?;
            out.flush()?;
        }
        return Ok(());
    };
    let lines = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let pairs = lines.iter().map(|line| {
        let asked: Value = serde_json::from_str(line)?;
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        let language = asked["language"].as_str().map(str::to_owned);
        Ok(Pair { query: text("query"), passage: text("passage"), language })
    });
    let pairs = pairs.collect::<Result<Vec<_>, serde_json::Error>>()?;
    for _ in 0..times.parse::<usize>()? {
        let start = Instant::now();
        let broken = pairs.iter().filter(|pair| filters.judge(pair).broken.is_some()).count();
        writeln!(out, "{}", json!({ "secs": start.elapsed().as_secs_f64(), "broken": broken }))?;
    }
    Ok(())
}
