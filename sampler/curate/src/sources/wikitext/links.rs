//! Links, and which of them show no text.

/// Links within each other that are told apart; a picture's caption has links, and few have more.
const MAX_NESTED_LINKS: usize = 16;

/// Endings of files that a link shows.
const PICTURES: [&str; 11] =
    [".jpg", ".jpeg", ".png", ".svg", ".gif", ".webp", ".tif", ".tiff", ".ogg", ".ogv", ".webm"];

/// Namespaces whose links show no text: media, files and categories, by their English and their own names.
#[derive(Debug)]
pub(in crate::sources) struct Namespaces {
    hidden: Vec<String>,
    /// Whether the next name is one of those.
    is_hidden: bool,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { hidden: ["media", "file", "image", "category"].map(str::to_owned).to_vec(), is_hidden: false }
    }
}

impl Namespaces {
    /// The namespace of this key, whose name follows.
    pub(in crate::sources) fn begin(&mut self, key: &str) {
        self.is_hidden = matches!(key.trim(), "-2" | "6" | "14");
    }

    /// The name of the namespace that has begun.
    pub(in crate::sources) fn name(&mut self, name: &str) {
        if self.is_hidden {
            self.hidden.push(name.trim().to_lowercase());
        }
    }

    /// Whether a link to this page shows nothing.
    fn is_hidden(&self, target: &str) -> bool {
        let target = target.trim();
        let Some((namespace, page)) = target.split_once(':').filter(|(namespace, _)| !namespace.is_empty()) else {
            return false;
        };
        let namespace = namespace.trim().replace('_', " ").to_lowercase();
        let is_language = matches!(namespace.len(), 2 | 3)
            && namespace.bytes().all(|byte| byte.is_ascii_lowercase())
            && target.starts_with(&namespace);
        let is_picture = || PICTURES.iter().any(|ending| page.to_lowercase().ends_with(ending));
        is_language || self.hidden.contains(&namespace) || is_picture()
    }
}

/// A link that is open.
enum Link {
    /// `[[`, with where in the output its target begins and ends.
    Page { start: usize, pipe: Option<usize> },
    /// `[https://… `, of which the label follows.
    Web,
}

/// The text with links' labels, or else their targets, in the place of links.
pub(super) fn with_labels(text: &str, names: &Namespaces) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut open: Vec<Link> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['[', ']', '|', '\n']) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut taken = 1;
        if rest.starts_with("[[") {
            taken = 2;
            if open.len() < MAX_NESTED_LINKS {
                open.push(Link::Page { start: shown.len(), pipe: None });
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            match web_address(after) {
                Some(len) => {
                    taken = 1 + len;
                    if open.len() < MAX_NESTED_LINKS {
                        open.push(Link::Web);
                    }
                }
                None => shown.push('['),
            }
        } else if rest.starts_with(']') {
            match open.last() {
                Some(Link::Web) => drop(open.pop()),
                Some(&Link::Page { start, pipe }) if rest.starts_with("]]") => {
                    taken = 2;
                    open.pop();
                    show(&mut shown, start, pipe, names);
                }
                None if rest.starts_with("]]") => taken = 2,
                _ => shown.push(']'),
            }
        } else if rest.starts_with('|') {
            if let Some(Link::Page { pipe, .. }) = open.last_mut() {
                pipe.get_or_insert(shown.len());
            }
            shown.push('|');
        } else {
            open.retain(|link| matches!(link, Link::Page { .. }));
            // No link goes on in the next paragraph.
            if rest.starts_with("\n\n") {
                open.clear();
            }
            shown.push('\n');
        }
        rest = &rest[taken..];
    }
    shown.push_str(rest);
    shown
}

/// Puts in the place of a link, from `start` on, what it shows.
fn show(shown: &mut String, start: usize, pipe: Option<usize>, names: &Namespaces) {
    let end = pipe.unwrap_or(shown.len());
    if names.is_hidden(&shown[start..end]) {
        shown.truncate(start);
    } else if pipe.is_some_and(|pipe| pipe + 1 < shown.len()) {
        shown.drain(start..=end);
    } else {
        shown.truncate(end);
        if shown[start..].starts_with(':') {
            shown.remove(start);
        }
    }
}

/// The length of the address, and of the blank after it, with which `text` begins.
fn web_address(text: &str) -> Option<usize> {
    let is_address = ["http://", "https://", "//", "ftp://", "mailto:"].iter().any(|begin| text.starts_with(begin));
    let len = text.find([' ', '\t', ']', '\n']).unwrap_or(text.len());
    is_address.then(|| len + usize::from(text[len..].starts_with([' ', '\t'])))
}
