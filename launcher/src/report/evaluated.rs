//! What `tercet eval --out` has written: the figures, and those of each query.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use anyhow::Context;
use tercet_configs::{ExitCode, Metric};
use tercet_protocol::says::eval::{PerQuery, Results};

use super::files::bad;
use crate::exit::Fail;

/// An evaluation, or the mean of several.
#[derive(Debug)]
pub struct Evaluated {
    /// What it is called.
    pub name: String,
    /// The number of evaluations that this is the mean of.
    pub num: usize,
    /// By data set.
    pub sets: BTreeMap<String, DataSet>,
}

/// The figures of one data set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataSet {
    /// The queries' names in order; none if each query's figures are not there.
    pub queries: Vec<String>,
    /// By ranking and metric.
    pub figures: BTreeMap<(String, Metric), Figure>,
}

/// One figure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// The mean over queries.
    pub mean: f64,
    /// Each query's, in the order of [`DataSet::queries`].
    pub by_query: Vec<f64>,
}

/// A data set as it is read: queries in the order of the file.
#[derive(Debug, Default)]
struct Read {
    places: HashMap<String, usize>,
    /// By ranking, then metric; NaN where the file has said nothing.
    figures: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
}

impl Evaluated {
    /// Reads the evaluations in `folders`, and takes their mean, query by query.
    ///
    /// # Errors
    /// A file that cannot be read or is not what `eval` writes; evaluations of other queries than the first's.
    pub fn read(name: &str, folders: &[&Path]) -> anyhow::Result<Self> {
        let all = folders.iter().map(|folder| read(folder)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut parts = all.into_iter().zip(folders);
        let mut sets = parts.next().map(|(first, _)| first).unwrap_or_default();
        for (other, folder) in parts {
            add(&mut sets, &other).map_err(|why| {
                let message =
                    format!("{name}: {} cannot be averaged with {}: {why}", folder.display(), folders[0].display());
                Fail::new(ExitCode::Usage, message)
            })?;
        }
        let num = folders.len();
        for figure in sets.values_mut().flat_map(|set| set.figures.values_mut()) {
            figure.mean /= num as f64;
            figure.by_query.iter_mut().for_each(|value| *value /= num as f64);
        }
        Ok(Self { name: name.to_owned(), num, sets })
    }

    /// Whether a data set of both has the same queries.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.sets.iter().any(|(name, set)| other.sets.get(name).is_some_and(|others| set.has_queries_of(others)))
    }
}

impl DataSet {
    /// Whether both are of the same queries, as far as is known.
    pub fn has_queries_of(&self, other: &Self) -> bool {
        self.queries.is_empty() || other.queries.is_empty() || self.queries == other.queries
    }
}

fn read(folder: &Path) -> anyhow::Result<BTreeMap<String, DataSet>> {
    let path = folder.join("metrics.json");
    let bytes = fs::read(&path).with_context(|| format!("{}", path.display()))?;
    let data = |why: String| Fail::new(ExitCode::Data, format!("{}: {why}", path.display()));
    let results: Results = serde_json::from_slice(&bytes).map_err(|error| data(error.to_string()))?;
    let nothing = |of: &str| data(format!("{of}: it is none that `tercet eval` wrote, or broken: evaluate again"));
    if results.is_empty() {
        return Err(nothing("holds no data set").into());
    }
    let mut by_query = read_queries(&folder.join("per_query.jsonl"))?;
    let mut sets = BTreeMap::new();
    for (name, rankings) in results {
        let mut read = by_query.remove(&name).unwrap_or_default();
        let (queries, order) = read.in_order();
        let mut figures = BTreeMap::new();
        if rankings.values().all(BTreeMap::is_empty) {
            return Err(nothing(&format!("holds no figure of {name}")).into());
        }
        for (ranking, metrics) in rankings {
            for (metric, mean) in metrics {
                let values = read.figures.get_mut(&ranking).and_then(|own| own.remove(&metric)).unwrap_or_default();
                let by_query: Vec<f64> = order.iter().filter_map(|at| values.get(*at).copied()).collect();
                if by_query.len() != queries.len() || by_query.iter().any(|value| !value.is_finite()) {
                    let file = folder.join("per_query.jsonl");
                    let why = format!("{name}: not every query has {metric} of {ranking}, as metrics.json does");
                    return Err(Fail::new(ExitCode::Data, format!("{}: {why}", file.display())).into());
                }
                let metric: Metric = metric.parse().map_err(data)?;
                figures.insert((ranking.clone(), metric), Figure { mean, by_query });
            }
        }
        sets.insert(name, DataSet { queries, figures });
    }
    Ok(sets)
}

/// By data set; empty without the file.
fn read_queries(path: &Path) -> anyhow::Result<HashMap<String, Read>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        file => file.with_context(|| format!("{}", path.display()))?,
    };
    let mut sets: HashMap<String, Read> = HashMap::new();
    for (nth, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("{}", path.display()))?;
        let query: PerQuery = serde_json::from_str(&line).map_err(|error| bad(path, nth + 1, &error.to_string()))?;
        sets.entry(query.data.clone()).or_default().take(query);
    }
    Ok(sets)
}

impl Read {
    fn take(&mut self, query: PerQuery) {
        let next = self.places.len();
        let place = *self.places.entry(query.query).or_insert(next);
        let own = self.figures.entry(query.ranking).or_default();
        for (metric, value) in query.metrics {
            let values = own.entry(metric).or_default();
            values.resize(values.len().max(place + 1), f64::NAN);
            values[place] = value;
        }
    }

    /// The queries by name, and where each stands in the file.
    fn in_order(&mut self) -> (Vec<String>, Vec<usize>) {
        let mut queries: Vec<(String, usize)> = std::mem::take(&mut self.places).into_iter().collect();
        queries.sort();
        queries.into_iter().unzip()
    }
}

/// Adds the figures of `other` to those of `sets`. A figure that one of them lacks is left out.
///
/// # Errors
/// Other data sets or queries.
fn add(sets: &mut BTreeMap<String, DataSet>, other: &BTreeMap<String, DataSet>) -> Result<(), String> {
    if !sets.keys().eq(other.keys()) {
        return Err("they are of other data sets".into());
    }
    for ((name, set), other) in sets.iter_mut().zip(other.values()) {
        if set.queries != other.queries {
            return Err(format!("{name} has other queries"));
        }
        set.figures.retain(|key, figure| {
            let Some(others) = other.figures.get(key) else { return false };
            figure.mean += others.mean;
            figure.by_query.iter_mut().zip(&others.by_query).for_each(|(sum, value)| *sum += value);
            true
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, metrics: &str, queries: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("metrics.json"), metrics).unwrap();
        fs::write(folder.join("per_query.jsonl"), queries).unwrap();
    }

    fn line(query: &str, value: f64) -> String {
        format!("{{\"data\":\"d\",\"query\":\"{query}\",\"ranking\":\"dense\",\"ndcg@10\":{value}}}\n")
    }

    fn of(mean: f64) -> String {
        format!("{{\"d\":{{\"dense\":{{\"ndcg@10\":{mean}}}}}}}")
    }

    #[test]
    fn queries_are_in_order_and_evaluations_of_one_name_are_averaged() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        write(&one, &of(0.5), &(line("b", 1.0) + &line("a", 0.0)));
        write(&two, &of(0.75), &(line("a", 0.5) + &line("b", 1.0)));
        let both = Evaluated::read("both", &[&one, &two]).unwrap();
        let set = &both.sets["d"];
        assert_eq!(set.queries, ["a", "b"]);
        let figure = set.figures.values().next().unwrap();
        assert_eq!((figure.mean, figure.by_query.as_slice()), (0.625, [0.25, 1.0].as_slice()));
        write(&two, &of(0.75), &(line("a", 0.5) + &line("c", 1.0)));
        let error = Evaluated::read("both", &[&one, &two]).unwrap_err().to_string();
        assert!(error.contains("cannot be averaged") && error.ends_with("d has other queries"), "{error}");
        assert!(!Evaluated::read("1", &[&one]).unwrap().is_comparable(&Evaluated::read("2", &[&two]).unwrap()));
    }

    #[test]
    fn a_query_without_a_figure_and_a_torn_line_are_bad_data() {
        let dir = tempfile::tempdir().unwrap();
        let lacking = line("a", 0.5) + &line("b", 1.0).replace("dense", "lexical");
        for (queries, expected) in [(lacking, "not every query has ndcg@10 of dense"), ("{\"da".into(), "line 1")] {
            write(dir.path(), &of(0.5), &queries);
            let error = Evaluated::read("x", &[dir.path()]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(crate::exit::code_of(&error), 4);
        }
    }
}
