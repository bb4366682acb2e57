//! How much of a question stands in its paragraph in one piece.

/// Characters that count: letters and digits of whatever case, and one blank between words.
fn chars(text: &str) -> Vec<char> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ").chars().collect()
}

/// The characters of a text that count.
pub fn num_chars(text: &str) -> usize {
    chars(text).len()
}

/// The characters of the longest piece of `question` that `paragraph` has as well.
pub fn longest_run(question: &str, paragraph: &str) -> usize {
    let (question, paragraph) = (chars(question), chars(paragraph));
    // Entry j: the run that ends with the question's last character so far and the paragraph's character j.
    let (mut runs, mut longest) = (vec![0usize; paragraph.len()], 0);
    for c in &question {
        let mut before = 0;
        for (run, d) in runs.iter_mut().zip(&paragraph) {
            let extended = if c == d { before + 1 } else { 0 };
            before = std::mem::replace(run, extended);
            longest = longest.max(extended);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_piece_is_found_whatever_blanks_and_case() {
        assert_eq!(longest_run("What  was NEW then?", "which\nwas new  Then."), " was new then".len());
        assert_eq!(longest_run("abc", "xyz"), 0);
        assert_eq!(longest_run("", "xyz"), 0);
        assert_eq!(longest_run("首都", "中国的首都是"), 2);
    }
}
