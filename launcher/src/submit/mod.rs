//! `tercet submit`: checks a recipe, writes a job script for Slurm into its run folder, and submits it.
//!
//! The script is what runs; it can be read, changed and submitted by hand. [`script`] is its text, [`quote`] makes safe
//! what is inserted into it, [`options`] looks at what the user asks of `sbatch` beside it.

mod options;
pub mod quote;
mod script;
mod time;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use tercet_configs::{DeviceChoice, ExitCode, Recipe};
use tercet_sampler::partial_of;

use crate::args::Submit;
use crate::exit::Fail;
use crate::screen::Screen;
use options::SbatchOption;

/// The largest number of job scripts in a run folder. More of them come from a loop.
const MAX_SCRIPTS: usize = 1000;

/// Checks that Slurm can be asked for what was typed, and warns of what is doubtful.
///
/// # Errors
/// [`ExitCode::Usage`] for what cannot be asked.
pub fn check(args: &Submit, screen: &Screen) -> Result<(), Fail> {
    time::check(&args.time, args.signal_secs)?;
    for typed in &args.sbatch {
        let option = SbatchOption::read(typed)?;
        option.check()?;
        if let Some(gpus) = option.gpus_per_node().filter(|gpus| gpus.parse().ok() != Some(args.gpus_per_node)) {
            let message = format!(
                "--sbatch={typed}: that is {gpus} GPUs a node, and --gpus-per-node is {}: give the same number twice",
                args.gpus_per_node
            );
            return Err(Fail::new(ExitCode::Usage, message));
        }
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let words = options::check_variables(names)?;
    words.iter().for_each(|word| screen.say(&format!("warning: {word}\n")));
    Ok(())
}

/// Whether the job's nodes have what `recipe` is to compute on.
///
/// # Errors
/// [`ExitCode::Usage`] for GPUs that it would not use, or that it would lack.
pub fn check_device(args: &Submit, recipe: &Recipe) -> Result<(), Fail> {
    let gpus = args.gpus_per_node;
    let message = match recipe.device {
        DeviceChoice::Cpu if gpus > 0 => {
            format!(
                "device is \"cpu\" and {gpus} GPUs of each node are asked for: add --gpus-per-node 0, or set device = \"auto\""
            )
        }
        DeviceChoice::Cuda if gpus == 0 => "device is \"cuda\" and no GPU is asked for: raise --gpus-per-node".into(),
        _ => return Ok(()),
    };
    Err(Fail::new(ExitCode::Usage, format!("recipe {}: {message}", args.recipe.path.display())))
}

/// Writes the script that trains `recipe`, prints its path, and submits it, or prints it with `--dry-run`.
///
/// # Errors
/// A run folder that cannot be written to; what `sbatch` refuses.
pub fn submit(args: &Submit, recipe: &Recipe, screen: &Screen) -> anyhow::Result<()> {
    let here = std::env::current_dir().context("finding the current folder")?;
    let folder = here.join(&recipe.run_dir);
    let tercet = std::env::current_exe().context("finding this program")?;
    let recipe_file = fs::canonicalize(&args.recipe.path).with_context(|| args.recipe.path.display().to_string())?;
    let text =
        script::Job { args, name: &recipe.name, recipe: &recipe_file, tercet: &tercet, here: &here, folder: &folder }
            .text()?;
    let file = keep(&folder, &text)?;
    if args.dry_run {
        screen.pass(text.as_bytes());
        let (chdir, script) = (quote::shell(folder.as_os_str())?, quote::shell(file.as_os_str())?);
        screen.say(&format!("tercet: this is {}; submit it with\n  sbatch --chdir={chdir} {script}\n", file.display()));
        return Ok(());
    }
    screen.pass(format!("{}\n", file.display()).as_bytes());
    hand_over(&folder, &file)
}

/// Writes the script beside those that are there, unless one of them is the same: `job.sh`, `job-2.sh`, …
fn keep(folder: &Path, text: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("making the run folder {}", folder.display()))?;
    for number in 1..=MAX_SCRIPTS {
        let file = folder.join(if number == 1 { "job.sh".into() } else { format!("job-{number}.sh") });
        match write_new(&file, text) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if fs::read(&file).is_ok_and(|there| there == text.as_bytes()) {
                    return Ok(file);
                }
            }
            Err(error) => return Err(error).with_context(|| format!("writing {}", file.display())),
        }
    }
    let message = format!("{} holds {MAX_SCRIPTS} different job scripts: remove some", folder.display());
    Err(Fail::new(ExitCode::Usage, message).into())
}

/// Writes a file that is not there yet: whole, or not at all.
fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let beside = partial_of(file);
    // A command that was killed has left it.
    let _ = fs::remove_file(&beside);
    if file.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut new = File::create_new(&beside)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    // Unlike renaming, linking takes the place of no file that has come meanwhile.
    match fs::hard_link(&beside, file) {
        // A file system without links.
        Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists) => fs::rename(&beside, file),
        linked => fs::remove_file(&beside).and(linked),
    }
}

/// Runs `sbatch`; the user sees its output.
fn hand_over(folder: &Path, file: &Path) -> anyhow::Result<()> {
    let mut chdir = std::ffi::OsString::from("--chdir=");
    chdir.push(folder);
    let status = Command::new("sbatch").arg(chdir).arg(file).status();
    let refused = |what: String| {
        let message = format!("sbatch {}: {what}; the script stays, to be submitted by hand", file.display());
        Err(Fail::new(ExitCode::Usage, message).into())
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => refused(status.to_string()),
        Err(error) => refused(format!("{error}: is this a machine that submits to Slurm?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_kept_once_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().join("runs/new");
        let names = ["one", "one", "two", "one", "two"].map(|text| {
            let file = keep(&run_dir, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            file.file_name().unwrap().to_str().unwrap().to_owned()
        });
        assert_eq!(names, ["job.sh", "job.sh", "job-2.sh", "job.sh", "job-2.sh"]);
        assert_eq!(fs::read_dir(&run_dir).unwrap().count(), 2);
    }
}
