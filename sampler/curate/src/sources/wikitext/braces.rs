//! Templates and tables.

/// What braces open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Braces {
    Template,
    Table,
}

/// The text without templates and tables. Braces that nothing closes stay.
pub(super) fn without_braces(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut open: Vec<(Braces, usize)> = Vec::new();
    let mut num_tables = 0;
    // Those that stand in no other, so far.
    let mut closed: Vec<(usize, usize)> = Vec::new();
    let mut close = |from: usize, to: usize| {
        while closed.last().is_some_and(|(start, _)| *start > from) {
            closed.pop();
        }
        closed.push((from, to));
    };
    let mut i = 0;
    while let Some(found) = bytes[i..].iter().position(|byte| matches!(byte, b'{' | b'}' | b'|')) {
        i += found;
        let begins_line = || {
            let before = text[..i].trim_end_matches([' ', '\t', ':']);
            before.is_empty() || before.ends_with('\n')
        };
        match (bytes[i], bytes.get(i + 1)) {
            (b'{', Some(b'{')) => {
                open.push((Braces::Template, i));
                i += 2;
            }
            (b'{', Some(b'|')) if begins_line() => {
                open.push((Braces::Table, i));
                num_tables += 1;
                i += 2;
            }
            (b'}', Some(b'}')) => {
                if let Some((_, from)) = open.pop_if(|(braces, _)| *braces == Braces::Template) {
                    close(from, i + 2);
                }
                i += 2;
            }
            // A template may end so too.
            (b'|', Some(b'}')) if num_tables > 0 && bytes.get(i + 2) != Some(&b'}') && begins_line() => {
                // A template that a table's cell does not close ends with the table.
                while let Some((braces, from)) = open.pop() {
                    if braces == Braces::Table {
                        num_tables -= 1;
                        close(from, i + 2);
                        break;
                    }
                }
                i += 2;
            }
            _ => i += 1,
        }
    }
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end) in closed {
        kept.push_str(&text[from..start]);
        from = end;
    }
    kept.push_str(&text[from..]);
    kept
}
