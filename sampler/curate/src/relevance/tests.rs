//! [`find_by`](super::find_by) with a launcher that is a script: what is asked of it, and what becomes of its answers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

/// Writes down what it is asked, keeps the rows that it is given, and gives the answers that lie beside it; but it ends
/// with the code in the file `fails`, if there is one.
const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/asked"
if [ -e "$here/fails" ]; then exit "$(cat "$here/fails")"; fi
answers=scores
for word in "$@"; do
  case $word in
    --out=*) out=${word#--out=} ;;
    --index=*) answers=scores-and-better ;;
  esac
done
mkdir -p "$out" "$here/given"
for word in "$@"; do
  case $word in
    --rows=*)
      rows=${word#--rows=}
      cp "$rows" "$here/given"
      cp "$here/$answers/$(basename "$rows")" "$out" ;;
  esac
done
"#;

struct Scene {
    dir: tempfile::TempDir,
    rows: Vec<PathBuf>,
}

impl Scene {
    /// Units of rows: their scores, and how many passages are better.
    fn new(units: &[&[(f32, usize)]], dropped: &dyn Fn(usize) -> Vec<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: String| dir.path().join(name);
        fs::write(path("tercet".into()), SCRIPT).unwrap();
        fs::set_permissions(path("tercet".into()), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["scores", "scores-and-better"] {
            fs::create_dir(path(folder.into())).unwrap();
        }
        let rows = units.iter().enumerate().map(|(number, rows)| {
            let [mut all, mut asked, mut scores, mut both] = [const { String::new() }; 4];
            for (row, (score, better)) in rows.iter().enumerate() {
                let line = format!("{{\"query\":\"q{row}\",\"pos\":[\"p{number}.{row}\"]}}\n");
                all += &line;
                if !dropped(number).contains(&(row as u32)) {
                    asked += &line;
                    scores += &format!("{{\"pos_scores\":[{score}]}}\n");
                    both += &format!("{{\"pos_scores\":[{score}],\"better\":[{better}]}}\n");
                }
            }
            let packed = |text: String| zstd::encode_all(text.as_bytes(), 1).unwrap();
            fs::write(path(format!("scores/{number:06}.jsonl.zst")), packed(scores)).unwrap();
            fs::write(path(format!("scores-and-better/{number:06}.jsonl.zst")), packed(both)).unwrap();
            fs::write(path(format!("expected-{number:06}")), asked).unwrap();
            fs::write(path(format!("rows-{number}.jsonl")), all).unwrap();
            path(format!("rows-{number}.jsonl"))
        });
        let rows = rows.collect();
        Self { rows, dir }
    }

    fn find(&self, recipe: &str, dropped: &dyn Fn(usize) -> Vec<u32>) -> Result<Found, CurateError> {
        let recipe: RelevanceRecipe = tercet_configs::from_toml(&format!("model = \"m\"\n{recipe}")).unwrap();
        let tercet = Tercet::at(self.dir.path().join("tercet"));
        let dropped = |unit| Ok(Box::new(dropped(unit).into_iter().map(Ok)) as Numbers<'_>);
        let units = Units { rows: &self.rows, dropped: &dropped };
        find_by(tercet, units, &recipe, Path::new("/base"), &self.dir.path().join("scratch"))
    }

    /// The script has been given all rows of these units that are asked about.
    fn assert_given(&self, units: &[usize]) {
        let given = self.dir.path().join("given");
        assert_eq!(fs::read_dir(&given).unwrap().count(), units.len());
        for unit in units {
            let found = zstd::decode_all(&fs::read(given.join(format!("{unit:06}.jsonl.zst"))).unwrap()[..]).unwrap();
            let expected = fs::read(self.dir.path().join(format!("expected-{unit:06}"))).unwrap();
            assert!(found == expected, "unit {unit}");
        }
    }

    /// The words of each command that was asked for, since the last look.
    fn asked(&self) -> Vec<String> {
        let path = self.dir.path().join("asked");
        let asked = fs::read_to_string(&path).unwrap_or_default();
        _ = fs::remove_file(path);
        asked.lines().map(str::to_owned).collect()
    }
}

/// The rows of each unit that go, with the reason.
fn goes(found: &Found) -> Vec<Vec<(u32, &str)>> {
    let of_unit = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        let of_row = |bytes: &[u8]| {
            let row = u32::from_le_bytes(bytes[..4].try_into().unwrap());
            (row, found.dropped.reasons[usize::from(u16::from_le_bytes([bytes[4], bytes[5]]))].as_str())
        };
        bytes.chunks_exact(6).map(of_row).collect()
    };
    found.dropped.units.iter().map(of_unit).collect()
}

const NONE: &dyn Fn(usize) -> Vec<u32> = &|_| Vec::new();

#[test]
fn what_scores_low_goes_and_what_others_beat() {
    // The first unit's first row and the whole of the second have gone before.
    let dropped = |unit| if unit < 2 { vec![0] } else { Vec::new() };
    let units: [&[(f32, usize)]; 3] =
        [&[(0.9, 0), (0.2, 0), (0.43, 1), (0.9, 2), (0.1, 5)], &[(0.5, 3)], &[(0.8, 1), (0.42, 0)]];
    let scene = Scene::new(&units, &dropped);
    let recipe = "min_score = 0.43\nconsistency = { passages = 3, top = 2 }\nranks = 2\npassage_prefix = \"-p\"";
    let found = scene.find(recipe, &dropped).unwrap();
    let (low, inconsistent) = ("low_relevance", "inconsistent");
    assert_eq!(goes(&found), [vec![(1, low), (3, inconsistent), (4, low)], vec![], vec![(1, low)]]);
    let Scores { hundredths, better, passages } = &found.scores;
    assert_eq!((hundredths[&43], hundredths[&90], hundredths.values().sum::<u64>(), *passages), (1, 1, 6, 3));
    assert_eq!((better[&0], better[&1], better[&2], better[&5]), (2, 2, 1, 1));
    scene.assert_given(&[0, 2]);
    let asked = scene.asked();
    let scratch = scene.dir.path().join("scratch").display().to_string();
    let common = "--model=/base/m --device=auto --precision=auto --sub-batch-tokens=8192 --ranks=2";
    let index = format!(
        "index {common} --corpus={scratch}/passages.jsonl.zst --out={scratch}/index --heads=dense --store=fp32 \
         --passage-max-len=512 --passage-prefix=-p"
    );
    let score = format!(
        "score {common} --rows={scratch}/asked-000000/000000.jsonl.zst --rows={scratch}/asked-000000/000002.jsonl.zst \
         --out={scratch}/scores-000000 --query-max-len=512 --index={scratch}/index --top=2"
    );
    assert_eq!(asked, [index, score]);
    // Nothing is scored again.
    let again = scene.find(recipe, &dropped).unwrap();
    assert_eq!((goes(&again), &again.scores), (goes(&found), &found.scores));
    assert_eq!(scene.asked().len(), 1, "the index is looked at");
}

#[test]
fn a_minimum_alone_needs_no_index() {
    let scene = Scene::new(&[&[(0.9, 0), (-0.25, 9)]], NONE);
    let found = scene.find("min_score = 0", NONE).unwrap();
    assert_eq!(goes(&found), [[(1, "low_relevance")]]);
    assert!(found.scores.better.is_empty());
    assert_eq!(found.scores.hundredths, BTreeMap::from([(90, 1), (-25, 1)]));
    let asked = scene.asked();
    assert!(asked.len() == 1 && asked[0].starts_with("score "), "{asked:?}");
    assert!(asked[0].contains("--passage-max-len=512") && !asked[0].contains("--index"), "{asked:?}");
}

#[test]
fn nothing_is_asked_about_no_row() {
    let dropped = |_| vec![0];
    let scene = Scene::new(&[&[(0.9, 0)], &[]], &dropped);
    let found = scene.find("consistency = {}", &dropped).unwrap();
    assert_eq!(goes(&found), [vec![], vec![]]);
    assert_eq!((scene.asked().len(), found.scores), (0, Scores::default()));
}

#[test]
fn ranks_exit_codes_are_passed_on_and_it_goes_on() {
    let scene = Scene::new(&[&[(0.9, 0), (0.1, 0)]], NONE);
    for (code, expected) in [("2", 2), ("3", 3), ("4", 4), ("75", 75), ("1", 3), ("130", 3)] {
        fs::write(scene.dir.path().join("fails"), code).unwrap();
        let error = scene.find("min_score = 0.5\nconsistency = {}", NONE).unwrap_err();
        assert_eq!(error.exit_code().code(), expected);
        assert_eq!(error.to_string(), format!("tercet index ended with code {code}: what it says stands above"));
    }
    fs::remove_file(scene.dir.path().join("fails")).unwrap();
    let found = scene.find("min_score = 0.5\nconsistency = {}", NONE).unwrap();
    assert_eq!(goes(&found), [[(1, "low_relevance")]]);
}

#[test]
fn many_units_are_asked_about_a_part_at_a_time() {
    let unit: &[(f32, usize)] = &[(0.9, 0), (0.1, 0)];
    let num_units = UNITS_AT_A_TIME + 3;
    let scene = Scene::new(&vec![unit; num_units], NONE);
    let looked = Cell::new(0);
    let dropped = |_| {
        looked.set(looked.get() + 1);
        Vec::new()
    };
    let found = scene.find("min_score = 0.5", &dropped).unwrap();
    assert!(goes(&found).iter().all(|unit| unit == &[(1, "low_relevance")]));
    assert_eq!((scene.asked().len(), found.scores.hundredths[&90]), (2, num_units as u64));
    scene.assert_given(&(0..num_units).collect::<Vec<_>>());
    // Each unit is copied and joined, and none is kept in memory.
    assert_eq!(looked.get(), 2 * num_units);
}

#[test]
fn ranks_that_do_not_end_are_waited_for_no_longer_than_patience() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ranks");
    fs::write(&path, "tercet score, process 7").unwrap();
    let held = fs::File::open(&path).unwrap();
    held.lock().unwrap();
    let error = Tercet::at("tercet".into()).be_alone(&path, Duration::ZERO).unwrap_err();
    assert_eq!(error.exit_code().code(), 3);
    assert!(error.to_string().contains("ranks: tercet score, process 7 of an earlier command did not end"), "{error}");
    drop(held);
    Tercet::at("tercet".into()).be_alone(&path, Duration::ZERO).unwrap();
}
