//! `tercet report` on what training and evaluation leave: a run that was killed in between beside another, the plan
//! beside what happened, and evaluations with their intervals.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use tercet_tests::hold::Hold;
use tercet_tests::program::{Tercet, send};
use tercet_tests::scene::Scene;

/// Two runs of one scene, the second of which loses a rank, and an evaluation of each.
fn scene() -> Scene {
    let scene = Scene::new(8, 4);
    for (name, num) in [("small", 12), ("other", 20)] {
        scene.write_judged(name, num);
    }
    let data = ["small", "other"].map(|name| scene.place.path(name));
    let train = |run: &str| scene.train(run, 2).set(format!("eval.data={data:?}")).set("eval.split=test");
    let ended = train("one").set("eval.every_steps=4").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    let hold = Hold::after(6, &scene.place.path(""), "go");
    let command = train("two").set("eval.every_steps=4").set("optimizer.learning_rate=0.002");
    let mut running = hold.on(command).set("restart.backoff_secs=0").start();
    hold.wait(&mut running, 2);
    let checkpoint = scene.checkpoint("two", 4);
    running.wait_until("checkpoint", |_| checkpoint.exists());
    send(running.wait_for_processes("tercet-worker", 2)[1], libc::SIGKILL);
    hold.release();
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    for run in ["one", "two"] {
        let eval = Tercet::new("eval").arg("--model").arg(scene.checkpoint(run, 8).join("model"));
        let eval = eval.arg("--data").arg(&data[0]).arg(&data[1]).arg("--out");
        eval.arg(scene.place.path(&format!("results/{run}"))).ranks(1).succeed();
    }
    scene
}

/// The page and its Markdown, of the runs and of their evaluations.
fn report(scene: &Scene, out: &str) -> [String; 2] {
    let folders = ["one", "two", "results/one", "results/two"].map(|name| scene.place.path(name));
    let page: PathBuf = scene.place.path(out);
    let command = folders.iter().fold(Tercet::new("report"), |command, folder| command.arg(folder));
    command.arg("--out").arg(&page).succeed();
    [page.clone(), page.with_extension("md")].map(|path| fs::read_to_string(path).unwrap())
}

/// The cells of the rows of `text` that are called `name`.
fn rows<'a>(text: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let begins = format!("| {name} |");
    let found = text.lines().filter(|line| line.starts_with(&begins));
    found.map(|line| line.trim_matches('|').split('|').skip(1).map(str::trim).collect()).collect()
}

#[test]
fn a_report_says_what_was_planned_what_happened_and_how_good_it_is() {
    let scene = scene();
    let [html, text] = report(&scene, "first.html");
    for (name, expected) in [
        ("steps done", ["8 of 8", "8 of 8"]),
        ("ranks", ["2", "2"]),
        ("starts", ["1", "2"]),
        ("failures", ["0", "1"]),
        // From the checkpoint of step 4.
        ("steps done again", ["0", "2"]),
        ("optimizer.learning_rate", ["0.001", "0.002"]),
    ] {
        assert_eq!(rows(&text, name), [expected], "{name}\n{text}");
    }
    // What is dealt is what was planned, in both runs: all steps are counted once.
    for name in [
        "tokens",
        "largest over mean cost of ranks",
        "bytes to all-reduces",
        "bytes to the ring",
        "bytes to all-gathers",
    ] {
        let planned = rows(&text, name).into_iter().filter(|row| row.len() == 2).collect::<Vec<_>>();
        let tables = &planned[planned.len() - 2..];
        assert!(tables.iter().all(|row| row[0] == row[1] && row[0] != "–"), "{name}: {planned:?}");
    }
    let failure = text.lines().find(|line| line.contains("signal 9")).unwrap_or_else(|| panic!("{text}"));
    assert!(failure.contains("| 6 |") && failure.contains("| 4 | 2 | 2 |"), "{failure}");
    // The figures of eval are those of the last evaluation of the run: two data sets, five rankings, three metrics.
    for ranking in ["dense", "lexical", "multi_vector", "dense_lexical", "all"] {
        let during = &rows(&text, &format!("small/{ranking}/ndcg@10"))[0];
        for (run, name) in ["one", "two"].into_iter().enumerate() {
            let own = rows(&text, &format!("{ranking} (results/{name})"));
            assert_eq!(own.len(), 3, "{text}");
            let first = |cell: &str| cell.split(' ').next().unwrap().to_owned();
            // mean of 2, other, small
            assert_eq!(first(own[0][2]), first(during[run]), "{ranking} of {name}\n{text}");
            assert_eq!(own[0][2].contains('['), run == 1, "only the second is compared with the first");
        }
    }
    for chart in ["loss: distill_lexical", "ndcg@10, dense", "goodput", "resident memory"] {
        assert!(html.contains(&format!("aria-label=\"{chart}\"")) && text.contains(&format!("**{chart}**")), "{chart}");
    }
    assert_eq!([html, text], report(&scene, "again.html"), "the same folders make the same bytes");
}
