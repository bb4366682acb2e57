"""`make bench-peers` runs on every side, and all sides read the same tokens. BERT, because its tokenizer is the difficult one."""

import subprocess
import sys

import runs
import tokenizer_files

BENCH = runs.CHECKOUT / "worker/benches/peers/bench_peers.py"


def test_every_side_does_the_same_tokens(tmp_path):
    text = runs.Text(seed=11)
    rows = text.write_rows(tmp_path / "rows")[1]
    tokenizer_files.write(tmp_path / "start", "bert", text.passages, True)
    vocabulary = str(tokenizer_files.VOCAB_SIZE + 10)
    words = [rows, "--smoke", "--checkpointing", "--tokenizer", tmp_path / "start", "--vocabularies", vocabulary]
    done = subprocess.run([sys.executable, "-B", BENCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    steps = [(line[0].removeprefix("| "), line[1]) for line in table if line[0] != "| side"]
    m3 = [("Tercet", "2"), ("M3 trainer", "2"), ("M3 trainer, checkpointing", "2")]
    assert steps == [*m3, *m3, ("cached MNRL", "2")], done.stdout
    assert "NOT THE SAME TOKENS" not in done.stdout, done.stdout
