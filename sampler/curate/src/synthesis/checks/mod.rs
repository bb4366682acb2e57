//! What is wrong with an answer, if anything.

mod copied;
mod one;
mod pronouns;

use super::journal::Answered;
use super::languages;
use super::recipe::Checks;
use crate::reason::Reason;

pub use pronouns::has_list;

/// The answer as a question, or why it is none.
///
/// # Errors
/// The reason.
pub fn question(answer: &Answered, paragraph: &str, language: &str, checks: &Checks) -> Result<String, Reason> {
    let refuse = |name| Err(Reason::new(name));
    if answer.finish.as_deref() == Some("length") {
        return refuse("cut_off");
    }
    let question = one::bare(&answer.text);
    let chars = question.chars().count();
    if chars == 0 {
        return refuse("empty");
    }
    let family = languages::family(language);
    if checks.one_question {
        one::check(question, &family).map_err(Reason::new)?;
    }
    if chars < checks.min_chars {
        return refuse("too_short");
    }
    if chars > checks.max_chars {
        return refuse("too_long");
    }
    if checks.language && !languages::same(question, paragraph) {
        return refuse("other_language");
    }
    if checks.no_pronouns && pronouns::has(question, &family) {
        return refuse("pronoun");
    }
    if copied::longest_run(question, paragraph) as f64 > checks.max_copy * copied::num_chars(question) as f64 {
        return refuse("copied");
    }
    Ok(question.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_reason() {
        let paragraph = "The Forth Bridge was opened in 1890. Its cantilevers are made of steel, which was new then. \
                         The engineers had learnt of the Tay Bridge disaster that wind must be reckoned with.";
        let judged = |text: &str, finish: &str| {
            let (key, finish, text) = (String::new(), Some(finish.to_owned()), text.to_owned());
            let answer = Answered { key, text, finish, tokens_in: 0, tokens_out: 0 };
            question(&answer, paragraph, "en", &Checks::default()).map_err(|reason| reason.to_string())
        };
        let good = "What did engineers of the Forth Bridge learn from the Tay Bridge disaster?";
        assert_eq!(judged(good, "stop"), Ok(good.to_owned()));
        assert_eq!(judged(&format!(" \"{good}\"\n"), "stop"), Ok(good.to_owned()));
        assert_eq!(
            judged(&format!("<think>It is\n about?</think>\n\n**Question:** {good}"), "stop"),
            Ok(good.to_owned())
        );
        for (text, expected) in [
            ("", "empty"),
            (" \n", "empty"),
            ("The bridge was opened in 1890.", "no_question"),
            ("When was the bridge opened? Why of steel?", "several_questions"),
            ("Here is a question about bridges. When was the Forth Bridge opened?", "more_than_a_question"),
            ("When was the Forth Bridge opened?\n\nAnswer: 1890", "more_than_a_question"),
            ("Why so?", "too_short"),
            (
                "Quand le pont du Forth a-t-il été ouvert à la circulation, et par qui a-t-il été construit ?",
                "other_language",
            ),
            ("什么时候开通的福斯桥？为", "more_than_a_question"),
            ("福斯桥是在哪一年正式开通的？", "other_language"),
            ("When was this bridge opened?", "pronoun"),
            ("Why is it made of steel?", "pronoun"),
            ("The engineers had learnt of the Tay Bridge disaster that wind must be what?", "copied"),
        ] {
            assert_eq!(judged(text, "stop"), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(judged("When was the Forth Bridge", "length"), Err("cut_off".into()));
        assert_eq!(judged(&format!("{} ok?", "word ".repeat(80)), "stop"), Err("too_long".into()));
    }
}
