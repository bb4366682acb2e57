//! The paper's whole graph (pipelines/m3) with a toy for a model: killed at random moments and started again, it ends
//! with the tables of one that nothing happened to. That of the ablations (pipelines/ablations) comes to its end, too.
//!
//! `make rehearse-m3` installs Snakemake and runs them. They fetch Debian's manual pages, as the demo does. The
//! questions about long documents are a stand-in's, which answers as a server with a language model does.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use tercet_fixtures::completions;
use tercet_tests::place::Place;
use tercet_tests::program::program;
use tercet_tests::random::Random;

const KILLS: usize = 14;

/// What the toy's configuration gets in addition: questions about long documents, rows and figures of them.
const LONG_DOCUMENTS: &str = r#"
synthesize: {recipe: synthesize.toml}
rows:
  as_they_are: {long: "{synthesize}/train.jsonl.zst"}
eval:
  suites:
    - {name: manuals, suite: pipelines/m3/mini/eval.toml, data: ["{text}/eval/mono", "{text}/eval/cross"]}
    - {name: long, suite: pipelines/m3/mini/eval.toml, data: ["{synthesize}/eval/en"]}
"#;

/// A folder in which a graph runs.
struct Graph {
    folder: PathBuf,
    run: PathBuf,
    snakefile: &'static str,
    configs: &'static [&'static str],
}

impl Graph {
    /// One with a copy of the pipelines; `run` is what its configuration calls so.
    fn of(folder: PathBuf, run: &str, snakefile: &'static str, configs: &'static [&'static str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::create_dir(&folder).unwrap();
        let mut copy = Command::new("cp");
        copy.arg("--archive").args(["pipelines", "configs"].map(|name| root.join(name))).arg(&folder);
        assert!(copy.status().unwrap().success());
        Self { run: folder.join(run), folder, snakefile, configs }
    }

    /// The paper's, with questions about long documents.
    fn of_paper(folder: PathBuf, endpoint: &str) -> Self {
        let configs = &["pipelines/m3/config/mini.yaml", "pipelines/m3/config/tiny.yaml", "long.yaml"];
        let graph = Self::of(folder, "runs/m3-tiny", "pipelines/m3/Snakefile", configs);
        fs::write(graph.folder.join("long.yaml"), LONG_DOCUMENTS).unwrap();
        let recipe = format!(
            "[[documents]]\nfiles = [\"{{text}}/pages/en.jsonl\"]\nlanguage = \"en\"\n[lengths]\n\
             document = [2_000, 32_000]\nparagraph = [200, 2_000]\n[questions]\ntrain = 12\ndev = 2\ntest = 4\n\
             corpus = 12\n[llm]\nendpoint = \"{endpoint}\"\nmodel = \"stand-in\"\nconcurrency = 1\n"
        );
        fs::write(graph.folder.join("synthesize.toml"), recipe).unwrap();
        graph
    }

    fn start(&self) -> Child {
        let mut command = snakemake(self.snakefile);
        command.arg("--configfile").args(self.configs).current_dir(&self.folder);
        command.env("TERCET_PROGRAMS", program("tercet").parent().unwrap());
        let said = fs::File::options().create(true).append(true).open(self.folder.join("said.txt")).unwrap();
        command.stdout(Stdio::null()).stderr(said).process_group(0).spawn().unwrap()
    }

    fn num_done(&self) -> usize {
        fs::read_dir(self.run.join("done")).map_or(0, Iterator::count)
    }

    /// Whether there is a folder of stage `name` that has `part`.
    fn has(&self, name: &str, part: &str) -> bool {
        self.folders(name).any(|folder| folder.join(part).exists())
    }

    /// The folders of stages whose names begin with `name`.
    fn folders(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.run).into_iter().flatten().map(|entry| entry.unwrap());
        entries.filter(move |e| e.file_name().to_str().unwrap().starts_with(name)).map(|entry| entry.path())
    }

    /// What must come out the same: the tokenizer, curated rows, questions, and the figures of all evaluations.
    fn results(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files: Vec<_> = self.folders("text-").map(|text| text.join("tokenizer/tokenizer.json")).collect();
        for rows in self.folders("curate-") {
            files.extend(fs::read_dir(rows.join("rows")).unwrap().map(|entry| entry.unwrap().path()));
        }
        files.extend(self.folders("synthesize-").map(|folder| folder.join("train.jsonl.zst")));
        files.extend(self.folders("eval_").map(|folder| folder.join("metrics.json")));
        let name = |file: &Path| file.strip_prefix(&self.run).unwrap().to_str().unwrap().to_owned();
        files.iter().map(|file| (name(file), fs::read(file).unwrap())).collect()
    }

    /// Its last words.
    fn said(&self) -> String {
        let said = fs::read_to_string(self.folder.join("said.txt")).unwrap();
        said.lines().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn complete(&self) {
        assert!(self.start().wait().unwrap().success(), "{}", self.said());
    }
}

/// Snakemake, with the local profile of a folder that has the pipelines.
fn snakemake(snakefile: &str) -> Command {
    let snakemake = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/snakemake/bin/snakemake");
    assert!(snakemake.exists(), "{}: `make rehearse-m3` installs it", snakemake.display());
    let mut command = Command::new(snakemake);
    command.args(["--snakefile", snakefile, "--workflow-profile", "pipelines/m3/profiles/local"]);
    command
}

/// A server that answers each prompt with a question that depends on the prompt alone; its address, and how often it
/// was asked.
fn stand_in() -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    (completions::listen(move |stream| answer(stream, &count)), asked)
}

fn answer(mut stream: TcpStream, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    while let Some((_, request)) = completions::next_request(&mut requests)? {
        asked.fetch_add(1, Ordering::SeqCst);
        let number = &blake3::hash(completions::prompt(&request).as_bytes()).to_hex()[..8];
        let text = format!("Which parts of the manual with the number {number} do careful readers remember best?");
        // Long enough to be killed between two answers.
        sleep(Duration::from_millis(100));
        let answer = completions::completion(&request, &text).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
        write!(stream, "{head}: {}\r\n\r\n{answer}", answer.len())?;
    }
    Ok(())
}

#[test]
#[ignore = "takes many minutes; make rehearse-m3"]
fn killed_at_random_moments_it_ends_with_the_same_tables() {
    let (place, (endpoint, asked)) = (Place::new(), stand_in());
    let [whole, hurt] = ["whole", "hurt"].map(|name| Graph::of_paper(place.path(name), &endpoint));
    whole.complete();
    let asked_by_whole = asked.load(Ordering::SeqCst);
    let mut random = Random::new(5);
    for kill in 0..KILLS {
        let num_done = hurt.num_done();
        let mut snakemake = hurt.start();
        // Within curation, within the questions, and before or after the end of a further stage. What it waits for is
        // only where it begins to choose: any moment must do.
        let is_time = || match kill {
            1 => hurt.has("curate-", "work"),
            2 => asked.load(Ordering::SeqCst) >= asked_by_whole + 6,
            _ => kill % 2 == 0 || hurt.num_done() > num_done,
        };
        let mut has_ended = false;
        while !has_ended && !is_time() {
            sleep(Duration::from_millis(20));
            has_ended = snakemake.try_wait().unwrap().is_some();
        }
        if !has_ended {
            if ![1, 2].contains(&kill) {
                sleep(Duration::from_millis(random.within(500..12_000) as u64));
            }
            let id = snakemake.id() as libc::pid_t;
            // Snakemake alone, which its commands outlive for a moment, or everything of its process group at once.
            let target = if kill % 2 == 0 { id } else { -id };
            // SAFETY: kill has no memory effects; the process has not been waited for, so its id is its own.
            unsafe { libc::kill(target, libc::SIGKILL) };
        }
        let ended = snakemake.wait().unwrap();
        eprintln!("kill {}: {} stages complete, {ended}", kill + 1, hurt.num_done());
        if ended.signal().is_none() {
            assert!(ended.success(), "{}", hurt.said());
            break;
        }
    }
    hurt.complete();
    let (results, results_of_hurt) = (whole.results(), hurt.results());
    let names: Vec<_> = results.keys().collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("eval_")).count(), 6, "{names:?}");
    assert_eq!(names, results_of_hurt.keys().collect::<Vec<_>>());
    let differing: Vec<_> = names.into_iter().filter(|name| results[*name] != results_of_hurt[*name]).collect();
    assert!(differing.is_empty(), "{differing:?} differ");
    // A request that is under way when its command is killed has no answer.
    let asked_by_hurt = asked.load(Ordering::SeqCst) - asked_by_whole;
    assert!(asked_by_hurt <= asked_by_whole + KILLS, "{asked_by_hurt} requests for {asked_by_whole} answers");
}

#[test]
#[ignore = "takes many minutes; make rehearse-m3"]
fn the_ablations_end_with_their_tables_after_a_kill() {
    let place = Place::new();
    let configs = &[
        "pipelines/ablations/config/ablations.yaml",
        "pipelines/ablations/config/debian.yaml",
        "pipelines/ablations/config/tiny.yaml",
    ];
    let graph = Graph::of(place.path("graph"), "runs/ablations-tiny", "pipelines/ablations/Snakefile", configs);
    let mut snakemake = graph.start();
    while !graph.has("unsupervised_1-", "metrics.jsonl") {
        assert!(snakemake.try_wait().unwrap().is_none(), "{}", graph.said());
        sleep(Duration::from_millis(20));
    }
    snakemake.kill().unwrap();
    snakemake.wait().unwrap();
    graph.complete();
    for (table, rows) in [
        ("stages", &["RetroMAE and fine-tuning", "fine-tuning alone", "MLM and fine-tuning"][..]),
        ("distillation", &["unified", "unified without self-distillation"]),
        ("distillation_v1", &["paper-v1", "paper-v1 without self-distillation"]),
        ("long", &["long documents in fine-tuning", "no long documents", "no long documents but MCLS"]),
        ("negatives", &["mined negatives", "random negatives", "mined and known answers not masked"]),
    ] {
        let pages: Vec<PathBuf> = graph.folders(&format!("{table}-")).collect();
        let pages = pages.iter().filter(|page| page.extension().unwrap() == "md");
        let page: String = pages.map(|page| fs::read_to_string(page).unwrap()).collect();
        for row in rows {
            assert!(page.contains(row), "{table}: {row:?} is not in {page}");
        }
    }
}

#[test]
fn a_stage_is_not_told_how_many_threads_its_job_has() {
    let place = Place::new();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/run.sh"));
    command.arg(place.path("refused")).args(["sh", "-c", "echo ${OMP_NUM_THREADS-each rank divides the cores}"]);
    let output = command.env("OMP_NUM_THREADS", "2").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "each rank divides the cores\n");
}

#[test]
#[ignore = "needs Snakemake; make rehearse-m3"]
fn a_mistake_in_a_configuration_is_named_with_its_key_and_the_choices() {
    let place = Place::new();
    let mistakes = [
        ("m3", "rows: {rouns: 2}", ["rows: ", "'rouns'", "as_they_are, files, mine, options, rounds"]),
        ("m3", "texts: {files: {texts: '{txt}/rows'}}", ["texts: ", "{txt}/rows", "curate, run, text"]),
        ("m3", "eval: {models: [stage4]}", ["eval.models", "'stage4'", "stage1, stage2, stage3"]),
        ("m3", "machines: {stgae1: {ranks: 2}}", ["machines.stgae1", "stage or kind", "stage1, stage2"]),
        ("m3", "machines: {stage1: {ranks: 2, resources: {mpi: tercet}}}", ["stage1", "2 ranks", "tasks_per_node"]),
        ("m3", "machines: {curate: {ranks: 2}}", ["machines.curate.ranks", "has no ranks", "eval, index, mine, train"]),
        ("ablations", "seeds: 0", ["seeds: ", "1 or more", "0"]),
        ("ablations", "only: stges", ["only: ", "'stges' in tables", "distillation"]),
        (
            "ablations",
            "stores: {rows_without_long: {files: ['{text}/rows/page.jsonl']}}",
            ["stores.rows_without_long.mine", "'mined'", "a name of their own in mine"],
        ),
        (
            "ablations",
            "tables: {t: [{name: a, run: nosuch, suite: short}]}",
            ["row 'a'", "'nosuch' in train", "fine_tuned"],
        ),
        ("ablations", "train: {mlm: {after: from_mlm}}", ["train.mlm.after", "waits for", "mlm"]),
    ];
    for (graph, mistake, words) in mistakes {
        let configs = if graph == "m3" { ["mini", "tiny"] } else { ["ablations", "debian"] };
        let mut command = snakemake(&format!("pipelines/{graph}/Snakefile"));
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).args(["--dry-run", "--configfile"]);
        command.args(configs.map(|name| format!("pipelines/{graph}/config/{name}.yaml")));
        let output = command.arg(place.write("mistake.yaml", mistake)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{mistake}: {said}");
        for word in ["mistake.yaml"].into_iter().chain(words) {
            assert!(said.lines().last().unwrap().contains(word), "{mistake}: {word:?} is not in {said}");
        }
    }
}
