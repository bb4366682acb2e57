//! Real multilingual text that anyone may have: Debian's manual pages and their translations, by package name.
//!
//! `apt-get download` and `dpkg-deb -x` need no root and install nothing. Each package is unpacked into a folder of
//! its own in a cache; one that is there is neither fetched nor unpacked again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use tercet_configs::ExitCode;

use crate::exit::Fail;

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

/// Of a program that is not there.
const CANNOT_RUN: &str = "cannot be run";

/// The unpacked packages.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Folders that each hold a package's `usr/share/man`.
    pub roots: Vec<PathBuf>,
    /// Packages that no registry in reach has.
    pub missing: Vec<&'static str>,
}

/// Brings [`PACKAGES`] into `cache` as far as the machine's Debian registry has them.
///
/// # Errors
/// Exit code 3 if there is no apt, no registry in reach, or not one of the packages.
pub(super) fn man_pages(cache: &Path) -> anyhow::Result<Fetched> {
    // apt-get downloads into the folder it runs in, so paths must not depend on that.
    let cache = &std::path::absolute(cache).with_context(|| format!("cache folder {}", cache.display()))?;
    let unpacked = |package: &str| cache.join("pages").join(package);
    let wanted: Vec<_> = PACKAGES.into_iter().filter(|p| !unpacked(p).is_dir()).collect();
    let mut downloaded = Ok(());
    if !wanted.is_empty() {
        fs::create_dir_all(cache.join("pages")).with_context(|| format!("cache folder {}", cache.display()))?;
        downloaded = download(cache, &wanted);
        unpack_all(cache)?;
    }
    let (found, missing): (Vec<_>, Vec<_>) = PACKAGES.into_iter().partition(|p| unpacked(p).is_dir());
    if !found.iter().any(|p| p.starts_with("manpages")) {
        let reason = downloaded.err().unwrap_or_else(|| "apt knows none of the manpages packages".to_owned());
        return Err(no_registry(&reason).into());
    }
    // What an earlier run brought is enough, whatever apt said now.
    Ok(Fetched { roots: found.into_iter().map(unpacked).collect(), missing })
}

fn no_registry(reason: &str) -> Fail {
    Fail::new(
        ExitCode::Machine,
        format!(
            "the demo's text is Debian's manual pages, and no Debian package registry is in reach: {reason}. \
             Run `apt-get update` as root and try again, or train on your own text: \
             --corpus FOLDER with *.jsonl files of rows {{\"query\": …, \"pos\": [\"…\"]}}"
        ),
    )
}

/// Downloads `wanted`, as far as apt knows them, into `cache`; first with the system's package lists, then, if these
/// are missing or too old to be of use, with lists of our own. The error is apt's reason.
fn download(cache: &Path, wanted: &[&str]) -> Result<(), String> {
    let num_downloaded = download_with(cache, wanted, &[]);
    // Of what is still wanted the registry may simply have nothing.
    if num_downloaded.is_ok_and(|n| n > 0 || cache.join("pages/manpages").is_dir()) {
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

/// Unpacks every `name_version_arch.deb` in `cache` to `pages/name` and removes it; one that is cut off, because the
/// download was, is removed as well and counts as not fetched.
fn unpack_all(cache: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(cache)? {
        let deb = entry?.path();
        if deb.extension() != Some(OsStr::new("deb")) {
            continue;
        }
        let file_name = deb.file_name().unwrap_or_default().to_string_lossy();
        let package = file_name.split('_').next().unwrap_or_default();
        let (part, done) = (cache.join(format!("{package}.part")), cache.join("pages").join(package));
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
                // Renamed when complete and on the disk: an interrupted run leaves no half package.
                sync_file_system(cache)?;
                fs::rename(&part, &done).with_context(|| format!("{}", done.display()))?;
            }
        }
        fs::remove_file(&deb)?;
    }
    Ok(())
}

/// Puts all files on the disk that `folder` lies on; `dpkg-deb` syncs none of its own.
fn sync_file_system(folder: &Path) -> std::io::Result<()> {
    let folder = fs::File::open(folder)?;
    // SAFETY: syncfs has no memory effects; the descriptor is open.
    match unsafe { libc::syncfs(folder.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Runs a program in `folder` and returns its standard output; the error is the last thing it said.
fn run(program: &str, folder: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .current_dir(folder)
        .output()
        .map_err(|e| format!("{program} {CANNOT_RUN} ({e})"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().rev().find(|l| l.starts_with("E:")).or_else(|| said.lines().last());
    Err(format!("{program}: {}", error.unwrap_or("failed without a word").trim_start_matches("E:").trim()))
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
        let pack = r#"mkdir -p man/usr/share/man c && echo page > man/usr/share/man/x && echo 2.0 > debian-binary &&
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
        fs::create_dir(cache.path().join("pages")).unwrap();
        let (deb, page) = (cache.path().join("p_1_all.deb"), cache.path().join("pages/p/usr/share/man/x"));
        for len in (0..whole.len() - 2).step_by(97).chain([whole.len(), whole.len() / 2]) {
            fs::write(&deb, &whole[..len]).unwrap();
            // What an interrupted run has unpacked of another version is no part of this one.
            fs::create_dir_all(cache.path().join("p.part/left")).unwrap();
            let there = page.exists();
            unpack_all(cache.path()).unwrap();
            assert_eq!((page.exists(), deb.exists()), (there || len == whole.len(), false), "cut off at {len}");
        }
        assert!(!cache.path().join("pages/p/left").exists() && page.exists());
    }

    #[test]
    fn an_unreachable_registry_says_what_to_do_instead() {
        let message = no_registry("apt-get cannot be run").to_string();
        assert!(message.contains("apt-get cannot be run") && message.contains("--corpus FOLDER"), "{message}");
    }
}
