//! Published sets of rules by their names, and the keys of their bounds.

use serde::{Deserialize, Serialize};

/// A published set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleSet {
    /// [`GopherRepetition`](Self::GopherRepetition) and [`GopherQuality`](Self::GopherQuality).
    Gopher,
    /// Lengths, symbols, bullets and stop words.
    GopherQuality,
    /// Repeated lines, paragraphs and n-grams.
    GopherRepetition,
    /// Lines and sentences; it takes lines and citations out of the passage.
    C4,
    /// Lines.
    #[serde(rename = "fineweb")]
    FineWeb,
    /// Characters and lines of text that is not English.
    Nemo,
}

impl RuleSet {
    const ALL: [Self; 6] =
        [Self::Gopher, Self::GopherQuality, Self::GopherRepetition, Self::C4, Self::FineWeb, Self::Nemo];

    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gopher => "gopher",
            Self::GopherQuality => "gopher-quality",
            Self::GopherRepetition => "gopher-repetition",
            Self::C4 => "c4",
            Self::FineWeb => "fineweb",
            Self::Nemo => "nemo",
        }
    }

    /// Whether it is `other`, or has it in it.
    pub(super) fn has(self, other: Self) -> bool {
        self == other || (self == Self::Gopher && matches!(other, Self::GopherQuality | Self::GopherRepetition))
    }

    /// The sets that the key of a bound is of; none for keys of other rules.
    pub(super) fn of_bound(key: &str) -> Option<&'static [Self]> {
        Some(match key {
            "document_words" => &Self::ALL,
            "min_doc_words"
            | "max_doc_words"
            | "min_avg_word_length"
            | "max_avg_word_length"
            | "max_symbol_word_ratio"
            | "max_bullet_lines_ratio"
            | "max_ellipsis_lines_ratio"
            | "max_non_alpha_words_ratio"
            | "min_stop_words"
            | "stop_words" => &[Self::GopherQuality],
            "dup_line_frac" | "dup_para_frac" | "dup_line_char_frac" | "dup_para_char_frac" | "top_n_grams"
            | "dup_n_grams" => &[Self::GopherRepetition],
            "remove_citations"
            | "filter_no_terminal_punct"
            | "min_num_sentences"
            | "min_words_per_line"
            | "max_word_length"
            | "filter_lorem_ipsum"
            | "filter_javascript"
            | "filter_curly_bracket"
            | "filter_policy" => &[Self::C4],
            "line_punct_thr"
            | "line_punct_exclude_zero"
            | "stop_chars"
            | "short_line_thr"
            | "short_line_length"
            | "char_duplicates_ratio"
            | "new_line_ratio" => &[Self::FineWeb],
            "max_number_to_text_ratio"
            | "max_url_to_text_ratio"
            | "max_white_space_ratio"
            | "max_parentheses_ratio"
            | "max_repeated_line_fraction"
            | "max_repeated_paragraphs_ratio"
            | "max_repeated_lines_char_ratio"
            | "max_repeated_paragraphs_char_ratio"
            | "max_num_sentences_without_endmark_ratio" => &[Self::Nemo],
            _ => return None,
        })
    }
}

/// Sets of rules: one, a list of them, or "none".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Named", into = "Vec<RuleSet>")]
pub struct RuleSets(pub Vec<RuleSet>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a set of rules is expected, a list of them, or \"none\"")]
enum Named {
    One(String),
    Several(Vec<String>),
}

impl TryFrom<Named> for RuleSets {
    type Error = String;

    fn try_from(named: Named) -> Result<Self, String> {
        let names = match named {
            Named::One(none) if none == "none" => Vec::new(),
            Named::One(name) => vec![name],
            Named::Several(names) => names,
        };
        let set = |name: String| match RuleSet::ALL.into_iter().find(|set| set.name() == name) {
            Some(set) => Ok(set),
            None => {
                let all = RuleSet::ALL.map(RuleSet::name).join(", ");
                Err(format!("{name:?} is no set of rules: {all} are; no rules are asked for by rules = \"none\""))
            }
        };
        names.into_iter().map(set).collect::<Result<_, _>>().map(Self)
    }
}

impl From<RuleSets> for Vec<RuleSet> {
    fn from(sets: RuleSets) -> Self {
        sets.0
    }
}
