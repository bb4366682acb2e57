//! Recipes and folders that `tercet curate` refuses.

use serde_json::{Value, json};

use super::{RECIPE, pair, scene};

#[test]
fn a_bound_of_rules_that_are_not_asked_for_is_refused() {
    let place = scene();
    let refused = |recipe: &str, expected: &[&str]| {
        place.write("wrong.toml", recipe);
        place.refuse_run(&["curate", "wrong.toml", "--out", "wrong"], 2, expected);
    };
    let filters = |keys: &str| format!("{RECIPE}\n[filters]\n{keys}\n");
    refused(&filters("min_doc_words = 3"), &["filters.min_doc_words: no rules are asked for", "gopher-quality"]);
    refused(
        &filters("rules = \"fineweb\"\nmin_num_sentences = 3"),
        &["filters.min_num_sentences: a bound of c4, which `rules` does not name"],
    );
    refused(&filters("document_words = 0"), &["filters.document_words: no rules are asked for"]);
    refused(&filters("rules = [\"none\"]"), &["no rules are asked for by rules = \"none\""]);
    refused(&filters("rules = \"gopher\"\ntop_n_grams = 3"), &["[[2, 0.2]], or false"]);
    let own = "kind = \"title-body\"\nfilters = { rules = \"none\", min_doc_words = 3 }";
    let of_one = RECIPE.replace("kind = \"title-body\"", own);
    refused(
        &format!("{of_one}\n[filters]\nrules = \"gopher\"\n"),
        &["source \"a\": filters.min_doc_words: no rules are asked for"],
    );
    // A bound for all sources is one for those that have the rules.
    let of_one = RECIPE.replace("kind = \"title-body\"", "kind = \"title-body\"\nfilters = { rules = \"gopher\" }");
    place.write("right.toml", format!("{of_one}\n[filters]\nmin_doc_words = 3\ntop_n_grams = false\n"));
    place.run_well(&["curate", "right.toml", "--out", "right"]);
    let report: Value = serde_json::from_slice(&std::fs::read(place.path("right/report.json")).unwrap()).unwrap();
    let rules: Vec<&str> =
        report["rules"]["a"].as_array().unwrap().iter().map(|rule| rule["reason"].as_str().unwrap()).collect();
    assert!(rules.contains(&"duplicated_5_n_grams") && !rules.contains(&"top_2_gram"), "{rules:?}");
    assert_eq!(report["rules"]["b"], json!([]));
}

#[test]
fn a_column_that_no_record_of_the_first_file_has_is_the_recipes_mistake() {
    let place = scene();
    place.write("t/a.tsv", "title\ttext\nx\ty\n");
    place.write("m/a.de", "Hund\n");
    place.write("m/a.en", "dog\n");
    let source = |keys: &str| format!("[[source]]\nname = \"s\"\nkind = \"title-body\"\n{keys}\n");
    for on_error in ["", "on_error = \"skip\"\n"] {
        for (keys, said) in [
            (
                "files = [\"raw/a-*.jsonl\"]\nquery = \"nope\"",
                "raw/a-0.jsonl has the columns that it asks for: no \"nope\"",
            ),
            ("files = [\"raw/a-*.jsonl\"]\nmin = { laser = 1.0 }", "no \"laser\", which should be a number"),
            ("files = [\"raw/a-*.jsonl\"]\nlanguage = { column = \"l\" }", "no \"l\", which should name the language"),
            (
                "files = [\"t/a.tsv\"]\npassage = \"nope\"",
                "t/a.tsv has the columns that it asks for: no column \"nope\"",
            ),
            (
                "files = [\"m/a.de\"]\naligned = [\"de\", \"en\"]\nquery = \"fr\"",
                "m/a.de has the columns that it asks for: no \"fr\"",
            ),
        ] {
            place.write("wrong.toml", source(&format!("{on_error}{keys}")));
            place.refuse_run(&["curate", "wrong.toml", "--out", "wrong"], 2, &["source \"s\": no record of ", said]);
            assert!(!place.path("wrong").exists());
        }
    }
    // Where others have the column it is the record's, or the file's, mistake.
    place.write("n/a.jsonl", format!("{}\n{}\n", pair("x", "y"), json!({"title": "z"})));
    place.write("n/b.tsv", "title\tother\nx\ty\n");
    place.write("wrong.toml", source("files = [\"n/a.jsonl\"]"));
    place.refuse_run(&["curate", "wrong.toml", "--out", "wrong"], 4, &["n/a.jsonl:2: no \"text\" among \"title\""]);
    place.write("wrong.toml", source("on_error = \"skip\"\nfiles = [\"t/a.tsv\", \"n/a.jsonl\"]"));
    place.run_well(&["curate", "wrong.toml", "--out", "skipped"]);
    assert_eq!(place.objects("skipped/dropped/no_column.jsonl").len(), 1);
    place.write("wrong.toml", source("on_error = \"skip\"\nfiles = [\"n/*\"]"));
    place.refuse_run(&["curate", "wrong.toml", "--out", "mixed"], 4, &["n/b.tsv:1: no column \"text\""]);
    // A dump in which nothing is a dump.
    place.write("n/c.xml", "<page><title>a</title></page>\n");
    place.write("wrong.toml", source("files = [\"n/c.xml\"]"));
    place.refuse_run(&["curate", "wrong.toml", "--out", "dump"], 4, &["n/c.xml:1: ", "<mediawiki>"]);
}

#[test]
fn what_cannot_be_curated_is_refused() {
    let place = scene();
    let refused = |recipe: &str, code: i32, expected: &[&str]| {
        place.write("wrong.toml", recipe);
        place.refuse_run(&["curate", "wrong.toml", "--out", "wrong"], code, expected);
    };
    refused("", 2, &["wrong.toml", "source"]);
    refused("source = []", 2, &["there is none", "[[source]]"]);
    refused(&RECIPE.replace("kind = \"title-body\"", "kinds = \"title-body\""), 2, &["wrong.toml", "kinds", "`kind`"]);
    refused(&RECIPE.replace("name = \"b\"", "name = \"a\""), 2, &["source \"a\": name", "two sources have it"]);
    refused(&RECIPE.replace("name = \"b\"", "name = \"b/c\""), 2, &["source \"b/c\": name"]);
    refused(&RECIPE.replace("raw/a-*", "raw/x-*"), 2, &["source \"a\": files", "raw/x-*"]);
    refused(&RECIPE.replace("eval/*", "nothing/*"), 2, &["duplicates.against", "nothing/*"]);
    // Filters are named by the recipe's own lines, of whichever source they are.
    let filters = format!("{RECIPE}\n[filters]\nmin_charz = 3\n");
    let line = filters.lines().count();
    refused(&filters, 2, &["wrong.toml: TOML parse error at line ", &format!("line {line}, column 1"), "min_charz"]);
    refused(&filters.replace("min_charz", "copy_max = \"x\" #"), 2, &[&format!("line {line}, column 12")]);
    let of_one = RECIPE.replace("name = \"b\"", "name = \"b\"\nfilters = { copy_maxx = 1 }");
    let line = 1 + of_one.lines().position(|line| line.contains("copy_maxx")).unwrap();
    refused(&of_one, 2, &[&format!("line {line}, column 13"), "did you mean `copy_max`?"]);
    place.refuse_run(&["curate", "absent.toml", "--out", "wrong"], 2, &["absent.toml"]);
    place.write("right.toml", RECIPE);
    place.refuse_run(&["curate", "right.toml", "--out", "raw"], 2, &["is not a curation's"]);
    place.refuse_run(&["curate", "wrong.toml", "--out", "x", "--share", "3/3"], 2, &["I/N"]);

    place.write("curate.toml", RECIPE);
    place.write("raw/b-1.jsonl", "{\"title\": 3, \"text\": \"x\"}\n");
    let (code, said) = place.run(&["curate", "curate.toml", "--out", "out"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("raw/b-1.jsonl:1") && said.contains("title"), "{said}");
}
