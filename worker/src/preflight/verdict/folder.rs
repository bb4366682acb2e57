//! Judges the run folder.

use tercet_protocol::says::doctor::{Finding, FolderFacts, Level, MachineFacts};

use super::wording::mib;

/// A run folder slower than this, in bytes per second, holds up checkpoints.
const SLOW_DISK: f64 = 20e6;

/// Only rank 0 writes, so the folder of its machine counts. The other machines get a warning if they see a different
/// one.
pub(super) fn folders(machines: &[(&str, &MachineFacts)]) -> Vec<Finding> {
    let folders: Vec<(&str, &FolderFacts)> =
        machines.iter().filter_map(|(host, machine)| Some((*host, machine.folder.as_ref()?))).collect();
    let Some(&(host, folder)) = folders.first() else { return Vec::new() };
    let path = folder.path.display();
    let mut found = Vec::new();
    let mut add = |level, host: &str, text: String| found.push(Finding::new(level, host, text));
    if let Some(error) = &folder.error {
        add(
            if folder.is_mistake { Level::Mistake } else { Level::Sick },
            host,
            format!("run folder {path}: nothing can be written there: {error}: make it, or set run_dir"),
        );
    } else if let Some(bytes) = folder.checkpoint_bytes {
        let free = folder.free_bytes;
        if free < bytes * folder.num_checkpoints {
            let text = format!(
                "run folder {path}: {} are free, a checkpoint takes about {} and {} are to come: make room, or set \
                 checkpoint.keep",
                mib(free),
                mib(bytes),
                folder.num_checkpoints
            );
            // `doctor`, which measures, is used before machines are booked; a run that has begun may still get room.
            let level = match free < bytes && folder.write_bytes_per_sec.is_some() {
                true => Level::Sick,
                false => Level::Warning,
            };
            add(level, host, text);
        }
    }
    if let Some(rate) = folder.write_bytes_per_sec.filter(|rate| *rate < SLOW_DISK) {
        let text = format!("run folder {path}: {:.1} MB/s are written to it: checkpoints will be slow", rate / 1e6);
        add(Level::Warning, host, text);
    }
    for (host, _) in folders.iter().skip(1).filter(|(_, folder)| folder.sees_rank_0 == Some(false)) {
        let text = format!(
            "run folder {path} is not rank 0's: only rank 0 writes, but a run restarted elsewhere would not see it"
        );
        add(Level::Warning, host, text);
    }
    found
}
