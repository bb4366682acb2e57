"""Training steps beside FlagEmbedding's M3 trainer and sentence-transformers' cached loss. README.md says what is compared.

    make bench-peers TOKENIZER=MODEL_DIR ROWS="FILE.jsonl …" [ARGS="--turns 3 …"]
"""

import argparse
import dataclasses
import os
import pathlib
import tempfile

import psutil

import jobs
import models
import report
import rows
import sides


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The same step on several sides."""

    name: str
    unified: bool
    num_queries: int
    group_size: int
    sides: list[str]


def comparisons(args) -> list[Comparison]:
    checkpointing = ["M3 trainer, checkpointing"] if args.checkpointing or args.limit_memory else []
    m3 = ["Tercet", "M3 trainer", *checkpointing]
    small = args.smoke
    num_queries = {"unified": 2, "dense": 8} if small else {"unified": 8, "dense": 64}
    if args.num_queries:
        num_queries = dict.fromkeys(num_queries, args.num_queries)
    both = [
        Comparison("unified", True, num_queries["unified"], 3 if small else 8, m3),
        Comparison("dense", False, num_queries["dense"], 1, [*m3, "cached MNRL"]),
    ]
    return [comparison for comparison in both if comparison.name in args.only]


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-peers-", dir=args.scratch) as scratch:
        bench = Bench(args, pathlib.Path(scratch))
        print(report.machine(args, bench.cores, bench.vocabularies), flush=True)
        for num_words in bench.vocabularies:
            for comparison in comparisons(args):
                (bench.largest_batches if args.limit_memory else bench.compare)(comparison, num_words)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("rows", nargs="+", type=pathlib.Path, help="rows with mined negatives: .jsonl, .jsonl.gz, .jsonl.zst")
    add("--tokenizer", required=True, type=pathlib.Path, help="model directory with a tokenizer.json")
    add("--vocabularies", type=int, nargs="+", help="embeddings of the models; default: the tokenizer's, and 250002")
    add("--only", nargs="+", choices=["unified", "dense"], default=["unified", "dense"])
    add("--num-queries", type=int, help="of a batch; default: 8 with 8 passages each, dense 64 with one")
    add("--turns", type=int, default=3, help="how often each side runs, each time with other rows")
    add("--steps", type=int, default=5, help="timed steps of a turn, after one that is not")
    add("--threads", type=int, default=1)
    add("--first-core", type=int, default=0, help="the first of as many cores as there are threads")
    add("--query-max-len", type=int, default=64)
    add("--passage-max-len", type=int, default=256)
    add("--mini-batch", type=int, default=16, help="texts that sentence-transformers encodes at a time")
    add("--sub-batch-tokens", type=int, default=2048, help="Tercet's")
    add("--kept-graph-tokens", type=int, default=0, help="Tercet's")
    add("--checkpointing", action="store_true", help="time the M3 trainer with gradient checkpointing as well")
    add("--limit-memory", type=gibibytes, metavar="GIB", help="double the batch until each side exceeds this")
    add("--limit-secs", type=float, default=1800, help="what one run may take")
    add("--max-queries", type=int, default=1 << 14, help="with --limit-memory: no larger batch is tried")
    add("--scratch", type=pathlib.Path, help="where stores, models and caches go until the end")
    add("--smoke", action="store_true", help="a tiny model and batch: whether everything runs, not how fast")
    args = parser.parse_args()
    if args.smoke:
        args.query_max_len, args.passage_max_len, args.turns, args.steps = 32, 64, 1, 2
    return args


def gibibytes(text: str) -> float:
    return float(text.lower().removesuffix("gib")) * 2**30


class Bench:
    """What all comparisons share."""

    def __init__(self, args, scratch: pathlib.Path):
        self.args, self.scratch = args, scratch
        tokenizer = args.tokenizer / "tokenizer.json"
        num_tokens = max(models.vocabulary(args.tokenizer).values()) + 1
        self.vocabularies = args.vocabularies or [num_tokens, num_tokens + 1000 if args.smoke else 250_002]
        self.num_negatives = max(comparison.group_size for comparison in comparisons(args)) - 1
        self.rows = rows.Rows(args.rows, tokenizer, args.query_max_len, self.num_negatives)
        allowed = sorted(os.sched_getaffinity(0))
        self.cores = [core for core in allowed if core >= args.first_core][: args.threads]
        if len(self.cores) < args.threads:
            raise SystemExit(f"bench-peers: {args.threads} threads from core {args.first_core} on, but there are {allowed}")
        self.models: dict[int, pathlib.Path] = {}
        # A side that needs more than there is would have the machine end something else.
        self.all_memory = 0.9 * psutil.virtual_memory().available

    def model(self, num_words: int) -> pathlib.Path:
        if num_words not in self.models:
            shape = models.SMALL if self.args.smoke else models.MINILM_L6
            folder = self.scratch / f"model-{num_words}"
            self.models[num_words] = models.write(folder, self.args.tokenizer, shape, num_words)
        return self.models[num_words]

    def run(self, side: str, comparison: Comparison, num_words: int, turn: int, steps: int, limit: float) -> jobs.Outcome:
        """One side's turn, with the rows that all sides get in this turn."""
        args = self.args
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            batch = pathlib.Path(folder) / "rows.jsonl"
            self.rows.write(batch, turn, comparison.num_queries, comparison.group_size - 1)
            job = jobs.Job(
                folder=pathlib.Path(folder) / "job",
                model=self.model(num_words),
                rows=batch,
                num_queries=comparison.num_queries,
                group_size=comparison.group_size,
                query_max_len=args.query_max_len,
                passage_max_len=args.passage_max_len,
                unified=comparison.unified,
                steps=steps,
                mini_batch=args.mini_batch,
                sub_batch_tokens=args.sub_batch_tokens,
                kept_graph_tokens=args.kept_graph_tokens,
            )
            outcome = sides.run(side, job, self.cores, limit, args.limit_secs)
        print(report.turn(side, comparison, num_words, turn, outcome), flush=True)
        return outcome

    def compare(self, comparison: Comparison, num_words: int):
        """Every side in turn, as often as asked; a side that failed once is left out from then on."""
        outcomes = {side: [] for side in comparison.sides}
        for turn in range(self.args.turns):
            for side, own in outcomes.items():
                if not any(outcome.failure for outcome in own):
                    own.append(self.run(side, comparison, num_words, turn, self.args.steps, self.all_memory))
        print(report.comparison(comparison, num_words, outcomes), flush=True)

    def largest_batches(self, comparison: Comparison, num_words: int):
        """Doubles each side's batch until it does not fit any more, or takes too long."""
        found = {}
        for side in comparison.sides:
            # From an eighth on: with a large vocabulary a peer may not even do the batch that is timed.
            fits, outcome, num_queries = None, None, max(comparison.num_queries // 8, 1)
            while num_queries <= self.args.max_queries and not (outcome and outcome.failure):
                larger = dataclasses.replace(comparison, num_queries=num_queries)
                outcome = self.run(side, larger, num_words, 0, 1, min(self.args.limit_memory, self.all_memory))
                if not outcome.failure:
                    fits = (num_queries, outcome)
                num_queries *= 2
            found[side] = (fits, outcome)
        print(report.largest(comparison, num_words, self.args.limit_memory, found), flush=True)


if __name__ == "__main__":
    main()
