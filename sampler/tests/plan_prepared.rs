//! From text to batch: JSON Lines go through `prepare`, a plan is made over the result, and the batch's tokens are
//! turned back into text.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tercet_configs::{ExitCode, Recipe};
use tercet_fixtures::{RecipeBuilder, SPECIAL, word_tokenizer};
use tercet_sampler::{
    Holds, OnError, Plan, PlanError, PrepareInput, PrepareOptions, Store, TextInput, TextOptions, prepare, read_share,
};

/// What its tokenizer knows: query7, positive7, negative7x0 …, and a filler.
fn words() -> Vec<String> {
    let of_row = |row: usize| {
        let negatives = (0..3).map(move |i| format!("negative{row}x{i}"));
        [format!("query{row}"), format!("positive{row}")].into_iter().chain(negatives)
    };
    ["filler".to_owned()].into_iter().chain((0..40).flat_map(of_row)).collect()
}

fn write_tokenizer(path: &Path) {
    std::fs::write(path, word_tokenizer(words()).to_string()).unwrap();
}

/// Writes 40 rows with ever longer positives as a store in `dir`, beside its tokenizer.
fn prepared(dir: &Path) -> Arc<Store> {
    write_tokenizer(&dir.join("tokenizer.json"));
    let rows: Vec<String> = (0..40)
        .map(|row| {
            let filler = "filler ".repeat(row);
            json!({
                "query": format!("query{row}"),
                "pos": [format!("positive{row} {filler}")],
                "neg": (0..3).map(|i| format!("negative{row}x{i}")).collect::<Vec<_>>(),
            })
            .to_string()
        })
        .collect();
    store_of(dir, &rows)
}

/// Writes the rows as a store in `dir`, which holds their tokenizer.
fn store_of(dir: &Path, rows: &[String]) -> Arc<Store> {
    let path = |name: &str| dir.join(name);
    std::fs::write(path("rows.jsonl"), rows.join("\n")).unwrap();
    let options = PrepareOptions {
        tokenizer: path("tokenizer.json"),
        inputs: vec![PrepareInput { name: "words".to_owned(), holds: Holds::Pairs, paths: vec![path("rows.jsonl")] }],
        out: path("store"),
        query_max_len: 16,
        passage_max_len: 64,
        texts: TextOptions::default(),
        on_error: OnError::Stop,
        drop_duplicates: false,
        rows_per_shard: 16,
    };
    prepare(&options, &mut |_| {}).unwrap();
    Arc::new(Store::open(&path("store")).unwrap())
}

fn plan(store: Arc<Store>, recipe: &RecipeBuilder) -> Result<Plan, PlanError> {
    Plan::new(store, &Recipe::parse(&recipe.to_string(), Path::new("t.toml"), &[]).unwrap())
}

/// Batches of `rows` rows with this many passages each, and the tokenizer that was written here.
fn recipe(tokenizer: &Path, rows: usize, group_size: usize) -> RecipeBuilder {
    let recipe = RecipeBuilder::new("t", 1).set("model.tokenizer", tokenizer);
    recipe.set("data.group_size", group_size).length_groups(&[(64, rows)])
}

#[test]
fn text_comes_back_out_of_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = prepared(dir.path());

    // Rows 0-17 have up to 20 tokens with their frame; rows 18-39 have more.
    let recipe = RecipeBuilder::new("t", 4).set("data.group_size", 3).length_groups(&[(20, 6), (64, 22)]);
    let plan = plan(store, &recipe).unwrap();
    assert_eq!((plan.phases()[0].steps_per_round(), plan.warnings().len()), (4, 0));

    let words: Vec<String> = SPECIAL.into_iter().map(str::to_owned).chain(words()).collect();
    let text = |text: &TextInput| text.ids.iter().map(|&id| words[id as usize].as_str()).collect::<Vec<_>>().join(" ");
    let mut seen: Vec<u64> = Vec::new();
    for (step, rank) in (0..4).flat_map(|step| [(step, 0), (step, 1)]) {
        let batch = read_share(&plan, step, rank, 2).unwrap();
        for (i, row) in batch.origin.row_ids.iter().map(|id| id.row).enumerate() {
            assert_eq!(batch.origin.length_group, usize::from(row > 17));
            assert_eq!(text(&batch.share.queries()[i]), format!("<s> query{row} </s>"));
            assert_eq!(
                text(&batch.share.passages()[3 * i]),
                format!("<s> positive{row} {}</s>", "filler ".repeat(row as usize))
            );
            for negative in &batch.share.passages()[3 * i + 1..3 * (i + 1)] {
                assert!(text(negative).starts_with(&format!("<s> negative{row}x")), "{}", text(negative));
            }
            seen.push(row);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<u64>>());
}

#[test]
fn prefixes_stand_before_the_texts_and_need_the_stores_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let store = prepared(dir.path());
    let tokenizer = dir.path().join("tokenizer.json");
    let recipe = || recipe(&tokenizer, 40, 2);
    let plan = |recipe: RecipeBuilder| plan(Arc::clone(&store), &recipe);
    let prefixed = recipe().set("data.query_prefix", "query0 filler ").set("data.passage_prefix", "query1");
    let (bare, with) =
        [recipe(), prefixed].map(|recipe| read_share(&plan(recipe).unwrap(), 0, 0, 1).unwrap().share).into();
    let id = |word: &str| (SPECIAL.len() + words().iter().position(|known| known == word).unwrap()) as i64;
    let ids = |texts: &[TextInput]| texts.iter().map(|text| text.ids.clone()).collect::<Vec<_>>();
    let before = |prefix: &[i64], text: &TextInput| [&text.ids[..1], prefix, &text.ids[1..]].concat();
    let queries: Vec<_> = bare.queries().iter().map(|text| before(&[id("query0"), id("filler")], text)).collect();
    let passages: Vec<_> = bare.passages().iter().map(|text| before(&[id("query1")], text)).collect();
    assert_eq!((ids(with.queries()), ids(with.passages())), (queries, passages));
    assert_eq!(with.text_ids, bare.text_ids, "a text is the same with and without a prefix");

    for side in ["query", "passage"] {
        let short = |max_len: usize| {
            let recipe = recipe().set(&format!("data.{side}_prefix"), "query0 filler");
            plan(recipe.set(&format!("data.{side}_max_len"), max_len))
        };
        short(5).unwrap();
        let error = short(4).unwrap_err();
        let expected = format!("has 2 tokens, and {side}_max_len 4 leaves none for the text");
        assert!(error.to_string().contains(&expected), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }

    let other = dir.path().join("other.json");
    std::fs::write(&other, std::fs::read_to_string(&tokenizer).unwrap() + "\n").unwrap();
    let message = plan(self::recipe(&other, 40, 2).set("data.query_prefix", "query0")).unwrap_err().to_string();
    assert!(message.contains("other.json: is not the tokenizer that the token store was prepared with"), "{message}");
}

#[test]
fn a_prefix_is_refused_where_it_would_be_other_tokens_than_prefix_and_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    write_tokenizer(&path);
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    tokenizer["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let row = json!({"query": "query0", "pos": ["positive0"]}).to_string();
    let store = store_of(dir.path(), &[row.clone(), row]);
    let recipe = recipe(&dir.path().join("tokenizer.json"), 2, 1);
    assert!(plan(store.clone(), &recipe).is_ok());
    let error = plan(store, &recipe.set("data.query_prefix", "query: ")).unwrap_err();
    assert!(error.to_string().contains("the prefix \"query:\" cannot be put before texts"), "{error}");
    assert!(error.to_string().contains("ByteLevel") && error.to_string().contains("\"prompt\""), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

#[test]
fn scores_of_some_rows_are_refused_only_where_a_teacher_would_lose_them() {
    let dir = tempfile::tempdir().unwrap();
    write_tokenizer(&dir.path().join("tokenizer.json"));
    let row = |i: usize| json!({"query": format!("query{i}"), "pos": ["positive0"], "neg": ["negative0x0"]});
    let mut scored = row(1);
    (scored["pos_scores"], scored["neg_scores"]) = (json!([1]), json!([0.5]));
    let store = store_of(dir.path(), &[row(0).to_string(), scored.to_string(), row(2).to_string()]);
    let recipe = recipe(&dir.path().join("tokenizer.json"), 2, 1);
    assert!(plan(store.clone(), &recipe).is_ok());
    let error = plan(store, &recipe.set("loss.teacher", "kl_div")).unwrap_err();
    assert!(error.to_string().contains("data set `words`: 2 of 3 rows lack teacher scores"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);
}
