//! The language that a text is in: by fastText's model where the recipe names one, by whatlang otherwise.

use std::path::Path;

use super::fasttext::{Buffers, FastText};

/// Characters that whatlang is shown: more hardly improve what it says.
const SHOWN_CHARS: usize = 400;
/// A language is said to be a text's if it is this likely.
const LIKELY: f64 = 0.5;
/// The name of a language that is not known.
pub const UNKNOWN: &str = "und";

/// What whatlang calls a language (ISO 639-3), where ISO 639-1 has a code for it.
const SHORT_CODES: &str = "afr af aka ak amh am ara ar aze az bel be ben bn bul bg cat ca ces cs cmn zh cym cy dan da deu de \
    ell el eng en epo eo est et fin fi fra fr guj gu heb he hin hi hrv hr hun hu hye hy ind id ita it jav jv jpn ja \
    kan kn kat ka khm km kor ko lat la lav lv lit lt mal ml mar mr mkd mk mya my nep ne nld nl nob no ori or pan pa \
    pes fa pol pl por pt ron ro rus ru sin si slk sk slv sl sna sn spa es srp sr swe sv tam ta tel te tgl tl tha th \
    tuk tk tur tr ukr uk urd ur uzb uz vie vi yid yi zul zu";

/// What tells languages.
#[derive(Debug)]
pub enum Detector {
    /// fastText's model.
    Model(Box<FastText>),
    /// whatlang, whose score is its confidence.
    Whatlang,
}

/// What a text's language is, by its code, and how likely that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected<'d> {
    /// The code, of two letters where there is one.
    pub code: &'d str,
    /// Between 0 and 1.
    pub score: f64,
    /// The score of the likeliest language that was asked for.
    pub asked: f64,
}

impl Detector {
    /// The one of the recipe, whose model is at `model`.
    ///
    /// # Errors
    /// The model cannot be read, with the reason.
    pub fn new(model: Option<&Path>) -> Result<Self, String> {
        let Some(path) = model else { return Ok(Self::Whatlang) };
        let model = FastText::load(path).map_err(|error| {
            format!("{}: {error}; a classifier of fastText's is expected, such as lid.176.ftz", path.display())
        })?;
        Ok(Self::Model(Box::new(model)))
    }

    /// The codes of all languages that it can find.
    pub fn codes(&self) -> Vec<&str> {
        match self {
            Self::Model(model) => (0..model.num_labels()).map(|number| model.label(number)).collect(),
            Self::Whatlang => whatlang::Lang::all().iter().map(|lang| short_code(lang.code())).collect(),
        }
    }

    /// The most likely language of `text`, and how likely the likeliest of the languages `asked` is.
    pub fn detect(&self, text: &str, asked: Option<&[String]>, buffers: &mut Buffers) -> Detected<'_> {
        let is_asked = |code: &str| asked.is_none_or(|asked| asked.iter().any(|language| language == code));
        let mut found = Detected { code: UNKNOWN, score: 0.0, asked: 0.0 };
        match self {
            Self::Model(model) => {
                for (number, score) in model.scores(text, buffers).into_iter().flatten().enumerate() {
                    let (code, score) = (model.label(number), f64::from(*score));
                    // It is the first of equally likely languages.
                    if score > found.score {
                        (found.code, found.score) = (code, score);
                    }
                    if score > found.asked && is_asked(code) {
                        found.asked = score;
                    }
                }
            }
            Self::Whatlang => {
                let end = text.char_indices().nth(SHOWN_CHARS).map_or(text.len(), |(end, _)| end);
                if let Some(info) = whatlang::detect(&text[..end]) {
                    (found.code, found.score) = (short_code(info.lang().code()), info.confidence());
                    found.asked = if is_asked(found.code) { found.score } else { 0.0 };
                }
            }
        }
        found
    }
}

impl Detected<'_> {
    /// The code, if it is likely to be right.
    pub fn likely(self) -> String {
        if self.score > LIKELY { self.code.to_owned() } else { UNKNOWN.to_owned() }
    }
}

fn short_code(code: &'static str) -> &'static str {
    let mut pairs = SHORT_CODES.split(' ').filter(|code| !code.is_empty());
    while let (Some(long), Some(short)) = (pairs.next(), pairs.next()) {
        if long == code {
            return short;
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_short_codes() {
        let all = whatlang::Lang::all();
        let long: Vec<_> = all.iter().map(|lang| short_code(lang.code())).filter(|code| code.len() != 2).collect();
        assert!(long.is_empty(), "{long:?}");
        let found = Detector::Whatlang.detect(
            "Все люди рождаются свободными и равными в правах.",
            None,
            &mut Buffers::default(),
        );
        assert_eq!(found.code, "ru");
    }
}
