//! The folders that a report is made of: what each of them holds, and what it is called.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use tercet_configs::ExitCode;

use crate::args::ReportInput;
use crate::exit::Fail;

/// What was typed as one thing.
#[derive(Debug)]
pub struct Named {
    /// What it is called.
    pub name: String,
    /// One, or several that are averaged.
    pub folders: Vec<Folder>,
}

/// One folder.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// It has what a run leaves.
    pub is_run: bool,
    /// It has what an evaluation leaves.
    pub is_eval: bool,
}

/// Looks at the folders, and names each: as was typed, or after its folder, with as many of the folders above it as
/// tell it from the others.
///
/// # Errors
/// A folder that holds neither a run nor an evaluation, or two that are called the same.
pub fn look(typed: &[ReportInput]) -> Result<Vec<Named>, Fail> {
    let names = names(typed)?;
    typed
        .iter()
        .zip(names)
        .map(|(input, name)| {
            let folders = input.paths.iter().map(|path| Folder::of(path)).collect::<Result<Vec<_>, _>>()?;
            if folders.len() > 1
                && let Some(run) = folders.iter().find(|folder| !folder.is_eval)
            {
                let message = format!(
                    "{name}: {} is a run, and only evaluations are averaged: name each run by itself",
                    run.path.display()
                );
                return Err(usage(message));
            }
            Ok(Named { name, folders })
        })
        .collect()
}

impl Folder {
    fn of(path: &Path) -> Result<Self, Fail> {
        let has = |name: &str| path.join(name).is_file();
        let (is_run, is_eval) = (has("metrics.jsonl") || has("recipe.toml"), has("metrics.json"));
        let why = match () {
            () if is_run || is_eval => return Ok(Self { path: path.to_owned(), is_run, is_eval }),
            () if path.is_file() => "is a file: name the folder that it is in",
            () if !path.is_dir() => "there is no such folder",
            () if has("per_query.jsonl") || path.join("index").is_dir() => {
                "an evaluation that was not finished: type its `tercet eval` again"
            }
            () => {
                "neither a run (metrics.jsonl, recipe.toml) nor an evaluation that `tercet eval --out` wrote \
                 (metrics.json)"
            }
        };
        Err(usage(format!("{}: {why}", path.display())))
    }
}

fn usage(message: String) -> Fail {
    Fail::new(ExitCode::Usage, message)
}

fn names(typed: &[ReportInput]) -> Result<Vec<String>, Fail> {
    let paths: Vec<Vec<String>> = typed.iter().map(|input| parts(&input.paths[0])).collect();
    let named = |depth: &[usize]| -> Vec<String> {
        let own = |(at, input): (usize, &ReportInput)| {
            input.name.clone().unwrap_or_else(|| paths[at][paths[at].len().saturating_sub(depth[at])..].join("/"))
        };
        typed.iter().enumerate().map(own).collect()
    };
    let mut depth = vec![1; typed.len()];
    loop {
        let names = named(&depth);
        let twice = |at: usize| names.iter().filter(|name| **name == names[at]).count() > 1;
        let grows = |at: &usize| twice(*at) && typed[*at].name.is_none() && depth[*at] < paths[*at].len();
        let growing: Vec<usize> = (0..typed.len()).filter(grows).collect();
        if growing.is_empty() {
            let mut seen = BTreeSet::new();
            return match names.iter().find(|name| !seen.insert(*name)) {
                Some(name) => Err(usage(format!("{name} is there twice: name one of them otherwise, NAME=FOLDER"))),
                None => Ok(names),
            };
        }
        growing.into_iter().for_each(|at| depth[at] += 1);
    }
}

/// The folders of a path; those of the working directory where the path itself names none.
fn parts(path: &Path) -> Vec<String> {
    let named = |path: &Path| -> Vec<String> {
        let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
        names.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let is_plain = path.components().all(|part| !matches!(part, Component::ParentDir));
    let own = if is_plain { named(path) } else { Vec::new() };
    match own.is_empty() {
        // `.` and `..` are called what they lead to.
        true => path.canonicalize().map(|path| named(&path)).unwrap_or_else(|_| vec![path.display().to_string()]),
        false => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(typed: &[&str]) -> Result<Vec<String>, String> {
        let typed: Vec<ReportInput> = typed.iter().map(|word| word.parse().unwrap()).collect();
        names(&typed).map_err(|fail| fail.to_string())
    }

    #[test]
    fn folders_are_called_by_as_much_of_their_paths_as_tells_them_apart() {
        assert_eq!(names_of(&["runs/a", "runs/b/"]).unwrap(), ["a", "b"]);
        assert_eq!(names_of(&["x/a/eval", "x/b/eval", "c"]).unwrap(), ["a/eval", "b/eval", "c"]);
        assert_eq!(names_of(&["new=x/a/eval", "x/a/eval"]).unwrap(), ["new", "eval"]);
        assert_eq!(names_of(&["a/eval", "eval", "s=p,q"]).unwrap(), ["a/eval", "eval", "s"]);
        assert!(names_of(&["a", "./a"]).unwrap_err().contains("a is there twice"));
        assert!(names_of(&["n=a", "n=b"]).unwrap_err().contains("n is there twice"));
    }
}
