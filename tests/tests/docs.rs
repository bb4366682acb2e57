//! The documentation leads somewhere: every relative link, every heading that is linked to, and every path of this
//! repository that a page names is there, and so is every page that sources name.
//!
//! The table of crates says what the manifests say.
//!
//! Not looked at: links into the web, and paths with a placeholder (`…`, `*`, `NAME`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where paths of this repository begin.
const ROOMS: [&str; 9] =
    [".ci/", "cluster/", "configs/", "docs/", "launcher/", "pipelines/", "sampler/", "tests/", "worker/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file of the repository, by its path from the root.
fn files() -> BTreeMap<String, String> {
    let endings = ["c", "cpp", "cu", "h", "md", "py", "rs", "sh", "smk", "toml", "yaml"];
    let (mut files, mut folders) = (BTreeMap::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let from_root = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if path.is_symlink()
                || name.starts_with('.')
                || ["dist", "target", "runs", "stores"].contains(&from_root.as_str())
            {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if name == "Makefile" || path.extension().is_some_and(|e| endings.contains(&e.to_str().unwrap())) {
                files.insert(from_root, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// A page's lines, each with whether it stands in a block of code.
fn lines(page: &str) -> impl Iterator<Item = (bool, &str)> {
    page.lines().scan(false, |in_code, line| {
        let is_fence = line.trim_start().starts_with("```");
        *in_code ^= is_fence;
        Some((*in_code || is_fence, line))
    })
}

/// The names under which a page's headings are linked to, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let headings = lines(page).filter(|(in_code, line)| !in_code && line.starts_with('#'));
    let slug = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(|(_, line)| slug(line.trim_start_matches('#').trim())).collect()
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn written_out(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((choices, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    choices.split(',').flat_map(|choice| written_out(&format!("{before}{choice}{after}"))).collect()
}

/// The paths of this repository in a line of a page: words of code that begin with one of its folders.
fn named_paths(line: &str, in_code: bool) -> Vec<String> {
    let spans: Vec<&str> = match in_code {
        true => vec![line],
        false => line.split('`').skip(1).step_by(2).collect(),
    };
    let words = spans.into_iter().flat_map(str::split_whitespace);
    let paths = words.map(|word| word.split("::").next().unwrap_or(word).trim_end_matches([',', ';', '.', ':', ')']));
    let own = paths.filter(|path| ROOMS.iter().any(|room| path.starts_with(room)));
    own.filter(|path| !path.contains(['…', '*', '$', '<']) && !path.contains("NAME")).flat_map(written_out).collect()
}

/// Pages that a source names, as `docs/….md` or `docs/….md#heading`.
fn named_pages(source: &str) -> Vec<String> {
    let mut pages = Vec::new();
    for (at, _) in source.match_indices("docs/") {
        let rest = &source[at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_/.-#".contains(c))).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches(['.', '-']);
        if name.contains(".md") || name.contains(".svg") {
            pages.push(name.to_owned());
        }
    }
    pages
}

#[test]
fn links_and_paths_of_the_documentation_lead_somewhere() {
    let files = files();
    let mut lost = Vec::new();
    let mut num_checked = 0;
    let leads = |target: &str| {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let page = files.get(path);
        root().join(path).exists()
            && (anchor.is_empty() || page.is_some_and(|page| anchors(page).contains(&anchor.into())))
    };
    for (name, text) in &files {
        let mut check = |target: String| {
            num_checked += 1;
            if !leads(&target) {
                lost.push(format!("{name} names {target}"));
            }
        };
        if !name.ends_with(".md") {
            named_pages(text).into_iter().for_each(check);
            continue;
        }
        for (in_code, line) in lines(text) {
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !in_code && !link.contains("://") && !link.starts_with("mailto:")) {
                check(beside(name, link));
            }
            named_paths(line, in_code).into_iter().for_each(&mut check);
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert!(num_checked > 200, "{num_checked} links and paths");
}

/// `link` of the page `name`, from the root.
fn beside(name: &str, link: &str) -> String {
    if link.starts_with('#') {
        return format!("{name}{link}");
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => _ = parts.pop(),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// The page says what a head costs, and nobody counts again.
#[test]
fn a_head_is_in_as_many_files_as_the_page_says() {
    let files = files();
    let names_it = |(name, text): &(&String, &String)| {
        name.ends_with(".rs") && ["MultiVector", "multi_vector"].iter().any(|word| text.contains(word))
    };
    // This file names the words as well, to count them.
    let names: Vec<&String> =
        files.iter().filter(names_it).map(|(name, _)| name).filter(|name| !name.ends_with("tests/docs.rs")).collect();
    let (tests, programs): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.split('/').any(|part| part == "tests"));
    let says = format!("finds {} files of programs and {} of tests", programs.len(), tests.len());
    let page = files["docs/change/extending.md"].split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&says), "docs/change/extending.md should say: {says}");
}

/// Folders of crates of this project.
type Folders = BTreeSet<String>;

/// What a crate and its tests import, by the folder of the crate.
fn manifests(files: &BTreeMap<String, String>) -> BTreeMap<String, [Folders; 2]> {
    let name = |text: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').to_owned()))
    };
    let crates: Vec<(&str, String, &String)> = files
        .iter()
        .filter_map(|(path, text)| Some((path.strip_suffix("/Cargo.toml")?, name(text)?, text)))
        .filter(|(_, name, _)| name.starts_with("tercet"))
        .collect();
    let folder_of =
        |word: &str| crates.iter().find(|(_, name, _)| name == word).map(|(folder, ..)| (*folder).to_owned());
    let imports = |text: &str, sections: &[&str]| -> Folders {
        let lines = text.lines().scan("", |section, line| {
            if line.starts_with('[') {
                *section = line;
            }
            Some((*section, line))
        });
        let names =
            lines.filter(|(section, _)| sections.contains(section)).filter_map(|(_, line)| line.split('.').next());
        names.filter_map(folder_of).collect()
    };
    let of = |text: &str| {
        [imports(text, &["[dependencies]", "[build-dependencies]"]), imports(text, &["[dev-dependencies]"])]
    };
    crates.iter().map(|(folder, _, text)| ((*folder).to_owned(), of(text))).collect()
}

/// The same as the page has it.
fn table_of_crates(page: &str) -> BTreeMap<String, [Folders; 2]> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    let folders =
        |cell: &str| cell.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [name, own, tests] = cells[..] else { panic!("a row of three cells: {line}") };
        (name.trim().to_owned(), [folders(own), folders(tests)])
    };
    rows.take_while(|line| line.starts_with('|')).map(row).collect()
}

#[test]
fn the_table_of_crates_says_what_the_manifests_say() {
    let files = files();
    let (found, page) = (manifests(&files), "docs/know/architecture.md");
    assert!(found.len() > 10 && found["worker"][0].contains("cluster"), "{found:?}");
    assert_eq!(table_of_crates(&files[page]), found, "{page} and the manifests");
}

#[test]
fn what_leads_nowhere_is_seen() {
    assert_eq!(beside("docs/use/data.md", "../know/loss.md#terms"), "docs/know/loss.md#terms");
    assert_eq!(beside("docs/gpu.md", "#sums"), "docs/gpu.md#sums");
    assert_eq!(anchors("# A\n```\n# no\n```\n## `tercet plan --json`, now"), ["a", "tercet-plan---json-now"]);
    assert_eq!(named_paths("see `worker/src/{a,b}.rs` and `make lint`", false), ["worker/src/a.rs", "worker/src/b.rs"]);
    assert_eq!(named_paths("python3 worker/benches/x.py --budget 12GiB", true), ["worker/benches/x.py"]);
    assert_eq!(named_pages("/// as docs/gpu.md#sums says, and docs/."), ["docs/gpu.md#sums"]);
}
