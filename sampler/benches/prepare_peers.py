"""Speed of `tercet prepare` beside Python programs with the same tokenizer on the same number of cores, in one run.

    make bench-prepare TOKENIZER=MODEL_DIR [ROWS="FILE.jsonl …"]

Two peers, each of which reads the same rows as JSON Lines:

* `split` does what FlagEmbedding's scripts/split_data_by_length.py does, written anew from its behaviour (repository
  FlagOpen/FlagEmbedding, commit 18b58e8): `datasets` loads a file, `map` tokenises every text by itself with its special
  tokens and keeps the longest text's length, `filter` picks each length range's rows, `to_json` writes them. Rows are
  numbered without the Python loop of the original, which spares the peer some time.
* `map` runs `datasets.map` in batches, calls the fast tokenizer once per batch on all its texts, and saves token ids.

Every side runs in processes of its own, in turn. The time is that of the whole command, reading and writing included;
for the peers it starts at the first read, after the import of their modules. Tokens are those of all texts without
special tokens; the program checks that our store and `map` count the same number. Figures are medians.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

LENGTHS = [0, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000]
# Nothing is cut, because the peers cut nothing either.
MAX_LEN = "65537"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", type=pathlib.Path, help="files of JSON Lines; without any, rows are made up")
    parser.add_argument("--tokenizer", required=True, type=pathlib.Path, help="model directory with a tokenizer.json")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="cores for each side")
    parser.add_argument("--times", type=int, default=3, help="how often each side runs")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return PEERS[args.peer](args)
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as scratch:
        compare(args, pathlib.Path(scratch))


def compare(args, scratch):
    rows = args.rows or [made_up_rows(args.tokenizer, scratch / "rows.jsonl")]
    secs = {side: [] for side in ["tercet", *PEERS]}
    tokens = {}
    for turn, side in itertools.product(range(args.times), secs):
        out = scratch / f"{side}-{turn}"
        took, num_tokens = (run_tercet if side == "tercet" else run_peer)(side, args, rows, out)
        shutil.rmtree(out)
        secs[side].append(took)
        if num_tokens is not None:
            tokens.setdefault(side, num_tokens)
        print(f"turn {turn + 1}  {side:6}  {took:8.2f} s", flush=True)
    assert tokens["tercet"] == tokens["map"], f"not the same tokens: {tokens}"
    num_bytes = sum(path.stat().st_size for path in rows)
    print(f"\n{len(rows)} files, {num_bytes / 2**20:.1f} MiB, {tokens['tercet']} tokens, {args.processes} cores")
    ours = statistics.median(secs["tercet"])
    for side, took in secs.items():
        median = statistics.median(took)
        rate = tokens["tercet"] / median
        print(f"{side:6}  {rate / 1e6:8.3f} M tokens/s  {median:8.2f} s  tercet is {median / ours:6.1f} times as fast")


def run_tercet(_, args, rows, out):
    command = [os.environ["TERCET"], "prepare", "--tokenizer", args.tokenizer / "tokenizer.json", "--out", out,
               "--query-max-len", MAX_LEN, "--passage-max-len", MAX_LEN]
    command += [f"set{i}={path}" for i, path in enumerate(rows)]
    began = time.monotonic()
    subprocess.run(command, check=True, env=os.environ | {"RAYON_NUM_THREADS": str(args.processes)},
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    took = time.monotonic() - began
    datasets = json.loads((out / "manifest.json").read_text())["datasets"]
    return took, sum(dataset["num_tokens"] for dataset in datasets)


def run_peer(side, args, rows, out):
    # The peers use processes instead of threads; both together would be more than the number of cores.
    env = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, __file__, "--peer", side, "--out", out, "--tokenizer", args.tokenizer,
               "--processes", str(args.processes), *rows]
    done = subprocess.run(command, check=True, env=env, stdout=subprocess.PIPE)
    report = json.loads(done.stdout.splitlines()[-1])
    return report["secs"], report.get("tokens")


def load(path, cache):
    import datasets

    texts = datasets.Sequence(datasets.Value("string"))
    features = datasets.Features({"query": datasets.Value("string"), "pos": texts, "neg": texts})
    return datasets.load_dataset("json", data_files=str(path), split="train", features=features, cache_dir=str(cache))


def load_tokenizer(args):
    """The unchanged tokenizer.json. AutoTokenizer of transformers 5 replaces the pre-tokenizer of an XLM-RoBERTa one."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(args.tokenizer / "tokenizer.json"))


def split(args):
    tokenizer = load_tokenizer(args)

    def longest(batch):
        texts = ([query, *pos, *neg] for query, pos, neg in zip(batch["query"], batch["pos"], batch["neg"]))
        return {"longest": [max(len(tokenizer(text)["input_ids"]) for text in row) for row in texts]}

    began = time.monotonic()
    for number, path in enumerate(args.rows):
        rows = load(path, args.out / "cache").map(longest, batched=True, num_proc=args.processes)
        for low, high in zip(LENGTHS, [*LENGTHS[1:], float("inf")]):
            part = rows.filter(lambda row: low <= row["longest"] < high, num_proc=args.processes)
            if len(part):
                part.remove_columns("longest").to_json(str(args.out / f"{number}-{low}.jsonl"), force_ascii=False)
    print(json.dumps({"secs": time.monotonic() - began}))


def tokenize(args):
    import datasets

    tokenizer = load_tokenizer(args)
    ids = datasets.Sequence(datasets.Value("int32"))
    # Given explicitly, because `map` cannot infer them from a batch without negatives.
    features = datasets.Features({"query": ids, "pos": datasets.Sequence(ids), "neg": datasets.Sequence(ids)})

    def token_ids(batch):
        rows = [[query, *pos, *neg] for query, pos, neg in zip(batch["query"], batch["pos"], batch["neg"])]
        ids = iter(tokenizer([text for row in rows for text in row], add_special_tokens=False)["input_ids"])
        out = {"query": [], "pos": [], "neg": []}
        for pos, neg in zip(batch["pos"], batch["neg"]):
            out["query"].append(next(ids))
            out["pos"].append([next(ids) for _ in pos])
            out["neg"].append([next(ids) for _ in neg])
        return out

    began = time.monotonic()
    saved = []
    for number, path in enumerate(args.rows):
        rows = load(path, args.out / "cache")
        rows = rows.map(token_ids, batched=True, num_proc=args.processes, features=features,
                        remove_columns=rows.column_names)
        saved.append(args.out / f"{number}")
        rows.save_to_disk(str(saved[-1]), num_proc=min(args.processes, len(rows)))
    took = time.monotonic() - began
    print(json.dumps({"secs": took, "tokens": sum(count_tokens(path) for path in saved)}))


def count_tokens(path):
    import datasets
    import pyarrow.compute

    def leaves(column):
        for chunk in column.chunks:
            while not str(chunk.type).startswith("int"):
                chunk = chunk.flatten()
            yield len(chunk)

    table = datasets.load_from_disk(str(path)).data
    return sum(sum(leaves(table.column(name))) for name in ["query", "pos", "neg"])


PEERS = {"split": split, "map": tokenize}


def made_up_rows(tokenizer, path, num_rows=20_000, num_passages=8):
    """Rows of words as frequent as in a language; a passage is a negative of several queries."""
    vocab = json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = [entry[0] if isinstance(entry, list) else entry for entry in vocab]
    words = [piece.strip("▁#") for piece in pieces if len(piece.strip("▁#")) > 2]
    generator = random.Random(0)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    text = lambda num_words: " ".join(generator.choices(words, cum_weights=weights, k=num_words))
    passages = [text(generator.randint(20, 200)) for _ in range(num_rows)]
    with path.open("w") as file:
        for passage in passages:
            row = {"query": text(8), "pos": [passage], "neg": generator.sample(passages, num_passages - 1)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


if __name__ == "__main__":
    main()
