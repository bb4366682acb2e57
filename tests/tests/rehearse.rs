//! The paper's stages 1 and 2, an index and a search on many real ranks of one machine, with a miniature model: every
//! rank has the share that the plan deals it, and together they compute what one rank computes. `make rehearse-96` is
//! the one with 96 ranks.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tercet_configs::Recipe;
use tercet_fixtures::ModelConfig;
use tercet_sampler::{Plan, Store, deal_batch};
use tercet_tests::place::{Place, files_below, recipe};
use tercet_tests::program::Tercet;
use tercet_tests::random::Random;
use tercet_tests::scene::metrics;

use tercet_tests::library::Library;

const VOCABULARY: usize = 1000;

/// On two cores that compile something else as well.
const LIMIT: Duration = Duration::from_secs(3600);

/// float32, by one rank and by 96: sums over a batch in another order, of some 10^5 terms that mostly cancel. One step
/// differs by about 1e-6; ten steps at this learning rate do not add to it much.
const TOLERANCE: f64 = 1e-5;

/// A stage's recipe in tests/recipes, what it is trained on, and a fresh model.
struct Rehearsal {
    recipe: &'static str,
    place: Place,
    settings: Vec<String>,
}

impl Rehearsal {
    /// Stage 2, over rows of `lens` words.
    fn of_pairs(steps: u64, lens: impl IntoIterator<Item = usize>) -> Self {
        let place = Place::new();
        place.store("store", lens, VOCABULARY);
        place.word_tokenizer("model/tokenizer.json", VOCABULARY);
        Self::new("rehearse-96.toml", place, steps)
    }

    /// Stage 1, over texts of `lens` words.
    fn of_texts(steps: u64, lens: impl IntoIterator<Item = usize>) -> Self {
        let place = Place::new();
        let tokenizer = place.mask_tokenizer("model/tokenizer.json", VOCABULARY);
        let mut random = Random::new(7);
        let mut text = |len: usize| {
            let words = (0..len).map(|_| format!("w{}", random.within(4..VOCABULARY - 1)));
            words.collect::<Vec<_>>().join(" ")
        };
        place.text_store("store", &tokenizer, lens.into_iter().map(&mut text));
        Self::new("rehearse-96-texts.toml", place, steps)
    }

    fn new(recipe: &'static str, place: Place, steps: u64) -> Self {
        let tiny = ModelConfig::tiny(VOCABULARY, 512);
        let config = ModelConfig { hidden_size: 32, intermediate_size: 64, initializer_range: 0.1, ..tiny };
        place.model_config("model/config.json", &config);
        let path = |name: &str| place.path(name).display().to_string();
        let settings = vec![
            format!("steps={steps}"),
            format!("model.config={}", path("model/config.json")),
            format!("model.tokenizer={}", path("model/tokenizer.json")),
            format!("data.store={}", path("store")),
        ];
        Self { recipe, place, settings }
    }

    fn run_dir(&self, ranks: usize) -> std::path::PathBuf {
        self.place.path(&format!("run-{ranks}"))
    }

    fn recipe(&self, ranks: usize) -> Recipe {
        let mut settings = self.settings.clone();
        settings.push(format!("run_dir={}", self.run_dir(ranks).display()));
        Recipe::load(&recipe(self.recipe), &settings).unwrap()
    }

    /// Trains; the proportional memory of each rank in the midst of it, in bytes.
    fn train(&self, ranks: usize) -> Vec<u64> {
        let run_dir = self.run_dir(ranks);
        let command = Tercet::new("train").arg(recipe(self.recipe)).ranks(ranks).within(LIMIT);
        let command = self.settings.iter().fold(command, |command, setting| command.set(setting));
        let mut run = command.set(format!("run_dir={}", run_dir.display())).start();
        let started = Instant::now();
        let mut begun = started;
        run.wait_until("a step", |_| {
            begun = Instant::now();
            fs::metadata(run_dir.join("ranks.jsonl")).is_ok_and(|file| file.len() > 0)
        });
        let workers = run.processes().into_iter().filter(|(_, name)| name == "tercet-worker");
        let memory: Vec<u64> = workers.filter_map(|(pid, _)| proportional_bytes(pid)).collect();
        let ended = run.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr());
        let (first, all) = (begun - started, started.elapsed());
        println!(
            "{ranks} ranks: first step done after {:.1} s, all after {:.1} s",
            first.as_secs_f64(),
            all.as_secs_f64()
        );
        memory
    }

    /// Every rank's rows and tokens of every step are those that the plan deals it.
    fn shares_are_as_planned(&self, ranks: usize, steps: u64) {
        let recipe = self.recipe(ranks);
        let plan = Plan::new(Arc::new(Store::open(&recipe.data.store).unwrap()), &recipe).unwrap();
        let lines = fs::read_to_string(self.run_dir(ranks).join("ranks.jsonl")).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len() as u64, steps);
        for (step, line) in lines.iter().enumerate() {
            let dealt = deal_batch(&plan, step as u64, ranks).unwrap();
            assert_eq!(line["rows"].as_array().unwrap().len(), ranks);
            for rank in 0..ranks {
                let lens = dealt.share_lens(&plan, rank).unwrap();
                let tokens: usize = lens.queries.iter().chain(&lens.passages).sum();
                let mut hasher = blake3::Hasher::new();
                for &i in &dealt.deal.rows[rank] {
                    let (dataset, position) = dealt.global.positions[i];
                    let (row, _) = plan.store().entry(dataset, position).unwrap();
                    hasher.update(&(dataset as u64).to_le_bytes()).update(&row.to_le_bytes());
                }
                let mut first: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().unwrap();
                first.reverse();
                let checksum: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
                let what = format!("step {}, rank {rank} of {ranks}", step + 1);
                assert_eq!(line["rows"][rank], dealt.deal.rows[rank].len(), "{what}");
                assert_eq!(line["tokens"][rank], tokens, "{what}");
                assert_eq!(line["rows_checksum"][rank], checksum, "{what}");
            }
        }
    }

    /// Loss and gradient norm of every step, set beside one rank's.
    fn is_one_ranks(&self, ranks: usize, steps: u64) {
        let [many, one] = [ranks, 1].map(|ranks| metrics(&self.run_dir(ranks)));
        assert_eq!((many.len() as u64, one.len() as u64), (steps, steps));
        let mut largest: f64 = 0.0;
        for (many, one) in many.iter().zip(&one) {
            for key in ["loss", "grad_norm"] {
                let [found, expected] = [many, one].map(|step| step[key].as_f64().unwrap());
                let off = (found - expected).abs() / expected.abs();
                assert!(off < TOLERANCE, "step {}: {key} {found}, one rank's {expected}", one["step"]);
                largest = largest.max(off);
            }
            for key in ["dataset", "length_group", "tokens", "epoch"] {
                assert_eq!(many[key], one[key], "step {}", one["step"]);
            }
        }
        println!("{ranks} ranks and 1: loss and gradient norm differ by {largest:.1e} at most, relative");
    }
}

/// Memory of a process, what it shares with others divided among them.
fn proportional_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

fn print_memory(what: &str, mut bytes: Vec<u64>) {
    bytes.sort_unstable();
    let mib = |bytes: u64| bytes >> 20;
    let all: u64 = bytes.iter().sum();
    println!(
        "{what} a rank: median {} MiB, largest {} MiB, all {} MiB",
        mib(bytes[bytes.len() / 2]),
        mib(bytes[bytes.len() - 1]),
        mib(all)
    );
}

#[test]
fn eight_ranks_have_the_shares_that_are_planned() {
    let lens = || (0..3 * 288).map(|i| 8 + i * 5 % 61);
    for rehearsal in [Rehearsal::of_pairs(3, lens()), Rehearsal::of_texts(3, lens())] {
        for ranks in [1, 8] {
            rehearsal.train(ranks);
            rehearsal.shares_are_as_planned(ranks, 3);
        }
        rehearsal.is_one_ranks(8, 3);
    }
}

/// Ten steps, one epoch: four of the first length group, two each of the next two, one each of two more.
#[test]
#[ignore = "minutes; `make rehearse-96` runs it"]
fn ninety_six_ranks_are_one() {
    let rows = [(4 * 288, 40, 460), (2 * 192, 510, 300), (2 * 192, 1010, 300), (96, 2010, 100), (96, 3010, 100)];
    let lens = rows.iter().flat_map(|&(count, from, width)| (0..count).map(move |i| from + i * 7 % width));
    whole(&Rehearsal::of_pairs(10, lens), 10);
}

/// Six steps, two epochs: a text in 24 is long, so that a rank with one has its work to do beside those with few words.
#[test]
#[ignore = "minutes; `make rehearse-96` runs it"]
fn ninety_six_ranks_pre_train_as_one() {
    let lens = (0..3 * 192).map(|i| if i % 24 == 0 { 600 + i * 7 % 2400 } else { 8 + i * 5 % 200 });
    whole(&Rehearsal::of_texts(6, lens), 6);
}

/// A block for each rank, all rankings, and the same bytes as one rank's.
#[test]
#[ignore = "minutes; `make rehearse-96` runs it"]
fn ninety_six_ranks_index_and_search_as_one() {
    let ranks = num_ranks();
    let library = Library::of(256 * ranks, 200);
    let rankings = "--rankings=dense,lexical,bm25,dense_lexical,multi_vector,all";
    for ranks in [1, ranks] {
        let started = Instant::now();
        library.index(&format!("index-{ranks}"), ranks).within(LIMIT).succeed();
        let indexed = started.elapsed();
        let search = library.search(&format!("index-{ranks}"), &format!("run-{ranks}"), ranks);
        search.arg(rankings).arg("--top=100").arg("--rerank=20").within(LIMIT).succeed();
        println!(
            "{ranks} ranks: index {:.1} s, search {:.1} s",
            indexed.as_secs_f64(),
            (started.elapsed() - indexed).as_secs_f64()
        );
    }
    for what in ["index", "run"] {
        let [one, many] = [1, ranks].map(|ranks| files_below(&library.place().path(&format!("{what}-{ranks}"))));
        assert!(one.len() > 5 && one == many, "{what}: {ranks} ranks write other bytes than one");
    }
}

fn num_ranks() -> usize {
    std::env::var("REHEARSE_RANKS").map_or(96, |ranks| ranks.parse().unwrap())
}

/// On 96 ranks and on one.
fn whole(rehearsal: &Rehearsal, steps: u64) {
    let ranks = num_ranks();
    let memory = rehearsal.train(ranks);
    assert_eq!(memory.len(), ranks);
    print_memory("memory (proportional)", memory);
    let last = fs::read_to_string(rehearsal.run_dir(ranks).join("ranks.jsonl")).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    print_memory(
        "peak resident memory",
        last["peak_rss_bytes"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap()).collect(),
    );
    rehearsal.shares_are_as_planned(ranks, steps);
    rehearsal.train(1);
    rehearsal.shares_are_as_planned(1, steps);
    rehearsal.is_one_ranks(ranks, steps);
}
