//! Ten million passages: an index of random vectors and postings, searched by one rank and by two, in memory that does
//! not grow with it. `PASSAGES=N` takes another number. And an index and a search that are killed at thirty random
//! moments each.
//!
//! The index is made without a model, by the crate that `tercet index` writes blocks with. A process's own memory
//! (`RssAnon`) is looked at while it runs; mapped files are the kernel's to keep or drop.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tercet_retrieval::{
    BLOCKS, Block, BlockBuilder, BlockMeta, Corpus, MANIFEST, Manifest, Passage, SETTINGS, Settings, block_len,
    block_name,
};
use tercet_tests::place::files_below;
use tercet_tests::program::{Running, Tercet};
use tercet_tests::random::Random;
use tercet_tests::scene::{Scene, VOCABULARY};

const PASSAGES: usize = 10_000_000;
/// Distinct tokens of a passage.
const TOKENS: usize = 8;
/// The width of the scene's model.
const WIDTH: usize = 32;
const QUERIES: usize = 256;
/// What a rank may take besides the mapped index: libtorch, the model and 256 queries.
const BOUND: usize = 300 << 20;

/// The largest `RssAnon` of the run's ranks, in bytes, as far as looking at it shows.
fn peak_of_ranks(mut run: Running) -> usize {
    let mut peak = 0;
    while !run.has_ended() {
        for (pid, _) in run.processes().into_iter().filter(|(_, name)| name == "tercet-worker") {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or(0);
            peak = peak.max(kib * 1024);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ended = run.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    peak
}

/// Passages `first..first + count`.
fn block(path: &Path, settings: &Settings, first: usize, count: usize) -> BlockMeta {
    let mut random = Random::new(first as u64);
    let mut builder = BlockBuilder::new(settings.encoding.heads, settings.encoding.stored);
    for doc in first..first + count {
        let dense: Vec<f32> = (0..WIDTH).map(|_| random.unit() as f32 - 0.5).collect();
        let begin = random.within(4..VOCABULARY - TOKENS) as u32;
        let tokens: Vec<u32> = (begin..begin + TOKENS as u32).collect();
        let lexical: Vec<(u32, f32)> = tokens.iter().map(|token| (*token, random.unit() as f32)).collect();
        let (id, text) = (format!("d{doc}"), tokens.iter().map(|token| format!("w{token} ")).collect::<String>());
        let identities = [doc as u64; 2];
        let (id, text, dense, lexical, tokens) = (&id, &text, &dense, &lexical, &tokens);
        builder.push(Passage { id, text, identities, dense, lexical, tokens }).unwrap();
    }
    builder.write(&mut std::io::BufWriter::new(fs::File::create(path).unwrap())).unwrap();
    let written = Block::open(path, settings.encoding.heads, settings.encoding.stored).unwrap();
    BlockMeta {
        file: path.file_name().unwrap().to_str().unwrap().to_owned(),
        passages: count,
        tokens: written.num_tokens(),
        words: written.num_words(),
        bytes: fs::metadata(path).unwrap().len(),
        blake3: written.checksum().unwrap().to_owned(),
    }
}

#[test]
#[ignore = "minutes, and two gigabytes of disk"]
fn ten_million_passages_are_searched_in_memory_that_does_not_grow_with_them() {
    let passages = std::env::var("PASSAGES").map_or(PASSAGES, |number| number.parse().unwrap());
    let scene = Scene::new(1, 0);
    scene.train("start", 1).set("steps=0").succeed();
    let (place, model) = (&scene.place, scene.checkpoint("start", 0).join("model"));

    // What the index is of, from a small one.
    let line = |name: &str, i: usize| {
        format!("{}\n", json!({"_id": format!("{name}{i}"), "text": format!("w{}", 4 + i % 90)}))
    };
    place.write("corpus.jsonl", &(0..10).map(|i| line("d", i)).collect::<String>());
    place.write("queries.jsonl", &(0..QUERIES).map(|i| line("q", i)).collect::<String>());
    let index = place.path("index");
    let command = Tercet::new("index").arg("--model").arg(&model).arg("--corpus").arg(place.path("corpus.jsonl"));
    command.arg("--out").arg(&index).succeed();
    let small = Settings::read(&index).unwrap().unwrap();
    let corpus = Corpus { passages: passages as u64, text_bytes: passages as u64 * 30, blake3: String::new() };
    let settings = Settings { corpus, ..small };

    let started = Instant::now();
    let len = block_len(&settings.corpus);
    let num_blocks = passages.div_ceil(len);
    let next = AtomicUsize::new(0);
    let mut blocks: Vec<(usize, BlockMeta)> = std::thread::scope(|scope| {
        let work = || {
            let mut own = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= num_blocks {
                    return own;
                }
                let path = index.join(BLOCKS).join(block_name(number));
                own.push((number, block(&path, &settings, number * len, len.min(passages - number * len))));
            }
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    blocks.sort_by_key(|(number, _)| *number);
    let blocks: Vec<BlockMeta> = blocks.into_iter().map(|(_, block)| block).collect();
    let bytes: u64 = blocks.iter().map(|block| block.bytes).sum();
    fs::write(index.join(SETTINGS), settings.to_json()).unwrap();
    fs::write(index.join(MANIFEST), Manifest { settings, blocks }.to_json()).unwrap();
    println!("{passages} passages in {num_blocks} blocks, {} MB, made in {:.0?}", bytes / 1_000_000, started.elapsed());

    for ranks in [1, 2] {
        let started = Instant::now();
        let search = Tercet::new("search").arg("--model").arg(&model).arg("--index").arg(&index).arg("--queries");
        let search = search.arg(place.path("queries.jsonl")).arg("--out").arg(place.path(&format!("runs-{ranks}")));
        let search = search.arg("--rankings").arg("dense,lexical,bm25,dense_lexical,all").ranks(ranks);
        let peak = peak_of_ranks(search.start());
        println!(
            "{ranks} ranks: {QUERIES} queries in {:.0?}, {} MB of a rank at most",
            started.elapsed(),
            peak / 1_000_000
        );
        assert!(peak < BOUND, "{peak}");
    }
    for entry in fs::read_dir(place.path("runs-1")).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |runs: &str| fs::read(place.path(runs).join(&name)).unwrap();
        assert!(read("runs-1") == read("runs-2"), "{name:?}");
    }
}

/// Passages of the corpus that is indexed again and again.
const KILLED_PASSAGES: usize = 30_000;
const KILLS: usize = 30;

/// Starts `task` and kills all of its processes at a random moment of `whole`.
fn kill_within(task: Tercet, whole: Duration, random: &mut Random) {
    let moment = whole.mul_f64(random.unit());
    let run = task.start();
    std::thread::sleep(moment);
    drop(run);
}

/// Other tests kill at each operation on files; here nothing says when.
#[test]
#[ignore = "minutes"]
fn index_and_search_are_killed_at_thirty_random_moments() {
    let scene = Scene::new(1, 0);
    scene.train("start", 1).set("steps=0").succeed();
    let (place, model) = (&scene.place, scene.checkpoint("start", 0).join("model"));
    let mut random = Random::new(23);
    let mut lines = |name: &str, count: usize| {
        let mut text = || (0..TOKENS).map(|_| format!("w{} ", random.within(4..VOCABULARY))).collect::<String>();
        let line = |i: usize| format!("{}\n", json!({"_id": format!("{name}{i}"), "text": text()}));
        (0..count).map(line).collect::<String>()
    };
    place.write("corpus.jsonl", &lines("d", KILLED_PASSAGES));
    place.write("queries.jsonl", &lines("q", QUERIES));
    let index = |out: &str, ranks: usize| {
        let task = Tercet::new("index").arg("--model").arg(&model).arg("--corpus").arg(place.path("corpus.jsonl"));
        task.arg("--heads").arg("dense,lexical,bm25,words").arg("--out").arg(place.path(out)).ranks(ranks)
    };
    let search = |out: &str, ranks: usize| {
        let task = Tercet::new("search").arg("--model").arg(&model).arg("--index").arg(place.path("whole"));
        let task = task.arg("--queries").arg(place.path("queries.jsonl")).arg("--out").arg(place.path(out));
        task.arg("--rankings").arg("dense,lexical,bm25,bm25_words,dense_lexical,all").ranks(ranks)
    };
    let timed = |task: Tercet| {
        let started = Instant::now();
        task.succeed();
        started.elapsed()
    };
    let same =
        |found: &str, expected: &str| assert!(files_below(&place.path(found)) == files_below(&place.path(expected)));

    let (whole, mut finished, mut begun) = (timed(index("whole", 2)), 0, 0);
    let mut random = Random::new(29);
    for _ in 0..KILLS {
        kill_within(index("killed", 1 + random.within(0..2)), whole, &mut random);
        let blocks = fs::read_dir(place.path("killed").join(BLOCKS)).map_or(0, Iterator::count);
        begun += usize::from(blocks > 0);
        if place.path("killed").join(MANIFEST).exists() {
            same("killed", "whole");
            fs::remove_dir_all(place.path("killed")).unwrap();
            finished += 1;
        }
    }
    index("killed", 2).succeed();
    same("killed", "whole");
    println!("an index of {whole:.1?} killed {KILLS} times: {begun} times with blocks, {finished} times finished");

    let (whole, mut finished) = (timed(search("runs", 2)), 0);
    for _ in 0..KILLS {
        kill_within(search("runs-killed", 1 + random.within(0..2)), whole, &mut random);
        if place.path("runs-killed/search.json").exists() {
            same("runs-killed", "runs");
            fs::remove_dir_all(place.path("runs-killed")).unwrap();
            finished += 1;
        }
    }
    search("runs-killed", 2).succeed();
    same("runs-killed", "runs");
    println!("a search of {whole:.1?} killed {KILLS} times, {finished} times finished");
}
