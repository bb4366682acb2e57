//! The fast way to tokens gives the same as the `tokenizers` crate, for any text.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tercet_sampler::TextTokenizer;
use tokenizers::Tokenizer;

fn both() -> Vec<(TextTokenizer, Tokenizer)> {
    let dir = tempfile::tempdir().unwrap();
    let pairs = crate::unigram_tokenizer::variants().into_iter().map(|variant| {
        let path = crate::unigram_tokenizer::write(dir.path(), variant);
        let ours = TextTokenizer::load(&path).unwrap();
        assert!(ours.is_fast(), "else there is nothing to compare");
        (ours, Tokenizer::from_file(&path).unwrap())
    });
    pairs.collect()
}

fn assert_alike((ours, theirs): &(TextTokenizer, Tokenizer), text: &str) {
    let expected = theirs.encode_fast(text, false).unwrap();
    assert_eq!(ours.encode_content(text).unwrap(), expected.get_ids(), "{text:?}");
}

#[test]
fn texts_that_are_easily_got_wrong() {
    for pair in &both() {
        for text in [
            "",
            " ",
            "   ",
            "ab",
            " ab",
            "ab ",
            "  ab   abc  ",
            "ab\tabc\r\nab\n\nab",
            "\r\n",
            "\u{1}",
            "a\u{1} \u{1}b",
            "\u{3000}ab\u{3000}\u{3000}ab\u{a0}",
            "e\u{301} e\u{301}\u{301} \u{301}e a\u{308}b \u{308}",
            "ab \u{301}ab",
            "กิ กิกิ ab\u{e34} กิ\u{301}",
            "\u{1100}\u{1161} \u{1100}\u{1161}\u{11a8} 가\u{11a8}",
            // One grapheme of 5 bytes and one of 8.
            "\u{1161}\u{301} \u{1100}\u{1161}\u{301}",
            "\u{600} ab \u{600}ab",
            "\u{1f1e6}\u{1f1e7}\u{1f1e6} \u{1f468}\u{200d}\u{1f469} \u{1f600}",
            "▁ab ▁ ▁▁ab",
            "xyz zq zqzq x a x",
            "ab<mask>ab",
            "ab  <mask> ab</s><s>",
            "<mask",
            "ab\0ab",
            "\0",
            "ﬁabＡ水橋水",
        ] {
            assert_alike(pair, text);
        }
    }
}

fn any_text() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 39] = [
        "a",
        "b",
        "c",
        "ab",
        "abc",
        "e",
        "é",
        "fi",
        "水",
        "橋",
        "ก",
        "กิ",
        "가",
        "z",
        "q",
        "▁",
        " ",
        "  ",
        "\t",
        "\r\n",
        "\u{3000}",
        "\u{301}",
        "\u{308}",
        "\u{e34}",
        "\u{1100}",
        "\u{1161}",
        "\u{11a8}",
        "\u{200d}",
        "\u{600}",
        "\u{1}",
        "\u{1f600}",
        "\u{1f1e6}",
        "ﬁ",
        "<mask>",
        "<s>",
        "\u{94d}",
        "\u{915}",
        "\u{2028}",
        "\0",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(&KNOWN[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "\\PC{1,5}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

#[test]
fn any_text_is_tokenised_alike() {
    let pairs = both();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4000));
    runner
        .run(&any_text(), |text| {
            pairs.iter().for_each(|pair| assert_alike(pair, &text));
            Ok(())
        })
        .unwrap();
}
