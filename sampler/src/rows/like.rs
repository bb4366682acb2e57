//! Which of our keys another name resembles: by its words, as other people name these things, or by a slip of the pen.

/// Our keys that others may be meant as.
pub(super) const OURS: [&str; 7] = ["query", "pos", "neg", "pos_scores", "neg_scores", "prompt", "type"];

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing: null, a blank text, or a list of such.
    Nothing,
    /// A text, texts, or objects that may have them.
    Texts,
    /// A list of numbers.
    Numbers,
    /// One number.
    Number,
    /// Something else.
    Other,
}

/// How certain it is that a key is meant as ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It is our word, or clearly a form of it.
    Same,
    /// It looks similar, or other trainers use it.
    Perhaps,
}

/// Words for what a key holds. Digits count for nothing.
const POSITIVE: [&str; 3] = ["positives", "positive", "pos"];
const NEGATIVE: [&str; 4] = ["negatives", "negative", "negs", "neg"];
const SCORES: [&str; 4] = ["scores", "score", "logits", "logit"];

/// Words beside those that say no more than that there are texts or scores, which kind, and where they are from.
const COMPANIONS: [&str; 70] = [
    "text",
    "texts",
    "doc",
    "docs",
    "document",
    "documents",
    "passage",
    "passages",
    "ctx",
    "ctxs",
    "context",
    "contexts",
    "messages",
    "response",
    "responses",
    "sample",
    "samples",
    "list",
    "lists",
    "sentence",
    "sentences",
    "example",
    "examples",
    "candidate",
    "candidates",
    "answer",
    "answers",
    "content",
    "contents",
    "paragraph",
    "paragraphs",
    "chunk",
    "chunks",
    "item",
    "items",
    "string",
    "strings",
    "article",
    "articles",
    "completion",
    "completions",
    "hard",
    "easy",
    "soft",
    "mined",
    "random",
    "sampled",
    "generated",
    "synthetic",
    "retrieved",
    "bm",
    "dense",
    "sparse",
    "batch",
    "extra",
    "all",
    "top",
    "llm",
    "teacher",
    "teachers",
    "reranker",
    "rerank",
    "ce",
    "cross",
    "encoder",
    "crossencoder",
    "model",
    "relevance",
    "similarity",
    "sim",
];

/// Words of what is about negatives, and is none of them.
const ABOUT: [&str; 38] = [
    "id", "ids", "docid", "docids", "pid", "pids", "idx", "idxs", "index", "indices", "uuid", "key", "keys", "num",
    "count", "counts", "type", "types", "source", "sources", "method", "label", "labels", "url", "urls", "title",
    "titles", "lang", "language", "date", "rank", "ranks", "ratio", "prompt", "prompts", "keyword", "keywords", "meta",
];

/// Words of scores that no teacher gives a pair.
const OF_OTHER_THINGS: [&str; 24] = [
    "quality",
    "edu",
    "educational",
    "int",
    "language",
    "lang",
    "toxicity",
    "toxic",
    "safety",
    "readability",
    "perplexity",
    "sentiment",
    "bleu",
    "rouge",
    "question",
    "answer",
    "comment",
    "post",
    "user",
    "vote",
    "votes",
    "view",
    "id",
    "ids",
];

/// Other trainers' words; they are only suggested if ours is missing.
const OTHERS: [(&str, &[&str]); 4] = [
    ("query", &["anchor", "question", "questions", "queries", "querytext", "q", "sentence", "messages", "input"]),
    ("pos", &["response", "answer", "answers", "document", "documents", "passage", "passages", "context", "chosen"]),
    ("neg", &["rejected", "rejectedresponse", "rejectedresponses", "hn", "distractor", "distractors"]),
    ("prompt", &["instruction", "instructions", "queryinstruction", "queryprompt", "prompts"]),
];

/// What a part of a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Positive,
    Negative,
    /// A slip of the pen for a negative.
    NearlyNegative,
    Scores,
    Other(String),
}

/// A key's letters in lower case, without digits at its end.
pub(super) fn plain(key: &str) -> String {
    let plain: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    plain.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
}

/// Which of our keys `key`, which is none of them, resembles by its name alone.
pub(super) fn meant(key: &str) -> Option<(&'static str, Likeness)> {
    let plain = &*plain(key);
    let same = |ours: &&&str| ours.replace('_', "") == plain;
    if let Some(ours) = OURS.iter().find(same) {
        return Some((ours, Likeness::Same));
    }
    if let Some(found) = by_words(&parts(key), plain) {
        return found;
    }
    if let Some((ours, _)) = OTHERS.iter().find(|(_, words)| words.contains(&plain)) {
        return Some((ours, Likeness::Perhaps));
    }
    slip(plain).map(|ours| (ours, Likeness::Perhaps))
}

/// Whether a key that resembles `ours` so may be it by what it holds.
pub(super) fn may_be(ours: &str, likeness: Likeness, held: Held) -> bool {
    match (ours, likeness, held) {
        (_, _, Held::Nothing) => false,
        ("neg", Likeness::Same, held) => matches!(held, Held::Texts | Held::Numbers),
        ("neg", Likeness::Perhaps, held) => held == Held::Texts,
        ("pos_scores" | "neg_scores", Likeness::Perhaps, held) => matches!(held, Held::Numbers | Held::Number),
        _ => true,
    }
}

/// What the words say: None if nothing, and Some(None) if it is something else that they speak of.
#[expect(clippy::option_option, reason = "the words may also say that a key is none of ours")]
fn by_words(parts: &[Part], plain: &str) -> Option<Option<(&'static str, Likeness)>> {
    let has = |part: Part| parts.contains(&part);
    let is_any =
        |words: &[&str]| parts.iter().any(|part| matches!(part, Part::Other(word) if words.contains(&word.as_str())));
    let is_known = |part: &Part| !matches!(part, Part::Other(word) if !COMPANIONS.contains(&word.as_str()));
    let all_known = parts.iter().all(is_known);
    let is_negative = has(Part::Negative) || has(Part::NearlyNegative);
    let is_certain = all_known && has(Part::Positive) != is_negative && !has(Part::NearlyNegative);
    let likeness = if is_certain { Likeness::Same } else { Likeness::Perhaps };
    if has(Part::Scores) {
        let is_side = is_negative || has(Part::Positive);
        let other = if is_side { is_any(&ABOUT) } else { is_any(&OF_OTHER_THINGS) };
        let ours = if is_negative && !has(Part::Positive) { "neg_scores" } else { "pos_scores" };
        return Some((!other).then_some((ours, likeness)));
    }
    // A slip in the word for scores leaves the other word.
    let is_slip = slip(plain).is_some_and(|ours| ours.ends_with("scores"));
    if is_negative && !is_slip {
        return Some((!is_any(&ABOUT)).then_some(("neg", likeness)));
    }
    (has(Part::Positive) && all_known && !is_slip).then_some(Some(("pos", likeness)))
}

/// Which of our keys is written so with one slip, or two in a longer word.
fn slip(plain: &str) -> Option<&'static str> {
    let slips = |ours: &str| if ours.len() < 8 { 1 } else { 2 };
    let is_like = |ours: &&&str| {
        plain.len().abs_diff(ours.len()) <= slips(ours)
            && strsim::osa_distance(plain, &ours.replace('_', "")) <= slips(ours)
    };
    OURS.iter().find(is_like).copied()
}

/// What the words of a key say, which end at signs, digits and capital letters.
fn parts(key: &str) -> Vec<Part> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in key.chars() {
        let begins = !c.is_alphabetic() || after_small && c.is_uppercase();
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphabetic()) {
            word.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase();
    }
    words.iter().filter(|word| !word.is_empty()).flat_map(|word| parts_of(word)).collect()
}

/// What one word says, which may be several that are written together.
fn parts_of(word: &str) -> Vec<Part> {
    if SCORES.contains(&word) {
        return vec![Part::Scores];
    }
    for (part, stems) in [(Part::Positive, &POSITIVE[..]), (Part::Negative, &NEGATIVE)] {
        for rest in stems.iter().filter_map(|stem| word.strip_prefix(stem)) {
            let is_more = rest.is_empty() || SCORES.contains(&rest) || COMPANIONS.contains(&rest);
            if is_more {
                let more = (!rest.is_empty()).then(|| parts_of(rest));
                return [part].into_iter().chain(more.into_iter().flatten()).collect();
            }
        }
    }
    let end = |stems: &[&str]| stems.iter().find_map(|stem| word.strip_suffix(stem)).map(parts_of);
    let with_front = |front: Vec<Part>, part: Part| front.into_iter().chain([part]).collect();
    if let Some(front) = word.strip_prefix("hard").filter(|rest| NEGATIVE.contains(rest)) {
        return parts_of(front);
    }
    if let Some(front) = end(&["negatives", "negative"]) {
        return with_front(front, Part::Negative);
    }
    if let Some(front) = end(&["scores", "score"]) {
        return with_front(front, Part::Scores);
    }
    let part = if is_nearly_negative(word) { Part::NearlyNegative } else { Part::Other(word.to_owned()) };
    vec![part]
}

/// Whether `word` is a slip of the pen for negatives.
fn is_nearly_negative(word: &str) -> bool {
    let distance = ["negative", "negatives"].into_iter().map(|stem| strsim::osa_distance(word, stem)).min();
    let distance = distance.unwrap_or(usize::MAX);
    // These are words of their own.
    let is_another = ["negation", "negations", "negating"].contains(&word);
    let is_long = distance <= 1 || distance <= 2 && word.starts_with("neg") && !is_another;
    // A short word has others within one slip, so only its own letters count.
    let mut letters: Vec<char> = word.chars().collect();
    letters.sort_unstable();
    is_long || word.starts_with('n') && letters == ['e', 'g', 'n', 's']
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_is_meant_in_any_order_and_spelling() {
        for key in ["neg_list", "neg_sentences", "negative_sentence", "negative_examples", "neg_candidates"] {
            assert_eq!(meant(key), Some(("neg", Likeness::Same)), "{key}");
        }
        for key in ["negative_answers", "negative_contents", "negative_text_list", "mined_negatives", "bm25_negatives"]
        {
            assert_eq!(meant(key), Some(("neg", Likeness::Same)), "{key}");
        }
        for key in ["randomNegatives", "HardNegatives", "hardneg", "negdocs", "NEG_TEXTS", "neg-1", "listOfNegatives"] {
            assert_eq!(meant(key).map(|found| found.0), Some("neg"), "{key}");
        }
        for key in ["negitive", "negativ", "nges", "negetives", "negtive_passages", "negative_reviews", "pos_neg"] {
            assert_eq!(meant(key), Some(("neg", Likeness::Perhaps)), "{key}");
        }
        for key in ["scores_pos", "score_pos", "teacher_pos_scores", "pos_teacher_scores", "posScore", "pos_logits"] {
            assert_eq!(meant(key), Some(("pos_scores", Likeness::Same)), "{key}");
        }
        for key in ["scores_neg", "teacher_neg_scores", "negative_doc_scores", "hard_negative_scores", "negscores"] {
            assert_eq!(meant(key), Some(("neg_scores", Likeness::Same)), "{key}");
        }
        for key in
            ["reranker_scores", "ce_scores", "teacher_score", "scores", "logits", "bge_rerank_score", "pos_scroes"]
        {
            assert_eq!(meant(key), Some(("pos_scores", Likeness::Perhaps)), "{key}");
        }
        assert_eq!(meant("neg_scroes"), Some(("neg_scores", Likeness::Perhaps)));
    }

    #[test]
    fn what_published_sets_have_beside_is_left_alone() {
        for key in [
            "neg_ids",
            "negative_docids",
            "num_negatives",
            "neg_type",
            "negative_source",
            "negation",
            "negotiation",
            "neglected",
            "native",
            "relative",
            "news",
            "genes",
            "position",
            "posts",
            "pos_tags",
            "quality_score",
            "language_score",
            "int_score",
            "question_score",
            "title",
            "docid",
            "metadata",
            "label",
            "split",
        ] {
            assert_eq!(meant(key), None, "{key}");
        }
    }
}
