//! Duplicates among rows.

use std::collections::HashMap;

use super::{Draw, Place, Row, row};
use crate::duplicates::Compared;
use crate::duplicates::keys::TextKeys;
use crate::error::CurateError;

const EXACT: &str = "exact_duplicate";
const NEAR: &str = "near_duplicate";

fn dropped(rows: &[(u32, &str)]) -> Vec<(u32, String)> {
    rows.iter().map(|(row, reason)| (*row, (*reason).to_owned())).collect()
}

/// Rows among which some are others, or nearly.
fn planted(count: usize, draw: &mut Draw) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for i in 0..count {
        let old = (!rows.is_empty()).then(|| rows[draw.below(rows.len())].clone());
        let new = row(&format!("query {i} {}", draw.text(3)), &draw.text(60));
        rows.push(match (old, i % 10) {
            (Some((query, passage)), 7) => (query.to_uppercase(), format!("{passage}.")),
            (Some((_, passage)), 8) => (new.0, format!("{passage} more")),
            (Some((query, passage)), 9) => (format!("{query} more"), passage),
            _ => new,
        });
    }
    rows
}

#[test]
fn rows_that_are_there_already_go() {
    let place = Place::new("");
    let mut draw = Draw(1);
    let (a, b, c) = (draw.text(80), draw.text(80), draw.text(80));
    let first = [row("a", &a), row("b", &b), row("A!", &a.to_uppercase()), row("other", &format!("{a} end"))];
    let second = [row("c", &c), row("b", &b), row("c", &c), row("c", &b.replacen("w", "x", 1))];
    let units = [place.unit("1", Compared::Passage, &first), place.unit("2", Compared::Passage, &second)];
    let found = place.find(&units, 2);
    assert_eq!(found, [dropped(&[(2, EXACT), (3, NEAR)]), dropped(&[(1, EXACT), (2, EXACT), (3, NEAR)])]);
    // The first of equal rows stays, whichever that is.
    let [one, two] = units;
    let found = place.find(&[two, one], 2);
    assert_eq!(found, [dropped(&[(2, EXACT), (3, NEAR)]), dropped(&[(1, EXACT), (2, EXACT), (3, NEAR)])]);
}

#[test]
fn questions_to_one_passage_are_several_rows_where_pairs_are_compared() {
    let mut draw = Draw(2);
    let passage = draw.text(80);
    let question = "Who of them was the first to cross the river on his own?";
    let rows = [
        row("Who was it?", &passage),
        row("When was it?", &passage),
        row(question, &passage),
        row(&question.replace("Who", "who"), &format!("{passage} more")),
        row(&question.replace("river", "bridge"), &passage),
    ];
    let find = |recipe, of| {
        let place = Place::new(recipe);
        let unit = place.unit("1", of, &rows);
        place.find(&[unit], 1).remove(0)
    };
    let all = dropped(&[(1, NEAR), (2, NEAR), (3, NEAR), (4, NEAR)]);
    let near = dropped(&[(3, NEAR)]);
    assert_eq!(find("", Compared::Pair), near);
    assert_eq!(find("", Compared::Passage), all);
    assert_eq!(find("near = \"pair\"", Compared::Passage), near);
    assert_eq!(find("near = \"passage\"", Compared::Pair), all);
    assert_eq!(find("near = \"none\"", Compared::Passage), dropped(&[]));
}

/// The definition: a row goes if one before it has an equal key.
fn expected(place: &Place, units: &[Vec<Row>], of: &[Compared]) -> Vec<Vec<(u32, String)>> {
    let mut texts = TextKeys::of(&place.recipe);
    let mut seen: HashMap<(usize, Vec<u64>), ()> = HashMap::new();
    let mut is_new = |key| seen.insert(key, ()).is_none();
    let mut of_unit = |(rows, of): (&Vec<Row>, &Compared)| {
        let mut found = Vec::new();
        for (number, (query, passage)) in rows.iter().enumerate() {
            let (mut q, mut p) = (Vec::new(), Vec::new());
            let whole = [texts.keys(query, true, &mut q).0, texts.keys(passage, true, &mut p).0].concat();
            let is_exact = !is_new((0, whole));
            let bands = q.iter().zip(&p).enumerate().map(|(band, (q, p))| match of {
                Compared::Pair => (band + 1, vec![*q, *p]),
                Compared::Passage => (band + 1, vec![*p]),
            });
            let is_near = bands.map(&mut is_new).filter(|is_new| !is_new).count() > 0;
            if is_exact || is_near {
                found.push((number as u32, if is_exact { EXACT } else { NEAR }.to_owned()));
            }
        }
        found
    };
    units.iter().zip(of).map(&mut of_unit).collect()
}

#[test]
fn what_is_found_is_the_definition_and_does_not_depend_on_threads_or_on_what_was_left() {
    for recipe in ["", "against = [\"others.txt\"]", "bands = 5\nrows = 3\nngram = 2\nnear = \"pair\""] {
        let place = Place::new(recipe);
        place.write("others.txt", "nobody has this text\n");
        let mut draw = Draw(3);
        // More than a chunk, a row, and none.
        let mut rows = planted(9001, &mut draw);
        let rest = rows.split_off(9000);
        let rows = [rows, rest, Vec::new(), planted(500, &mut draw)];
        let of = [Compared::Passage, Compared::Pair, Compared::Pair, Compared::Pair];
        let names = ["1", "2", "3", "4"];
        let units: Vec<_> = (0..4).map(|i| place.unit(names[i], of[i], &rows[i])).collect();
        let found = place.find(&units, 1);
        let of: Vec<_> = of.iter().map(|of| place.recipe.compared(*of)).collect();
        assert_eq!(found, expected(&place, &rows, &of), "{recipe}");
        let reasons = found.iter().flatten();
        assert!(reasons.clone().any(|(_, reason)| reason == EXACT) && reasons.clone().any(|(_, r)| r == NEAR));
        for threads in [2, 5] {
            // As a process leaves it that is killed.
            place.write("scratch/keys-00000", "left");
            place.write("scratch/hits-00000", "left");
            assert_eq!(place.find(&units, threads), found, "{recipe} {threads}");
        }
    }
}

#[test]
fn a_key_that_most_rows_have_is_no_other_case() {
    let place = Place::new("");
    let rows = vec![row("the same", "and the same"); 20_000];
    let unit = place.unit("1", Compared::Passage, &rows);
    let found = place.find(&[unit], 3).remove(0);
    assert!(found.iter().map(|(row, _)| *row).eq(1..20_000) && found.iter().all(|(_, reason)| reason == EXACT));
}

/// How many clusters rows form, of which any two that have a key in a band in common are in one.
fn clusters(place: &Place, rows: &[Row]) -> usize {
    fn root(parents: &[usize], mut row: usize) -> usize {
        while parents[row] != row {
            row = parents[row];
        }
        row
    }
    let mut texts = TextKeys::of(&place.recipe);
    let (mut first, mut parents) = (HashMap::new(), (0..rows.len()).collect::<Vec<_>>());
    for (number, (_, passage)) in rows.iter().enumerate() {
        let mut bands = Vec::new();
        texts.keys(passage, true, &mut bands);
        for key in bands.into_iter().enumerate() {
            let other = root(&parents, *first.entry(key).or_insert(number));
            let own = root(&parents, number);
            parents[own.max(other)] = own.min(other);
        }
    }
    (0..rows.len()).filter(|row| parents[*row] == *row).count()
}

#[test]
fn of_a_chain_the_first_stays_and_no_fewer_than_of_clusters() {
    let place = Place::new("exact = false");
    let mut draw = Draw(5);
    let text = draw.text(4000);
    let words: Vec<&str> = text.split(' ').collect();
    let passage = |from: usize| row(&from.to_string(), &words[from..from + 80].join(" "));
    let kept = |rows: &[Row]| {
        let unit = place.unit("1", Compared::Passage, rows);
        rows.len() - place.find(&[unit], 1).remove(0).len()
    };
    // Each is near to the one before it.
    let chain: Vec<Row> = (0..20).map(passage).collect();
    assert_eq!((kept(&chain), clusters(&place, &chain)), (1, 1));
    // What links two rows may come after both.
    let rows: Vec<Row> = (0..2000).map(|_| passage(draw.below(3900))).collect();
    let (kept, clusters) = (kept(&rows), clusters(&place, &rows));
    println!("of {} rows {kept} stay, and {clusters} of clusters", rows.len());
    assert!(kept > clusters, "{kept} {clusters}");
}

#[test]
fn keys_that_are_not_complete_or_of_another_recipe_are_refused() {
    let place = Place::new("");
    let unit = place.unit("1", Compared::Passage, &[row("a", "b")]);
    let refused = |place: &Place| match place.try_find(std::slice::from_ref(&unit), 1) {
        Err(error @ CurateError::Data { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let other = Place::new("ngram = 4");
    assert!(refused(&other).contains("no complete file of keys"));
    assert!(refused(&Place::new("near = \"none\"")).contains("no complete file of keys"));
    for cut in [0, 10, 39, 100] {
        let bytes = std::fs::read(&unit).unwrap();
        std::fs::write(&unit, &bytes[..cut]).unwrap();
        assert!(refused(&place).contains("no complete file of keys"));
        std::fs::write(&unit, bytes).unwrap();
    }
    assert!(place.try_find(&[place.path("none")], 1).unwrap_err().to_string().contains("none: No such file"));
}

#[test]
fn a_recipe_has_numbers_that_make_sense() {
    for (recipe, expected) in [
        ("ngram = 0", "duplicates.ngram: 0 units"),
        ("bands = 0", "duplicates.bands: 0: from 1 to 1024"),
        ("bands = 200\nrows = 20", "duplicates.bands: bands × rows = 4000"),
        ("documents = \"judged\"", "duplicates.documents: there are no benchmarks"),
    ] {
        let recipe: crate::duplicates::DuplicatesRecipe = tercet_configs::from_toml(recipe).unwrap();
        let (key, reason) = recipe.check().unwrap_err();
        assert!(format!("{key}: {reason}").starts_with(expected), "{key}: {reason}");
    }
    assert!(tercet_configs::from_toml::<crate::duplicates::DuplicatesRecipe>("near = \"all\"").is_err());
}
