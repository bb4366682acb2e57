//! A checkpoint that is cut off or altered anywhere is refused by the name of the file, and the one before is taken.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use tercet_configs::{ExitCode, Recipe};
use tercet_worker::checkpoint::{self, Background, CheckpointError, Kept, Progress, Snapshot, TrainState, newest_good};
use tercet_worker::model::{M3Model, ModelOptions};
use tercet_worker::step::update::{AdamW, Lasts, Moment};

const BLOCK: u64 = 4096;

fn model() -> M3Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nano_xlmr/hf");
    M3Model::load(&dir, &ModelOptions::default(), Device::Cpu, Kind::Float).unwrap()
}

fn recipe() -> Recipe {
    Recipe::parse("name = \"t\"", Path::new("t.toml"), &[]).unwrap()
}

fn state(step: u64) -> TrainState {
    let progress = Progress { step, skipped: 2, left_out: BTreeSet::from([3, 9]), evaluates: true };
    TrainState { progress, recipe_hash: "hash".into(), plan_checksum: 5, cpu_matmul: None }
}

/// A run folder with checkpoints of `steps`, the `keep` newest of them, and what the model was at the last.
fn run_folder(steps: &[u64], keep: usize) -> (tempfile::TempDir, M3Model, AdamW) {
    let dir = tempfile::tempdir().unwrap();
    let (model, optimizer, _) = write_to(dir.path(), steps, Kept::new(keep, 0));
    (dir, model, optimizer)
}

/// Writes checkpoints of `steps` to `run_dir`; what the model was at the last, and what was remarked.
fn write_to(run_dir: &Path, steps: &[u64], kept: Kept) -> (M3Model, AdamW, Vec<String>) {
    let model = model();
    let optimizer = AdamW::new(&model.parameters);
    let snapshot = Snapshot::new(&model, &recipe()).unwrap();
    let mut background = Background::new(run_dir.to_owned(), kept, snapshot);
    let mut remarks = Vec::new();
    for &step in steps {
        let add = |tensor: &Tensor, value: f64| _ = tensor.shallow_clone().g_add_scalar_(value);
        add(&model.parameters.flat, 0.125);
        add(&optimizer.mean, 0.5);
        add(&optimizer.square, 0.25);
        background.wait().unwrap();
        begin(&mut background, run_dir, (&model, &optimizer), step);
        // Training goes on at once: what is written is what there was.
        add(&model.parameters.flat, 1.0);
        let complete = background.wait().unwrap().unwrap();
        add(&model.parameters.flat, -1.0);
        assert_eq!((complete.step, complete.path), (step, checkpoint::directory(run_dir, step)));
        remarks.extend(background.take_remarks());
    }
    (model, optimizer, remarks)
}

/// Takes the checkpoint of `step`, which is then being written.
fn begin(background: &mut Background, run_dir: &Path, (model, optimizer): (&M3Model, &AdamW), step: u64) {
    let history = File::create(run_dir.join("metrics.jsonl")).unwrap();
    let taken = background.begin(vec![history], |snapshot| -> Result<(), CheckpointError> {
        snapshot.take(&model.parameters.flat, state(step));
        snapshot.take_moment(Moment::Mean, 0, &optimizer.mean, Lasts::UntilUpdate);
        snapshot.take_moment(Moment::Square, 0, &optimizer.square, Lasts::UntilUpdate);
        Ok(())
    });
    taken.unwrap();
}

/// What is called `step-…` or otherwise made of a checkpoint's name, in order.
fn names(run_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(run_dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name != "metrics.jsonl").collect();
    names.sort();
    names
}

/// As an interrupted copy leaves it.
fn cut_off(run_dir: &Path, steps: &[u64]) {
    for &step in steps {
        let path = checkpoint::directory(run_dir, step).join("model/model.safetensors");
        File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    }
}

/// Damage that has no other size.
fn alter(run_dir: &Path, step: u64) {
    let path = checkpoint::directory(run_dir, step).join("train/optimizer.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
}

fn newest_step(run_dir: &Path) -> PathBuf {
    newest_good(run_dir).0.unwrap()
}

#[test]
fn damaged_ones_take_nobodys_place_whatever_their_numbers_are() {
    for keep in [1, 2] {
        let (dir, ..) = run_folder(&[10, 20, 30, 40, 50], 0);
        let run_dir = dir.path();
        cut_off(run_dir, &[30, 50]);
        alter(run_dir, 40);
        // As a run does that is resumed: from 20, in a new process.
        assert_eq!(newest_step(run_dir), checkpoint::directory(run_dir, 20));
        let (.., remarks) = write_to(run_dir, &[25], Kept::new(keep, 20));
        let kept: &[&str] = if keep == 1 { &["step-00000025"] } else { &["step-00000020", "step-00000025"] };
        let damaged = ["step-00000030", "step-00000040", "step-00000050"];
        assert_eq!(names(run_dir), [kept, &damaged[..]].concat());
        assert_eq!(remarks, [""; 0]);
        assert_eq!(newest_step(run_dir), checkpoint::directory(run_dir, 25));
        // A damaged one of the same number gives way; one of a lower number goes.
        let (.., remarks) = write_to(run_dir, &[30, 45], Kept::new(keep, 25));
        let kept: &[&str] = if keep == 1 { &["step-00000045"] } else { &["step-00000030", "step-00000045"] };
        assert_eq!(names(run_dir), [kept, &["step-00000050"]].concat());
        assert_eq!(newest_step(run_dir), checkpoint::directory(run_dir, 45));
        match keep {
            // Nothing is looked at that is not needed.
            1 => assert_eq!(remarks, [""; 0]),
            _ => assert!(
                remarks[0].contains("step-00000040: train/optimizer.safetensors: its checksum differs"),
                "{remarks:?}"
            ),
        }
    }
}

#[test]
fn those_that_are_kept_are_good_also_if_they_were_damaged_since_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path();
    write_to(run_dir, &[10, 20, 30], Kept::new(0, 0));
    alter(run_dir, 20);
    // Not of this process: it is read, once.
    let (.., remarks) = write_to(run_dir, &[40], Kept::new(2, 30));
    assert_eq!((names(run_dir), remarks.len()), (vec!["step-00000030".to_owned(), "step-00000040".to_owned()], 0));
    cut_off(run_dir, &[30]);
    let (.., remarks) = write_to(run_dir, &[50], Kept::new(3, 30));
    assert_eq!(names(run_dir), ["step-00000040", "step-00000050"]);
    assert!(remarks[0].contains("step-00000030: model/model.safetensors: has 100 bytes of"), "{remarks:?}");
    // After rolling back to 40, 50 is known to be damaged, although this process once found it good.
    let mut kept = Kept::new(2, 50);
    alter(run_dir, 50);
    kept.goes_on_from(40);
    write_to(run_dir, &[60], kept);
    assert_eq!(names(run_dir), ["step-00000040", "step-00000060"]);
}

#[test]
fn the_best_one_stays_as_long_as_it_is_the_best_and_good() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path();
    let best = |keep: usize, from: u64, best: u64| {
        let mut kept = Kept::new(keep, from);
        kept.best_is(Some(best));
        kept
    };
    write_to(run_dir, &[10, 20, 30, 40], best(1, 0, 20));
    assert_eq!(names(run_dir), ["step-00000020", "step-00000040"]);
    // Among the newest it takes nobody's place.
    write_to(run_dir, &[50], best(2, 40, 40));
    assert_eq!(names(run_dir), ["step-00000040", "step-00000050"]);
    write_to(run_dir, &[60], best(1, 50, 40));
    cut_off(run_dir, &[40]);
    let (.., remarks) = write_to(run_dir, &[70], best(1, 60, 40));
    assert_eq!(names(run_dir), ["step-00000070"]);
    assert!(remarks[0].contains("step-00000040: model/model.safetensors: has 100 bytes of"), "{remarks:?}");
}

#[test]
fn what_is_no_checkpoint_is_neither_counted_nor_removed() {
    let (dir, ..) = run_folder(&[10, 20, 30, 40], 0);
    let run_dir = dir.path();
    let path = |name: &str| run_dir.join(name);
    fs::remove_file(path("step-00000040/manifest.json")).unwrap();
    let later =
        fs::read_to_string(path("step-00000030/manifest.json")).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(path("step-00000030/manifest.json"), later).unwrap();
    for folder in ["step-xyz", "step-25", "step-+0000025", "step-00000025-copy"] {
        fs::create_dir(path(folder)).unwrap();
    }
    fs::write(path("step-00000045"), "a file").unwrap();
    std::os::unix::fs::symlink("nowhere", path("step-00000046")).unwrap();
    assert_eq!(newest_step(run_dir), path("step-00000020"));
    let before = names(run_dir);
    let (.., remarks) = write_to(run_dir, &[50], Kept::new(3, 20));
    let mut expected = before.clone();
    expected.push("step-00000050".to_owned());
    expected.sort();
    assert_eq!(names(run_dir), expected, "two good ones are older");
    assert!(
        remarks.len() == 2 && remarks.iter().all(|remark| remark.ends_with("left in place and ignored")),
        "{remarks:?}"
    );
    // Nor is it lost where a checkpoint has to be.
    let (.., remarks) = write_to(run_dir, &[40, 45, 46], Kept::new(0, 0));
    assert_eq!(remarks.len(), 3, "{remarks:?}");
    assert_eq!(fs::read(path("aside-1-step-00000045")).unwrap(), b"a file");
    assert!(path("aside-1-step-00000040/model/model.safetensors").exists());
    assert!(fs::read_link(path("aside-1-step-00000046")).is_ok());
    assert_eq!(newest_step(run_dir), path("step-00000050"));
    // A link to a checkpoint is one; removing it leaves what it leads to.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(path("step-00000050"), elsewhere.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("moved"), path("step-00000050")).unwrap();
    assert_eq!(newest_step(run_dir), path("step-00000050"));
    write_to(run_dir, &[60], Kept::new(1, 50));
    assert!(path("step-00000050").symlink_metadata().is_err() && elsewhere.path().join("moved/manifest.json").exists());
}

#[test]
fn what_is_left_where_a_checkpoint_is_written_is_no_part_of_it() {
    let (dir, ..) = run_folder(&[10], 0);
    let left = dir.path().join(".step-00000020");
    fs::create_dir_all(left.join("model/left")).unwrap();
    write_to(dir.path(), &[20], Kept::new(1, 10));
    assert_eq!(names(dir.path()), ["step-00000020"]);
    assert!(!dir.path().join("step-00000020/model/left").exists());
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
    let found = checkpoint::load(&newest.unwrap(), &options, Device::Cpu, Kind::Float, AdamW::new).unwrap();
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

/// The run it is of would begin at its step again and again, and keep nothing of what it does.
#[test]
fn a_copy_under_another_steps_name_is_not_the_newest() {
    let (dir, ..) = run_folder(&[6, 10], 0);
    let copy = |to: u64| {
        let (from, to) = (checkpoint::directory(dir.path(), 6), checkpoint::directory(dir.path(), to));
        for file in files(&from) {
            let target = to.join(file.strip_prefix(&from).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&file, target).unwrap();
        }
    };
    copy(900_000);
    let (newest, refused) = newest_good(dir.path());
    assert_eq!(newest, Some(checkpoint::directory(dir.path(), 10)));
    let reason = refused.iter().map(ToString::to_string).collect::<String>();
    let expected = "step-00900000: it is the checkpoint of step 6: name it step-00000006, or remove it";
    assert!(refused.len() == 1 && reason.contains(expected), "{reason}");
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

#[test]
fn a_checkpoint_is_put_into_the_memory_that_a_run_has() {
    let (dir, ..) = run_folder(&[7], 1);
    let mut model = model();
    model.enable_gradients(Kind::Float);
    let mut optimizer = AdamW::new(&model.parameters);
    let places = |model: &M3Model, optimizer: &AdamW| {
        [&model.parameters.flat, &optimizer.mean, &optimizer.square].map(|tensor| tensor.data_ptr())
    };
    let before = places(&model, &optimizer);
    let path = checkpoint::directory(dir.path(), 7);
    let anew = checkpoint::load(&path, &ModelOptions::default(), Device::Cpu, Kind::Float, AdamW::new).unwrap();
    let found = checkpoint::reload(&path, &mut model, &mut optimizer).unwrap();
    assert_eq!((found, optimizer.updates), (state(7), 5));
    assert_eq!(places(&model, &optimizer), before, "nothing was made anew");
    assert_eq!(model.parameters.flat, anew.model.parameters.flat);
    assert_eq!([optimizer.mean, optimizer.square], [anew.optimizer.mean, anew.optimizer.square]);
    assert_eq!(checkpoint::newest_recipe(dir.path()), Some(recipe()));
}

#[test]
fn weights_that_are_not_finite_are_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let model = model();
    let optimizer = AdamW::new(&model.parameters);
    let mut background =
        Background::new(dir.path().to_owned(), Kept::new(2, 0), Snapshot::new(&model, &recipe()).unwrap());
    for (step, number) in [(1, 1.0), (2, f64::NAN), (3, f64::INFINITY)] {
        let _ = model.parameters.flat.narrow(0, 77, 1).fill_(number);
        begin(&mut background, dir.path(), (&model, &optimizer), step);
        let written = background.wait();
        if number.is_finite() {
            assert_eq!(written.unwrap().unwrap().step, step);
            continue;
        }
        let error = written.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Data);
        assert!(error.to_string().contains(&format!("after step {step} ")), "{error}");
        assert_eq!(names(dir.path()), ["step-00000001"]);
    }
}
