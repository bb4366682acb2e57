//! Real multilingual text that anyone may have: Debian's manual pages and their translations, by package name; and
//! `mandoc`, which reads them.
//!
//! `apt-get download` and `dpkg-deb -x` need no root and install nothing. Each package is unpacked into a folder of
//! its own in a cache; one that is there is neither fetched nor unpacked again. `mandoc` is run where it lies: the two
//! libraries that it needs, the C library and zlib, are there wherever `dpkg-deb` is, which needs them, too.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use tercet_configs::ExitCode;

use crate::fail::Fail;

/// What carries the pages, about 38 MB. A mirror may lack some: the demo takes what there is.
const PACKAGES: [&str; 40] = [
    "manpages",
    "manpages-dev",
    "manpages-cs",
    "manpages-cs-dev",
    "manpages-da",
    "manpages-da-dev",
    "manpages-de",
    "manpages-de-dev",
    "manpages-el",
    "manpages-es",
    "manpages-es-dev",
    "manpages-fi",
    "manpages-fr",
    "manpages-fr-dev",
    "manpages-hu",
    "manpages-id",
    "manpages-it",
    "manpages-it-dev",
    "manpages-ja",
    "manpages-ja-dev",
    "manpages-mk",
    "manpages-nb",
    "manpages-nl",
    "manpages-nl-dev",
    "manpages-pl",
    "manpages-pl-dev",
    "manpages-pt-br",
    "manpages-pt-br-dev",
    "manpages-ro",
    "manpages-ru",
    "manpages-ru-dev",
    "manpages-sr",
    "manpages-sv",
    "manpages-tr",
    "manpages-uk",
    "manpages-uk-dev",
    "manpages-vi",
    "manpages-zh",
    // English originals of pages that the translations above have.
    "coreutils",
    "util-linux",
];

/// What reads the pages, 0.4 MB.
const MANDOC: &str = "mandoc";

/// What is said of a program that is not there.
const CANNOT_RUN: &str = "cannot be run";

/// The unpacked packages.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The program that reads manual pages.
    pub mandoc: PathBuf,
    /// Folders that each hold a package's `usr/share/man`, its pages uncompressed.
    pub roots: Vec<PathBuf>,
    /// Packages that no registry in reach has.
    pub missing: Vec<&'static str>,
}

/// Brings [`PACKAGES`] into `cache` as far as the machine's Debian registry has them, and [`MANDOC`].
///
/// # Errors
/// Exit code 3 if there is no apt, no registry in reach, not one of the packages, or no `mandoc` that runs.
pub(crate) fn man_pages(cache: &Path) -> anyhow::Result<Fetched> {
    // apt-get downloads into the folder it runs in, so paths must not depend on that.
    let cache = &std::path::absolute(cache).with_context(|| format!("cache folder {}", cache.display()))?;
    let unpacked = |package: &str| packages(cache).join(package);
    let wanted: Vec<_> = PACKAGES.into_iter().chain([MANDOC]).filter(|p| !unpacked(p).is_dir()).collect();
    let mut downloaded = Ok(());
    if !wanted.is_empty() {
        let folder = unpacked("");
        fs::create_dir_all(&folder).with_context(|| format!("cache folder {}", folder.display()))?;
        downloaded = download(cache, &wanted);
        unpack_all(cache)?;
    }
    let (found, missing): (Vec<_>, Vec<_>) = PACKAGES.into_iter().partition(|p| unpacked(p).is_dir());
    let lacks_pages = !found.iter().any(|p| p.starts_with("manpages"));
    if lacks_pages || !unpacked(MANDOC).is_dir() {
        let what = if lacks_pages { "none of the manpages packages" } else { "no package mandoc, which reads them" };
        return Err(no_registry(&downloaded.err().unwrap_or_else(|| format!("apt knows {what}"))).into());
    }
    // What an earlier run brought is enough, whatever apt said now.
    let mandoc = unpacked(MANDOC).join("usr/bin/mandoc");
    run(&mandoc, cache, ["-T", "html", "/dev/null"]).map_err(|reason| Fail::new(ExitCode::Machine, reason))?;
    Ok(Fetched { mandoc, roots: found.into_iter().map(unpacked).collect(), missing })
}

/// The folder of the packages that are there as a whole.
fn packages(cache: &Path) -> PathBuf {
    cache.join("packages")
}

fn no_registry(reason: &str) -> Fail {
    Fail::new(
        ExitCode::Machine,
        format!(
            "the demo's text is Debian's manual pages, and no Debian package registry that has them is in reach: \
             {reason}. Run `apt-get update` as root and try again, or train on your own text: \
             --corpus FOLDER with *.jsonl files of rows {{\"query\": …, \"pos\": [\"…\"]}}"
        ),
    )
}

/// Downloads `wanted`, as far as apt knows them, into `cache`; first with the system's package lists, then, if these
/// are missing or too old to be of use, with lists of our own. The error is apt's reason.
fn download(cache: &Path, wanted: &[&str]) -> Result<(), String> {
    let num_downloaded = download_with(cache, wanted, &[]);
    // The registry may simply have nothing of what is still wanted.
    if num_downloaded.is_ok_and(|n| n > 0 || ["manpages", MANDOC].iter().all(|p| packages(cache).join(p).is_dir())) {
        return Ok(());
    }
    let own_lists = cache.join("apt");
    fs::create_dir_all(own_lists.join("lists/partial")).map_err(|e| format!("{}: {e}", own_lists.display()))?;
    let options = [
        format!("-oDir::State::Lists={}", own_lists.join("lists").display()),
        format!("-oDir::Cache={}", own_lists.display()),
    ];
    run("apt-get", cache, options.iter().map(String::as_str).chain(["-q", "update"]))?;
    download_with(cache, wanted, &options).map(drop)
}

fn download_with(cache: &Path, wanted: &[&str], options: &[String]) -> Result<usize, String> {
    let options = || options.iter().map(String::as_str);
    let known = run("apt-cache", cache, options().chain(["pkgnames"]))?;
    let known: HashSet<&str> = known.lines().collect();
    let available: Vec<_> = wanted.iter().copied().filter(|p| known.contains(p)).collect();
    if !available.is_empty() {
        run("apt-get", cache, options().chain(["-q", "download"]).chain(available.iter().copied()))?;
    }
    Ok(available.len())
}

/// Unpacks every `name_version_arch.deb` in `cache` to `packages/name`, its pages too, and removes it; one that is cut
/// off, because the download was, is removed as well and counts as not fetched.
fn unpack_all(cache: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(cache)? {
        let deb = entry?.path();
        if deb.extension() != Some(OsStr::new("deb")) {
            continue;
        }
        let file_name = deb.file_name().unwrap_or_default().to_string_lossy();
        let package = file_name.split('_').next().unwrap_or_default();
        let (part, done) = (cache.join(format!("{package}.part")), packages(cache).join(package));
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        if done.exists() {
            // An earlier run was interrupted before it removed the file.
            fs::remove_file(&deb)?;
            continue;
        }
        let failed = |reason| Fail::new(ExitCode::Machine, reason);
        match run("dpkg-deb", cache, [OsStr::new("--contents"), deb.as_os_str()]) {
            Err(reason) if reason.contains(CANNOT_RUN) => return Err(failed(reason).into()),
            Err(_) => {}
            Ok(_) => {
                let words = [OsStr::new("-x"), deb.as_os_str(), part.as_os_str()];
                run("dpkg-deb", cache, words).map_err(failed)?;
                let pages = ["usr/share/man", "-type", "f", "-name", "*.gz"];
                run("find", &part, pages.into_iter().chain(["-exec", "gzip", "-df", "{}", "+"])).map_err(failed)?;
                // Renamed when complete and on the disk: an interrupted run leaves no half package.
                run("sync", cache, [OsStr::new("--file-system"), part.as_os_str()]).map_err(failed)?;
                fs::rename(&part, &done).with_context(|| format!("{}", done.display()))?;
            }
        }
        fs::remove_file(&deb)?;
    }
    Ok(())
}

/// Runs a program in `folder` and returns its standard output; the error is the last thing it said.
fn run(
    program: impl AsRef<Path>,
    folder: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String, String> {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .current_dir(folder)
        .output()
        .map_err(|e| format!("{} {CANNOT_RUN} ({e})", program.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().rev().find(|l| l.starts_with("E:")).or_else(|| said.lines().last());
    let error = error.unwrap_or("failed without a message").trim_start_matches("E:").trim();
    Err(format!("{}: {error}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_is_missing_is_named() {
        let here = Path::new(".");
        assert!(run("no-such-program", here, [""; 0]).unwrap_err().starts_with("no-such-program cannot be run"));
        assert_eq!(
            run("sh", here, ["-c", "echo one >&2; echo 'E: two' >&2; echo three >&2; exit 1"]).unwrap_err(),
            "sh: two"
        );
        assert_eq!(run("sh", here, ["-c", "echo out"]).unwrap(), "out\n");
    }

    /// Built by hand: an `ar` archive with the three members of a package.
    fn package(cache: &Path) -> Vec<u8> {
        let pack = r#"mkdir -p man/usr/share/man c && echo page | gzip > man/usr/share/man/x.gz &&
            ln -s x.gz man/usr/share/man/alias.gz && echo 2.0 > debian-binary &&
            printf 'Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n' > c/control &&
            tar czf control.tar.gz -C c ./control && tar czf data.tar.gz -C man . &&
            rm -r man c"#;
        run("sh", cache, ["-c", pack]).unwrap();
        let mut deb = b"!<arch>\n".to_vec();
        for name in ["debian-binary", "control.tar.gz", "data.tar.gz"] {
            let bytes = fs::read(cache.join(name)).unwrap();
            deb.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, bytes.len()).bytes());
            deb.extend(&bytes);
            deb.resize(deb.len().next_multiple_of(2), b'\n');
        }
        deb
    }

    #[test]
    fn a_download_that_is_cut_off_anywhere_is_thrown_away_and_what_is_unpacked_stays() {
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            return println!("skipped: no dpkg-deb");
        }
        let cache = tempfile::tempdir().unwrap();
        let whole = package(cache.path());
        fs::create_dir(packages(cache.path())).unwrap();
        let (deb, page) = (cache.path().join("p_1_all.deb"), packages(cache.path()).join("p/usr/share/man/x"));
        for len in (0..whole.len() - 2).step_by(97).chain([whole.len(), whole.len() / 2]) {
            fs::write(&deb, &whole[..len]).unwrap();
            // What an interrupted run has unpacked of another version is no part of this one.
            fs::create_dir_all(cache.path().join("p.part/left")).unwrap();
            let there = page.exists();
            unpack_all(cache.path()).unwrap();
            assert_eq!((page.exists(), deb.exists()), (there || len == whole.len(), false), "cut off at {len}");
        }
        assert!(!packages(cache.path()).join("p/left").exists());
        assert_eq!(fs::read_to_string(page).unwrap(), "page\n");
    }

    #[test]
    fn an_unreachable_registry_says_what_to_do_instead() {
        let message = no_registry("apt-get cannot be run").to_string();
        assert!(message.contains("apt-get cannot be run") && message.contains("--corpus FOLDER"), "{message}");
    }
}
