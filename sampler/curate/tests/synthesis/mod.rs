//! `tercet synthesize` against servers that behave as servers do.

mod batches;
mod limits;
mod server;
mod trouble;
mod whole;

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::Place;

/// Documents of three languages, each about something of its own.
fn documents(place: &Place, per_language: usize) {
    let text = |line: &dyn Fn(usize) -> String| (0..8).map(line).collect::<Vec<_>>().join("\n\n");
    for language in ["en", "de", "zh"] {
        let mut lines = String::new();
        for n in 0..per_language {
            let text = match language {
                "en" => text(&|part| {
                    format!(
                        "Chapter {part}\nThe archive keeps letters about Topic{n}. In year {part} a merchant wrote \
                             down what travellers had told about the river, the harvest and the old bridge."
                    )
                }),
                "de" => text(&|part| {
                    format!(
                        "Kapitel {part}\nDas Archiv bewahrt Briefe über Thema{n} auf. Im Jahr {part} schrieb ein \
                             Kaufmann nieder, was Reisende vom Fluss, von der Ernte und von der alten Brücke erzählten."
                    )
                }),
                _ => text(&|part| {
                    format!(
                        "第{part}章\n档案馆保存着关于主题{n}的信件。第{part}年，一位商人记录了旅行者讲述的河流、收成和古桥的故事，\
                             并且把许多细节写进了日记，后来的历史学家都非常重视。城里的学者把日记抄写了三份，分别藏在寺庙和学校的图书馆里。"
                    )
                }),
            };
            let title = format!("{language} {n}");
            lines += &format!("{}\n", json!({"id": n, "title": title, "text": text, "lang": language}));
        }
        place.write(&format!("articles.{language}.jsonl"), lines);
    }
}

/// A recipe for these documents, with what else it says.
fn recipe(place: &Place, endpoint: &str, questions: &str, more: &str) {
    let text = format!(
        "[[documents]]\nfiles = [\"articles.*.jsonl\"]\n[lengths]\ndocument = [300, 9000]\nparagraph = [60, 300]\n\
         [questions]\n{questions}\n[llm]\nendpoint = \"{endpoint}\"\nmodel = \"a-model\"\nbackoff_secs = 0.001\n{more}\n"
    );
    place.write("synth.toml", text);
}

/// The questions that most tests ask for: 26 in 3 languages.
const QUESTIONS: &str = "train = 5\ndev = 2\ntest = { en = 3, default = 1 }\ncorpus = 6";

const KEY: &str = "sk-test-0123456789abcdefghij";

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet-curate"));
    command.args(["synthesize", "synth.toml", "--out", "out"]).args(words);
    command.current_dir(place.path(".")).env("TEST_KEY", KEY);
    command
}

/// `tercet synthesize` with these words: its exit code and what it said.
fn synthesize(place: &Place, words: &[&str]) -> (i32, String) {
    let ended = command(place, words).output().unwrap();
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    (ended.status.code().unwrap(), said)
}

/// The same, which must end with `code` and say all of `expected`.
fn ends(place: &Place, words: &[&str], code: i32, expected: &[&str]) -> String {
    let (found, said) = synthesize(place, words);
    assert_eq!(found, code, "{said}");
    expected.iter().for_each(|part| assert!(said.contains(part), "{said:?} lacks {part:?}"));
    said
}

fn begin(place: &Place) -> Child {
    command(place, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// All that a run made of its journal: names and bytes, without what says how it was paid, and of which recipe it is.
fn made(place: &Place) -> Vec<(String, Vec<u8>)> {
    let out = place.path("out");
    let is_made =
        |name: &str| !["journal.jsonl", "costs.json", "report.txt"].contains(&name) && !name.ends_with("import.json");
    let names = place.names().into_iter().filter_map(|path| Some(path.strip_prefix(&out).ok()?.to_owned()));
    let names = names.map(|path| path.to_str().unwrap().to_owned()).filter(|name| is_made(name));
    names.map(|name| (name.clone(), std::fs::read(out.join(&name)).unwrap())).collect()
}

fn json_of(place: &Place, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(place.path(name)).unwrap()).unwrap()
}
