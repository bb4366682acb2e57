//! Texts that are lightly edited are found as nearly the same, and others are not: with the paragraphs of this
//! project's pages, and sentences in scripts that do not set words apart.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use tercet_retrieval::Shingles;

/// What `tercet mine`'s page recommends.
const THRESHOLD: f64 = 0.8;

/// Paragraphs of at least 200 characters.
fn paragraphs() -> Vec<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut found = Vec::new();
    for room in ["know", "use", "change"] {
        for page in fs::read_dir(docs.join(room)).unwrap() {
            let text = fs::read_to_string(page.unwrap().path()).unwrap();
            found.extend(
                text.split("\n\n").filter(|text| text.len() >= 200 && !text.contains("```")).map(str::to_owned),
            );
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The next number below `bound` of a small generator.
fn below(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % bound
}

/// Light edits of `text`: each a way in which a passage comes twice into a corpus.
fn edits(text: &str, state: &mut u64) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut replaced: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    for _ in 0..words.len().div_ceil(40) {
        replaced[below(state, words.len())] = "another".to_owned();
    }
    let mut swapped = words.clone();
    let at = below(state, words.len() - 1);
    swapped.swap(at, at + 1);
    let mut typos: Vec<char> = text.chars().collect();
    for _ in 0..typos.len() / 100 {
        let at = below(state, typos.len());
        typos[at] = 'x';
    }
    vec![
        text.to_uppercase().replace(',', ";"),
        format!("On this: {text}"),
        replaced.join(" "),
        swapped.join(" "),
        words[..words.len() - words.len() / 20].join("  "),
        typos.into_iter().collect(),
    ]
}

#[test]
fn light_edits_are_found_and_other_paragraphs_are_not() {
    let paragraphs = paragraphs();
    assert!(paragraphs.len() > 100, "{}", paragraphs.len());
    let shingles: Vec<Shingles> = paragraphs.iter().map(|text| Shingles::of(text)).collect();
    let (mut planted, mut found, mut others, mut lost) = (0, 0, 0, 0);
    let mut state = 1;
    for (i, text) in paragraphs.iter().enumerate() {
        for edited in edits(text, &mut state) {
            planted += 1;
            found += usize::from(Shingles::of(&edited).jaccard(&shingles[i]) >= THRESHOLD);
        }
        others += i;
        lost += shingles[..i].iter().filter(|other| other.jaccard(&shingles[i]) >= THRESHOLD).count();
    }
    println!("{found} of {planted} edits are found, {lost} of {others} other pairs are lost");
    assert!(found as f64 >= 0.95 * f64::from(planted), "{found} of {planted}");
    assert!((lost as f64) < 0.05 * others as f64, "{lost} of {others}");
}

#[test]
fn it_works_where_words_are_not_set_apart() {
    let texts = [
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。每个人都享有生命、自由和人身安全。",
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    ];
    for (i, text) in texts.iter().enumerate() {
        let near = |edited: &str| Shingles::of(edited).jaccard(&Shingles::of(text));
        let characters: Vec<char> = text.chars().collect();
        let mut typo = characters.clone();
        typo[characters.len() / 2] = 'x';
        let cut: String = characters[3..].iter().collect();
        for edited in [typo.into_iter().collect(), cut, text.replace(['、', '，', '。', ' '], " ")] {
            assert!(near(&edited) >= THRESHOLD, "{} {edited}", near(&edited));
        }
        assert!(texts.iter().enumerate().all(|(other, text)| other == i || near(text) < 0.1));
    }
}
