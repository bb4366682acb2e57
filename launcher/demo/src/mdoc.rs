//! mdoc, the macros of pages that come from BSD: `.Op Fl a Ar file` says what words are, not how they look.
//!
//! A line's macros vanish, but for the few that print something themselves.

/// Whether `name` has the shape of mdoc's macros: a capital and a small letter (`Fl`, `Ar`, `Oc`).
pub(super) fn is_mdoc(name: &str) -> bool {
    let mut chars = name.chars();
    matches!((chars.next(), chars.next(), chars.next()), (Some('A'..='X'), Some('a'..='z'), None))
}

/// What the macro `name` with `arguments` prints; `page_name` is what a bare `.Nm` stands for.
pub(super) fn render(name: &str, arguments: Vec<String>, page_name: &str) -> String {
    let mut line = String::new();
    if matches!(name, "Dd" | "Dt" | "Os" | "Sm" | "Bk" | "Ek") {
        return line;
    }
    let mut glued = false;
    let mut words = std::iter::once(name.to_owned()).chain(arguments).peekable();
    while let Some(word) = words.next() {
        let printed = match word.as_str() {
            "Fl" => "-".to_owned(),
            "Nm" if words.peek().is_none_or(|next| is_mdoc(next)) => page_name.to_owned(),
            "Ns" => {
                glued = true;
                continue;
            }
            "Xr" => {
                let page = words.next().unwrap_or_default();
                let chapter = words.next().map(|c| format!("({c})")).unwrap_or_default();
                page + &chapter
            }
            macro_name if is_mdoc(macro_name) => continue,
            _ => word.clone(),
        };
        let closes = matches!(printed.as_str(), "." | "," | ";" | ":" | ")" | "]");
        if !(glued || closes || line.is_empty()) {
            line.push(' ');
        }
        line.push_str(&printed);
        glued = matches!(word.as_str(), "Fl" | "(" | "[");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(request: &str) -> String {
        let mut words = request.split(' ').map(str::to_owned);
        render(&words.next().unwrap(), words.collect(), "cal")
    }

    #[test]
    fn macros_vanish_and_punctuation_closes_up() {
        assert_eq!(rendered("Op Fl a Ar month"), "-a month");
        assert_eq!(rendered("Nm"), "cal");
        assert_eq!(rendered("Xr date 1 , Xr ls 1 ."), "date(1), ls(1).");
        assert_eq!(rendered("Fl x Ns Ar y"), "-xy");
        assert_eq!(rendered("Dd today"), "");
    }
}
