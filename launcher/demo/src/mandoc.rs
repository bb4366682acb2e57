//! Manual pages as sections of plain text, read by the program `mandoc`.
//!
//! mandoc knows the macros of manual pages (man and mdoc), their tables, conditions and escapes. HTML is the one of its
//! outputs that names the sections: its markdown knows mdoc pages only, and its plain text tells a section by an
//! indent. This HTML is well-formed XML. What is kept of it is what a person reads, one paragraph a line: fonts, links
//! and indents vanish, and so do equations.

use std::path::{Path, PathBuf};
use std::process::Command;

use roxmltree::{Document, Node};
use tercet_configs::ExitCode;

use crate::cjk::join_words;
use crate::fail::Fail;

/// What each page's HTML begins with. In a page's text `<` is `&lt;`.
const PAGE_START: &str = "<table class=\"head\">";

/// Elements that are lines of their own.
const BLOCKS: [&str; 12] = ["br", "dd", "div", "dl", "h2", "li", "ol", "p", "pre", "table", "tr", "ul"];

/// One manual page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManPage {
    /// What its NAME section says the page is about: "list directory contents", without the names in front.
    pub description: String,
    /// The other sections in order, none empty.
    pub sections: Vec<Section>,
}

/// One section: its paragraphs, one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub title: String,
    pub text: String,
}

/// Reads `files` of roff, which must not be compressed: mandoc unpacks only the first of several. An item for each
/// file, in their order: `None` for what [`parse`] takes for no page, and for a file that mandoc fails at.
///
/// # Errors
/// Exit code 3 if `mandoc` cannot be started.
pub(crate) fn read(mandoc: &Path, files: &[PathBuf]) -> Result<Vec<Option<ManPage>>, Fail> {
    let output = Command::new(mandoc)
        .args(["-T", "html", "-O", "fragment", "-K", "utf-8"])
        .args(files)
        // An alias (`.so man1/ls.1`) is a path from here, and thereby an empty page.
        .current_dir("/")
        .output()
        .map_err(|e| Fail::new(ExitCode::Machine, format!("{} cannot be run ({e})", mandoc.display())))?;
    let html = String::from_utf8_lossy(&output.stdout);
    let pages: Vec<&str> = html.split(PAGE_START).skip(1).collect();
    match files {
        _ if pages.len() == files.len() => Ok(pages.into_iter().map(parse).collect()),
        [_] => Ok(vec![None]),
        // One of them has ended mandoc; the others are not to suffer for it.
        _ => Ok(files.chunks(1).map(|file| read(mandoc, file)).collect::<Result<Vec<_>, _>>()?.concat()),
    }
}

/// The page whose HTML follows [`PAGE_START`]. `None` if its source was not UTF-8, or if it has no NAME section with a
/// description, as an alias has none.
fn parse(html: &str) -> Option<ManPage> {
    if html.contains("&#xFFFD;") {
        return None;
    }
    // mandoc lets a page's control characters through, which XML has none of.
    let xml = format!("<page><table>{}</page>", html.replace(|c: char| c.is_control() && c != '\n', " "));
    let document = Document::parse(&xml).ok()?;
    let is_section = |node: &Node| node.has_tag_name("section") && node.attribute("class") == Some("Sh");
    let mut sections = document.descendants().filter(is_section).map(section);
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

fn section(element: Node) -> Section {
    let (mut title, mut text) = (String::new(), String::new());
    for child in element.children() {
        add_text(child, if child.has_tag_name("h1") { &mut title } else { &mut text });
    }
    let lines = text.lines().map(join_words).filter(|line| !line.is_empty());
    Section { title: join_words(&title), text: lines.collect::<Vec<_>>().join("\n") }
}

/// Adds what a reader sees of `node`.
fn add_text(node: Node, text: &mut String) {
    let name = node.tag_name().name();
    if node.is_text() {
        // A line of HTML is nothing that a reader sees.
        text.push_str(&node.text().unwrap_or_default().replace(char::is_whitespace, " "));
    } else if name != "math" {
        let is_block = BLOCKS.contains(&name);
        // What a term means stands beside it.
        if is_block && name != "dd" || name == "dt" {
            text.push('\n');
        }
        node.children().for_each(|child| add_text(child, text));
        if is_block {
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &str, text: &str) -> Section {
        Section { title: title.into(), text: text.into() }
    }

    /// `sections` as mandoc writes a page with them, behind what it begins with.
    fn page(name: &str, sections: &str) -> Option<ManPage> {
        parse(&format!(
            "\n<tr><td>A(1)</td></tr></table>\n<div class=\"manual-text\">\n<section class=\"Sh\">\n\
             <h1 class=\"Sh\" id=\"NAME\"><a class=\"permalink\" href=\"#NAME\">NAME</a></h1>\n\
             <p class=\"Pp\">{name}</p>\n</section>\n{sections}\n</div>\n<table class=\"foot\"></table>\n"
        ))
    }

    fn text(html: &str) -> String {
        let section = format!("<section class=\"Sh\"><h1 class=\"Sh\">T</h1>{html}</section>");
        page("a - about things", &section).unwrap().sections.remove(0).text
    }

    #[test]
    fn sections_have_titles_and_the_first_describes_the_page() {
        let sections = "<section class=\"Sh\"><h1 class=\"Sh\" id=\"S\"><a href=\"#S\">SEE\n  ALSO</a></h1>\
                        <p class=\"Pp\"><a class=\"Xr\">dir(1)</a>.</p></section>\
                        <section class=\"Sh\"><h1 class=\"Sh\">EMPTY</h1></section>";
        let page = page("<b>ls</b>, dir - list <i>directory</i>\n    contents", sections).unwrap();
        assert_eq!(page.description, "list directory contents");
        assert_eq!(page.sections, [section("SEE ALSO", "dir(1).")]);
    }

    #[test]
    fn a_paragraph_is_one_line_and_a_term_stands_before_its_meaning() {
        let html = "<p class=\"Pp\">Lists\n    <b>all</b>&#x00A0;of &lt;x&gt;.</p>\n<dl class=\"Bl-tag\">\n  \
                    <dt id=\"a\"><a href=\"#a\"><b>-a</b>,\n    <b>--all</b></a></dt>\n  <dd>all of them</dd>\n</dl>\n\
                    <section class=\"Ss\">\n<h2 class=\"Ss\">Options</h2>\n<pre>int main()\n<br/>\n  { }</pre></section>";
        assert_eq!(text(html), "Lists all of <x>.\n-a, --all all of them\nOptions\nint main()\n{ }");
    }

    #[test]
    fn tables_keep_their_cells_and_equations_vanish() {
        let html = "<table class=\"tbl\">\n  <tr>\n    <td>Name</td>\n    <td><b>Value</b></td>\n  </tr>\n  <tr>\n    \
                    <td>x</td>\n    <td>1</td>\n  </tr>\n</table>\n<p class=\"Pp\">after\n  \
                    <math class=\"eqn\">\n    <mrow><mi>x</mi></mrow>\n  </math>\n</p>";
        assert_eq!(text(html), "Name Value\nx 1\nafter");
    }

    #[test]
    fn aliases_and_pages_without_a_description_are_none() {
        let with_text = |html: &str| format!("<section class=\"Sh\"><h1>X</h1><p>{html}</p></section>");
        assert!(page("ls - lists \u{1b} files", &with_text("text")).is_some());
        assert_eq!(page("ls", &with_text("text")), None);
        assert_eq!(page("ls - lists", &with_text("&#xFFFD;")), None);
        assert_eq!(page("ls - lists", &with_text("")), None);
        assert_eq!(parse("</table><div class=\"manual-text\"></div>"), None);
        assert_eq!(parse("</table><p>"), None);
    }

    /// The stand-in writes a page for each file, and ends at one that holds `crash`.
    #[test]
    fn a_file_that_ends_mandoc_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["one", "crash", "two"].map(|text| {
            let file = folder.path().join(text);
            std::fs::write(&file, text).unwrap();
            file
        });
        let mandoc = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mandoc.sh");
        let pages = read(&mandoc, &files).unwrap();
        let texts: Vec<_> = pages.iter().map(|page| page.as_ref().map(|page| page.sections[0].text.as_str())).collect();
        assert_eq!(texts, [Some("one"), None, Some("two")]);
        assert!(read(&folder.path().join("none"), &files).unwrap_err().to_string().contains("none cannot be run"));
    }
}
