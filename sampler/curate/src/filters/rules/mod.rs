//! Published rules for the quality of a text, as data: a name, what is computed, and its bound.

mod c4;
mod fineweb;
mod gopher_quality;
mod gopher_repetition;
mod nemo;
mod rule;

use super::document::{Document, Scratch};
use super::recipe::{FiltersRecipe, RuleSet};
use super::words::Splitting;
use crate::reason::Reason;
use c4::C4;
use rule::Rule;

/// The rules of a recipe, in order.
#[derive(Debug)]
pub struct Rules {
    steps: Vec<Step>,
    document_words: u64,
    splitting: Splitting,
}

#[derive(Debug)]
enum Step {
    Rule(Rule),
    C4(C4),
}

/// What rules say of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ruled {
    /// The rule that it breaks first.
    pub broken: Option<Reason>,
    /// What is left of it, if C4 took something out.
    pub text: Option<String>,
}

/// The fewest words of a document: Gopher's bound.
const DOCUMENT_WORDS: u64 = 50;

impl Rules {
    /// The rules that the recipe asks for.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn new(recipe: &FiltersRecipe) -> Result<Self, (String, String)> {
        let mut steps = Vec::new();
        let rules = |rules: Vec<Rule>| rules.into_iter().map(Step::Rule);
        for set in &recipe.rules.0 {
            match set {
                RuleSet::Gopher => {
                    steps.extend(rules(gopher_repetition::rules(recipe)?));
                    steps.extend(rules(gopher_quality::rules(recipe)));
                }
                RuleSet::GopherQuality => steps.extend(rules(gopher_quality::rules(recipe))),
                RuleSet::GopherRepetition => steps.extend(rules(gopher_repetition::rules(recipe)?)),
                RuleSet::C4 => steps.push(Step::C4(C4::new(recipe))),
                RuleSet::FineWeb => steps.extend(rules(fineweb::rules(recipe))),
                RuleSet::Nemo => steps.extend(rules(nemo::rules(recipe))),
            }
        }
        let document_words = recipe.document_words.unwrap_or(DOCUMENT_WORDS);
        Ok(Self { steps, document_words, splitting: recipe.words })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Each rule: its name, what it computes, and its bound.
    pub fn list(&self) -> Vec<(String, String, String)> {
        let rule = |step: &Step| match step {
            Step::Rule(rule) => vec![(rule.reason.to_string(), rule.computes.to_owned(), rule.bound.to_string())],
            Step::C4(c4) => c4.list(),
        };
        self.steps.iter().flat_map(rule).collect()
    }

    /// Asks about a text.
    pub fn judge(&self, text: &str, is_english: bool, scratch: &mut Scratch) -> Ruled {
        let mut document = Document::new(text, self.splitting, scratch);
        if self.is_empty() || (self.document_words > 0 && (document.words().len() as u64) < self.document_words) {
            return Ruled::default();
        }
        self.judge_by(&self.steps, document, is_english)
    }

    fn judge_by(&self, steps: &[Step], mut document: Document<'_>, is_english: bool) -> Ruled {
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Rule(rule) => {
                    if rule.is_broken(&mut document, is_english) {
                        return Ruled { broken: Some(rule.reason.clone()), text: None };
                    }
                }
                Step::C4(c4) => match c4.clean(&mut document) {
                    Err(reason) => return Ruled { broken: Some(Reason::new(reason)), text: None },
                    Ok(None) => {}
                    Ok(Some(text)) => {
                        let rest = Document::new(&text, self.splitting, document.into_scratch());
                        let ruled = self.judge_by(&steps[number + 1..], rest, is_english);
                        let text = ruled.text.or(Some(text));
                        return Ruled { text, ..ruled };
                    }
                },
            }
        }
        Ruled::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(keys: &str, text: &str) -> Option<String> {
        let recipe = toml::from_str(&format!("document_words = 0\n{keys}")).unwrap();
        let ruled = Rules::new(&recipe).unwrap().judge(text, true, &mut Scratch::default());
        ruled.broken.map(|reason| reason.to_string())
    }

    #[test]
    fn each_rule_of_nemo_finds_what_it_is_for() {
        let plain = "Ein ganzer Satz steht hier. Und noch einer.";
        for (text, expected) in [
            (plain.to_owned(), None),
            ("am 12.12.2012, um 12:12".to_owned(), Some("numbers_ratio")),
            ("siehe https://example.org. Mehr nicht.".to_owned(), Some("urls_ratio")),
            ("a b c d e f g h.".to_owned(), Some("white_space")),
            ("(a) [b] {c} ist alles.".to_owned(), Some("parentheses_ratio")),
            (["Eins ist eins."; 4].join("\n"), Some("repeated_lines")),
            ("Überschrift\nNoch eine\nDie dritte".to_owned(), Some("punctuation")),
        ] {
            assert_eq!(broken("rules = 'nemo'", &text).as_deref(), expected, "{text}");
        }
        assert_eq!(broken("rules = 'nemo'\nmax_number_to_text_ratio = false", "am 12.12.2012, um 12:12."), None);
    }

    #[test]
    fn a_short_passage_is_no_document_and_english_is_asked_for_english_words() {
        let asked = |keys: &str, text: &str, is_english| {
            let recipe = toml::from_str(keys).unwrap();
            let ruled = Rules::new(&recipe).unwrap().judge(text, is_english, &mut Scratch::default());
            ruled.broken.map(|reason| reason.to_string())
        };
        let german = "Der schnelle braune Fuchs springt heute wieder über einen faulen Hund. ";
        let long: String =
            (0..12).map(|n| format!("{n} {german}").replace("Fuchs", &"Fuchs".repeat(n % 3 + 1))).collect();
        let keys = "rules = 'gopher-quality'";
        assert_eq!(asked(keys, german, false), None);
        assert_eq!(asked("document_words = 0\nrules = 'gopher-quality'", german, false).unwrap(), "gopher_short_doc");
        assert_eq!(asked(keys, &long, false), None);
        assert_eq!(asked(keys, &long, true).unwrap(), "gopher_enough_stop_words");
        assert_eq!(asked(&format!("{keys}\nstop_words = ['der', 'über', 'Hund']"), &long, false), None);
        let chinese = "中文没有空格，所以每个字是一个词。".repeat(5);
        assert_eq!(asked(keys, &chinese, false), None);
    }

    #[test]
    fn c4_takes_lines_and_citations_out() {
        let recipe = toml::from_str("document_words = 0\nrules = ['c4', 'fineweb']\nmin_num_sentences = 2").unwrap();
        let rules = Rules::new(&recipe).unwrap();
        let text = "A heading\nThis is one sentence.[1] This is another one.\nWe use cookies here, of course.";
        let ruled = rules.judge(text, true, &mut Scratch::default());
        assert_eq!(ruled.text.as_deref(), Some("This is one sentence. This is another one."));
        assert_eq!(ruled.broken, None);
        let ruled = rules.judge("There is a { in it.", true, &mut Scratch::default());
        assert_eq!(ruled, Ruled { broken: Some(Reason::new("curly_bracket")), text: None });
    }
}
