//! Kinds that become training rows.

use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::Place;

const SQUAD: &str = r#"{"version": "v2.0", "data": [
  {"title": "Normans", "paragraphs": [
    {"context": "The Normans were people.", "qas": [
      {"question": "Who were they?", "id": "1", "answers": [{"text": "people", "answer_start": 17}], "is_impossible": false},
      {"question": "Who was not?", "id": "2", "answers": [], "plausible_answers": [], "is_impossible": true}]},
    {"context": "Normandy is in France.", "qas": [{"question": "Where?", "id": "3", "answers": []}]}]},
  {"title": "梵語", "id": "1147", "paragraphs": [
    {"id": "1147-5", "context": "梵語是印歐語系。", "qas": [{"id": "1147-5-1", "question": "屬於何種語系？", "answers": [{"id": "1", "text": "印歐語系", "answer_start": 3}]}]}]}
]}"#;

const CMRC: &str = r#"[{"context_id": "TRIAL_1", "context_text": "段落一。", "qas": [
  {"query_text": "甲？", "query_id": "TRIAL_1_QUERY_0", "answers": ["一"]},
  {"query_text": "乙？", "query_id": "TRIAL_1_QUERY_1", "answers": ["二"]}], "title": "題"}]"#;

#[test]
fn squad_and_what_looks_like_it() {
    let place = Place::new();
    place.write("train.json", SQUAD);
    place.write("cmrc.json", format!("\u{feff}{CMRC}"));
    let said = place.succeed(&["squad", "train.json", "cmrc.json", "--out", "rows.jsonl.zst"]);
    assert_eq!(said, "rows.jsonl.zst: 5 rows\nleft out: 1 questions that their paragraph does not answer\n");
    let expected = [
        json!({"query": "Who were they?", "pos": ["The Normans were people."]}),
        json!({"query": "Where?", "pos": ["Normandy is in France."]}),
        json!({"query": "屬於何種語系？", "pos": ["梵語是印歐語系。"]}),
        json!({"query": "甲？", "pos": ["段落一。"]}),
        json!({"query": "乙？", "pos": ["段落一。"]}),
    ];
    assert_eq!(place.objects("rows.jsonl.zst"), expected);
}

#[test]
fn a_wrong_squad_is_refused_with_its_line() {
    let place = Place::new();
    let refuse = |name: &str, text: &str, expected: &[&str]| {
        place.write(name, text);
        place.refuse(&["squad", name, "--out", "rows.jsonl"], 4, expected);
    };
    refuse(
        "a.json",
        &SQUAD.replace("\"context\": \"Normandy", "\"text\": \"Normandy"),
        &["a.json:6: entry 1: missing field `context`"],
    );
    refuse("b.json", "[{\"title\": \"T\"}]", &["b.json:1: entry 1: no \"paragraphs\": articles of paragraphs"]);
    refuse(
        "c.json",
        "{\"version\": 1,\n \"rows\": []}",
        &["c.json:2: no \"data\" among the keys [\"version\", \"rows\"]"],
    );
    refuse("d.json", &SQUAD[..200], &["d.json:4: entry 1: the JSON ends early"]);
    refuse("e.json", "version https://git-lfs.github.com/spec/v1\n", &["e.json:1: ", "git lfs pull"]);
    refuse("f.json", "{\"data\": [] }", &["rows.jsonl: not written, as it would have no row: the input is empty"]);
    place.refuse(&["squad", "none.json", "--out", "rows.jsonl"], 2, &["none.json: No such file"]);
}

#[test]
fn dpr_takes_positives_and_hard_negatives_with_their_titles() {
    let place = Place::new();
    let passage = |title: &str, text: &str| json!({"title": title, "text": text, "score": 1000, "title_score": 1, "passage_id": "7"});
    let questions = json!([
        {"dataset": "nq_train_psgs_w100", "question": "big little lies season 2 how many episodes", "answers": ["seven"],
         "positive_ctxs": [passage("Big Little Lies", "series garnered …"), passage("", "seven episodes")],
         "negative_ctxs": [passage("Random", "drawn")],
         "hard_negative_ctxs": [passage("Little People", "final season"), passage("Big Little Lies", "series garnered …")]},
        {"question": "no answer is known", "answers": [], "positive_ctxs": [], "negative_ctxs": [], "hard_negative_ctxs": []},
    ]);
    place.write("train.json", serde_json::to_string_pretty(&questions).unwrap());
    let said = place.succeed(&["dpr", "train.json", "--out", "rows.jsonl"]);
    assert!(said.starts_with("rows.jsonl: 1 rows\n") && said.contains("1 rows without a positive"), "{said}");
    assert!(said.contains("1 negatives without text, or with that of another text of their row"), "{said}");
    let expected = json!({
        "query": "big little lies season 2 how many episodes",
        "pos": ["Big Little Lies series garnered …", "seven episodes"],
        "neg": ["Little People final season"],
    });
    assert_eq!(place.objects("rows.jsonl"), [expected]);
    place.write("wrong.json", "[\n {\"question\": \"a\",\n \"ctxs\": []}]");
    place.refuse(&["dpr", "wrong.json", "--out", "o"], 4, &["wrong.json:3: entry 1: missing field `positive_ctxs`"]);
}

#[test]
fn tevatron_puts_titles_before_texts() {
    let place = Place::new();
    let line = json!({
        "query_id": "1", "query": "When was quantum field theory developed?",
        "positive_passages": [{"docid": "25267#12", "title": "Quantum field theory", "text": "began in the 1920s."}],
        "negative_passages": [{"docid": "346489#8", "title": "Local QFT", "text": "More recently"}],
    });
    let long = json!({"query_id": "q-zh-1", "query": "问？", "positive_passages": [{"docid": "doc-zh-2", "text": "长文"}], "negative_passages": []});
    place.write("train.jsonl", format!("{line}\n{long}\n"));
    place.succeed(&["tevatron", "train.jsonl", "--out", "rows.jsonl"]);
    let expected = [
        json!({"query": "When was quantum field theory developed?", "pos": ["Quantum field theory began in the 1920s."],
               "neg": ["Local QFT More recently"]}),
        json!({"query": "问？", "pos": ["长文"]}),
    ];
    assert_eq!(place.objects("rows.jsonl"), expected);
    // Mr. TyDi's dev sets.
    let ids =
        json!({"query_id": "0", "query": "q", "positive_passages": [{"docid": "3716905#1", "title": "", "text": ""}]});
    place.write("dev.jsonl", format!("{line}\n{ids}\n"));
    let expected = ["dev.jsonl:2: passage \"3716905#1\" has no text", "`tercet import tsv` joins"];
    place.refuse(&["tevatron", "dev.jsonl", "--out", "dev.out"], 4, &expected);
    place.write("rows.json", "{\"query\": \"a\", \"pos\": [\"b\"]}\n");
    place.refuse(&["tevatron", "rows.json", "--out", "o"], 4, &["rows.json:1: ", "missing field `positive_passages`"]);
}

#[test]
fn a_beir_folder_becomes_rows_of_what_is_judged() {
    let place = Place::new();
    place.write(
        "nq/corpus.jsonl",
        "{\"_id\": \"d1\", \"title\": \"T\", \"text\": \"one\", \"metadata\": {}}\n{\"_id\": \"d2\", \"title\": \"\", \"text\": \"two\"}\n\
         {\"_id\": \"d3\", \"title\": \"\", \"text\": \"three\"}\n{\"_id\": \"d4\", \"title\": \"\", \"text\": \"four\"}\n",
    );
    place.write("nq/queries.jsonl", "{\"_id\": \"q2\", \"text\": \"second\"}\n{\"_id\": \"q1\", \"text\": \"first\"}\n{\"_id\": \"q3\", \"text\": \"third\"}\n");
    let judged =
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t2\nq1\td3\t0\nq2\td3\t1\nq2\tgone\t1\nq3\td1\t0\nq9\td1\t1\n";
    place.write("nq/qrels/train.tsv", judged);
    let said = place.succeed(&["beir", "nq", "--out", "rows.jsonl"]);
    let expected = [
        json!({"query": "second", "pos": ["three"]}),
        json!({"query": "first", "pos": ["T one", "two"], "neg": ["three"]}),
    ];
    assert_eq!(place.objects("rows.jsonl"), expected);
    for part in ["1 queries without a document that is judged high enough", "1 judged queries that", "1 times that"] {
        assert!(said.contains(part), "{said}");
    }
    // Between 0 and the lowest score is neither; more negatives come from a run.
    place.write("run.trec", "q1 Q0 d4 1 9.5 x\nq1 Q0 d2 2 9 x\nq2 Q0 d1 1 9 x\nq2 Q0 d4 2 8 x\n");
    place.succeed(&["beir", "nq", "--min-score", "2", "--negatives", "run.trec", "--out", "rows2.jsonl"]);
    assert_eq!(place.objects("rows2.jsonl"), [json!({"query": "first", "pos": ["two"], "neg": ["three", "four"]})]);
    place.succeed(&["beir", "nq", "--negatives", "run.trec", "--max-negatives", "1", "--out", "rows3.jsonl"]);
    assert_eq!(place.objects("rows3.jsonl")[0], json!({"query": "second", "pos": ["three"], "neg": ["T one"]}));

    let expected = ["nq/qrels/dev.tsv: no such file"];
    place.refuse(&["beir", "nq", "--split", "dev", "--out", "o"], 2, &expected);
    place.write("nq/qrels/dev.tsv", "q1\td1\thigh\n");
    let expected = ["nq/qrels/dev.tsv:1: the score \"high\" is no number"];
    place.refuse(&["beir", "nq", "--split", "dev", "--out", "o"], 4, &expected);
    place.write("nq/qrels/dev.tsv", "d1\tq1\t1\n");
    place.refuse(
        &["beir", "nq", "--split", "dev", "--out", "o"],
        4,
        &["1 judged queries that the queries' files do not have"],
    );
    place.write("nq/corpus.jsonl", "{\"_id\": \"d1\", \"text\": \"a\"}\n{\"_id\": \"d1\", \"text\": \"b\"}\n");
    place.refuse(&["beir", "nq", "--out", "o"], 4, &["nq/corpus.jsonl:2: a second document with the id \"d1\""]);
}

/// MS MARCO's layout, as mMARCO and T2Ranking have it.
#[test]
fn a_collection_queries_and_lists_of_ids() {
    let place = Place::new();
    place.write("collection.tsv", "pid\tpassage\n0\t\"零\n1\t一 \"引\"\n2\t二\n3\t三\n");
    place.write("queries.train.tsv", "qid\tquery\n10\t问甲\n11\t问乙\n");
    place.write("qrels.retrieval.train.tsv", "qid\tpid\n10\t0\n11\t1\n");
    place.write("qrels.train.tsv", "qid\t-\tpid\trel\n10\t-\t0\t3\n10\t-\t1\t0\n10\t-\t2\t1\n11\t-\t1\t2\n");
    place.write("train.bm25.tsv", "qid\tpid\tindex\n10\t0\t0\n10\t3\t1\n10\t2\t2\n11\t2\t0\n99\t0\t0\n");
    let tsv = |more: &[&str]| {
        let texts = ["tsv", "--collection", "collection.tsv", "--queries", "queries.train.tsv"];
        place.succeed(&[&texts[..], more, &["--out", "rows.jsonl"]].concat());
        place.objects("rows.jsonl")
    };
    let expected = [
        json!({"query": "问甲", "pos": ["\"零"], "neg": ["三", "二"]}),
        json!({"query": "问乙", "pos": ["一 \"引\""], "neg": ["二"]}),
    ];
    assert_eq!(tsv(&["--qrels", "qrels.retrieval.train.tsv", "--negatives", "train.bm25.tsv"]), expected);
    let expected = [
        json!({"query": "问甲", "pos": ["\"零"], "neg": ["一 \"引\""]}),
        json!({"query": "问乙", "pos": ["一 \"引\""]}),
    ];
    assert_eq!(tsv(&["--qrels", "qrels.train.tsv", "--min-score", "2"]), expected);
    place.write("triples.train.ids.small.tsv", "10\t0\t1\n11\t1\t0\n10\t0\t2\n10\t2\t3\n");
    let expected = [
        json!({"query": "问甲", "pos": ["\"零", "二"], "neg": ["一 \"引\"", "三"]}),
        json!({"query": "问乙", "pos": ["一 \"引\""], "neg": ["\"零"]}),
    ];
    assert_eq!(tsv(&["--triples", "triples.train.ids.small.tsv"]), expected);

    let refuse = |more: &[&str], code: i32, expected: &[&str]| {
        let texts = ["tsv", "--collection", "collection.tsv", "--queries", "queries.train.tsv", "--out", "o"];
        place.refuse(&[&texts[..], more].concat(), code, expected);
    };
    refuse(&[], 2, &["--qrels"]);
    place.write("five.tsv", "1\t2\t3\t4\t5\n");
    refuse(&["--qrels", "five.tsv"], 4, &["five.tsv:1: expected 2 columns (query, document), 3", "found 5"]);
    refuse(
        &["--triples", "qrels.retrieval.train.tsv"],
        4,
        &["qrels.retrieval.train.tsv:2: expected 3 columns", "found 2"],
    );
    // Lists of another collection's ids: what is wrong is the list and its line.
    place.write("others.tsv", "qid\t-\tpid\trel\n10\t0\t77\t1\n");
    refuse(&["--qrels", "others.tsv"], 4, &["others.tsv:2: no row can be made: the collection has no document \"77\""]);
    place.write("collection.tsv", "0\tnull\n1\n");
    refuse(&["--qrels", "qrels.retrieval.train.tsv"], 4, &["collection.tsv:2: expected two columns or more"]);
}

#[test]
fn cmedqa_has_csv_with_quotes() {
    let place = Place::new();
    place.write("question.csv", "question_id,content\n5,\"头痛,\n怎么办？\"\n");
    place.write("answer.csv", "ans_id,question_id,content\n50,5,多喝水\n51,6,手术\n");
    place.write("train_candidates.txt", "question_id,pos_ans_id,neg_ans_id\n5,50,51\n");
    let words = ["--queries", "question.csv", "--triples", "train_candidates.txt", "--out", "rows.jsonl"];
    place.succeed(&[&["tsv", "--collection", "answer.csv"][..], &words].concat());
    assert_eq!(place.objects("rows.jsonl"), [json!({"query": "头痛,\n怎么办？", "pos": ["多喝水"], "neg": ["手术"]})]);
    place.write("answer.csv", b"ans_id,question_id,content\n50,5,\xff\n");
    let expected = ["answer.csv:2: not UTF-8"];
    place.refuse(&[&["tsv", "--collection", "answer.csv"][..], &words[..4], &["--out", "o"]].concat(), 4, &expected);
}

#[test]
fn lecard_has_a_folder_of_objects_and_coliee_one_of_texts() {
    let place = Place::new();
    place.write(
        "candidate/1889986.json",
        "{\"pid\": 1889986, \"qw\": \"全文一\", \"fact\": \"事实\", \"charge\": [\"x\"]}",
    );
    place.write("candidate/7.json", "{\n \"pid\": 7,\n \"qw\": \"全文二\", \"fact\": \"\"}\n");
    place.write("train_query.json", "{\"id\": 1, \"query\": \"案情\", \"fact\": \"f\"}\n");
    place.write("relevence.trec", "1\t0\t1889986\t3\n1\t0\t7\t0\n");
    let fields = ["--collection-fields", "pid,qw", "--query-fields", "id,query"];
    let files =
        ["--collection", "candidate", "--queries", "train_query.json", "--qrels", "relevence.trec", "--min-score", "2"];
    place.succeed(&[&["tsv", "--out", "rows.jsonl"][..], &files, &fields].concat());
    assert_eq!(place.objects("rows.jsonl"), [json!({"query": "案情", "pos": ["全文一"], "neg": ["全文二"]})]);
    let expected = ["candidate/1889986.json:1: no id under a usual name", "\"charge\"", "say where they stand"];
    place.write("candidate/1889986.json", "{\"case\": 1, \"qw\": \"全文一\", \"charge\": [\"x\"]}");
    place.refuse(&[&["tsv", "--out", "o"][..], &files].concat(), 4, &expected);

    place.write("files/000001.txt", "The applicant …");
    place.write("files/000002.txt", "Noticed case");
    place.write("labels.json", "{\"000001.txt\": [\"000002.txt\"]}");
    let files = ["--collection", "files", "--queries", "files", "--qrels", "labels.json"];
    place.succeed(&[&["tsv", "--out", "coliee.jsonl"][..], &files].concat());
    assert_eq!(place.objects("coliee.jsonl"), [json!({"query": "The applicant …", "pos": ["Noticed case"]})]);
    place.write("labels.json", "[\"000001.txt\"]");
    place.refuse(
        &[&["tsv", "--out", "o"][..], &files].concat(),
        4,
        &["labels.json: ", "one object with a list of documents' ids"],
    );
}

#[test]
fn columns_of_csv_tsv_json_lines_and_parquet() {
    let place = Place::new();
    place.write("nli.csv", "sent0,sent1,hard_neg\n\"One, two\",a person,nobody\nx,,z\n");
    let triple = ["--query", "sent0", "--pos", "sent1", "--neg", "hard_neg", "--out", "rows.jsonl"];
    let said = place.succeed(&[&["columns", "nli.csv"][..], &triple].concat());
    assert_eq!(place.objects("rows.jsonl"), [json!({"query": "One, two", "pos": ["a person"], "neg": ["nobody"]})]);
    assert!(said.contains("left out: 1 rows without a positive that has text"), "{said}");

    place.write("lcqmc.tsv", "喜欢打篮球\t爱打篮球\t1\n大家觉得\t别的\t0\n");
    place.succeed(&["columns", "lcqmc.tsv", "--query", "1", "--pos", "2", "--where", "3=1", "--out", "lcqmc.jsonl"]);
    assert_eq!(place.objects("lcqmc.jsonl"), [json!({"query": "喜欢打篮球", "pos": ["爱打篮球"]})]);

    place.write(
        "s2orc.jsonl",
        "{\"title\": \"T\", \"abstract\": \"A\", \"authors\": [1]}\n{\"title\": null, \"abstract\": \"B\"}\n",
    );
    place.succeed(&["columns", "s2orc.jsonl", "--query", "title", "--pos", "title+abstract", "--out", "s2orc.out"]);
    assert_eq!(place.objects("s2orc.out"), [json!({"query": "T", "pos": ["T A"]})]);

    parquet(&place, "pqa.parquet");
    let words = ["columns", "pqa.parquet", "--query", "question", "--pos", "context.contexts", "--out", "pqa.jsonl"];
    place.succeed(&words);
    assert_eq!(place.objects("pqa.jsonl"), [json!({"query": "Do statins help?", "pos": ["Background", "Results"]})]);
}

/// PubMedQA as it is on Hugging Face.
fn parquet(place: &Place, name: &str) {
    let mut contexts = ListBuilder::new(StringBuilder::new());
    contexts.append_value([Some("Background"), Some("Results")]);
    let contexts: ArrayRef = Arc::new(contexts.finish());
    let item = Arc::new(Field::new("contexts", contexts.data_type().clone(), true));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("pubid", Arc::new(Int64Array::from(vec![1]))),
        ("question", Arc::new(StringArray::from(vec!["Do statins help?"]))),
        ("context", Arc::new(StructArray::from(vec![(item, contexts)]))),
        ("long_answer", Arc::new(StringArray::from(vec!["They do."]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    assert_eq!(batch.schema().field(0).data_type(), &DataType::Int64);
    let mut writer = ArrowWriter::try_new(File::create(place.path(name)).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn wrong_columns_are_named_with_what_is_there() {
    let place = Place::new();
    let refuse = |name: &str, text: &str, columns: [&str; 2], code: i32, expected: &[&str]| {
        place.write(name, text);
        place.refuse(&["columns", name, "--query", columns[0], "--pos", columns[1], "--out", "o"], code, expected);
    };
    refuse("a.csv", "premise,hypothesis\nx,y\n", ["sent0", "sent1"], 4, &["a.csv:1: ", "\"premise\", \"hypothesis\""]);
    refuse(
        "b.csv",
        "sent0,hypothesis\nx,y\n",
        ["sent0", "sent1"],
        4,
        &["b.csv:2: no \"sent1\" among", "\"hypothesis\""],
    );
    refuse("c.tsv", "a\tb\nx\ty\nx\ty\tz\n", ["a", "b"], 4, &["c.tsv:3: expected 2 columns", "found 3"]);
    refuse(
        "d.jsonl",
        "{\"inputs\": \"x\", \"targets\": 5}\n",
        ["inputs", "targets"],
        4,
        &["d.jsonl:1: \"targets\" is 5: a text"],
    );
    refuse("e.jsonl", "{\"inputs\": \"x\"}\n", ["inputs", "target"], 4, &["e.jsonl:1: no \"target\" among \"inputs\""]);
    refuse("f.json", "[{\"inputs\": \"x\"}]", ["inputs", "targets"], 4, &["f.json:1: a JSON array", "jq -c"]);
    refuse("g.tsv", "a\tb\n", ["1", "b"], 2, &["all by numbers"]);
    refuse(
        "h.jsonl",
        "{\"c\": {\"d\": \"x\"}}\n",
        ["c", "c.d"],
        4,
        &["h.jsonl:1: \"c\" is an object with \"d\": name one"],
    );
}
