//! The paper's recipe, `pipelines/m3/curate.toml`, on a miniature of each source as it is published.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::Place;

/// A page that all rule sets keep.
const PAGE: &str = "The town lies on both sides of the river, and it has been a place of trade for eight centuries. \
    Boats brought salt from the coast and went back with timber, wool and grain that farmers of the valley sold. \
    In the nineteenth century a railway took over most of that traffic, so the harbour was filled up and became a \
    park. Visitors who come today find a museum about shipping, two old churches and a market that is held every \
    Saturday. The council wants to open a part of the harbour again, but many people think that it costs too much. \
    They would have a school for that money.";

fn parquet(place: &Place, name: &str, columns: &[(&str, Vec<&str>)]) {
    let column = |texts: &Vec<&str>| Arc::new(StringArray::from(texts.clone())) as ArrayRef;
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, texts)| (*name, column(texts)))).unwrap();
    place.write(name, "");
    let mut writer = ArrowWriter::try_new(File::create(place.path(name)).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn gz(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// The published layouts, each with one pair that stays.
fn published(place: &Place) {
    let lines = |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let question = json!({"title": "when was the harbour of the town filled up", "text": "In 1870, for a park."});
    place.write(
        "data/raw/mtp/en/1.jsonl",
        lines(&[json!({"title": "A town", "text": "It lies on a river in the north."}), question]),
    );
    place.write(
        "data/raw/s2orc/1.jsonl.gz",
        gz(&lines(&[
            json!({"title": "On harbours", "abstract": "We study harbours that became parks."}),
            json!({"title": "On parks", "abstract": "None."}),
        ])),
    );
    place.write(
        "data/raw/wikipedia/simplewiki-20240101-pages-articles-multistream.xml",
        "<mediawiki xml:lang=\"en\"><page><title>Harbour</title><ns>0</ns><id>1</id><revision><id>2</id>\
         <model>wikitext</model><text>A '''harbour''' is where [[ship]]s are safe from the sea.</text>\
         </revision></page></mediawiki>",
    );
    place.write(
        "data/raw/xp3/en/1.jsonl",
        lines(&[
            json!({"inputs": "Why was it filled up?", "targets": "A railway had taken over most of the traffic."}),
            json!({"inputs": "Say again: a park is green.", "targets": "You want me to say again: a park is green."}),
        ]),
    );
    parquet(
        place,
        "data/raw/codesearchnet/train.parquet",
        &[
            ("func_documentation_string", vec!["Adds two numbers."]),
            ("func_code_string", vec!["def add(a, b):\n    return a + b"]),
        ],
    );
    place.write(
        "data/raw/mc4/c4-en.tfrecord-00000.json.gz",
        gz(&lines(&[
            json!({"text": PAGE, "url": "https://example.org/a"}),
            json!({"text": format!("A page. {}", "Click here for more. ".repeat(60)), "url": "https://example.org/c"}),
        ])),
    );
    let news = "Workers of a port in Scotland voted on Monday to end the strike that has kept ships waiting for a \
        month. The union said that the offer was not what it had asked for, but that it would help families before \
        the winter. Managers welcomed the result and promised to open all gates on Wednesday. A minister who had \
        spoken with both sides called it a good day for the region. Experts expect that it will take until spring \
        to clear the containers, because trains and drivers are short and the roads to the south are being repaired.";
    parquet(place, "data/raw/cc-news/1.parquet", &[("title", vec!["Strike ends"]), ("text", vec![news])]);
    place.write(
        "data/raw/nllb/deu_Latn-eng_Latn.gz",
        gz("Der Hafen ist zu.\tThe harbour is closed.\t1.2\t0.99\t0.98\tcrawl-data/1\t_\tcrawl-data/2\t_\n\
         Ein Park ist offen.\tA square is open.\t1.05\t0.99\t0.98\tcrawl-data/1\t_\tcrawl-data/2\t_\n\
         Ein Hund bellt.\tA dog barks.\t1.2\t0.99\t0.4\tcrawl-data/1\t_\tcrawl-data/2\t_\n"),
    );
    place.write("data/raw/ccmatrix/CCMatrix.de-en.de", "Die Kirche ist alt.\nJa, das ist es.\n");
    place.write(
        "data/raw/ccmatrix/CCMatrix.de-en.en",
        format!("The church is old.\n{}\n", "Yes, it is, and much more than that can be said. ".repeat(4)),
    );
    for (folder, query) in [
        ("miracl/en", "When was the harbour of the town filled up?"),
        ("mkqa/en", "who sings"),
        ("mldr/en", "Which rivers?"),
        ("narrativeqa", "Why does he go?"),
    ] {
        let text = |id: &str, text: &str| json!({"_id": id, "title": "", "text": text}).to_string();
        place.write(&format!("data/eval/{folder}/queries.jsonl"), text("q", query));
        // The corpora have what is trained on.
        place.write(&format!("data/eval/{folder}/corpus.jsonl"), text("d", PAGE));
    }
}

#[test]
fn the_papers_recipe_reads_every_source_and_keeps_what_is_good() {
    let place = Place::new();
    published(&place);
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/m3/curate.toml");
    let recipe = std::fs::read_to_string(recipe).unwrap();
    // fastText's model is not here, and whatlang is as sure of texts of this length. Nothing here packs as bzip2.
    let here = recipe.replace("\nlid = ", "\n# lid = ").replace(".xml*.bz2", ".xml");
    assert_eq!(here.len() + ".bz2*".len(), recipe.len() + "# ".len());
    place.write("pipelines/m3/curate.toml", here);
    place.run_well(&["curate", "pipelines/m3/curate.toml", "--out", "out"]);
    let report: Value = serde_json::from_slice(&std::fs::read(place.path("out/report.json")).unwrap()).unwrap();
    for (source, dropped) in [
        ("mtp", json!({"contaminated-miracl_en": 1})),
        ("s2orc", json!({"passage_short": 1})),
        ("wikipedia", json!({})),
        ("xp3", json!({"copied": 1})),
        ("codesearchnet", json!({})),
        ("mc4", json!({"passage_language": 1})),
        ("cc-news", json!({})),
        ("nllb", json!({"score-laser": 1, "score-tgt_lid": 1})),
        ("ccmatrix.de-en", json!({"length_ratio": 1})),
    ] {
        let of = &report["sources"][source];
        assert_eq!((&of["kept"], &of["dropped"]), (&json!(1), &dropped), "{source}");
        assert_eq!(place.lines(&format!("out/rows/{source}.jsonl.zst")).len(), 1);
    }
    assert_eq!(report["sources"].as_object().map(|sources| sources.len()), Some(9));
}
