//! What is hidden of a text: words that the encoder has to predict, and places that rows of the decoder do not see.
//!
//! Every choice is a hash of the row's key, which names seed, step and row, and of the place. So it is the same on any
//! rank, in any sub-batch and after a restart, and nothing is kept between steps. As in the published code, the number
//! of hidden places is fixed: p·n of n, rounded as Python rounds (halves to the even number), and at least one. No
//! place is hidden with a probability of its own.

use std::sync::Arc;

use tercet_configs::{PretrainSection, RandomWords};
use tercet_sampler::{Share, SpecialTokens, TextInput, hash};

use crate::model::M3Model;
use crate::model::pretraining::{DecoderRow, HiddenPlaces, HiddenWords};

/// Shares of the tokens that the encoder has to predict: what becomes the mask token, and what becomes that or a
/// random word; the rest stays as it is (Devlin et al., 2019, arXiv 1810.04805).
const SHOWN_AS: [f64; 2] = [0.8, 0.9];

/// What a hash decides.
enum Decides {
    EncoderPlaces,
    ShownAs,
    RandomWord,
    SetPlaces,
    SetOfRow,
}

/// Where masks come from.
#[derive(Debug, Clone)]
pub enum Masks {
    /// They are drawn.
    Drawn,
    /// They were given with a batch; a row's key is its number there.
    Given(Arc<GivenMasks>),
}

/// What is hidden of given texts.
#[derive(Debug, Default)]
pub struct GivenMasks {
    /// The hidden words of all texts.
    pub words: HiddenWords,
    /// Each text's hidden places, for the decoder.
    pub places: Vec<HiddenPlaces>,
}

impl Masks {
    /// The masks of a rank's texts.
    pub fn of<'a>(&'a self, model: &'a M3Model, section: &'a PretrainSection, share: &'a Share) -> Masker<'a> {
        let drawing = Drawing::new(section, &model.special, model.config.vocab_size, &model.continuations);
        Masker { masks: self, drawing, share }
    }
}

/// The masks of a rank's texts.
pub struct Masker<'a> {
    masks: &'a Masks,
    drawing: Drawing<'a>,
    share: &'a Share,
}

impl Masker<'_> {
    /// What the encoder reads and predicts of each text.
    pub fn words(&self) -> HiddenWords {
        let mut all = HiddenWords::default();
        for (text, &key) in self.share.texts.iter().zip(&self.share.row_keys) {
            let (input, labels) = match self.masks {
                Masks::Drawn => self.drawing.words(key, &text.ids),
                Masks::Given(given) => {
                    let text = key as usize;
                    (given.words.inputs[text].ids.clone(), given.words.labels[text].clone())
                }
            };
            all.inputs.push(TextInput::of_tokens(input));
            all.labels.push(labels);
        }
        all
    }

    /// What the decoder sees and predicts of text `i`.
    pub fn places(&self, i: usize) -> HiddenPlaces {
        let key = self.share.row_keys[i];
        match self.masks {
            Masks::Drawn => self.drawing.places(key, &self.share.texts[i].ids),
            Masks::Given(given) => given.places[key as usize].clone(),
        }
    }

    /// The number of the decoder's labels in all texts.
    pub fn num_decoder_labels(&self) -> usize {
        let of_text = |(text, &key): (&TextInput, &u64)| match self.masks {
            Masks::Drawn => text.ids.len().saturating_sub(SpecialTokens::NUM_FRAMING),
            Masks::Given(given) => given.places[key as usize].rows.len(),
        };
        self.share.texts.iter().zip(&self.share.row_keys).map(of_text).sum()
    }
}

/// Draws masks.
pub struct Drawing<'a> {
    section: &'a PretrainSection,
    /// Special tokens and the unknown one, ascending.
    specials: Vec<i64>,
    mask: i64,
    vocab_size: i64,
    /// Whether the token of each id continues a word; empty if none does.
    continuations: &'a [bool],
}

impl<'a> Drawing<'a> {
    /// For a tokenizer's special tokens and a model's vocabulary. `continuations` says of each id whether its token
    /// continues a word.
    pub fn new(
        section: &'a PretrainSection,
        special: &SpecialTokens,
        vocab_size: usize,
        continuations: &'a [bool],
    ) -> Self {
        let continuations = if section.whole_words { continuations } else { &[] };
        // Training asks for a mask token before it begins, and given masks need none.
        let mask = special.mask.unwrap_or(special.unk);
        let mut specials: Vec<i64> = special.ids().into_iter().chain([mask]).map(i64::from).collect();
        specials.sort_unstable();
        specials.dedup();
        Self { section, specials, mask: mask.into(), vocab_size: vocab_size as i64, continuations }
    }

    /// What the encoder reads of a text, and the places that it predicts, ascending, with the tokens there.
    pub fn words(&self, key: u64, ids: &[i64]) -> (Vec<i64>, Vec<(usize, i64)>) {
        let candidates = |place: &usize| self.section.mask_specials || !self.is_special(ids[*place]);
        let words = self.words_of(ids, (0..ids.len()).filter(candidates));
        let num_hidden = self.section.num_hidden(self.section.encoder_mask, words.places.len());
        let mut drawn = words.drawn(key, &[Decides::EncoderPlaces as u64], num_hidden);
        drawn.sort_unstable();
        let chosen = drawn.into_iter().filter(|&place| !self.is_special(ids[place]));
        let labels: Vec<(usize, i64)> = chosen.map(|place| (place, ids[place])).collect();
        let mut input = ids.to_vec();
        for &(place, _) in &labels {
            let share = unit(hash(&[key, Decides::ShownAs as u64, place as u64]));
            if share < SHOWN_AS[0] {
                input[place] = self.mask;
            } else if share < SHOWN_AS[1] {
                input[place] = self.random_word(hash(&[key, Decides::RandomWord as u64, place as u64]));
            }
        }
        (input, labels)
    }

    /// The places that each row of the decoder does not see. Every token but the first and the last has a row.
    pub fn places(&self, key: u64, ids: &[i64]) -> HiddenPlaces {
        let (len, section) = (ids.len(), self.section);
        let num_sets = section.mask_sets.min(len);
        let candidates = (0..len).filter(|&place| match place {
            0 => !section.cls_visible,
            _ => section.mask_specials || !self.is_special(ids[place]),
        });
        let words = self.words_of(ids, candidates);
        let num_hidden = section.num_hidden(section.decoder_mask, words.places.len());
        let mut sets = vec![false; num_sets * len];
        for (number, set) in sets.chunks_exact_mut(len.max(1)).enumerate() {
            let what = [Decides::SetPlaces as u64, number as u64];
            words.drawn(key, &what, num_hidden).into_iter().for_each(|place| set[place] = true);
        }
        let set_of = |place: usize| (hash(&[key, Decides::SetOfRow as u64, place as u64]) % num_sets as u64) as usize;
        let rows = (1..len.saturating_sub(1)).map(|place| DecoderRow { place, label: ids[place], set: set_of(place) });
        HiddenPlaces { rows: rows.collect(), sets }
    }

    /// The words that `candidates`, ascending places, make.
    fn words_of(&self, ids: &[i64], candidates: impl Iterator<Item = usize>) -> Words {
        let places: Vec<usize> = candidates.collect();
        let continues = |place: usize| self.continuations.get(ids[place] as usize).copied().unwrap_or(false);
        if !places.iter().any(|&place| continues(place)) {
            return Words { places, firsts: None };
        }
        let begins = |i: usize| i == 0 || places[i] > places[i - 1] + 1 || !continues(places[i]);
        Words { firsts: Some((0..places.len()).filter(|&i| begins(i)).collect()), places }
    }

    fn random_word(&self, hash: u64) -> i64 {
        let below = |n: i64| ((u128::from(hash) * n.max(1) as u128) >> 64) as i64;
        match self.section.random_words {
            RandomWords::All => below(self.vocab_size),
            RandomWords::Text => {
                let known = self.specials.partition_point(|&special| special < self.vocab_size);
                let mut word = below(self.vocab_size - known as i64);
                // The word's number among those that are not special.
                self.specials[..known].iter().for_each(|&special| word += i64::from(word >= special));
                word
            }
        }
    }

    fn is_special(&self, id: i64) -> bool {
        self.specials.binary_search(&id).is_ok()
    }
}

/// Places that may be hidden.
struct Words {
    /// Ascending.
    places: Vec<usize>,
    /// Where each word begins among them; none if every place is a word.
    firsts: Option<Vec<usize>>,
}

impl Words {
    /// `count` places: those with the smallest hashes. It takes whole words whose first places have the
    /// smallest hashes, as many as fit into `count` places. A word that is too long for what is left is passed over.
    fn drawn(&self, key: u64, what: &[u64], count: usize) -> Vec<usize> {
        let key = hash(&[&[key], what].concat());
        let hashed = |place: usize| (hash(&[key, place as u64]), place);
        let Some(firsts) = &self.firsts else {
            let mut hashed: Vec<(u64, usize)> = self.places.iter().map(|&place| hashed(place)).collect();
            if count > 0 && count < hashed.len() {
                hashed.select_nth_unstable(count - 1);
            }
            hashed.truncate(count);
            return hashed.into_iter().map(|(_, place)| place).collect();
        };
        let ends = firsts[1..].iter().copied().chain([self.places.len()]);
        let words = firsts.iter().zip(ends).map(|(&from, to)| &self.places[from..to]);
        let mut words: Vec<(u64, &[usize])> = words.map(|word| (hashed(word[0]).0, word)).collect();
        words.sort_unstable();
        let mut drawn = Vec::with_capacity(count);
        for (_, word) in words {
            if drawn.len() + word.len() <= count {
                drawn.extend_from_slice(word);
            }
        }
        drawn
    }
}

/// A hash as a number from 0 to below 1.
fn unit(hash: u64) -> f64 {
    // A double holds 53 bits exactly.
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use tercet_configs::PretrainSection;

    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: Some(96) };
    const VOCABULARY: usize = 97;

    fn text(len: usize) -> Vec<i64> {
        let word = |i: usize| 4 + (i * 7 % 92) as i64;
        std::iter::once(0).chain((0..len - 2).map(word)).chain([2]).collect()
    }

    /// Draws for `texts` texts of `len` tokens: the shares of tokens that are labels, and of places that a set hides;
    /// how often a label is shown as the mask token, as another word, and as it is; how often a set hides the first
    /// place.
    fn statistics(section: &PretrainSection, len: usize, texts: u64) -> ([f64; 2], [f64; 3], f64) {
        let drawing = Drawing::new(section, &SPECIAL, VOCABULARY, &[]);
        let ids = text(len);
        let (mut labels, mut hidden, mut sets, mut first, mut shown) = (0, 0, 0, 0, [0usize; 3]);
        for key in 0..texts {
            let (input, of_text) = drawing.words(key, &ids);
            labels += of_text.len();
            for (place, label) in of_text {
                assert_eq!(ids[place], label);
                let special = SPECIAL.ids().map(i64::from);
                assert!(!special.contains(&label));
                match input[place] {
                    96 => shown[0] += 1,
                    word if word == label => shown[2] += 1,
                    word => {
                        assert!(!special.contains(&word) || section.random_words == RandomWords::All);
                        shown[1] += 1;
                    }
                }
            }
            let places = drawing.places(key, &ids);
            assert!(places.rows.iter().map(|row| (row.place, row.label)).eq((1..len - 1).map(|i| (i, ids[i]))));
            hidden += places.sets.iter().filter(|&&hidden| hidden).count();
            first += places.sets.chunks_exact(len).filter(|set| set[0]).count();
            sets += places.sets.len() / len;
        }
        let share = |count: usize, all: f64| count as f64 / all;
        let all = (texts as usize * len) as f64;
        (
            [share(labels, all), share(hidden, (sets * len) as f64)],
            shown.map(|count| share(count, labels as f64)),
            share(first, sets as f64),
        )
    }

    #[test]
    fn as_much_is_hidden_as_asked_at_any_length() {
        let section = PretrainSection::default();
        for (len, texts) in [(12, 2000), (100, 300), (2048, 4), (8192, 1)] {
            let ([encoder, decoder], [masked, random, kept], first) = statistics(&section, len, texts);
            let words = len as f64 - 2.0;
            let of_words = |share: f64| (share * words).round_ties_even() / len as f64;
            assert!((encoder - of_words(0.3)).abs() < 1e-9, "{len}: {encoder}");
            assert!((decoder - of_words(0.5)).abs() < 1e-9, "{len}: {decoder}");
            // Six standard deviations of some 2,500 draws at least.
            for (found, expected) in [(masked, 0.8), (random, 0.1), (kept, 0.1)] {
                assert!((found - expected).abs() < 0.05, "{len}: {found} for {expected}");
            }
            assert_eq!(first, 0.0, "the sentence vector is always seen");
        }
    }

    /// What the published collator does for XLM-RoBERTa: min(512, max(1, round(p·n))) of all n places.
    #[test]
    fn the_published_settings_hide_as_the_published_code_does() {
        let section = PretrainSection {
            max_masked: 512,
            cls_visible: false,
            mask_specials: true,
            random_words: RandomWords::All,
            ..PretrainSection::default()
        };
        for (len, texts) in [(5, 3000), (7, 3000), (128, 200), (2048, 8), (8192, 2)] {
            let ([encoder, decoder], _, first) = statistics(&section, len, texts);
            let picked = |p: f64| (p * len as f64).round_ties_even().clamp(1.0, 512.0) / len as f64;
            assert!((decoder - picked(0.5)).abs() < 1e-9, "{len}: {decoder}");
            // Special tokens are picked, too, and then are no labels.
            let expected = picked(0.3) * (len as f64 - 2.0) / len as f64;
            assert!((encoder - expected).abs() < 0.04 * expected + 0.01, "{len}: {encoder} for {expected}");
            assert!((first - picked(0.5)).abs() < 0.1, "{len}: {first}");
        }
    }

    #[test]
    fn masks_depend_on_the_key_alone() {
        let section = PretrainSection::default();
        let drawing = Drawing::new(&section, &SPECIAL, VOCABULARY, &[]);
        let ids = text(60);
        assert_eq!(drawing.words(5, &ids), drawing.words(5, &ids));
        assert_eq!(drawing.places(5, &ids), drawing.places(5, &ids));
        assert_ne!(drawing.words(5, &ids).1, drawing.words(6, &ids).1);
        assert_ne!(drawing.places(5, &ids), drawing.places(6, &ids));
    }

    #[test]
    fn words_are_hidden_whole_where_their_pieces_are_marked() {
        // Ids from 50 on continue words: words of one, two and three pieces.
        let continuations: Vec<bool> = (0..VOCABULARY).map(|id| id >= 50).collect();
        let ids = [&[0][..], &[10, 11, 60, 12, 61, 62].repeat(8), &[2]].concat();
        let section = PretrainSection::default();
        let drawing = Drawing::new(&section, &SPECIAL, VOCABULARY, &continuations);
        for key in 0..50 {
            let chosen: Vec<usize> = drawing.words(key, &ids).1.into_iter().map(|(place, _)| place).collect();
            // 30 % of 48 places; a last word that is too long leaves up to two of them.
            assert!((12..=14).contains(&chosen.len()), "{chosen:?}");
            for word in [[11, 60].as_slice(), &[12, 61, 62]] {
                for first in (0..ids.len()).filter(|&i| ids[i..].starts_with(word)) {
                    let hidden = (first..first + word.len()).filter(|place| chosen.contains(place)).count();
                    assert!(hidden == 0 || hidden == word.len(), "{chosen:?} {first}");
                }
            }
        }
        let section = PretrainSection { whole_words: false, ..section };
        let drawing = Drawing::new(&section, &SPECIAL, VOCABULARY, &continuations);
        assert_eq!(drawing.words(1, &ids).1.len(), 14);
    }

    #[test]
    fn short_texts_and_those_without_words_have_what_they_can() {
        let section = PretrainSection::default();
        let drawing = Drawing::new(&section, &SPECIAL, VOCABULARY, &[]);
        assert_eq!(drawing.words(1, &[0, 5, 2]).1, [(1, 5)]);
        assert_eq!(drawing.words(1, &[0, 3, 2]).1, [], "an unknown word is not predicted");
        assert_eq!(drawing.places(1, &[0, 3, 2]).rows.len(), 1);
        assert_eq!(drawing.words(1, &[0, 2]), (vec![0, 2], vec![]));
        assert!(drawing.places(1, &[0, 2]).rows.is_empty());
    }

    #[test]
    fn random_words_are_all_but_special_ones() {
        let section = PretrainSection::default();
        let drawing = Drawing::new(&section, &SPECIAL, 8, &[]);
        let words: std::collections::BTreeSet<i64> = (0..200).map(|i| drawing.random_word(hash(&[i]))).collect();
        assert_eq!(words.into_iter().collect::<Vec<_>>(), [4, 5, 6, 7]);
    }
}
