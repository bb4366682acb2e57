//! Who imports whom in a crate.
//!
//! Read from tokens, without a compiler: `use` trees, and paths in the code that begin with `crate`, `self`, `super`, a
//! module of the file's own or one that it has imported. What is under `#[cfg(test)]` is left out. A module that is
//! named is no import by itself; what is named through it is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::source::{Kind, from_root, tokens};

/// Every import between two files of a crate, with how the first names what it imports.
pub type Imports = BTreeMap<(String, String), BTreeSet<String>>;

/// A path, its `::` taken away.
type Names = Vec<String>;

/// What a file says.
#[derive(Default)]
struct File {
    path: PathBuf,
    uses: Vec<Use>,
    /// Paths in the code.
    paths: Vec<Names>,
    /// Its own items.
    defined: HashSet<String>,
    /// Modules that it declares.
    children: Vec<String>,
    /// Names in the code that may be of something imported.
    words: HashSet<String>,
}

/// One name of a `use`.
struct Use {
    path: Names,
    /// What it is called in the file; none for `*`.
    name: Option<String>,
    public: bool,
}

/// The files of the crate with this root (src/lib.rs or the like), by module.
struct Crate(HashMap<Names, File>);

/// The imports of the crate with this root.
pub fn imports(root: &Path) -> Imports {
    let mut files = HashMap::new();
    add(root.to_owned(), Vec::new(), root.parent().unwrap(), &mut files);
    let own = Crate(files);
    let mut found = Imports::new();
    for (module, file) in &own.0 {
        for (named, target) in own.imported(module, file) {
            if target != module {
                let pair = (from_root(&file.path), from_root(&own.0[target].path));
                found.entry(pair).or_default().insert(named.join("::"));
            }
        }
    }
    found
}

/// Adds the file of a module, and of those below it, which are in `folder`.
fn add(path: PathBuf, module: Names, folder: &Path, files: &mut HashMap<Names, File>) {
    let file = read(&path);
    for child in &file.children {
        let beside = folder.join(format!("{child}.rs"));
        let inside = folder.join(child).join("mod.rs");
        if let Some(path) = [beside, inside].into_iter().find(|path| path.is_file()) {
            add(path, [&module[..], std::slice::from_ref(child)].concat(), &folder.join(child), files);
        }
    }
    files.insert(module, file);
}

impl Crate {
    /// Everything that a file imports: how it names it, and the module in which it is defined.
    fn imported<'a>(&'a self, module: &'a Names, file: &'a File) -> Vec<(&'a Names, &'a Names)> {
        // What is only passed on is not used here.
        let is_used = |own: &&Use| !own.public || own.name.as_ref().is_none_or(|name| file.words.contains(name));
        let used = file.uses.iter().filter(is_used).map(|own| (&own.path, own.name.is_none()));
        let named = used.chain(file.paths.iter().map(|path| (path, false)));
        named
            .filter_map(|(path, is_all_of_it)| {
                let absolute = self.absolute(module, path)?;
                // A module that is only named is no import.
                if !is_all_of_it && self.0.contains_key(&absolute) {
                    return None;
                }
                if self.is_elsewhere(&absolute) {
                    return None;
                }
                Some((path, self.definition(absolute, &mut HashSet::new())))
            })
            .collect()
    }

    /// A path as it is from the crate's root on; none if it leads out of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Names> {
        let (first, rest) = path.split_first()?;
        let file = &self.0[module];
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let above = rest.iter().take_while(|name| *name == "super").count();
                let (up, rest) = (module.len().checked_sub(above + 1)?, &rest[above..]);
                Some([&module[..up], rest].concat())
            }
            name if file.children.iter().any(|child| child == name) => Some([module, path].concat()),
            name => {
                // A module that a `use` has brought in; its own first name is another one.
                let own = file.uses.iter().find(|own| own.name.as_deref() == Some(name) && own.path[0] != name)?;
                let whole = self.absolute(module, &own.path)?;
                self.0.contains_key(&whole).then(|| [&whole[..], rest].concat())
            }
        }
    }

    /// Whether an absolute path leads into a module whose `#[path]` names a file of another crate.
    fn is_elsewhere(&self, path: &[String]) -> bool {
        let longest = (0..=path.len()).rev().find_map(|len| self.0.get(&path[..len]).map(|file| (len, file)));
        longest.is_some_and(|(len, file)| path.get(len).is_some_and(|name| file.children.contains(name)))
    }

    /// The module that defines what an absolute path names, `pub use` followed.
    fn definition(&self, path: Names, seen: &mut HashSet<Names>) -> &Names {
        let longest = (0..=path.len()).rev().find_map(|len| self.0.get_key_value(&path[..len]));
        let (module, file) = longest.unwrap();
        let Some((name, after)) = path[module.len()..].split_first() else { return module };
        if file.defined.contains(name) || !seen.insert(path.clone()) {
            return module;
        }
        let passed_on = file.uses.iter().find(|own| own.name.as_ref() == Some(name));
        match passed_on.and_then(|own| self.absolute(module, &own.path)) {
            Some(target) => self.definition([&target[..], after].concat(), seen),
            None => module,
        }
    }
}

/// What a file says, tests aside.
fn read(path: &Path) -> File {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let all: Vec<_> = tokens(&text).into_iter().filter(|token| token.kind != Kind::Comment).collect();
    let texts: Vec<&str> =
        all.iter().map(|token| if token.kind == Kind::Literal { "\"" } else { token.text }).collect();
    let is_word = |at: usize| all.get(at).is_some_and(|token| token.kind == Kind::Word);
    let text = |at: usize| texts.get(at).copied().unwrap_or_default();
    let mut file = File { path: path.to_owned(), ..File::default() };
    let (mut at, mut depth) = (0, 0);
    while at < texts.len() {
        if texts[at..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = after_item(&texts, at + 7);
            continue;
        }
        match texts[at] {
            "{" => depth += 1,
            "}" => depth -= 1,
            "mod" if text(at + 2) == ";" => file.children.push(text(at + 1).to_owned()),
            "use" => {
                let public = at > 0 && ["pub", ")"].contains(&text(at - 1));
                at = use_tree(&texts, at + 1, &[], public, &mut file.uses);
                continue;
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" if depth == 0 => {
                file.defined.insert(text(at + 1).to_owned());
            }
            "macro_rules" => {
                file.defined.insert(text(at + 2).to_owned());
            }
            _ => {}
        }
        if is_word(at) {
            let before = at.checked_sub(1).map_or("", text);
            if !["::", ".", "mod", "fn"].contains(&before) && text(at + 1) != "!" {
                file.words.insert(text(at).to_owned());
            }
            // A path, unless this is its middle.
            if text(at + 1) == "::" && before != "::" {
                let mut path = vec![text(at).to_owned()];
                while text(at + 1) == "::" && is_word(at + 2) {
                    path.push(text(at + 2).to_owned());
                    at += 2;
                }
                file.paths.push(path);
            }
        }
        at += 1;
    }
    file
}

/// The index behind the item that begins at `at`.
fn after_item(texts: &[&str], mut at: usize) -> usize {
    let mut depth = 0;
    while at < texts.len() {
        match texts[at] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth <= 0 {
                    return at + usize::from(depth == 0);
                }
            }
            ";" | "," if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Adds the names of the `use` tree that begins at `at`, all below `before`; the index behind it.
fn use_tree(texts: &[&str], mut at: usize, before: &[String], public: bool, found: &mut Vec<Use>) -> usize {
    let mut path = before.to_vec();
    loop {
        match texts[at] {
            "{" => {
                at += 1;
                while texts[at] != "}" {
                    at = use_tree(texts, at, &path, public, found);
                    at += usize::from(texts[at] == ",");
                }
                return at + 1;
            }
            "*" => {
                found.push(Use { path, name: None, public });
                return at + 1;
            }
            // From the root of all crates: out of this one.
            "::" => {
                path.push(String::new());
                at += 1;
                continue;
            }
            name => path.push(name.to_owned()),
        }
        at += 1;
        if texts[at] == "::" {
            at += 1;
            continue;
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = if texts[at] == "as" { texts[at + 1] } else { path.last().unwrap() }.to_owned();
        let behind = at + if texts[at] == "as" { 2 } else { 0 };
        found.push(Use { path, name: Some(name), public });
        return behind;
    }
}
