//! Evaluations side by side, as tables like the paper's: a row for each ranking and evaluation, a column for each data
//! set (a language, mostly), and in small letters the difference from what a row is compared with.

use std::collections::{BTreeMap, BTreeSet};

use tercet_configs::{EvalSection, Metric};

use super::bootstrap::{Differences, Interval, SAMPLES, SEED, intervals};
use super::document::{Block, Cell, Section, Table};
use super::evaluated::{DataSet, Evaluated};
use crate::plan::grouped;

/// Rankings that no training changes. Rows are in their order, then in that of the heads; others stand behind them.
const UNTRAINED: [&str; 2] = ["bm25", "bm25_words"];

fn in_order() -> impl Iterator<Item = &'static str> {
    UNTRAINED.into_iter().chain(EvalSection::BY_HEADS)
}

/// Evaluations that share a data set with the same queries as the first of them, with which they are compared.
struct Group<'a> {
    members: Vec<&'a Evaluated>,
    /// Data sets that all of them have, with the same queries.
    shared: BTreeSet<&'a str>,
}

/// A row: an evaluation, by its place in the group, and a ranking.
type Row<'a> = (usize, &'a str);

/// One row less another, by a metric.
struct Pair<'a> {
    row: Row<'a>,
    base: Row<'a>,
    metric: Metric,
}

/// A section for all evaluations that can be compared with each other, and sentences on what cannot.
pub fn sections(all: &[Evaluated]) -> (Vec<Section>, Vec<String>) {
    let mut groups: Vec<Vec<&Evaluated>> = Vec::new();
    for own in all {
        match groups.iter_mut().find(|group| group[0].is_comparable(own)) {
            Some(group) => group.push(own),
            None => groups.push(vec![own]),
        }
    }
    let mut remarks = Vec::new();
    if groups.len() > 1 {
        let names = groups.iter().map(|group| names(group)).collect::<Vec<_>>().join(" | ");
        remarks.push(format!("not compared, because no data set has the same queries: {names}"));
    }
    let groups: Vec<Group> = groups.into_iter().map(Group::of).collect();
    remarks.extend(groups.iter().flat_map(Group::remarks));
    (groups.iter().map(Group::section).collect(), remarks)
}

fn names(members: &[&Evaluated]) -> String {
    members.iter().map(|own| own.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl<'a> Group<'a> {
    fn of(members: Vec<&'a Evaluated>) -> Self {
        let is_shared = |(name, set): (&String, &DataSet)| {
            members.iter().all(|own| own.sets.get(name).is_some_and(|other| other.has_queries_of(set)))
        };
        let shared = members[0].sets.iter().filter(|own| is_shared(*own)).map(|(name, _)| name.as_str()).collect();
        Self { members, shared }
    }

    fn base(&self) -> &'a Evaluated {
        self.members[0]
    }

    /// All data sets.
    fn sets(&self) -> BTreeSet<&'a str> {
        self.members.iter().flat_map(|own| own.sets.keys()).map(String::as_str).collect()
    }

    /// Data sets of a member that are not to be compared with the first member's of the same name.
    fn foreign(&self, member: usize) -> Vec<&'a str> {
        let differs = |(name, set): &(&String, &DataSet)| {
            self.base().sets.get(*name).is_some_and(|other| !other.has_queries_of(set))
        };
        self.members[member].sets.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
    }

    fn remarks(&self) -> Vec<String> {
        let base = &self.base().name;
        let mut remarks = Vec::new();
        for (member, own) in self.members.iter().enumerate() {
            let foreign = self.foreign(member).join(", ");
            if !foreign.is_empty() {
                remarks.push(format!("{}: other queries than {base}'s, and so not compared (†): {foreign}", own.name));
            }
            if own.sets.values().any(|set| set.queries.is_empty()) {
                remarks.push(format!("{}: no per_query.jsonl, so its differences have no intervals", own.name));
            }
        }
        remarks
    }

    fn section(&self) -> Section {
        let metrics: BTreeSet<Metric> = self.figures().map(|(_, _, metric)| metric).collect();
        let rows = self.rows();
        let pairs: Vec<Pair> = metrics.iter().flat_map(|metric| self.pairs(&rows, *metric)).collect();
        let found = self.intervals(&pairs);
        let mut blocks = vec![Block::Text(self.explained(&pairs))];
        blocks.extend(Some(self.remarks()).filter(|remarks| !remarks.is_empty()).map(Block::List));
        for metric in metrics {
            blocks.push(Block::Heading(metric.to_string()));
            blocks.push(Block::Table(self.table(metric, &rows, &pairs, &found)));
        }
        let what = if self.members.len() == 1 { "Evaluation" } else { "Evaluations" };
        Section { title: format!("{what}: {}", names(&self.members)), blocks }
    }

    fn explained(&self, pairs: &[Pair]) -> String {
        let mut text = "Means over queries, times 100.".to_owned();
        if self.shared.len() > 1 {
            text += &format!(" The mean is that over the {} data sets that all have.", self.shared.len());
        }
        if let Some(pair) = pairs.first() {
            let base = if self.members.len() == 1 { pair.base.1 } else { &self.base().name };
            text += &format!(
                " Beside a figure: its difference from that of {base} in the same column, and the difference's 95 % \
                 interval, by {} paired bootstrap samples of the queries (seed {SEED}). Bold: 0 is outside.",
                grouped(SAMPLES as u64)
            );
        }
        for own in self.members.iter().filter(|own| own.num > 1) {
            text += &format!(" {} is the mean of {} evaluations, query by query.", own.name, own.num);
        }
        if self.members.iter().any(|own| own.num > 1) {
            text += " Intervals say how much is chance in the choice of queries, not in training.";
        }
        text
    }

    /// Every figure's member, ranking and metric.
    fn figures(&self) -> impl Iterator<Item = (usize, &'a str, Metric)> {
        self.members.iter().enumerate().flat_map(|(member, own)| {
            own.sets
                .values()
                .flat_map(move |set| set.figures.keys().map(move |(ranking, m)| (member, ranking.as_str(), *m)))
        })
    }

    fn rows(&self) -> Vec<Row<'a>> {
        let rows: BTreeSet<(usize, &str, usize)> = self
            .figures()
            .filter(|(member, ranking, _)| !(*member > 0 && self.is_one_for_all(ranking)))
            .map(|(member, ranking, _)| {
                (in_order().position(|own| own == ranking).unwrap_or(usize::MAX), ranking, member)
            })
            .collect();
        rows.into_iter().map(|(_, ranking, member)| (member, ranking)).collect()
    }

    /// Whether a ranking that no training changes has the same figures in all evaluations: one row is enough.
    fn is_one_for_all(&self, ranking: &str) -> bool {
        let of = |own: &Evaluated| -> BTreeMap<(String, Metric), f64> {
            let sets = own.sets.iter();
            let figures = sets.flat_map(|(name, set)| set.figures.iter().map(move |(key, figure)| (name, key, figure)));
            let own = figures.filter(|(_, (by, _), _)| by == ranking);
            own.map(|(name, (_, metric), figure)| ((name.clone(), *metric), figure.mean)).collect()
        };
        UNTRAINED.contains(&ranking) && self.members.iter().all(|own| of(own) == of(self.base()))
    }

    /// Rows are compared with the first evaluation's of the same ranking; those of an evaluation alone with BM25.
    fn pairs(&self, rows: &[Row<'a>], metric: Metric) -> Vec<Pair<'a>> {
        let pair = |row: &Row<'a>| {
            let base = match self.members.len() {
                1 => (0, UNTRAINED[0]),
                _ => (0, row.1),
            };
            (*row != base && rows.contains(&base)).then_some(Pair { row: *row, base, metric })
        };
        rows.iter().filter_map(pair).collect()
    }

    /// The figures of a row in a data set.
    fn figure(&self, row: Row, metric: Metric, set: &str) -> Option<&'a super::evaluated::Figure> {
        self.members[row.0].sets.get(set)?.figures.get(&(row.1.to_owned(), metric))
    }

    /// What two rows differ in; none where they cannot be compared.
    fn difference(&self, pair: &Pair, set: &str) -> Option<f64> {
        let [own, base] = [pair.row, pair.base].map(|row| self.figure(row, pair.metric, set));
        let is_foreign = self.foreign(pair.row.0).contains(&set);
        (!is_foreign).then_some(()).and_then(|()| Some(own?.mean - base?.mean))
    }

    /// By data set and, last, of the mean; for each pair.
    fn intervals(&self, pairs: &[Pair]) -> Vec<Vec<Option<Interval>>> {
        let differences = |set: &&str| {
            let columns: Vec<Option<(&[f64], &[f64])>> = pairs
                .iter()
                .map(|pair| {
                    let [own, base] = [pair.row, pair.base].map(|row| self.figure(row, pair.metric, set));
                    let both = (own?.by_query.as_slice(), base?.by_query.as_slice());
                    self.difference(pair, set).filter(|_| both.0.len() == both.1.len() && !both.0.is_empty())?;
                    Some(both)
                })
                .collect();
            let num = columns.iter().flatten().map(|(own, _)| own.len()).max().unwrap_or(0);
            let of = |query: usize| {
                columns.iter().map(move |both| both.map_or(f64::NAN, |(own, base)| own[query] - base[query]))
            };
            Differences {
                name: (*set).to_owned(),
                values: (0..num).flat_map(of).collect(),
                in_mean: self.shared.contains(*set),
            }
        };
        let sets: Vec<Differences> = self.sets().iter().map(differences).collect();
        intervals(&sets, pairs.len())
    }

    fn table(&self, metric: Metric, rows: &[Row], pairs: &[Pair], found: &[Vec<Option<Interval>>]) -> Table {
        let sets = self.sets();
        let has_mean = self.shared.len() > 1;
        let mean = has_mean.then(|| format!("mean of {}", self.shared.len()));
        let head = std::iter::once("ranking".to_owned()).chain(mean).chain(sets.iter().map(|set| (*set).to_owned()));
        let row = |row: &Row| {
            let pair = pairs.iter().position(|pair| pair.row == *row && pair.metric == metric);
            let difference = |set: &str| pair.and_then(|pair| self.difference(&pairs[pair], set));
            let mean_over = |value: &dyn Fn(&str) -> Option<f64>| {
                let values: Option<Vec<f64>> = self.shared.iter().map(|set| value(set)).collect();
                values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
            };
            let interval = |column: usize| pair.and_then(|pair| found[column][pair]);
            let value = |set: &str| self.figure(*row, metric, set).map(|figure| figure.mean);
            let mean = has_mean.then(|| figure(mean_over(&value), mean_over(&difference), interval(sets.len())));
            let each = sets.iter().enumerate().map(|(column, set)| {
                let mut cell = figure(value(set), difference(set), interval(column));
                if self.foreign(row.0).contains(set) {
                    cell.text += " †";
                }
                cell
            });
            let of = match () {
                () if self.members.len() == 1 => String::new(),
                () if self.is_one_for_all(row.1) => "all".to_owned(),
                () => self.members[row.0].name.clone(),
            };
            std::iter::once(Cell::noted(row.1, of)).chain(mean).chain(each).collect()
        };
        Table { head: head.collect(), rows: rows.iter().map(row).collect() }
    }
}

/// `70.1`, and `+0.9 [+0.2, +1.6]` beside it.
fn figure(value: Option<f64>, difference: Option<f64>, interval: Option<Interval>) -> Cell {
    let Some(value) = value else { return Cell::none() };
    let points = |value: f64| match format!("{:+.1}", 100.0 * value) {
        zero if zero == "-0.0" || zero == "+0.0" => "0.0".to_owned(),
        other => other,
    };
    let note = match (difference, interval) {
        (None, _) => String::new(),
        (Some(difference), None) => points(difference),
        (Some(difference), Some(own)) => {
            format!("{} [{}, {}]", points(difference), points(own.low), points(own.high))
        }
    };
    let stands_out = interval.is_some_and(|own| own.low > 0.0 || own.high < 0.0);
    Cell { text: format!("{:.1}", 100.0 * value), note, stands_out }
}

#[cfg(test)]
mod tests {
    use super::super::evaluated::Figure;
    use super::*;

    fn evaluated(name: &str, sets: &[(&str, &[&str], f64)]) -> Evaluated {
        let metric: Metric = "ndcg@10".parse().unwrap();
        let set = |queries: &[&str], mean: f64| {
            let figure = |mean: f64| Figure { mean, by_query: vec![mean; queries.len()] };
            let figures = [("bm25", 0.5), ("dense", mean)].map(|(by, mean)| ((by.to_owned(), metric), figure(mean)));
            DataSet { queries: queries.iter().map(|query| (*query).to_owned()).collect(), figures: figures.into() }
        };
        let sets = sets.iter().map(|(name, queries, mean)| ((*name).to_owned(), set(queries, *mean))).collect();
        Evaluated { name: name.to_owned(), num: 1, sets }
    }

    fn tables(sections: &[Section]) -> Vec<Vec<Vec<String>>> {
        let of = |section: &Section| {
            let table = section.blocks.iter().find_map(|block| match block {
                Block::Table(table) => Some(table),
                _ => None,
            });
            let table = table.unwrap();
            let rows =
                table.rows.iter().map(|row| row.iter().map(|cell| format!("{} {}", cell.text, cell.note)).collect());
            std::iter::once(table.head.clone()).chain(rows).collect()
        };
        sections.iter().map(of).collect()
    }

    #[test]
    fn figures_have_their_difference_from_the_first_and_the_mean_is_of_what_all_have() {
        let one = evaluated("one", &[("de", &["a", "b"], 0.25), ("en", &["c"], 0.75)]);
        let two = evaluated("two", &[("de", &["a", "b"], 0.5), ("en", &["c"], 0.5), ("fr", &["d"], 1.0)]);
        let (sections, remarks) = sections(&[one, two]);
        assert!(remarks.is_empty(), "{remarks:?}");
        let expected = [
            ["ranking", "mean of 2", "de", "en", "fr"],
            ["bm25 one", "50.0 ", "50.0 ", "50.0 ", "– "],
            ["bm25 two", "50.0 0.0 [0.0, 0.0]", "50.0 0.0 [0.0, 0.0]", "50.0 0.0 [0.0, 0.0]", "50.0 "],
            ["dense one", "50.0 ", "25.0 ", "75.0 ", "– "],
            ["dense two", "50.0 0.0 [0.0, 0.0]", "50.0 +25.0 [+25.0, +25.0]", "50.0 -25.0 [-25.0, -25.0]", "100.0 "],
        ];
        assert_eq!(tables(&sections), [expected]);
    }

    #[test]
    fn what_has_other_queries_is_not_compared_and_it_is_said() {
        let one = evaluated("one", &[("de", &["a"], 0.25), ("en", &["c"], 0.75)]);
        let two = evaluated("two", &[("de", &["a"], 0.5), ("en", &["x"], 0.5)]);
        let other = evaluated("other", &[("en", &["y"], 0.5)]);
        let (sections, remarks) = sections(&[one, two, other]);
        assert_eq!(sections.len(), 2);
        assert_eq!(remarks[0], "not compared, because no data set has the same queries: one, two | other");
        assert_eq!(remarks[1], "two: other queries than one's, and so not compared (†): en");
        let tables = tables(&sections);
        assert_eq!(tables[0][1], ["bm25 all", "50.0 ", "50.0 "], "the same in both");
        assert_eq!(tables[0][3], ["dense two", "50.0 +25.0 [+25.0, +25.0]", "50.0 † "]);
        // An evaluation alone is compared with BM25.
        assert_eq!(tables[1], [vec!["ranking", "en"], vec!["bm25 ", "50.0 "], vec!["dense ", "50.0 0.0 [0.0, 0.0]"]]);
    }

    #[test]
    fn figures_without_those_of_queries_have_differences_alone() {
        let one = evaluated("one", &[("de", &[], 0.25)]);
        let two = evaluated("two", &[("de", &[], 0.5)]);
        let (sections, remarks) = sections(&[one, two]);
        assert_eq!(remarks.len(), 2);
        assert_eq!(tables(&sections)[0][3], ["dense two", "50.0 +25.0"]);
    }
}
