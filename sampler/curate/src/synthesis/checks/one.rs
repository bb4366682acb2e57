//! Whether a text is one question and nothing else.

/// Marks of a question.
const MARKS: [char; 6] = ['?', '？', '؟', '\u{37e}', '՞', '፧'];

/// Marks of another sentence's end, which blanks follow.
const STOPS: [char; 4] = ['.', '!', '।', '۔'];
/// The same where blanks do not follow.
const WIDE_STOPS: [char; 2] = ['。', '！'];

/// Languages in which a question may have no mark.
const UNMARKED: [&str; 6] = ["hy", "ja", "km", "lo", "my", "th"];

/// Pairs of marks that may enclose a whole answer.
const ENCLOSING: [(&str, &str); 8] =
    [("**", "**"), ("\"", "\""), ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»"), ("「", "」"), ("`", "`")];

/// Letters of the longest word before a stop that may be an abbreviation.
const ABBREVIATION: usize = 4;

/// The answer without what models put around a question: their thoughts, a label, quotation marks.
pub fn bare(answer: &str) -> &str {
    let mut text = answer.rsplit_once("</think>").map_or(answer, |(_, after)| after).trim();
    loop {
        let before = text.len();
        for (open, close) in ENCLOSING {
            let inside = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
            text = inside.filter(|inside| !inside.contains(open)).unwrap_or(text).trim();
        }
        text = without_label(text);
        if text.len() == before {
            return text;
        }
    }
}

/// "Question:" and the like: a word and a colon at the beginning, and stars around them.
fn without_label(text: &str) -> &str {
    const LABELS: [&str; 14] = [
        "question",
        "q",
        "frage",
        "pregunta",
        "pergunta",
        "domanda",
        "вопрос",
        "问题",
        "問題",
        "質問",
        "질문",
        "प्रश्न",
        "سؤال",
        "คำถาม",
    ];
    let Some((label, rest)) = text.split_once([':', '：']) else { return text };
    match LABELS.contains(&label.trim_matches(['*', ' ']).to_lowercase().as_str()) {
        true => rest.trim_start_matches("**").trim(),
        false => text,
    }
}

/// Checks a question in a language, by its two letters.
///
/// # Errors
/// The name of the reason.
pub fn check(text: &str, language: &str) -> Result<(), &'static str> {
    let ended = text.trim_end_matches(['"', '”', '»', '」', ')', '）', ' ', '*']);
    let body = ended.trim_end_matches(MARKS);
    let has_mark = body.len() < ended.len();
    // An Armenian question has its mark within its word.
    let marks = if language == "hy" { 0 } else { body.matches(MARKS).count() };
    match (marks, has_mark) {
        (0, false) if UNMARKED.contains(&language) => {}
        (0, false) => return Err("no_question"),
        (0, true) => {}
        (_, true) => return Err("several_questions"),
        (_, false) => return Err("more_than_a_question"),
    }
    let body = body.trim_end_matches(WIDE_STOPS);
    match body.contains(['\n', '\r']) || body.contains(WIDE_STOPS) || has_sentence(body) {
        true => Err("more_than_a_question"),
        false => Ok(()),
    }
}

/// Whether a sentence ends within a text: a stop before a blank, after more than an abbreviation.
fn has_sentence(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let ends = |word: &&str| {
        let letters = word.trim_end_matches(STOPS);
        let may_abbreviate = word.ends_with('.') && (letters.contains('.') || letters.chars().count() <= ABBREVIATION);
        letters.len() < word.len() && !may_abbreviate
    };
    words.iter().take(words.len().saturating_sub(1)).any(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_many_languages_are_one() {
        for (language, text) in [
            ("en", "How did the U.S. Army and Dr. Smith react to report No. 7 of Acme Corp. in 1990?"),
            ("en", "What is meant by \"who goes there\"?"),
            ("es", "¿Qué ciudad fue la capital de la República?"),
            ("el", "Ποια είναι η πρωτεύουσα της Ελλάδας;".replace(';', "\u{37e}").as_str()),
            ("ar", "ما هي عاصمة المملكة؟"),
            ("zh", "北京是哪个国家的首都？"),
            ("ja", "東京タワーの高さはどれくらいですか。"),
            ("th", "เมืองหลวงของประเทศไทยคือเมืองอะไร"),
            ("hi", "भारत की राजधानी क्या है?"),
        ] {
            assert_eq!(check(text, language), Ok(()), "{text}");
        }
        assert_eq!(check("東京は首都です。大阪はどこですか？", "ja"), Err("more_than_a_question"));
        assert_eq!(check("भारत की राजधानी दिल्ली है। वह कहाँ है?", "hi"), Err("more_than_a_question"));
        assert_eq!(check("北京在哪里？上海在哪里？", "zh"), Err("several_questions"));
    }
}
