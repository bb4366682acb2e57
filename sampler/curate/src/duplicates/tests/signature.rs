//! What MinHash keys say of texts, against what they are an estimate of.

use std::collections::HashSet;

use super::{Draw, paragraphs};
use crate::duplicates::signature::{Bands, Signer};
use crate::duplicates::units::Units;

const SHAPE: Bands = Bands { ngram: 5, bands: 14, rows: 8 };

fn jaccard<T: std::hash::Hash + Eq>(a: &HashSet<T>, b: &HashSet<T>) -> f64 {
    let common = a.intersection(b).count();
    common as f64 / (a.len() + b.len() - common) as f64
}

fn sequences(units: &[u64]) -> HashSet<&[u64]> {
    units.windows(SHAPE.ngram.min(units.len())).collect()
}

/// A paragraph, more or less changed.
fn edited(words: &[&str], others: &[&str], draw: &mut Draw) -> String {
    let mut words: Vec<&str> = words.to_vec();
    match draw.below(3) {
        0 => {
            for _ in 0..draw.below(12) {
                let at = draw.below(words.len());
                words[at] = others[draw.below(others.len())];
            }
        }
        1 => words.truncate(words.len() - draw.below(words.len() * 2 / 3)),
        _ => words.extend(&others[..draw.below(others.len())]),
    }
    words.join(" ")
}

#[test]
fn signatures_estimate_the_share_of_common_sequences() {
    let paragraphs = paragraphs();
    let split: Vec<Vec<&str>> = paragraphs.iter().map(|text| text.split_whitespace().collect()).collect();
    let (mut signer, mut units, mut draw) = (Signer::new(SHAPE), Units::default(), Draw(7));
    let (mut pairs, mut beyond, mut sum, mut squares) = (0, 0, 0.0, 0.0);
    while pairs < 10_000 {
        let (one, other) = (draw.below(split.len()), draw.below(split.len()));
        let a = units.of(&paragraphs[one]).to_vec();
        let b = units.of(&edited(&split[one], &split[other], &mut draw)).to_vec();
        let exact = jaccard(&sequences(&a), &sequences(&b));
        let signature = signer.signature(&a).to_vec();
        let equal = signature.iter().zip(signer.signature(&b)).filter(|(a, b)| a == b).count();
        let functions = signature.len() as f64;
        if !(0.05..=0.95).contains(&exact) {
            // A deviation is no measure there.
            assert!((equal as f64 / functions - exact).abs() < 0.1, "{equal} {exact}");
            continue;
        }
        let deviation = (equal as f64 / functions - exact) / (exact * (1.0 - exact) / functions).sqrt();
        pairs += 1;
        beyond += usize::from(deviation.abs() > 3.0);
        sum += deviation;
        squares += deviation * deviation;
    }
    let (mean, square) = (sum / f64::from(pairs), squares / f64::from(pairs));
    println!("of {pairs} pairs {beyond} deviate by more than 3σ; mean {mean:.3} σ, mean square {square:.3} σ²");
    // In a normal distribution 27 do. Pairs with a paragraph in common are not independent.
    assert!(beyond <= 60 && mean.abs() < 0.1 && (square - 1.0).abs() < 0.1);
}

#[test]
fn texts_have_a_common_key_as_often_as_the_formula_says() {
    // Sequences of one unit, so that the share that is common is what is made here.
    let mut signer = Signer::new(Bands { ngram: 1, ..SHAPE });
    let mut draw = Draw(11);
    const PAIRS: usize = 2000;
    for (common, own) in [(60, 40), (80, 30), (90, 20), (100, 16), (100, 12), (100, 6), (100, 2)] {
        let share = f64::from(common) / f64::from(common + 2 * own);
        let mut found = 0;
        for _ in 0..PAIRS {
            let shared: Vec<u64> = (0..common).map(|_| draw.next()).collect();
            let mut keys = || {
                let mut keys = Vec::new();
                let units: Vec<u64> = shared.iter().copied().chain((0..own).map(|_| draw.next())).collect();
                signer.keys(&units, &mut keys);
                keys
            };
            let (a, b) = (keys(), keys());
            found += usize::from(a.iter().zip(&b).any(|(a, b)| a == b));
        }
        let expected = 1.0 - (1.0 - share.powi(8)).powi(14);
        let recall = found as f64 / PAIRS as f64;
        println!("{share:.3}: {recall:.4}, expected {expected:.4}");
        let sigma = (expected * (1.0 - expected) / PAIRS as f64).sqrt();
        assert!((recall - expected).abs() < 4.0 * sigma + 1e-3, "{share}: {recall} {expected}");
    }
}

#[test]
fn a_text_of_few_words_is_near_to_itself_alone() {
    let (mut signer, mut units) = (Signer::new(SHAPE), Units::default());
    let mut keys = |text: &str| {
        let mut keys = Vec::new();
        signer.keys(units.of(text), &mut keys);
        keys
    };
    assert_eq!(keys("Two words"), keys("two  words!"));
    let texts = ["two words", "two other words", "words two", "two", "two words and three more", "中文", "中文测"];
    for a in texts {
        assert_eq!(keys(a).len(), SHAPE.bands);
        for b in texts.iter().filter(|b| **b != a) {
            assert!(keys(a).iter().zip(keys(b)).all(|(a, b)| *a != b), "{a:?} {b:?}");
        }
    }
}

#[test]
fn keys_are_the_same_on_every_machine_and_in_every_version() {
    let (mut signer, mut units, mut keys) = (Signer::new(SHAPE), Units::default(), Vec::new());
    signer.keys(units.of("All human beings are born free and equal in dignity and rights."), &mut keys);
    let folded = keys.iter().fold(0, |sum: u64, key| sum.rotate_left(7) ^ key);
    assert_eq!(folded, EXPECTED);
}

/// What the first version made.
const EXPECTED: u64 = 12_837_756_925_477_386_814;
