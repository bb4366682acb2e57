//! Chinese and Japanese, which put no spaces between words.

/// Whether `c` is written without spaces beside it.
pub(crate) fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}')
}

/// `line` with one space for each run of blanks, and none between two Chinese or Japanese characters: there it is where
/// a line of the source ended.
pub(crate) fn join_words(line: &str) -> String {
    let mut joined = String::with_capacity(line.len());
    for word in line.split_whitespace() {
        if !(joined.is_empty() || joined.ends_with(is_cjk) && word.starts_with(is_cjk)) {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_lines_join_without_a_space() {
        assert_eq!(join_words("  列出\n  文件 of\tA\n"), "列出文件 of A");
        assert_eq!(join_words(" "), "");
    }
}
