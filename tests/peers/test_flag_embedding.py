"""FlagEmbedding's BGEM3FlagModel gives the vectors, token weights and scores that we give."""

import itertools
import json

import numpy as np
import pytest
from FlagEmbedding import BGEM3FlagModel

import runs
from texts import TEXTS

LIMIT = 1e-4
# Queries and passages of the pairs that are scored.
QUERIES, PASSAGES = TEXTS[:6] + TEXTS[13:15], TEXTS[3:7] + TEXTS[12:16]


@pytest.fixture(scope="module")
def model(run):
    model = BGEM3FlagModel(
        str(run.model), use_fp16=False, devices=["cpu"], pooling_method=run.pooling, colbert_dim=run.multi_vector_dim
    )
    yield model
    model.stop_self_pool()


@pytest.fixture(scope="module")
def theirs(run, model):
    # Batches of several texts, so that padding takes part.
    return model.encode(
        TEXTS, batch_size=8, max_length=run.max_len, return_dense=True, return_sparse=True, return_colbert_vecs=True
    )


def test_dense_vectors(encoded, theirs, compare):
    compare("FlagEmbedding: dense vectors", encoded.dense, theirs["dense_vecs"], LIMIT)


def test_token_weights(encoded, theirs, compare):
    num_tokens = 0
    for ours, weights in zip(encoded.lexical, theirs["lexical_weights"], strict=True):
        weights = {int(token): float(weight) for token, weight in weights.items()}
        # Theirs leave out tokens without weight.
        assert {token for token, weight in ours.items() if weight > 0} == weights.keys()
        num_tokens += len(weights)
        compare("FlagEmbedding: token weights", [ours[t] for t in weights], list(weights.values()), LIMIT)
    assert num_tokens > len(TEXTS), "hardly any token has a weight: nothing was compared"


def test_multi_vectors(encoded, theirs, compare):
    for ours, vectors in zip(encoded.multi_vector, theirs["colbert_vecs"], strict=True):
        compare("FlagEmbedding: multi-vectors", ours, vectors, LIMIT)


def test_scores_of_encoded_texts(encoded, model, theirs, compare):
    """Their scoring functions on their representations, against the definitions on ours."""
    for i, j in itertools.product(range(len(TEXTS)), range(0, len(TEXTS), 3)):
        shared = encoded.lexical[i].keys() & encoded.lexical[j].keys()
        ours = sum(encoded.lexical[i][token] * encoded.lexical[j][token] for token in shared)
        score = model.compute_lexical_matching_score(theirs["lexical_weights"][i], theirs["lexical_weights"][j])
        compare("FlagEmbedding: lexical_matching_score", ours, score, LIMIT)

        ours = (encoded.multi_vector[i] @ encoded.multi_vector[j].T).max(axis=1).mean()
        score = model.colbert_score(theirs["colbert_vecs"][i], theirs["colbert_vecs"][j])
        compare("FlagEmbedding: colbert_score", ours, score, LIMIT)


def test_scores_of_pairs(run, model, compare, tmp_path):
    """Every query with every passage, against `tercet step`'s score matrices."""
    rows = tmp_path / "rows.jsonl"
    runs.write_json_lines(rows, [{"query": q, "pos": [p]} for q, p in zip(QUERIES, PASSAGES, strict=True)])
    settings = [
        "loss.temperature=1",
        f"model.pooling={run.pooling}",
        "data.group_size=1",
        f"data.query_max_len={run.max_len}",
        f"data.passage_max_len={run.max_len}",
    ]
    printed = runs.tercet(
        "step", "tests/recipes/golden.toml", "--model", run.model, "--rows", rows, "-n", 2, "--json",
        *(word for setting in settings for word in ["--set", setting]),
    )  # fmt: skip
    ours = {head: np.array(matrix) for head, matrix in json.loads(printed)["scores"].items()}
    pairs = [(query, passage) for query in QUERIES for passage in PASSAGES]
    # One pair at a time: in a larger batch their multi-vector maximum also sees the shorter passages' padding.
    theirs = model.compute_score(
        pairs, batch_size=1, max_query_length=run.max_len, max_passage_length=run.max_len,
        weights_for_different_modes=[1.0, 0.3, 1.0],
    )  # fmt: skip
    shape = (len(QUERIES), len(PASSAGES))
    for head, mode, scale in [
        ("dense", "dense", 1.0),
        ("lexical", "sparse", 1.0),
        ("multi_vector", "colbert", 1.0),
        ("hybrid", "colbert+sparse+dense", 2.3),  # theirs is a weighted mean, ours the sum
    ]:
        if head in ours:
            compare(f"FlagEmbedding: compute_score, {head}", ours[head], np.reshape(theirs[mode], shape) * scale, LIMIT)
    assert {"dense", "lexical", "multi_vector"} <= ours.keys()
