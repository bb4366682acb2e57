"""sentence-transformers opens the directory with our pooling and our length limit."""

import numpy as np
from sentence_transformers import SentenceTransformer

import runs
from conftest import encode
from texts import TEXTS


def test_dense_vectors(run, encoded, compare):
    model = SentenceTransformer(str(run.model), device="cpu")
    assert model.max_seq_length == run.max_len
    theirs = model.encode(TEXTS, batch_size=8)
    compare("sentence-transformers: dense vectors", encoded.dense, theirs, 1e-4)
    compare("sentence-transformers: length of a vector", np.linalg.norm(theirs, axis=1), np.ones(len(TEXTS)), 1e-5)


def test_json_lines_say_what_safetensors_say(run, encoded, compare, tmp_path):
    lines = runs.read_json_lines(encode(run, tmp_path, "jsonl"))
    assert [line["id"] for line in lines] == [f"t{n}" for n in range(len(TEXTS))]
    for n, line in enumerate(lines):
        compare("encode: .jsonl and .safetensors", line["dense"], encoded.dense[n], 1e-6)
        weights = {int(token): weight for token, weight in line["lexical"].items()}
        assert weights.keys() == encoded.lexical[n].keys()
        compare("encode: .jsonl and .safetensors", list(weights.values()), [encoded.lexical[n][t] for t in weights], 1e-6)
        compare("encode: .jsonl and .safetensors", line["multi_vector"], encoded.multi_vector[n], 1e-6)
