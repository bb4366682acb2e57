//! A manual page's roff source (man and mdoc macros) as sections of plain text.
//!
//! What a person would read, not what a terminal would show: fonts, tables' rules and indents are dropped, one
//! paragraph is one line. Definitions, equations and conditions for other output devices are skipped.

use super::mdoc::{self, is_mdoc};
use super::roff::unescape;

/// One manual page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ManPage {
    /// What its NAME section says the page is about: "list directory contents", without the names in front.
    pub description: String,
    /// The other sections in order, none empty.
    pub sections: Vec<Section>,
}

/// One section: its paragraphs, one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub title: String,
    pub text: String,
}

/// Reads a page. `None` if it is an alias (`.so`), is not UTF-8, or has no NAME section with a description.
pub(super) fn parse(source: &[u8]) -> Option<ManPage> {
    let source = std::str::from_utf8(source).ok()?;
    let mut reader = Reader::default();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        // A backslash at the end joins the next line.
        let mut line = line.to_owned();
        while line.ends_with('\\') && !line.ends_with("\\\\") {
            line.pop();
            line.push_str(lines.next().unwrap_or_default());
        }
        if reader.skips(&line) {
            continue;
        }
        match line.strip_prefix(['.', '\'']) {
            Some(request) => {
                if reader.request(request.trim_start()) == Flow::Alias {
                    return None;
                }
            }
            None => reader.text(&line),
        }
    }
    let mut sections = reader.sections.into_iter().map(Section::tidied);
    // The NAME section is the first one in every language.
    let description = description(&sections.next()?.text)?;
    let sections: Vec<_> = sections.filter(|s| !s.text.is_empty()).collect();
    (!sections.is_empty()).then_some(ManPage { description, sections })
}

/// "ls, dir - list directory contents" → "list directory contents".
fn description(name_section: &str) -> Option<String> {
    let line = name_section.replace('\n', " ");
    let separators = [" - ", " – ", " — ", " -- ", " ‒ ", " − "];
    let (at, separator) = separators.iter().filter_map(|s| Some((line.find(s)?, *s))).min()?;
    let text = line[at + separator.len()..].trim();
    (text.chars().count() >= 4).then(|| text.to_owned())
}

#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Alias,
}

#[derive(Default)]
struct Reader {
    sections: Vec<Section>,
    /// The next text line is the title of a section that `.SH` opened without an argument.
    awaits_title: bool,
    /// Lines up to this one are not text (`..` after `.de`, `.EN` after `.EQ`).
    skip_until: Option<&'static str>,
    /// Braces open in a conditional block that does not apply.
    skipped_braces: usize,
    /// In a table: whether its format lines are over.
    table: Option<bool>,
    /// What the last `.ie` decided.
    last_condition: bool,
    /// The page's first `.Nm`, which a bare `.Nm` repeats.
    mdoc_name: String,
}

impl Reader {
    /// Whether `line` belongs to a definition, an equation or a block for another device.
    fn skips(&mut self, line: &str) -> bool {
        if let Some(end) = self.skip_until {
            let request = line.strip_prefix(['.', '\'']).map(str::trim);
            if request.is_some_and(|r| r == end || (end == "." && r == "..")) {
                self.skip_until = None;
            }
            return true;
        }
        if self.skipped_braces > 0 {
            self.skipped_braces = (self.skipped_braces + braces(line, "\\{")).saturating_sub(braces(line, "\\}"));
            return true;
        }
        false
    }

    fn request(&mut self, request: &str) -> Flow {
        let end = request.find([' ', '\t', '\\']).unwrap_or(request.len());
        let (name, rest) = request.split_at(end);
        match name {
            "so" => return Flow::Alias,
            "SH" | "Sh" => {
                self.sections.push(Section { title: arguments(rest).join(" "), text: String::new() });
                self.awaits_title = self.sections.last().is_some_and(|s| s.title.is_empty());
            }
            "SS" | "Ss" => {
                self.break_line();
                self.words(&arguments(rest), " ");
                self.break_line();
            }
            "B" | "I" | "SM" | "SB" | "R" | "C" | "CW" | "Q" | "q" => self.words(&arguments(rest), " "),
            "BR" | "RB" | "BI" | "IB" | "IR" | "RI" => self.words(&arguments(rest), ""),
            "IP" => {
                self.break_line();
                self.words(&arguments(rest)[..usize::from(!rest.trim().is_empty())], " ");
            }
            "UR" | "MT" | "URL" | "MTO" => self.words(&arguments(rest), " "),
            "TP" | "TQ" | "PP" | "P" | "LP" | "HP" | "sp" | "br" | "Pp" | "nf" | "fi" | "EX" | "EE" | "RS" | "RE"
            | "Bl" | "El" | "Bd" | "Ed" => self.break_line(),
            "TS" => self.table = Some(false),
            "TE" => {
                self.table = None;
                self.break_line();
            }
            "EQ" => self.skip_until = Some("EN"),
            "de" | "de1" | "am" | "ig" => self.skip_until = Some("."),
            "if" | "ie" | "el" => return self.conditional(name, rest),
            _ if is_mdoc(name) => self.mdoc(name, rest),
            _ => {}
        }
        Flow::Next
    }

    /// `.if n text`, `.ie n \{…`, `.el …`: of the conditions only "a terminal" is true.
    fn conditional(&mut self, kind: &str, rest: &str) -> Flow {
        let rest = rest.trim_start();
        let (applies, body) = if kind == "el" {
            (!self.last_condition, rest)
        } else {
            let end = rest.find([' ', '\t']).unwrap_or(rest.len());
            let (condition, body) = rest.split_at(end);
            (condition == "n", body.trim_start())
        };
        if kind == "ie" {
            self.last_condition = applies;
        }
        if !applies {
            self.skipped_braces = braces(rest, "\\{").saturating_sub(braces(rest, "\\}"));
            return Flow::Next;
        }
        match body.trim_start_matches("\\{").strip_prefix(['.', '\'']) {
            Some(request) => self.request(request.trim_start()),
            None => {
                self.text(body.trim_start_matches("\\{"));
                Flow::Next
            }
        }
    }

    /// An mdoc request: what it does to the page, then what it prints.
    fn mdoc(&mut self, name: &str, rest: &str) {
        let arguments = arguments(rest);
        match name {
            "Nd" => return self.text(&format!(" - {}", arguments.join(" "))),
            "Nm" if self.mdoc_name.is_empty() => self.mdoc_name = arguments.first().cloned().unwrap_or_default(),
            "It" => self.break_line(),
            _ => {}
        }
        let line = mdoc::render(name, arguments, &self.mdoc_name);
        self.append(&line);
    }

    fn text(&mut self, line: &str) {
        if let Some(in_data) = self.table {
            if !in_data {
                // Format lines end with a full stop.
                self.table = Some(line.trim_end().ends_with('.'));
                return;
            }
            let cells = unescape(line).replace("T{", " ").replace("T}", " ");
            let cells = cells.trim_matches(['_', '=']).replace('\t', "  ");
            self.append(&cells);
            if !line.contains("T{") {
                self.break_line();
            }
            return;
        }
        if self.awaits_title {
            self.awaits_title = false;
            if let Some(section) = self.sections.last_mut() {
                section.title = unescape(line).trim().to_owned();
            }
            return;
        }
        if line.trim().is_empty() {
            self.break_line();
        }
        self.append(&unescape(line));
    }

    fn words(&mut self, words: &[String], joint: &str) {
        self.append(&words.join(joint));
    }

    /// Adds to the paragraph; between two Chinese or Japanese characters a line end is no space.
    fn append(&mut self, text: &str) {
        let Some(section) = self.sections.last_mut() else { return };
        let text = text.trim();
        let (Some(first), last) = (text.chars().next(), section.text.chars().last()) else { return };
        if last.is_some_and(|last| !(last.is_whitespace() || is_cjk(last) && is_cjk(first))) {
            section.text.push(' ');
        }
        section.text.push_str(text);
    }

    fn break_line(&mut self) {
        if let Some(section) = self.sections.last_mut().filter(|s| !s.text.is_empty() && !s.text.ends_with('\n')) {
            section.text.push('\n');
        }
    }
}

impl Section {
    /// Runs of blanks become one.
    fn tidied(self) -> Self {
        let lines = self.text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
        Self { title: self.title, text: lines.filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n") }
    }
}

/// A request's arguments, unescaped: blanks separate them, double quotes hold them together.
fn arguments(rest: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut chars = rest.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        while let Some(c) = chars.next() {
            match c {
                '\\' => {
                    word.push(c);
                    word.extend(chars.next());
                }
                '"' if quoted && chars.next_if_eq(&'"').is_some() => word.push('"'),
                '"' if quoted => break,
                c if !quoted && c.is_whitespace() => break,
                c => word.push(c),
            }
        }
        if word.starts_with("\\\"") {
            break;
        }
        out.push(unescape(&word));
    }
    out
}

fn braces(line: &str, which: &str) -> usize {
    line.matches(which).count()
}

/// Written without spaces between words.
pub(super) fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &str, text: &str) -> Section {
        Section { title: title.into(), text: text.into() }
    }

    #[test]
    fn man_macros() {
        let page = parse(
            br#".\" comment
.TH LS 1 "date"
.SH NAME
ls, dir \- list \fIdirectory\fP
contents
.SH "SEE ALSO"
.BR dir (1),
and \fBmore\fP.
.TP
\fB\-a\fR
.I "all of" them
.if t .I on paper
.de XX
hidden
..
.SS Options
.EQ
x sup 2
.EN
Last words.
"#,
        );
        let page = page.unwrap();
        assert_eq!(page.description, "list directory contents");
        assert_eq!(page.sections, [section("SEE ALSO", "dir(1), and more.\n-a all of them\nOptions\nLast words.")]);
    }

    #[test]
    fn mdoc_macros() {
        let page = parse(
            b".Dd x\n.Sh NAME\n.Nm cal\n.Nd shows a calendar\n.Sh SYNOPSIS\n.Nm\n.Op Fl a Ar month\n.Sh TEXT\nSee\n.Xr date 1 .\n",
        )
        .unwrap();
        assert_eq!(page.description, "shows a calendar");
        assert_eq!(page.sections, [section("SYNOPSIS", "cal -a month"), section("TEXT", "See date(1).")]);
    }

    #[test]
    fn tables_keep_their_cells() {
        let page =
            parse(b".SH NAME\na \\- about things\n.SH T\n.TS\nl lb.\nName\tValue\n_\nx\t1\n.TE\nafter\n").unwrap();
        assert_eq!(page.sections[0].text, "Name Value\nx 1\nafter");
    }

    #[test]
    fn conditional_blocks_for_other_devices_are_skipped() {
        let page =
            parse(b".SH NAME\na \\- about things\n.SH T\n.ie t \\{\\\n. ds x y\nno\n.\\}\n.el yes\nmore\n").unwrap();
        assert_eq!(page.sections[0].text, "yes more");
    }

    #[test]
    fn aliases_and_pages_without_a_description_are_none() {
        assert_eq!(parse(b".so man1/ls.1\n"), None);
        assert_eq!(parse(b".SH NAME\nls\n.SH X\ntext\n"), None);
        assert_eq!(parse(b".SH NAME\nls \\- \xff\n.SH X\ntext\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn chinese_lines_join_without_a_space() {
        let page = parse(".SH 名称\nls - 列出目录\n.SH 描述\n列出\n文件\nof A\n".as_bytes()).unwrap();
        assert_eq!(page.sections[0].text, "列出文件 of A");
    }
}
