//! The store: everything written can be read again at any place, and damage is refused with the file's name.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tercet_configs::ExitCode;
use tercet_sampler::{SpecialTokens, Store, StoreError, StoreSettings, StoreWriter, StoredRow, TokenRow};

const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

fn settings(rows_per_shard: u64) -> StoreSettings {
    StoreSettings {
        text_max_len: 8192,
        tokenizer_hash: "0123".into(),
        special: SPECIAL,
        query_max_len: 8,
        passage_max_len: 32,
        rows_per_shard,
    }
}

/// A row whose tokens tell its number. Some rows have scores, some have no negatives, some have an empty text.
fn row(number: usize) -> TokenRow {
    let text = |seed: usize, len: usize| (0..len).map(|i| (10 + (number * 31 + seed * 7 + i) % 1000) as u32).collect();
    let pos: Vec<Vec<u32>> = (0..1 + number % 3).map(|i| text(i, 1 + (number + i) % 30)).collect();
    let neg: Vec<Vec<u32>> = (0..number % 5).map(|i| text(i + 10, (number * 5 + i) % 31)).collect();
    let scored = number.is_multiple_of(2);
    TokenRow {
        query: text(99, number % 7),
        pos_scores: scored.then(|| pos.iter().map(|text| text.len() as f32 / 8.0).collect()),
        neg_scores: (scored && !neg.is_empty()).then(|| neg.iter().map(|text| -(text.len() as f32)).collect()),
        pos,
        neg,
    }
}

fn write(dir: &Path, num_rows: usize, rows_per_shard: u64) {
    let mut writer = StoreWriter::create(dir, settings(rows_per_shard)).unwrap();
    let mut dataset = writer.dataset("numbers").unwrap();
    (0..num_rows).for_each(|number| dataset.push(row(number)).unwrap());
    dataset.finish(Some("normal".into()), Vec::new()).unwrap();
    let mut dataset = writer.dataset("other").unwrap();
    dataset.push(row(4)).unwrap();
    dataset.finish(None, Vec::new()).unwrap();
    writer.finish().unwrap();
}

fn as_token_row(stored: &StoredRow) -> TokenRow {
    let scores = |count: usize, score: &dyn Fn(usize) -> Option<f32>| (0..count).map(score).collect();
    let neg_scores = (stored.num_neg() > 0).then(|| scores(stored.num_neg(), &|i| stored.neg_score(i))).flatten();
    TokenRow {
        query: stored.query().to_vec(),
        pos: (0..stored.num_pos()).map(|i| stored.pos(i).to_vec()).collect(),
        neg: (0..stored.num_neg()).map(|i| stored.neg(i).to_vec()).collect(),
        pos_scores: scores(stored.num_pos(), &|i| stored.pos_score(i)),
        neg_scores,
    }
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("numbers")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn any_row_is_read_as_it_was_written_in_any_order_from_any_thread() {
    let dir = tempfile::tempdir().unwrap();
    let num_rows = 11_000;
    // A full shard has two record batches, there are three shards, and no shard ends with a full record batch.
    write(dir.path(), num_rows, 5000);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.dataset(0).shards.iter().map(|shard| shard.num_rows).collect::<Vec<_>>(), [5000, 5000, 1000]);
    std::thread::scope(|scope| {
        for step in [1, 7919, num_rows - 1] {
            let store = &store;
            scope.spawn(move || {
                for i in 0..num_rows {
                    let number = i * step % num_rows;
                    let expected = row(number);
                    let stored = store.row(0, number as u64).unwrap();
                    assert_eq!(as_token_row(&stored), expected);
                    assert_eq!(stored.pos_score(stored.num_pos()), None);
                }
            });
        }
    });
    assert_eq!(as_token_row(&store.row(1, 0).unwrap()), row(4));
}

#[test]
fn reading_a_row_copies_nothing_and_the_row_outlives_the_store() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 50, 50);
    let store = Store::open(dir.path()).unwrap();
    let (first, second) = (store.row(0, 20).unwrap(), store.row(0, 20).unwrap());
    assert_eq!(first.pos(0).as_ptr(), second.pos(0).as_ptr());
    drop(store);
    assert_eq!(first.pos(0), row(20).pos[0]);
}

#[test]
fn the_manifest_sums_up_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 300, 100);
    let store = Store::open(dir.path()).unwrap();
    let rows: Vec<TokenRow> = (0..300).map(row).collect();
    let texts = || rows.iter().flat_map(|row| [&row.query].into_iter().chain(&row.pos).chain(&row.neg));
    let meta = store.dataset(0);
    assert_eq!((store.num_datasets(), meta.name.as_str(), meta.kind.as_deref()), (2, "numbers", Some("normal")));
    assert_eq!(meta.num_tokens, texts().map(|text| text.len() as u64).sum::<u64>());
    assert_eq!(store.max_token_id(), texts().flatten().copied().max().unwrap());
    assert_eq!(*store.special(), SPECIAL);
    assert!(!meta.has_scores, "every second row has none");
    assert!(store.dataset(1).has_scores);
}

#[test]
fn the_order_by_length_has_every_row_once_with_its_shape() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 500, 200);
    let store = Store::open(dir.path()).unwrap();
    let lens = |texts: &[Vec<u32>]| texts.iter().map(|text| text.len() as u16).collect::<Vec<u16>>();
    let key = |number: u64| {
        let TokenRow { query, pos, neg, .. } = row(number as usize);
        let longest = pos.iter().chain(&neg).chain([&query]).map(Vec::len).max().unwrap() + SpecialTokens::NUM_FRAMING;
        (longest, neg.len(), query.len() as u16, lens(&pos), lens(&neg), number)
    };
    let mut expected: Vec<u64> = (0..500).collect();
    expected.sort_by_key(|&number| key(number));
    for (position, &number) in expected.iter().enumerate() {
        let position = position as u64;
        let (found, stored) = store.read(0, position).unwrap();
        assert_eq!((found, as_token_row(&stored)), (number, row(number as usize)));
        let (longest, _, query, pos, neg, _) = key(number);
        let (shape, end) = store.shapes_from(0, position).unwrap();
        assert_eq!((shape.query, shape.pos, shape.neg, shape.longest()), (query, &pos[..], &neg[..], longest));
        assert!(end > position && end <= 500);
        assert!(end == 500 || store.shape(0, end).unwrap() != shape, "a shape stands once in the table");
    }
    for len in 0..40 {
        let shorter = expected.iter().filter(|&&number| key(number).0 <= len).count() as u64;
        assert_eq!(store.num_rows_up_to(0, len), shorter);
    }
    assert_eq!(store.num_rows_up_to(0, usize::MAX), 500);
}

#[test]
fn texts_over_the_maxima_are_cut_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::create(dir.path(), settings(10)).unwrap();
    let mut dataset = writer.dataset("long").unwrap();
    let long: Vec<u32> = (100..200).collect();
    dataset.push(TokenRow { query: long.clone(), pos: vec![long.clone(), vec![7]], ..Default::default() }).unwrap();
    dataset.finish(None, Vec::new()).unwrap();
    let manifest = writer.finish().unwrap();
    assert_eq!((manifest.datasets[0].num_texts_cut, manifest.max_token_id), (2, 129));
    let store = Store::open(dir.path()).unwrap();
    let stored = store.row(0, 0).unwrap();
    assert_eq!((stored.query(), stored.pos(0), stored.pos(1)), (&long[..6], &long[..30], &[7][..]));
    assert_eq!((store.num_rows_up_to(0, 31), store.num_rows_up_to(0, 32)), (0, 1));
}

#[test]
fn verify_names_the_file_with_an_altered_byte() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 300, 100);
    let store = Store::open(dir.path()).unwrap();
    store.verify().unwrap();
    for file in files_of(dir.path()) {
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(&file, bad).unwrap();
        let error = store.verify().unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: was altered", file.display())), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Data);
        fs::write(&file, good).unwrap();
    }
    store.verify().unwrap();
}

#[test]
fn a_truncated_or_missing_file_is_refused_at_open_by_name() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 300, 100);
    for file in files_of(dir.path()) {
        let good = fs::read(&file).unwrap();
        fs::write(&file, &good[..good.len() - 1]).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        let expected = format!("{}: has {} bytes, expected {}", file.display(), good.len() - 1, good.len());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Data);

        fs::remove_file(&file).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: is missing", file.display())), "{error}");
        fs::write(&file, good).unwrap();
    }
}

#[test]
fn no_altered_byte_is_read_as_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let num_rows = 6;
    write(dir.path(), num_rows, 10);
    let read_all = |store: &Store| {
        (0..num_rows as u64)
            .map(|position| {
                let shape = store.shape(0, position)?;
                let (number, stored) = store.read(0, position)?;
                let num_tokens = shape.pos.iter().chain(shape.neg).map(|&len| len as usize).sum::<usize>();
                Ok::<_, StoreError>((number, as_token_row(&stored), shape.query, num_tokens))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let expected = read_all(&Store::open(dir.path()).unwrap()).unwrap();
    for name in ["shard-00000.arrow", "by_length.arrow", "shapes.arrow"] {
        let file = dir.path().join("numbers").join(name);
        let good = fs::read(&file).unwrap();
        let writer = fs::OpenOptions::new().write(true).open(&file).unwrap();
        let alter = |position: usize, byte: u8| writer.write_all_at(&[byte], position as u64).unwrap();
        let mut num_refused = 0;
        for (position, byte) in good.iter().enumerate() {
            alter(position, byte ^ 0xff);
            match read_all(&Store::open(dir.path()).unwrap()) {
                Ok(rows) => assert_eq!(rows, expected, "{name}, byte {position}"),
                Err(error) => {
                    // If a row does not match its checksum, the shard or the row's entry may be at fault.
                    let path = error.to_string();
                    assert!(path.contains("numbers/") && path.contains(".arrow"), "{error}");
                    assert_eq!(error.exit_code(), ExitCode::Data);
                    num_refused += 1;
                }
            }
            alter(position, *byte);
        }
        assert!(num_refused > 0, "some damage shows when {name} is read");
    }
}

#[test]
fn an_altered_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 30, 10);
    let path = dir.path().join("manifest.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replacen("\"query_max_len\":8", "\"query_max_len\":9", 1)).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("manifest.json: was altered"), "{error}");
}

#[test]
fn what_is_no_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("not a token store"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert!(Store::open(&dir.path().join("missing")).unwrap_err().to_string().contains("not a token store"));
}

#[test]
fn a_manifest_of_another_version_or_with_impossible_figures_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 30, 10);
    let path = dir.path().join("manifest.json");
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, reason) in [
        ("\"format_version\":2", "\"format_version\":7", "format 7, this Tercet reads format 2"),
        ("\"name\":\"numbers\"", "\"name\":\"../numbers\"", "cannot be a name"),
        ("\"rows_per_shard\":10", "\"rows_per_shard\":9", "its shards do not hold 30 rows, 9 in each"),
        ("\"rows_per_shard\":10", "\"rows_per_shard\":0", "is 0"),
        ("\"num_rows\":30", "\"num_rows\":31", "its shards do not hold 31 rows"),
        ("\"special\"", "\"specials\"", "missing field `special`"),
        ("}", "", "manifest.json"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn rows_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 30, 10);
    let store = Store::open(dir.path()).unwrap();
    for error in [store.row(0, 30).unwrap_err(), store.entry(0, u64::MAX).unwrap_err()] {
        assert!(error.to_string().contains("out of range: it has 30 rows"), "{error}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 30, 10);
    let before = fs::read(dir.path().join("manifest.json")).unwrap();
    let error = StoreWriter::create(dir.path(), settings(10)).unwrap_err();
    assert!(error.to_string().contains("holds a token store: nothing is overwritten"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert_eq!(fs::read(dir.path().join("manifest.json")).unwrap(), before);

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("thesis.tex"), "precious").unwrap();
    let error = StoreWriter::create(other.path(), settings(10)).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert!(other.path().join("thesis.tex").exists());
}

#[test]
fn an_unfinished_store_is_no_store_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/store");
    let mut writer = StoreWriter::create(&dir, settings(10)).unwrap();
    let mut dataset = writer.dataset("numbers").unwrap();
    (0..35).for_each(|number| dataset.push(row(number)).unwrap());
    assert!(dir.join("numbers/shard-00002.arrow").exists());
    assert!(matches!(Store::open(&dir), Err(StoreError::NotAStore { .. })));
    drop(dataset);
    drop(writer);
    assert!(!dir.exists());
}

#[test]
fn two_writers_do_not_write_one_store() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    let mut writer = StoreWriter::create(&dir, settings(10)).unwrap();
    let error = StoreWriter::create(&dir, settings(10)).unwrap_err();
    assert!(error.to_string().contains("store: is being written by another process: wait for it"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);
    let mut dataset = writer.dataset("numbers").unwrap();
    (0..35).for_each(|number| dataset.push(row(number)).unwrap());
    assert!(StoreWriter::create(&dir, settings(10)).unwrap_err().to_string().contains("another process"));
    dataset.finish(None, Vec::new()).unwrap();
    writer.finish().unwrap();
    Store::open(&dir).unwrap();
    assert!(StoreWriter::create(&dir, settings(10)).unwrap_err().to_string().contains("holds a token store"));
    // A folder whose writer is dropped is free at once, whether or not the folder existed before.
    let dir = parent.path().join("other");
    for _ in 0..2 {
        drop(StoreWriter::create(&dir, settings(10)).unwrap());
        assert!(!dir.exists());
    }
}

#[test]
fn a_data_set_has_one_good_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::create(dir.path(), settings(10)).unwrap();
    writer.dataset("en").unwrap().finish(None, Vec::new()).unwrap();
    for (name, reason) in [("en", "is there already"), ("../en", "cannot be a name"), ("", "cannot be a name")] {
        let error = writer.dataset(name).err().unwrap();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }
}
