//! Examines the run folder before there is anything in it: whether it can be made, how much room it has, how fast it
//! is, and whether all machines see the same one. It leaves nothing behind and does not make the folder itself.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tercet_cluster::{Collective, CollectiveError, broadcast_bytes};
use tercet_configs::{ExitCode, ModelShape, Recipe};
use tercet_protocol::says::doctor::FolderFacts;

use super::machine::space;
use crate::checkpoint;

/// The number of bytes written to time the disk, more than a disk's own cache absorbs.
const WRITE_BYTES: usize = 64 << 20;

/// The facts of the folder that need no measuring.
pub fn look(recipe: &Recipe) -> Option<FolderFacts> {
    if recipe.run_dir.as_os_str().is_empty() {
        return None;
    }
    let place = nearest(&recipe.run_dir);
    let (checkpoint_bytes, num_checkpoints) = (checkpoint_bytes(recipe), num_checkpoints(recipe));
    Some(FolderFacts {
        path: recipe.run_dir.clone(),
        error: place.as_ref().err().map(io::Error::to_string),
        is_mistake: place.as_ref().err().is_some_and(is_mistake),
        free_bytes: place.ok().and_then(|place| space(&place)).map_or(0, |(_, free)| free),
        checkpoint_bytes,
        num_checkpoints,
        ..FolderFacts::default()
    })
}

/// Times writing a file where the run's files will be. This machine's first rank calls it.
pub fn time_writing(folder: &mut FolderFacts) {
    if folder.error.is_some() {
        return;
    }
    match nearest(&folder.path).and_then(|place| write_synced(&place)) {
        Ok(rate) => folder.write_bytes_per_sec = Some(rate),
        Err(error) => {
            folder.is_mistake = is_mistake(&error);
            folder.error = Some(format!("writing {} MiB: {error}", WRITE_BYTES >> 20));
        }
    }
}

fn is_mistake(error: &io::Error) -> bool {
    ExitCode::of_io(error) == ExitCode::Usage
}

/// Whether this rank sees what rank 0 writes to the folder; None if nothing can be written. Every rank calls it.
pub fn sees_rank_0(ranks: &dyn Collective, run_dir: Option<&Path>) -> Result<Option<bool>, CollectiveError> {
    let mut name = Vec::new();
    let run_dir = run_dir.filter(|run_dir| ranks.rank() == 0 && !run_dir.as_os_str().is_empty());
    if let Some(Ok(place)) = run_dir.map(nearest) {
        remove_left(&place, ranks.host());
        let file = place.join(format!(".tercet-doctor-{}-{}", ranks.host(), std::process::id()));
        if File::options().write(true).create_new(true).open(&file).is_ok() {
            name = file.into_os_string().into_encoded_bytes();
        }
    }
    broadcast_bytes(ranks, &mut name, 0)?;
    let path = PathBuf::from(String::from_utf8_lossy(&name).into_owned());
    let seen = (!name.is_empty()).then(|| path.exists());
    ranks.barrier()?;
    if ranks.rank() == 0 && !name.is_empty() {
        // If it cannot be removed, an empty file stays whose name tells its writer.
        let _ = fs::remove_file(&path);
    }
    Ok(seen)
}

/// The run folder, or the nearest existing folder above it, in which it will be made. An error if it cannot be made.
fn nearest(run_dir: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(run_dir)?;
    let place = whole.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    if !place.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a folder", place.display())));
    }
    let path = CString::new(place.as_os_str().as_encoded_bytes())?;
    // SAFETY: the path ends with NUL and lives during the call.
    match unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(place.to_owned()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn write_synced(place: &Path) -> io::Result<f64> {
    let path = place.join(format!(".tercet-doctor-{}", std::process::id()));
    (|| {
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        // The file is removed at once, so nothing is left if the process is killed.
        let _ = fs::remove_file(&path);
        // The bytes are not zeros, which some file systems do not store.
        let block: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let started = Instant::now();
        for _ in 0..WRITE_BYTES / block.len() {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        Ok(WRITE_BYTES as f64 / started.elapsed().as_secs_f64())
    })()
}

/// Removes the files of checks on this host that were killed: the processes in the files' names are gone.
fn remove_left(place: &Path, host: &str) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let own = name.to_str().and_then(|name| name.strip_prefix(".tercet-doctor-"));
        let pid =
            own.map(|own| own.strip_prefix(&format!("{host}-")).unwrap_or(own)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // A leftover empty file does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The bytes of the weights and AdamW's two moments; the rest of a checkpoint is small.
fn checkpoint_bytes(recipe: &Recipe) -> Option<u64> {
    let shape = ModelShape::of(recipe, None).ok()?;
    Some((3 * shape.element_bytes * shape.num_parameters) as u64)
}

/// The number of checkpoints that the run keeps at the same time, plus the one being written, minus those that exist.
fn num_checkpoints(recipe: &Recipe) -> u64 {
    let section = &recipe.checkpoint;
    let evaluates_every = if recipe.eval.data.is_empty() { 0 } else { recipe.eval.every_steps };
    let due = |every_steps: u64| recipe.steps.checked_div(every_steps).unwrap_or(0);
    let for_both = due(lcm(section.every_steps, evaluates_every));
    let made = (due(section.every_steps) + due(evaluates_every) - for_both).max(1);
    let stay = section.keep as u64 + u64::from(section.keep_best.is_some());
    let kept = if section.keep == 0 { made } else { made.min(stay + 1) };
    kept.saturating_sub(checkpoint::num_checkpoints(&recipe.run_dir)).max(1)
}

/// The least common multiple; 0 of 0 and anything.
fn lcm(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a.checked_div(divisor).map_or(0, |part| part.saturating_mul(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(settings: &[&str]) -> Recipe {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Recipe::parse("name = \"t\"\nsteps = 100\n", Path::new("t.toml"), &settings).unwrap()
    }

    #[test]
    fn what_is_not_there_yet_will_be_made_below_what_is() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("a/b/run");
        let found = look(&recipe(&[&format!("run_dir={}", run_dir.display())])).unwrap();
        assert!(found.error.is_none() && found.free_bytes > 0, "{found:?}");
        let mut timed = found;
        time_writing(&mut timed);
        assert!(timed.write_bytes_per_sec.is_some_and(|rate| rate > 0.0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
        let ranks = tercet_cluster::Solo::new();
        // No process has this number.
        for name in ["4294967295".to_owned(), format!("{}-4294967295", ranks.host())] {
            fs::write(dir.path().join(format!(".tercet-doctor-{name}")), "").unwrap();
        }
        assert_eq!(sees_rank_0(&ranks, Some(&run_dir)).unwrap(), Some(true));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_made() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = look(&recipe(&[&format!("run_dir={}/run", file.path().display())])).unwrap();
        assert!(found.error.is_some_and(|error| error.contains("is not a folder")));
        assert_eq!(look(&recipe(&[])), None);
    }

    #[test]
    fn checkpoints_are_those_kept_and_one_more() {
        let number = |every: u64, keep: usize| {
            num_checkpoints(&recipe(&[&format!("checkpoint.every_steps={every}"), &format!("checkpoint.keep={keep}")]))
        };
        assert_eq!([number(10, 3), number(10, 0), number(50, 3), number(0, 3)], [4, 10, 2, 1]);
    }
}
