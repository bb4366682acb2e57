//! `docs/use/recipe.md` is what the doc comments of the recipe's types say, and every default is the one that a recipe
//! gets.
//!
//! The page is made from the text of `configs/src`, since doc comments are nowhere else. `TERCET_BLESS=1` writes it:
//!
//! ```sh
//! TERCET_BLESS=1 cargo test --release --workspace --test recipe_page
//! ```
//!
//! What is read of the sources is what rustfmt makes of them: a struct's or a variant's line ends in `{` or `,`, and an
//! attribute is one line.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use tercet_configs::Recipe;

const INTRODUCTION: &str = "# Every key of a recipe

A recipe is a TOML file that says one training run completely. This page lists every key. It is generated from the doc
comments in `configs/src`; a test holds the two equal.

- A key that a recipe leaves out has its default. The run folder's `recipe.toml` has every key with its value.
- `--set section.key=value` on the command line replaces a value: `--set loss.temperature=0.05`.
- A misspelt key is refused with its line and the key that was probably meant.
- Paths are relative to the working directory.
- Lengths are in tokens, special tokens included, unless a key says otherwise.

[data.md](data.md) explains data sets, weights and prefixes. [loss.md](../know/loss.md) has the formulas of the losses.
[performance.md](performance.md) explains the keys about memory and precision, and [running.md](running.md) those about
restarts.
";

/// A type that a recipe has as text.
const TEXT: &str = "Metric";

/// A struct or an enum of the recipe.
#[derive(Debug, Default)]
struct Type {
    doc: String,
    is_enum: bool,
    /// How serde spells an enum's variants; none where the type reads its values by itself.
    spelling: Option<String>,
    /// Fields or variants, in order.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// A field's type; of a variant what it holds.
    holds: String,
    doc: String,
    has_default: bool,
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The public structs and enums of `configs/src`, by name.
fn types() -> BTreeMap<String, Type> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut types = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (mut doc, mut attributes) = (Vec::new(), String::new());
        let mut open: Option<(String, Type)> = None;
        for line in text.lines() {
            let bare = line.trim();
            if let Some(words) = bare.strip_prefix("///") {
                doc.push(words.trim());
                continue;
            }
            if bare.starts_with("#[") {
                attributes.push_str(bare);
                continue;
            }
            if bare.is_empty() || bare.starts_with("//") {
                continue;
            }
            if let Some((name, mut made)) = open.take() {
                if line == "}" {
                    types.insert(name, made);
                } else {
                    let member = bare.strip_prefix("pub ").unwrap_or(bare).strip_suffix(',').unwrap_or(bare);
                    let split = if made.is_enum { member.split_once('(') } else { member.split_once(": ") };
                    let (own, holds) = split.unwrap_or((member, ""));
                    made.members.push(Member {
                        name: own.to_owned(),
                        holds: holds.trim_end_matches(')').to_owned(),
                        doc: doc.join(" "),
                        has_default: attributes.contains("default"),
                    });
                    open = Some((name, made));
                }
            } else {
                let declared = bare.strip_suffix(" {").and_then(|rest| {
                    let of_enum = rest.strip_prefix("pub enum ").map(|name| (name, true));
                    of_enum.or_else(|| rest.strip_prefix("pub struct ").map(|name| (name, false)))
                });
                if let Some((name, is_enum)) = declared {
                    let spelling = attributes.split("rename_all = \"").nth(1).and_then(|rest| rest.split('"').next());
                    let made =
                        Type { doc: doc.join(" "), is_enum, spelling: spelling.map(str::to_owned), members: vec![] };
                    open = Some((name.to_owned(), made));
                }
            }
            doc.clear();
            attributes.clear();
        }
    }
    types
}

/// A variant as serde spells it.
fn spelt(variant: &str, spelling: &str) -> String {
    let between = match spelling {
        "snake_case" => "_",
        "kebab-case" => "-",
        "lowercase" => "",
        other => panic!("recipes spell no variant in {other}"),
    };
    let mut text = String::new();
    for (i, letter) in variant.chars().enumerate() {
        if letter.is_uppercase() && i > 0 {
            text.push_str(between);
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// What stands between `Option<` or `Vec<` and the end.
fn inside<'a>(holds: &'a str, outer: &str) -> Option<&'a str> {
    holds.strip_prefix(outer)?.strip_prefix('<')?.strip_suffix('>')
}

struct Page<'a> {
    types: &'a BTreeMap<String, Type>,
    text: String,
    /// Types that have a section, and its heading; choices whose values are listed, and nothing.
    told: BTreeMap<String, String>,
    /// Keys that the page has, as `section.key`.
    keys: BTreeSet<String>,
}

impl Page<'_> {
    /// A section for `name`, whose keys stand below `path`; `defaults` has the values of a recipe that says nothing.
    fn section(&mut self, name: &str, path: &str, heading: &str, defaults: Option<&toml::Value>) {
        self.told.insert(name.to_owned(), heading.to_owned());
        let made = &self.types[name];
        let doc = made.doc.split_once("]`: ").map_or(made.doc.as_str(), |(_, rest)| rest);
        // "`[checkpoint]`" alone says nothing beyond the heading.
        let doc =
            if doc.starts_with('`') && doc.ends_with('`') { String::new() } else { format!("{}\n\n", capital(doc)) };
        write!(self.text, "\n## {heading}\n\n{doc}| key | value | default | meaning |\n|---|---|---|---|\n").unwrap();
        let mut below = Vec::new();
        for member in &made.members {
            let key = if path.is_empty() { member.name.clone() } else { format!("{path}.{}", member.name) };
            let default = defaults.and_then(|defaults| defaults.get(&member.name));
            let bare = inside(&member.holds, "Option").unwrap_or(&member.holds);
            if self.types.get(bare).is_some_and(|made| !made.is_enum) {
                below.push((bare.to_owned(), format!("`[{key}]`"), key, default));
                continue;
            }
            self.keys.insert(key.clone());
            let mut value = self.kind(bare);
            let is_section = |element: &&str| *element != TEXT && self.types.contains_key(*element);
            if let Some(element) = inside(bare, "Vec").filter(is_section) {
                let heading = self.told.get(element).cloned().unwrap_or_else(|| format!("`[[{key}]]`"));
                value = format!("list, see {heading}");
                if !self.told.contains_key(element) {
                    self.told.insert(element.to_owned(), heading.clone());
                    below.push((element.to_owned(), heading, key, None));
                }
            }
            let default = match default {
                Some(value) => format!("`{}`", plain(value)),
                None if member.holds.starts_with("Option<") => "none".to_owned(),
                None if member.has_default => panic!("{}: {} has a default that cannot be seen", name, member.name),
                None => "required".to_owned(),
            };
            let meaning = [linked(&member.doc), self.choices(bare)].concat().replace('|', "\\|");
            writeln!(self.text, "| `{}` | {value} | {default} | {meaning} |", member.name).unwrap();
        }
        for (name, heading, key, defaults) in below {
            self.section(&name, &key, &heading, defaults);
        }
    }

    fn kind(&self, holds: &str) -> String {
        match holds {
            "bool" => "`true`, `false`".into(),
            "u32" | "u64" | "usize" => "whole number".into(),
            "f64" => "number".into(),
            "[f64; 3]" => "three numbers".into(),
            "String" => "text".into(),
            "PathBuf" => "path".into(),
            "Vec<PathBuf>" => "list of paths".into(),
            _ if inside(holds, "Vec") == Some(TEXT) => "list of texts".into(),
            "MemoryBudget" => "size".into(),
            "BTreeMap<String, f64>" => "table of numbers".into(),
            _ if inside(holds, "Vec").is_some_and(|element| self.types.contains_key(element)) => "list".into(),
            _ if self.types.get(holds).is_some_and(|made| made.is_enum) => "choice".into(),
            other => panic!("say in kind() what {other} is to somebody who writes a recipe"),
        }
    }

    /// The values of a choice, a line each, where they are not listed above.
    fn choices(&mut self, holds: &str) -> String {
        let mut text = String::new();
        let Some(made) = self.types.get(holds).filter(|made| made.is_enum) else { return text };
        if self.told.insert(holds.to_owned(), String::new()).is_some() {
            return text;
        }
        for variant in &made.members {
            let value = match &made.spelling {
                Some(spelling) => format!("`\"{}\"`", spelt(&variant.name, spelling)),
                None if variant.holds.is_empty() => format!("`\"{}\"`", variant.name.to_lowercase()),
                None => "a size".to_owned(),
            };
            write!(text, "<br>{value}: {}", linked(&self.meant(&variant.doc))).unwrap();
        }
        text
    }

    /// A doc comment that only points to another type's variant is that variant's.
    fn meant(&self, doc: &str) -> String {
        let target =
            doc.strip_prefix("[`").and_then(|rest| rest.strip_suffix("`].")).and_then(|rest| rest.split_once("::"));
        let found = target.and_then(|(name, variant)| {
            self.types.get(name)?.members.iter().find(|member| member.name == variant).map(|member| member.doc.clone())
        });
        found.unwrap_or_else(|| doc.to_owned())
    }
}

/// A value as a recipe has it; small numbers as people write them.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(number) if *number != 0.0 && number.abs() < 1e-3 => format!("{number:e}"),
        other => other.to_string(),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Paths of other pages as links from this one.
fn linked(doc: &str) -> String {
    let words = doc.split(' ').map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        match bare.strip_prefix("docs/").filter(|page| page.ends_with(".md")) {
            Some(page) => word.replace(bare, &format!("[{page}](../{page})")),
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn page(types: &BTreeMap<String, Type>) -> (String, BTreeSet<String>) {
    let recipe = Recipe::parse("name = \"run\"", Path::new("run.toml"), &[]).unwrap();
    let mut defaults = toml::Table::try_from(&recipe).unwrap();
    defaults.remove("name");
    let mut page = Page { types, text: INTRODUCTION.to_owned(), told: BTreeMap::new(), keys: BTreeSet::new() };
    page.section("Recipe", "", "At the top", Some(&toml::Value::Table(defaults)));
    (page.text, page.keys)
}

#[test]
fn the_page_is_what_the_doc_comments_say() {
    let (made, _) = page(&types());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/use/recipe.md");
    if std::env::var_os("TERCET_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    let differing = made.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert!(
        made == written,
        "docs/use/recipe.md is not what the doc comments of configs/src say, first at {differing:?}; TERCET_BLESS=1 writes it"
    );
}

/// Whatever the reading of sources may have missed would be missing here.
#[test]
fn the_page_has_every_key_of_a_resolved_recipe() {
    let (_, keys) = page(&types());
    let recipe = Recipe::parse("name = \"run\"", Path::new("run.toml"), &[]).unwrap();
    for (name, value) in toml::Table::try_from(&recipe).unwrap() {
        let of_value = match value {
            toml::Value::Table(section) => section.keys().map(|key| format!("{name}.{key}")).collect(),
            _ => vec![name],
        };
        for key in of_value {
            assert!(keys.contains(&key), "{key} is not in docs/use/recipe.md");
        }
    }
}

/// The spelling of variants is this file's; serde has to agree.
#[test]
fn every_choice_is_one_that_a_recipe_can_make() {
    let types = types();
    let of = |name: &str| types[name].members.iter().map(|member| (member.name.clone(), member.holds.clone()));
    let mut count = 0;
    for (section, holds) in of("Recipe").chain([(String::new(), "Recipe".to_owned())]) {
        let Some(made) = types.get(&holds).filter(|made| !made.is_enum) else { continue };
        for member in &made.members {
            let bare = inside(&member.holds, "Option").unwrap_or(&member.holds);
            let Some((choice, spelling)) = types.get(bare).and_then(|made| Some((made, made.spelling.as_ref()?)))
            else {
                continue;
            };
            for variant in &choice.members {
                let value = format!("{} = \"{}\"", member.name, spelt(&variant.name, spelling));
                let text = match section.as_str() {
                    "" => format!("name = \"run\"\n{value}"),
                    section => format!("name = \"run\"\n[{section}]\n{value}"),
                };
                toml::from_str::<Recipe>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} values of choices");
}
