"""sentence-transformers' miner draws the same negatives where it is asked the same.

Its ranks are counted after its filters, ours before: with filters both look at all passages. Queries have different
numbers of positives, and margins go by the lowest of each: earlier versions of the miner took other rows' there.
"""

from collections import defaultdict

import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

import runs

NUM_QUERIES, NUM_PASSAGES = 40, 150
# More than there are passages.
ALL = 400

WAYS = {
    "ranks": (
        dict(range_min=3, range_max=13, num_negatives=10),
        ["--range", "3-13", "--negatives", "10"],
    ),
    "share": (
        dict(range_max=ALL, num_negatives=5, relative_margin=0.05),
        ["--range", f"0-{ALL}", "--negatives", "5", "--max-share", "0.95"],
    ),
    "margin": (
        dict(range_max=ALL, num_negatives=5, absolute_margin=0.02),
        ["--range", f"0-{ALL}", "--negatives", "5", "--margin", "0.02"],
    ),
    "scores": (
        dict(range_max=ALL, num_negatives=5, max_score=0.9, min_score=0.1),
        ["--range", f"0-{ALL}", "--negatives", "5", "--max-score", "0.9", "--min-score", "0.1"],
    ),
}


@pytest.fixture(scope="session")
def rows(run) -> tuple[dict[str, list[str]], list[str]]:
    """Queries with their positives, one or two, and passages to search."""
    data = run.eval_data[0]
    passages = {}
    for doc in runs.read_json_lines(data / "corpus.jsonl"):
        passages[doc["_id"]] = f"{doc.get('title', '')} {doc['text']}".strip()
    queries = {query["_id"]: query["text"] for query in runs.read_json_lines(data / "queries.jsonl")}
    answers = defaultdict(list)
    for line in (data / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, doc, score = line.split("\t")
        if int(score) > 0 and doc in passages and passages[doc] not in answers[query]:
            answers[query].append(passages[doc])
    asked = [query for query in queries if query != "stranger" and answers[query]][:NUM_QUERIES]
    rows = {queries[query]: answers[query][: 1 + n % 2] for n, query in enumerate(asked)}
    searched = list(passages.values())[:NUM_PASSAGES] + [text for own in rows.values() for text in own]
    return rows, list(dict.fromkeys(searched))


@pytest.mark.parametrize("way", WAYS)
def test_the_same_negatives(run, rows, way, compare, tmp_path):
    (rows, passages), (theirs, ours) = rows, WAYS[way]
    runs.write_json_lines(tmp_path / "rows.jsonl", [{"query": q, "pos": p} for q, p in rows.items()])
    runs.write_json_lines(tmp_path / "corpus.jsonl", [{"text": text} for text in passages])
    out = tmp_path / "mined.jsonl"
    words = ["--rows", tmp_path / "rows.jsonl", "--corpus", tmp_path / "corpus.jsonl", "--out", out, *ours]
    words += ["--draw", "top", "--few", "keep", "--write-scores", "--temperature", "1"]
    runs.tercet("mine", "--model", run.model, *words, "-n", 2)
    mined = {row["query"]: dict(zip(row["neg"], row["neg_scores"])) for row in runs.read_json_lines(out)}

    model = SentenceTransformer(str(run.model), device="cpu")
    pairs = [(query, positive) for query, own in rows.items() for positive in own]
    dataset = Dataset.from_dict({"anchor": [q for q, _ in pairs], "positive": [p for _, p in pairs]})
    options = dict(output_format="labeled-list", output_scores=True, sampling_strategy="top", verbose=False, batch_size=8)
    found = mine_hard_negatives(dataset, model, corpus=passages, **theirs, **options)
    columns = found.column_names
    expected = {query: {} for query in rows}
    for row in found:
        expected[row["anchor"]] = dict(zip(row[columns[1]][1:], row["scores"][1:]))
    assert mined.keys() == expected.keys()
    assert sum(map(len, expected.values())) > 0, "there is something to compare"
    for query, own in expected.items():
        ours_here = mined[query]
        compare(f"mine_hard_negatives: scores by {way}", list(ours_here.values()), list(own.values()), 1e-4)
        # Where scores differ in the last digits only, either may come first.
        for text in ours_here.keys() ^ own.keys():
            score = ours_here.get(text, own.get(text))
            assert min(abs(score - other) for other in [*own.values()]) < 1e-4, f"{query}: {text}"
