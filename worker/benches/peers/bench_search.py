"""What a dense query costs: `tercet search` beside numpy's matrix product and faiss's flat index, on the same vectors.

    make bench-search [ARGS="--passages N --width D --queries Q --top K --threads T --turns T"]

faiss is a side where it is installed (`.deps/peers/bin/python -m pip install faiss-cpu`). Tercet's time of a query is the
difference between two commands of many and of few queries: with it go encoding the query and writing its lines, but not
loading the model and checking the index. Where the machine does other things, processor time is the figure.
"""

import argparse
import os
import pathlib
import random
import resource
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "tests/peers")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--passages", type=int, default=300_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--top", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    return parser.parse_args()


ARGS = arguments()
# Before any library counts the cores.
os.environ.update(OMP_NUM_THREADS=str(ARGS.threads), OPENBLAS_NUM_THREADS=str(ARGS.threads), TOKENIZERS_PARALLELISM="false")

import models
import numpy as np
import runs
import tokenizer_files
from safetensors.numpy import load_file
from sides import tercet

try:
    import faiss
except ImportError:
    faiss = None

# Queries of the shorter command.
FEW = 64
# Documents that numpy multiplies at a time.
TILE = 16_384


class Clock:
    """Wall and processor seconds of what is done within, its child processes included."""

    def __enter__(self):
        self.began = self.now()
        return self

    def __exit__(self, *_):
        self.spent = [now - before for now, before in zip(self.now(), self.began)]

    @staticmethod
    def now() -> list[float]:
        usage = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return [time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in usage)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        draw = random.Random(3)
        words = ["".join(draw.choices("aeioubdgklmnprst", k=5)) for _ in range(300)]
        texts = lambda count: [" ".join(draw.choices(words, k=4)) for _ in range(count)]  # noqa: E731
        passages, queries = texts(ARGS.passages), texts(ARGS.queries + FEW)
        tokenizer_files.write(folder / "tokenizer", "xlm-roberta", words, companions=False)
        shape = {"hidden_size": ARGS.width, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
        model = models.write(folder / "model", folder / "tokenizer", shape, tokenizer_files.VOCAB_SIZE)
        for name, own in ("corpus", passages), ("many", queries), ("few", queries[:FEW]):
            runs.write_json_lines(folder / f"{name}.jsonl", [{"_id": f"{n}", "text": text} for n, text in enumerate(own)])
        index = folder / "index"
        corpus = ["--corpus", folder / "corpus.jsonl", "--heads", "dense", "--store", "fp32"]
        tercet("index", "--model", model, *corpus, "--out", index, "-n", 1)
        docs = np.concatenate([load_file(path)["dense"] for path in sorted((index / "blocks").iterdir())])
        tercet("encode", "--model", model, "--input", folder / "many.jsonl", "--out", folder / "q.safetensors", "--heads", "dense")
        asked = np.ascontiguousarray(load_file(folder / "q.safetensors")["dense"][: ARGS.queries])

        sides = {"tercet search": lambda: ours(model, index, folder), "numpy's product": lambda: product(docs, asked)}
        sides["numpy's product and best"] = lambda: best(docs, asked)
        if faiss:
            faiss.omp_set_num_threads(ARGS.threads)
            flat = faiss.IndexFlatIP(ARGS.width)
            flat.add(docs)
            sides["faiss IndexFlatIP"] = lambda: timed(lambda: flat.search(asked, ARGS.top))
        figures = {name: [] for name in sides}
        for _ in range(ARGS.turns):
            for name, side in sides.items():
                figures[name].append(side())
    report(figures)


def ours(model, index, folder) -> list[float]:
    spent = []
    for name in "many", "few":
        out = pathlib.Path(tempfile.mkdtemp(dir=folder))
        words = ["--queries", folder / f"{name}.jsonl", "--rankings", "dense", "--top", ARGS.top, "--out", out / "runs"]
        spent.append(timed(lambda: tercet("search", "--model", model, "--index", index, *words, "-n", 1)))
    return [many - few for many, few in zip(*spent)]


def timed(work) -> list[float]:
    with Clock() as clock:
        work()
    return clock.spent


def product(docs: np.ndarray, asked: np.ndarray) -> list[float]:
    return timed(lambda: [asked @ docs[start : start + TILE].T for start in range(0, len(docs), TILE)])


def best(docs: np.ndarray, asked: np.ndarray) -> list[float]:
    def work():
        scores = np.concatenate([asked @ docs[start : start + TILE].T for start in range(0, len(docs), TILE)], axis=1)
        places = np.argpartition(scores, -ARGS.top, axis=1)[:, -ARGS.top :]
        found = np.take_along_axis(scores, places, axis=1)
        np.take_along_axis(places, np.argsort(-found, axis=1), axis=1)

    return timed(work)


def report(figures: dict) -> None:
    print(f"{ARGS.passages} passages, {ARGS.width} wide, fp32, top {ARGS.top}, {ARGS.threads} threads, median of {ARGS.turns} turns")
    print(f"{'':<26}{'wall ms a query':>16}{'processor ms':>14}{'ratio to the product (wall, processor)':>42}")
    medians = {name: [statistics.median(column) for column in zip(*turns)] for name, turns in figures.items()}
    base = medians["numpy's product"]
    for name, spent in medians.items():
        wall, cpu = (1000 * seconds / ARGS.queries for seconds in spent)
        ratios = "  ".join(f"{own / theirs:.2f}" for own, theirs in zip(spent, base))
        print(f"{name:<26}{wall:>16.3f}{cpu:>14.3f}{ratios:>42}")


if __name__ == "__main__":
    main()
