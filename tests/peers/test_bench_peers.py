"""`make bench-peers` runs on every side, and all sides read the same tokens. BERT, because its tokenizer is the difficult one."""

import os
import subprocess
import sys

import pytest

import runs
import tokenizer_files

BENCH = runs.CHECKOUT / "worker/benches/peers/bench_peers.py"


def bench(folder, *words) -> str:
    text = runs.Text(seed=11)
    rows = text.write_rows(folder / "rows")[1]
    tokenizer_files.write(folder / "start", "bert", text.passages, True)
    vocabulary = str(tokenizer_files.VOCAB_SIZE + 10)
    words = [rows, "--smoke", "--tokenizer", folder / "start", "--vocabularies", vocabulary, *words]
    done = subprocess.run([sys.executable, "-B", BENCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "NOT THE SAME TOKENS" not in done.stdout, done.stdout
    return done.stdout


def steps(output: str) -> list[tuple[str, str]]:
    table = [line.split(" | ") for line in output.splitlines() if line.startswith("| ")]
    return [(line[0].removeprefix("| "), line[1]) for line in table if line[0] != "| side"]


def test_every_side_does_the_same_tokens(tmp_path):
    output = bench(tmp_path, "--checkpointing")
    m3 = [("Tercet", "2"), ("M3 trainer", "2"), ("M3 trainer, checkpointing", "2")]
    assert steps(output) == [*m3, *m3, ("cached MNRL", "2")], output
    assert "pretraining is left out: it needs RETROMAE=DIR" in output


@pytest.mark.skipif("RETROMAE" not in os.environ, reason="RETROMAE=FOLDER does not name the published pre-training")
def test_pretraining_does_the_same_tokens(tmp_path):
    output = bench(tmp_path, "--only", "pretraining", "--retromae", runs.CHECKOUT / os.environ["RETROMAE"])
    tercet = [("Tercet", "2"), ("Tercet, published masks", "2")]
    trainer = [("RetroMAE trainer", "2"), ("RetroMAE trainer, one text at a time", "2")]
    assert steps(output) == [*tercet, *trainer], output
