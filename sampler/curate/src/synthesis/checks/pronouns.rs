//! Words that point to a text which whoever reads the question does not have: demonstratives, and personal pronouns of
//! the third person.
//!
//! Left out are words that mostly do something else: possessives, which mostly go back to the question itself; articles
//! and relative pronouns that look the same; and what only fills a place ("es gibt", "il y a"). A question that uses
//! "it" so ("is it possible") is lost.

use unicode_segmentation::UnicodeSegmentation;

/// Words, by the two letters of a language.
const WORDS: [(&str, &str); 10] = [
    ("ar", "هذا هذه هؤلاء ذلك تلك هذان هاتان هذين هاتين بهذا بهذه لهذا لهذه وهذا وهذه"),
    ("de", "dies dieser diese dieses diesem diesen jener jene jenes jenem jenen er ihm ihn"),
    ("en", "this these those it he she they him them"),
    (
        "es",
        "este esta estos estas esto ese esa esos esas eso aquel aquella aquellos aquellas aquello él ella ellos ellas",
    ),
    ("fr", "ce cet cette ces ceci cela ça celui-ci celle-ci ceux-ci celles-ci il elle ils elles"),
    ("hi", "यह ये इस इन इसका इसके इसकी इसे इसमें इनका इनके इनकी इन्हें वह वे उस उन उसका उसके उसकी उसे उनका उनके उनकी उन्हें"),
    ("it", "questo questa questi queste quest quello quella quei quegli quelle egli ella esso essa essi esse lui lei"),
    (
        "pt",
        "este esta estes estas isto esse essa esses essas isso aquele aquela aqueles aquelas aquilo ele ela eles elas \
         deste desta destes destas disto desse dessa desses dessas disso neste nesta nestes nestas nisto nesse nessa \
         nesses nessas nisso",
    ),
    ("ru", "это этот эта эти этого этой этому этим этом этих этими эту он она оно они ему ей им ними ним ней них"),
    ("ko", "이 그 저"),
];

/// Beginnings of Korean words, to which particles are joined.
const KOREAN: [&str; 9] = ["이것", "그것", "저것", "이는", "그는", "그녀", "그들", "이들", "이러한"];
/// Chinese words, and what may stand before them if they are no pronouns.
const CHINESE: [(&str, &str); 9] = [
    ("这", ""),
    ("這", ""),
    ("那个", ""),
    ("那些", ""),
    ("那種", ""),
    ("它", ""),
    ("她", ""),
    ("他", "其吉"),
    ("本文", "基根日剧劇"),
];
/// Japanese words, and what may stand after them if they are no pronouns.
const JAPANESE: [(&str, &str); 10] = [
    ("これ", "か"),
    ("それ", "ぞ"),
    ("あれ", "ば"),
    ("この", ""),
    ("その", "他た"),
    ("ここ", "ろ"),
    ("そこ", "で"),
    ("彼", "岸"),
    ("同作", ""),
    ("本文", ""),
];
/// Particles after which a Japanese word begins.
const PARTICLES: &str = "はがをにでともへや";
/// Thai words, which stand after what they point to.
const THAI: [&str; 2] = ["นี้", "นั้น"];

/// Whether there is a list for a language.
pub fn has_list(language: &str) -> bool {
    ["ja", "th", "zh"].contains(&language) || WORDS.iter().any(|(of, _)| *of == language)
}

/// Whether a question in a language, by its two letters, has such a word.
pub fn has(question: &str, language: &str) -> bool {
    match language {
        "zh" => CHINESE.iter().any(|(word, before)| {
            question
                .match_indices(word)
                .any(|(at, _)| !question[..at].chars().next_back().is_some_and(|c| before.contains(c)))
        }),
        "ja" => JAPANESE.iter().any(|(word, after)| {
            question.match_indices(word).any(|(at, _)| {
                let next = question[at + word.len()..].chars().next();
                let begins = question[..at]
                    .chars()
                    .next_back()
                    .is_none_or(|c| !('\u{3041}'..='\u{309f}').contains(&c) || PARTICLES.contains(c));
                begins && !next.is_some_and(|c| after.contains(c))
            })
        }),
        "th" => THAI.iter().any(|word| question.contains(word)),
        _ => {
            let Some((_, list)) = WORDS.iter().find(|(of, _)| *of == language) else { return false };
            let question = question.to_lowercase();
            let starts = |word: &str| language == "ko" && KOREAN.iter().any(|start| word.starts_with(start));
            words(&question).any(|word| list.split(' ').any(|other| other == word) || starts(word))
        }
    }
}

/// The words of a text. Parts joined by a hyphen are one: "est-ce" has no "ce".
fn words(text: &str) -> impl Iterator<Item = &str> {
    let of_blank = text.split_whitespace();
    of_blank.flat_map(|piece| match piece.contains(['-', '‑']) {
        true => vec![piece.trim_matches(|c: char| !c.is_alphanumeric())],
        false => piece.unicode_words().flat_map(|word| word.split(['\'', '’'])).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_points_elsewhere_is_found_in_all_languages_of_the_paper() {
        for (language, with, without) in [
            ("ar", "ما هو موضوع هذا النص؟", "ما هي عاصمة المملكة العربية السعودية؟"),
            ("de", "Wann wurde diese Brücke gebaut?", "Welche Gründe gibt es für den Bau der Forth-Brücke?"),
            ("en", "What is it's purpose?", "What is the bridge that was opened in 1890 known for?"),
            ("es", "¿Cuándo se construyó este puente?", "¿Dónde está el puente de Forth?"),
            ("fr", "Quel est le sujet de ce texte ?", "Qu'est-ce que le pont du Forth, et quand est-il ouvert ?"),
            ("hi", "यह पुल कब बना था?", "भारत की राजधानी क्या है?"),
            ("it", "Quando fu costruito quest'edificio?", "Quando fu costruito il ponte di Forth?"),
            ("ja", "この橋はいつ建設されましたか？", "きのこの栽培方法はどのようなものですか？"),
            ("ko", "이것은 언제 지어졌습니까?", "포스교는 언제 지어졌습니까?"),
            ("pt", "Quando esta ponte foi construída?", "Quando a ponte de Forth foi construída?"),
            ("ru", "Когда был построен этот мост?", "Когда был построен мост через Форт?"),
            ("th", "สะพานนี้สร้างเมื่อใด", "สะพานพระรามแปดสร้างเมื่อใด"),
            ("zh", "这座桥是什么时候建成的？", "吉他和其他乐器有什么区别？"),
        ] {
            assert!(has_list(language));
            assert!(has(with, language), "{with}");
            assert!(!has(without, language), "{without}");
        }
        assert!(!has_list("sw") && !has("hii ni nini?", "sw"));
        assert!(has("他是哪一年出生的？", "zh") && !has("その他の方法は？", "ja"));
    }
}
