//! `[filters]` of a curation's recipe.

mod limit;
mod rule_sets;

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::words::Splitting;
pub use limit::Limit;
pub use rule_sets::{RuleSet, RuleSets};

/// The least and the most that a count may be.
pub type Range = [u64; 2];

/// The rules for each pair. Bounds have the names of datatrove's arguments; what is not given is as the rule set's
/// publication has it, and `false` leaves the rule out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FiltersRecipe {
    /// Characters of a query, from and to.
    pub query_chars: Option<Range>,
    /// Words of a query.
    pub query_words: Option<Range>,
    /// Characters of a passage.
    pub passage_chars: Option<Range>,
    /// Words of a passage.
    pub passage_words: Option<Range>,
    /// The longer of the two texts has at most this multiple of the shorter one's characters.
    pub length_ratio_max: Option<f64>,
    /// The most of a query, as a share of its characters, that stands in the passage as one stretch of words.
    pub copy_max: Option<f64>,
    /// The same of the passage's beginning.
    pub copy_start_max: Option<f64>,

    /// fastText's model of languages, such as lid.176.ftz; without it languages are detected by whatlang.
    pub lid: Option<PathBuf>,
    /// The languages that a passage may have.
    pub languages: Option<Vec<String>>,
    /// A passage's language must be detected with a higher score.
    pub language_min: Option<f64>,
    /// The languages that a query may have.
    pub query_languages: Option<Vec<String>>,
    /// A query's language must be detected with a higher score.
    pub query_language_min: Option<f64>,

    /// The sets of rules that a passage must keep, in their order.
    pub rules: RuleSets,
    /// Passages of fewer words are no documents, and are not asked about `rules`; default: 50.
    pub document_words: Option<u64>,
    /// How texts are split into words.
    pub words: Splitting,

    /// Gopher's quality: the least number of words, punctuation not counted; 50.
    pub min_doc_words: Limit,
    /// The greatest number of words, punctuation not counted; 100,000.
    pub max_doc_words: Limit,
    /// The least mean of the words' lengths; 3. Texts without spaces between words are not asked.
    pub min_avg_word_length: Limit,
    /// The greatest mean of the words' lengths; 10.
    pub max_avg_word_length: Limit,
    /// Hashes for each word, and ellipses for each word; 0.1.
    pub max_symbol_word_ratio: Limit,
    /// Lines that begin with a bullet; 0.9.
    pub max_bullet_lines_ratio: Limit,
    /// Lines that end with an ellipsis; 0.3.
    pub max_ellipsis_lines_ratio: Limit,
    /// The least share of words with a letter, whatever datatrove's name says; 0.8.
    pub max_non_alpha_words_ratio: Limit,
    /// The least number of different stop words; 2.
    pub min_stop_words: Limit,
    /// Stop words, of whatever language; default: eight English ones, which only English passages are asked about.
    pub stop_words: Option<Vec<String>>,

    /// Gopher's repetition: lines that were there before; 0.3.
    pub dup_line_frac: Limit,
    /// Paragraphs that were there before; 0.3.
    pub dup_para_frac: Limit,
    /// Characters of lines that were there before; 0.2.
    pub dup_line_char_frac: Limit,
    /// Characters of paragraphs that were there before; 0.2.
    pub dup_para_char_frac: Limit,
    /// Numbers of words, and the most characters of the most frequent n-gram of as many; 2 to 4 words, 0.20 to 0.16.
    #[serde(deserialize_with = "n_grams")]
    pub top_n_grams: Option<Vec<(usize, f64)>>,
    /// Numbers of words, and the most characters that repeated n-grams of as many have; 5 to 10 words, 0.15 to 0.10.
    #[serde(deserialize_with = "n_grams")]
    pub dup_n_grams: Option<Vec<(usize, f64)>>,

    /// C4: marks of citations are taken out; true.
    pub remove_citations: Option<bool>,
    /// A line that ends no sentence goes; true.
    pub filter_no_terminal_punct: Option<bool>,
    /// The least number of sentences in the lines that stay; 5.
    pub min_num_sentences: Limit,
    /// A line with fewer words goes; 3.
    pub min_words_per_line: Limit,
    /// A line with a longer word goes; 1,000.
    pub max_word_length: Limit,
    /// A text with "lorem ipsum" is dropped; true.
    pub filter_lorem_ipsum: Option<bool>,
    /// A line with "javascript" goes; true.
    pub filter_javascript: Option<bool>,
    /// A text with { is dropped; true.
    pub filter_curly_bracket: Option<bool>,
    /// A line about terms of use, privacy or cookies goes; true.
    pub filter_policy: Option<bool>,

    /// FineWeb: the least share of lines that end a sentence; 0.12.
    pub line_punct_thr: Limit,
    /// A text none of whose lines ends a sentence stays; false.
    pub line_punct_exclude_zero: Option<bool>,
    /// The characters that end a line; default: those that end sentences in any script.
    pub stop_chars: Option<String>,
    /// Short lines; 0.67.
    pub short_line_thr: Limit,
    /// A short line's characters at most; 30.
    pub short_line_length: Option<usize>,
    /// Characters of lines that were there before; 0.01.
    pub char_duplicates_ratio: Limit,
    /// Line ends for each word; 0.3.
    pub new_line_ratio: Limit,

    /// NeMo, for text that is not English: digits among all characters; 0.15.
    pub max_number_to_text_ratio: Limit,
    /// Characters of addresses; 0.2.
    pub max_url_to_text_ratio: Limit,
    /// White space; 0.25.
    pub max_white_space_ratio: Limit,
    /// Parentheses; 0.1.
    pub max_parentheses_ratio: Limit,
    /// The least share of different lines, whatever NeMo's name says, as of the next three; 0.7.
    pub max_repeated_line_fraction: Limit,
    /// Different paragraphs; 0.7.
    pub max_repeated_paragraphs_ratio: Limit,
    /// Characters of different lines; 0.8.
    pub max_repeated_lines_char_ratio: Limit,
    /// Characters of different paragraphs; 0.8.
    pub max_repeated_paragraphs_char_ratio: Limit,
    /// Lines that end no sentence; 0.85.
    pub max_num_sentences_without_endmark_ratio: Limit,
}

impl FiltersRecipe {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// A range is empty, a share is none, a list has nothing, or a bound is given of rules that are not asked for.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((key.to_owned(), reason));
        let ranges = [
            ("query_chars", self.query_chars),
            ("query_words", self.query_words),
            ("passage_chars", self.passage_chars),
            ("passage_words", self.passage_words),
        ];
        for (key, range) in ranges {
            if let Some([from, to]) = range.filter(|[from, to]| from > to) {
                return wrong(key, format!("from {from} to {to} there is nothing: the smaller number comes first"));
            }
        }
        let shares = [
            ("copy_max", self.copy_max),
            ("copy_start_max", self.copy_start_max),
            ("language_min", self.language_min),
            ("query_language_min", self.query_language_min),
        ];
        for (key, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return wrong(key, format!("{share} is no share: a number from 0 to 1 is expected"));
            }
        }
        if let Some(ratio) = self.length_ratio_max.filter(|ratio| ratio.is_nan() || *ratio < 1.0) {
            return wrong("length_ratio_max", format!("{ratio} is less than 1, which the ratio of equal lengths is"));
        }
        let lists = [("languages", &self.languages), ("query_languages", &self.query_languages)];
        if let Some((key, _)) = lists.into_iter().find(|(_, list)| list.as_ref().is_some_and(Vec::is_empty)) {
            return wrong(key, "no language is named, so nothing would be kept".to_owned());
        }
        for (key, list) in [("top_n_grams", &self.top_n_grams), ("dup_n_grams", &self.dup_n_grams)] {
            if let Some((n, share)) = list.iter().flatten().find(|(n, share)| *n == 0 || !(0.0..=1.0).contains(share)) {
                let reason = format!("[{n}, {share}]: a number of words from 1 and a share from 0 to 1 are expected");
                return wrong(key, reason);
            }
        }
        Ok(())
    }

    /// Says that `key` is a bound of rules that are not asked for, which would change nothing. None if it is none.
    pub fn without_effect(&self, key: &str) -> Option<String> {
        let of = RuleSet::of_bound(key)?;
        let is_asked = self.rules.0.iter().any(|asked| of.iter().any(|set| asked.has(*set)));
        let named: Vec<&str> = of.iter().map(|set| set.name()).collect();
        (!is_asked).then(|| match self.rules.0.is_empty() {
            true => format!("no rules are asked for: add them as rules = {:?}, or leave the key out", named[0]),
            false => format!(
                "a bound of {}, which `rules` does not name: add the set to it, or leave the key out",
                named.join(" and ")
            ),
        })
    }
}

/// Pairs of a number of words and a share; `false` is none.
fn n_grams<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<(usize, f64)>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "pairs of a number of words and a share are expected, as [[2, 0.2]], or false")]
    enum NGrams {
        Named(Vec<(usize, f64)>),
        Asked(bool),
    }
    Ok(match NGrams::deserialize(deserializer)? {
        NGrams::Named(pairs) => Some(pairs),
        NGrams::Asked(false) => Some(Vec::new()),
        NGrams::Asked(true) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_told() {
        let wrong = |text: &str| match toml::from_str::<FiltersRecipe>(text) {
            Ok(recipe) => recipe.check().unwrap_err().1,
            Err(error) => error.to_string(),
        };
        for (text, expected) in [
            ("rules = 'gofer'", "gopher, gopher-quality"),
            ("rules = 3", "a set of rules is expected"),
            ("rules = ['none']", "no rules are asked for by rules = \"none\""),
            ("top_n_grams = 0.2", "as [[2, 0.2]], or false"),
            ("dup_n_grams = [[5, 15]]", "[5, 15]: a number of words from 1 and a share"),
            ("top_n_grams = [[0, 0.1]]", "[0, 0.1]: a number of words from 1"),
            ("min_doc_words = -1", "0 or more is expected"),
            ("min_doc_words = 'x'", "a number, or false"),
            ("query_chars = [5, 2]", "the smaller number comes first"),
            ("copy_max = 2", "a number from 0 to 1 is expected"),
            ("languages = []", "no language is named"),
            ("length_ratio_max = 0.5", "less than 1"),
            ("word = 'english'", "unknown field"),
        ] {
            let told = wrong(text);
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn every_key_is_of_rules_that_are_known_or_of_none() {
        let recipe: FiltersRecipe = toml::from_str("rules = 'fineweb'").unwrap();
        let serde_json::Value::Object(keys) = serde_json::to_value(&recipe).unwrap() else { panic!("no object") };
        let others = [
            "query_chars",
            "query_words",
            "passage_chars",
            "passage_words",
            "length_ratio_max",
            "copy_max",
            "copy_start_max",
            "lid",
            "languages",
            "language_min",
            "query_languages",
            "query_language_min",
            "rules",
            "words",
        ];
        let without: Vec<&String> = keys.keys().filter(|key| RuleSet::of_bound(key).is_none()).collect();
        assert_eq!(without.len(), others.len(), "{without:?}");
        assert!(without.iter().all(|key| others.contains(&key.as_str())), "{without:?}");
        assert_eq!(recipe.without_effect("short_line_thr"), None);
        assert!(recipe.without_effect("min_doc_words").unwrap().contains("a bound of gopher-quality, which"));
        let gopher: FiltersRecipe = toml::from_str("rules = 'gopher'").unwrap();
        assert_eq!((gopher.without_effect("min_doc_words"), gopher.without_effect("dup_n_grams")), (None, None));
    }

    #[test]
    fn rules_are_one_several_or_none() {
        let sets = |text: &str| toml::from_str::<FiltersRecipe>(text).unwrap().rules.0;
        assert_eq!(sets("rules = 'none'"), []);
        assert_eq!(sets("rules = 'fineweb'"), [RuleSet::FineWeb]);
        assert_eq!(sets("rules = ['gopher', 'c4']"), [RuleSet::Gopher, RuleSet::C4]);
        let n_grams = |text: &str| toml::from_str::<FiltersRecipe>(text).unwrap().top_n_grams;
        assert_eq!(n_grams("top_n_grams = false"), Some(vec![]));
        assert_eq!((n_grams("top_n_grams = true"), n_grams("")), (None, None));
        let recipe: FiltersRecipe = toml::from_str("min_doc_words = 20\nmax_doc_words = false").unwrap();
        let bounds = [recipe.min_doc_words, recipe.max_doc_words, recipe.min_stop_words].map(|limit| limit.or(2.0));
        assert_eq!(bounds, [Some(20.0), None, Some(2.0)]);
    }
}
