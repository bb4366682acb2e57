//! A checkpoint that is cut off or altered anywhere is refused by the name of the file, and the one before is taken.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use tercet_configs::Recipe;
use tercet_worker::checkpoint::{self, Background, Progress, Snapshot, TrainState, newest_good};
use tercet_worker::model::{M3Model, ModelOptions};
use tercet_worker::optimizer::AdamW;

const BLOCK: u64 = 4096;

fn model() -> M3Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nano_xlmr/hf");
    M3Model::load(&dir, &ModelOptions::default(), Device::Cpu, Kind::Float).unwrap()
}

fn recipe() -> Recipe {
    Recipe::parse("name = \"t\"", Path::new("t.toml"), &[]).unwrap()
}

fn state(step: u64) -> TrainState {
    let progress = Progress { step, skipped: 2, left_out: BTreeSet::from([3, 9]) };
    TrainState { progress, recipe_hash: "hash".into(), plan_checksum: 5, cpu_matmul: None }
}

/// A run folder with checkpoints of `steps`, the `keep` newest of them, and what the model was at the last.
fn run_folder(steps: &[u64], keep: usize) -> (tempfile::TempDir, M3Model, AdamW) {
    let dir = tempfile::tempdir().unwrap();
    let model = model();
    let optimizer = AdamW::new(&model.parameters);
    let snapshot = Snapshot::new(&model, &recipe()).unwrap();
    let mut background = Background::new(dir.path().to_owned(), keep, snapshot);
    for &step in steps {
        let add = |tensor: &Tensor, value: f64| _ = tensor.shallow_clone().g_add_scalar_(value);
        add(&model.parameters.flat, 0.125);
        add(&optimizer.mean, 0.5);
        add(&optimizer.square, 0.25);
        background.wait().unwrap();
        let history = File::create(dir.path().join("metrics.jsonl")).unwrap();
        let moments = [&optimizer.mean, &optimizer.square];
        background.begin(history, |snapshot| snapshot.take(&model.parameters.flat, moments, state(step))).unwrap();
        // Training goes on at once: what is written is what there was.
        add(&model.parameters.flat, 1.0);
        let complete = background.wait().unwrap().unwrap();
        add(&model.parameters.flat, -1.0);
        assert_eq!((complete.step, complete.path), (step, checkpoint::directory(dir.path(), step)));
    }
    (dir, model, optimizer)
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_was_taken_is_what_is_loaded() {
    let (dir, model, optimizer) = run_folder(&[10, 20, 30], 2);
    let (newest, refused) = newest_good(dir.path());
    assert_eq!((newest.as_deref(), refused.len()), (Some(checkpoint::directory(dir.path(), 30).as_path()), 0));
    assert!(!checkpoint::directory(dir.path(), 10).exists(), "two are kept");
    let options = ModelOptions::default();
    let found = checkpoint::load(&newest.unwrap(), &options, Device::Cpu, Kind::Float).unwrap();
    // Adding 1 and taking it away again rounds.
    assert!(found.model.parameters.flat.allclose(&model.parameters.flat, 0.0, 1e-6, false));
    assert_eq!((found.optimizer.mean, found.optimizer.square), (optimizer.mean, optimizer.square));
    assert_eq!((found.state, found.optimizer.updates), (state(30), 28));
}

/// Before faults were survived, every step was an update.
#[test]
fn a_state_without_skipped_steps_loads() {
    let old = r#"{"plan_checksum": 5, "recipe_hash": "hash", "step": 7}"#;
    let found: TrainState = serde_json::from_str(old).unwrap();
    assert_eq!(found.progress, Progress { step: 7, ..Progress::default() });
    assert_eq!(found.progress.updates(), 7);
}

/// The newest checkpoint of `run_dir` is refused by the name of `file`, and the one before is taken.
fn assert_refused(run_dir: &Path, file: &str, damage: &str) {
    let (newest, refused) = newest_good(run_dir);
    assert_eq!(newest, Some(checkpoint::directory(run_dir, 10)), "{file} {damage}");
    let reason = refused.iter().map(ToString::to_string).collect::<String>();
    assert!(refused.len() == 1 && reason.contains(&format!("step-00000020: {file}: ")), "{damage}: {reason}");
}

#[test]
fn a_checkpoint_that_is_cut_off_or_altered_at_any_block_is_refused() {
    let (dir, ..) = run_folder(&[10, 20], 0);
    let newest = checkpoint::directory(dir.path(), 20);
    let (mut cuts, mut flips) = (0, 0);
    for path in files(&newest) {
        let name = path.strip_prefix(&newest).unwrap().to_str().unwrap();
        let whole = fs::read(&path).unwrap();
        let len = whole.len() as u64;
        let odd = [1, 7, 511, BLOCK + 1, len / 2, len.saturating_sub(8), len.saturating_sub(1)];
        for end in (0..len).step_by(BLOCK as usize).chain(odd.into_iter().filter(|end| *end < len)) {
            File::options().write(true).open(&path).unwrap().set_len(end).unwrap();
            assert_refused(dir.path(), name, &format!("cut off after {end} of {len} bytes"));
            fs::write(&path, &whole).unwrap();
            cuts += 1;
        }
        for at in (0..len).step_by(BLOCK as usize).chain([len / 3, len - 1]) {
            let mut altered = whole.clone();
            altered[at as usize] ^= 1 << (at % 8);
            fs::write(&path, altered).unwrap();
            if name == "manifest.json" {
                // Which of its files then seems to be wrong depends on the byte.
                assert_eq!(
                    newest_good(dir.path()).0,
                    Some(checkpoint::directory(dir.path(), 10)),
                    "byte {at} of {name}"
                );
            } else {
                assert_refused(dir.path(), name, &format!("with another byte at {at}"));
            }
            flips += 1;
        }
        fs::write(&path, &whole).unwrap();
        fs::remove_file(&path).unwrap();
        assert_refused(dir.path(), name, "gone");
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(newest_good(dir.path()).0, Some(newest), "whole again");
    println!("{cuts} cuts, {flips} altered bytes");
    assert!(cuts > 100 && flips > 50);
}

/// A bit of every byte of the manifest, on which all else depends.
#[test]
fn a_manifest_with_any_other_byte_is_refused() {
    let (dir, ..) = run_folder(&[20], 0);
    let path = checkpoint::directory(dir.path(), 20).join("manifest.json");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1 << (at % 8);
        fs::write(&path, &altered).unwrap();
        let (newest, refused) = newest_good(dir.path());
        let text = String::from_utf8_lossy(&altered);
        assert!(newest.is_none() && refused.len() == 1, "byte {at} passes: {text}");
    }
}
