//! No file imports, through others, itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::imports::{Imports, imports};
use super::source::files;

/// Circles that are known and not yet opened, each as its files. The list only shrinks: what is opened leaves it.
const KNOWN: &[&[&str]] = &[];

/// The root files of all crates' programs and libraries.
fn crate_roots() -> Vec<PathBuf> {
    let roots = ["src/lib.rs", "src/main.rs"];
    let of = |manifest: PathBuf| roots.map(|root| manifest.with_file_name(root));
    files("Cargo.toml").into_iter().flat_map(of).filter(|root| root.is_file()).collect()
}

/// What a file imports, directly or through others.
fn reached<'a>(from: &'a str, direct: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(direct.get(file).into_iter().flatten().filter(|next| found.insert(**next)));
    }
    found
}

/// The sets of files that import each other, directly or through others of the set.
fn circles(imports: &Imports) -> Vec<BTreeSet<&str>> {
    let mut direct: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in imports.keys() {
        direct.entry(from).or_default().insert(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = direct.keys().map(|file| (*file, reached(file, &direct))).collect();
    let circle = |file: &str| -> BTreeSet<&str> {
        let back = |next: &&str| reached.get(next).is_some_and(|files| files.contains(file));
        reached[file].iter().copied().filter(back).collect()
    };
    let all: BTreeSet<BTreeSet<&str>> = direct.keys().map(|file| circle(file)).collect();
    all.into_iter().filter(|circle| circle.len() > 1).collect()
}

/// A circle as `KNOWN` has it, and what its files import of each other.
fn describe(circle: &BTreeSet<&str>, imports: &Imports) -> String {
    let files: Vec<String> = circle.iter().map(|file| format!("{file:?}")).collect();
    let mut text = format!("    &[{}],\n", files.join(", "));
    for ((from, to), named) in imports {
        if circle.contains(from.as_str()) && circle.contains(to.as_str()) {
            let named: Vec<&str> = named.iter().map(String::as_str).collect();
            text += &format!("    // {from} imports {to}: {}\n", named.join(", "));
        }
    }
    text
}

#[test]
fn no_file_imports_itself_through_others() {
    let known: BTreeSet<BTreeSet<&str>> = KNOWN.iter().map(|files| files.iter().copied().collect()).collect();
    assert_eq!(known.len(), KNOWN.len(), "a circle is listed twice");
    let (mut found, mut unknown) = (BTreeSet::new(), String::new());
    let graphs: Vec<Imports> = crate_roots().iter().map(|root| imports(root)).collect();
    assert!(graphs.iter().map(Imports::len).sum::<usize>() > 300, "hardly any import was found");
    for graph in &graphs {
        for circle in circles(graph) {
            if !known.contains(&circle) && !found.contains(&circle) {
                unknown += &describe(&circle, graph);
            }
            found.insert(circle);
        }
    }
    let opened: Vec<_> = known.difference(&found).collect();
    assert!(
        unknown.is_empty() && opened.is_empty(),
        "circles of imports that KNOWN in tests/tests/house/circles.rs does not list:\n{unknown}\
         and circles in that list that are no longer there, or have become smaller: {opened:#?}"
    );
}

#[test]
fn a_circle_is_found_through_what_is_passed_on_and_not_where_nothing_is_used() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let circles_of = |files: &[(&str, &str)]| -> Vec<Vec<String>> {
        files.iter().for_each(|(name, text)| write(name, text));
        let found = imports(&dir.path().join("lib.rs"));
        let name =
            |file: &&str| file.rsplit_once(dir.path().file_name().unwrap().to_str().unwrap()).unwrap().1.to_owned();
        circles(&found).iter().map(|circle| circle.iter().map(name).collect()).collect()
    };
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::{A, make};\n");
    // b takes A from the crate's root, which only passes it on; a calls b by a path.
    let b = ("b.rs", "use crate::A;\npub fn b(_: A) {}\n");
    assert_eq!(circles_of(&[lib, b, ("a.rs", "pub struct A;\nfn f() { super::b::b(A) }\n")]), [["/a.rs", "/b.rs"]]);
    let in_tests = "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::b::b;\n}\n";
    assert_eq!(circles_of(&[lib, b, ("a.rs", in_tests)]), [[""; 0]; 0]);
    let in_a_comment = "//! [`crate::b::b`]\npub struct A;\nconst B: &str = \"crate::b::b\";\n";
    assert_eq!(circles_of(&[lib, b, ("a.rs", in_a_comment)]), [[""; 0]; 0]);
    // A module is named, and something of it by that name.
    let through = "pub struct A;\nuse crate::b;\nfn f() { b::b(A) }\n";
    assert_eq!(circles_of(&[lib, b, ("a.rs", through)]), [["/a.rs", "/b.rs"]]);
    // mod.rs uses its file, and its file what mod.rs defines.
    let parent = ("lib.rs", "mod a;\nmod b;\npub struct C;\nfn f() { a::g() }\n");
    let child = ("a.rs", "use super::*;\npub fn g() -> C { C }\n");
    assert_eq!(circles_of(&[parent, child, ("b.rs", "")]), [["/a.rs", "/lib.rs"]]);
    let unused = ("lib.rs", "mod a;\nmod b;\npub struct C;\npub use a::g;\n");
    assert_eq!(circles_of(&[unused, child, ("b.rs", "")]), [[""; 0]; 0]);
}
