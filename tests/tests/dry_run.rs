//! `tercet index --dry-run` and `tercet search --dry-run`: they measure, reckon and write nothing.

use tercet_tests::library::Library;

#[test]
fn an_index_and_a_search_are_reckoned_and_nothing_is_written() {
    let library = Library::new();
    let scaled = |command: tercet_tests::program::Tercet| {
        command.arg("--dry-run").arg("--for-passages=106000000").arg("--for-ranks=24")
    };
    let told = scaled(library.index("index", 2)).succeed();
    for part in [
        "measured on 2 CPU ranks here, with 700 of 700 passages:\n",
        " passages/s a rank in fp32, ",
        "by arithmetic from that, for 106,000,000 passages on 24 ranks:\n",
        "  disk ",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!library.place().path("index").exists());
    library.index("index", 2).succeed();
    let told = scaled(library.search("index", "run", 1)).succeed();
    for part in
        ["measured on 1 CPU rank here, with 70 queries of 700 passages, a query:\n", "  dense ", "  a batch reads "]
    {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("encoded again"), "{told}");
    let told = library.search("index", "run", 2).arg("--rankings=dense,all").arg("--dry-run").succeed();
    assert!(told.contains("  encoded again "), "{told}");
    assert!(!library.place().path("run").exists());
    let alone = library.search("index", "run", 1).arg("--flops=1e12").run();
    alone.fails_with(2, &["--dry-run"]);
}
