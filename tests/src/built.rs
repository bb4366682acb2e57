//! Whether a program is what the sources make of it now.
//!
//! `cargo test --test system` builds no program: it would test whatever lies in target/release. Cargo leaves beside
//! each program a list of all files that it was built of (`tercet.d`), and itself goes by their times; so does this. A
//! file whose time is in the future tells nothing and is passed over. A changed Cargo.toml is not noticed: only cargo
//! could tell whether it changes a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What to type, at the end of every complaint.
const REMEDY: &str = "type `make test T=NAME`, which builds the programs first, or `make build`";

/// Fails if cargo would build `program` anew, or if it was built in another checkout.
pub fn assert_up_to_date(program: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let list = program.with_extension("d");
    let text = fs::read_to_string(&list).unwrap_or_else(|e| panic!("{}: {e}: {REMEDY}", list.display()));
    if let Some(complaint) = complaint(program, &sources(&text), root) {
        panic!("{} {complaint}: {REMEDY}", program.display());
    }
}

/// The files after the colon; a blank in a name is written with a backslash.
fn sources(list: &str) -> Vec<PathBuf> {
    let (_, files) = list.lines().next().and_then(|line| line.split_once(": ")).unwrap_or_default();
    let files = files.replace("\\ ", "\0");
    files.split(' ').map(|file| PathBuf::from(file.replace('\0', " "))).collect()
}

/// What is wrong with `program`, which was built of `sources`.
fn complaint(program: &Path, sources: &[PathBuf], root: &Path) -> Option<String> {
    let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let (built, now) = (time(program).unwrap(), SystemTime::now());
    let wrong = |source: &PathBuf| {
        if !source.starts_with(root) {
            return Some(format!("was built in another checkout, of {}", source.display()));
        }
        match time(source) {
            Err(_) => Some(format!("was built of {}, which is gone", source.display())),
            Ok(changed) if changed > built && changed <= now => Some(format!("is older than {}", source.display())),
            Ok(_) => None,
        }
    };
    sources.iter().find_map(wrong)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_list_of_sources_is_read_with_its_blanks() {
        let files = sources("/t/tercet: /s/a.rs /s/b\\ c/d.rs /s/e.rs\n\n/s/a.rs:\n");
        assert_eq!(files, ["/s/a.rs", "/s/b c/d.rs", "/s/e.rs"].map(PathBuf::from));
    }

    #[test]
    fn a_program_older_than_a_source_or_of_another_checkout_is_complained_of() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, secs: i64| {
            let path = dir.path().join(name);
            let (now, shift) = (SystemTime::now(), Duration::from_secs(secs.unsigned_abs()));
            let time = if secs < 0 { now - shift } else { now + shift };
            File::create(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let program = file("tercet", -100);
        let of = |source: &Path| complaint(&program, &[source.to_owned()], dir.path());
        assert_eq!(of(&file("old.rs", -200)), None);
        assert_eq!(of(&file("of_the_future.rs", 3600)), None);
        assert!(of(&file("new.rs", -50)).unwrap().starts_with("is older than "));
        assert!(of(&dir.path().join("none.rs")).unwrap().ends_with("none.rs, which is gone"));
        assert!(of(Path::new("/elsewhere/a.rs")).unwrap().starts_with("was built in another checkout"));
    }
}
