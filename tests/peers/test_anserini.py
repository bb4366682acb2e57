"""Lucene's scores, on the project's own documentation as a corpus: BM25 over tokens and over words, impacts."""

import math
import re

import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import anserini
import runs

# Anserini rounds scores to four places; ours are added up in 32 bits.
BM25_LIMIT = 5e-5 + 2e-6
ALL = 100_000

reason = anserini.why_not()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


def paragraphs() -> list[str]:
    """The documentation, paragraph by paragraph; tables are long ones, of which some words occur many times."""
    # Anserini's English analyzer takes a possessive s off also where it does not stem.
    texts = [path.read_text().replace("'s", "s") for path in sorted((runs.CHECKOUT / "docs").rglob("*.md"))]
    return [" ".join(paragraph.split()) for text in texts for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


class Library:
    """A corpus and queries, by name, with an index and its lists."""

    def __init__(self, run: runs.Run, folder, docs: dict[str, str], queries: dict[str, str], heads: str):
        self.run, self.folder, self.docs, self.queries = run, folder, docs, queries
        for name, texts in ("corpus", docs), ("queries", queries):
            lines = [{"_id": key, "text": text} for key, text in texts.items()]
            runs.write_json_lines(folder / f"{name}.jsonl", lines)
        self.index = folder / "index"
        words = ["--corpus", folder / "corpus.jsonl", "--out", self.index, "--store", "fp32", "--heads", heads]
        runs.tercet("index", "--model", run.model, *words)

    def search(self, ranking: str, *words: str) -> dict[str, dict[str, float]]:
        out = self.folder / f"runs-{ranking}{''.join(words)}"
        words = ["--queries", self.folder / "queries.jsonl", "--out", out, "--rankings", ranking, "--top", ALL, *words]
        runs.tercet("search", "--model", self.run.model, "--index", self.index, *words)
        return anserini.read_run(out / f"{ranking}.trec")

    def contents(self, of) -> list[dict]:
        return [{"id": name, "contents": of(text)} for name, text in self.docs.items()]


@pytest.fixture(scope="module")
def library(run, tmp_path_factory) -> Library:
    texts = paragraphs()
    docs = {f"p{n}": text for n, text in enumerate(texts)}
    # Some of a paragraph's words, and one twice.
    queries = {}
    for n, text in enumerate(texts[::9]):
        words = re.findall(r"\S+", text)
        queries[f"q{n}"] = " ".join([*words[:: 1 + len(words) // 8], words[0]])
    return Library(run, tmp_path_factory.mktemp("anserini"), docs, queries, "lexical,bm25,words")


def assert_same(ours: dict, theirs: dict, num_queries: int, compare, what: str, limit: float) -> None:
    """The same documents with the same scores."""
    assert ours.keys() == theirs.keys() and len(ours) > num_queries / 2
    for query, own in ours.items():
        assert own.keys() == theirs[query].keys(), query
        scores = untied(theirs[query], own)
        compare(f"Anserini: {what}", list(own.values()), [scores[doc] for doc in own], limit)


def untied(scores: dict[str, float], ours: dict[str, float]) -> dict[str, float]:
    """The scores, rounded to four places, before Anserini's ScoreTiesAdjusterReranker made all of them different.

    Of scores in a row that are a ten-thousandth apart at most it takes a millionth, two, three, … off. After a hundred
    in a row a score may have been one or its neighbour; then it is the one that is nearer to ours.
    """
    found, last, taken = {}, math.inf, 0
    for doc, score in scores.items():
        if_new, if_near = round(score, 4), round(score + (taken + 1) * 1e-6, 4)
        misfit = abs(score - if_new) - abs(score + (taken + 1) * 1e-6 - if_near)
        if abs(misfit) < 4e-7:
            is_near = last - if_near < 1e-4 and abs(ours[doc] - if_near) <= abs(ours[doc] - if_new)
        else:
            is_near = misfit > 0
        found[doc], taken, last = (if_near, taken + 1, score) if is_near else (if_new, 0, score)
    return found


def test_bm25_over_tokens(library, tmp_path, compare):
    tokenizer = Tokenizer.from_file(str(library.run.model / "tokenizer.json"))
    # Both cut to what the model takes: two tokens of it are special.
    most = library.run.max_len - 2
    tokenizer.no_truncation()

    def ids(text: str) -> str:
        return " ".join(map(str, tokenizer.encode(text, add_special_tokens=False).ids[:most]))

    index = anserini.index(tmp_path, "JsonCollection", library.contents(ids), "-pretokenized")
    queries = {name: ids(text) for name, text in library.queries.items()}
    theirs = anserini.search(index, queries, ALL, "-bm25", "-pretokenized")
    ours = library.search("bm25", "--bm25-lengths", "lucene")
    assert_same(ours, theirs, len(queries), compare, "BM25 over tokens", BM25_LIMIT)


def test_bm25_over_words(library, tmp_path, compare):
    words = ["-stemmer", "none", "-keepStopwords"]
    index = anserini.index(tmp_path, "JsonCollection", library.contents(str), *words)
    theirs = anserini.search(index, library.queries, ALL, "-bm25", *words)
    ours = library.search("bm25_words", "--bm25-lengths", "lucene")
    assert_same(ours, theirs, len(library.queries), compare, "BM25 over words", BM25_LIMIT)


def test_bm25_over_pairs_of_characters(run, tmp_path, compare):
    """Lucene's analyzer of Chinese, Japanese and Korean; it has English stop words, of which the text has none."""
    made = runs.Text(seed=11)
    chosen = [n for n in range(len(made.passages)) if n % len(made.SCRIPTS) in (4, 5)]
    docs = {f"d{n}": made.passages[n].replace(" ", "" if n % 3 else " ") + " 東京2019年 ＡＢＣ 한국어" for n in chosen}
    queries = {f"q{n}": made.queries[n].replace(" ", "") + " 한국" for n in chosen}
    library = Library(run, tmp_path, docs, queries, "words")
    index = anserini.index(tmp_path / "lucene", "JsonCollection", library.contents(str), "-language", "zh")
    theirs = anserini.search(index, queries, ALL, "-bm25", "-language", "zh")
    ours = library.search("bm25_words", "--bm25-lengths", "lucene")
    assert_same(ours, theirs, len(queries), compare, "BM25 over pairs of characters", BM25_LIMIT)


def test_impacts(library, tmp_path):
    """Exactly: `--lexical published` makes the integers that M3's published evaluation hands to Lucene."""
    docs = weights_in(library.index)
    assert docs.keys() == library.docs.keys()
    queries = encoded(library)
    vectors = [{"id": name, "contents": "", "vector": hundredths(weights)} for name, weights in docs.items()]
    index = anserini.index(tmp_path, "JsonVectorCollection", vectors, "-impact", "-pretokenized", "-optimize")
    asked = {
        name: " ".join(token for token, count in hundredths(weights).items() for _ in range(count)) or "0"
        for name, weights in queries.items()
    }
    theirs = anserini.search(index, asked, ALL, "-impact", "-pretokenized")
    ours = library.search("lexical", "--lexical", "published")
    assert ours.keys() == theirs.keys() and len(ours) > len(asked) / 2
    for query, own in ours.items():
        assert own == {doc: float(round(score)) for doc, score in theirs[query].items()}, query
        # And from the integers themselves.
        mine = hundredths(queries[query])
        for doc, score in own.items():
            there = hundredths(docs[doc])
            assert score == sum(count * there.get(token, 0) for token, count in mine.items())


def hundredths(weights: dict[int, float]) -> dict[str, int]:
    # -(-x // 1) rounds up; a product of a 32-bit float and 100 is exact.
    return {str(token): int(-(-100 * float(weight) // 1)) for token, weight in weights.items()}


def weights_in(index) -> dict[str, dict[int, float]]:
    """Each passage's weights of tokens, from the blocks."""
    docs = {}
    for path in sorted((index / "blocks").iterdir()):
        block = load_file(path)
        ends, names = block["ids.offsets"], block["ids.bytes"].tobytes()
        own = [names[start:end].decode() for start, end in zip(ends, ends[1:])]
        docs.update((name, {}) for name in own)
        offsets = block["lexical.offsets"]
        for token, start, end in zip(block["lexical.tokens"], offsets, offsets[1:]):
            for place, weight in zip(block["lexical.docs"][start:end], block["lexical.weights"][start:end]):
                docs[own[place]][int(token)] = float(weight)
    return docs


def encoded(library: Library) -> dict[str, dict[int, float]]:
    """The queries' weights of tokens."""
    out = library.folder / "queries.safetensors"
    runs.tercet("encode", "--model", library.run.model, "--input", library.folder / "queries.jsonl", "--out", out, "--as", "query")
    tensors = load_file(out)
    offsets = tensors["lexical.offsets"]
    ids, weights = tensors["lexical.token_ids"].tolist(), tensors["lexical.weights"].tolist()
    each = [dict(zip(ids[start:end], weights[start:end])) for start, end in zip(offsets, offsets[1:])]
    return dict(zip(library.queries, each, strict=True))
