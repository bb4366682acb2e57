"""Training steps beside FlagEmbedding's trainers and sentence-transformers' cached loss. README.md says what is compared.

    make bench-peers TOKENIZER=MODEL_DIR ROWS="FILE.jsonl …" [RETROMAE=DIR] [ARGS="--turns 3 …"]
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

# What can be compared, and Tercet's name for what is trained then.
PRESETS = {"unified": "unified", "dense": "dense", "pretraining": "retromae"}
RETROMAE = "research/baai_general_embedding/retromae_pretrain"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The same step on several sides."""

    name: str
    num_rows: int
    group_size: int
    """Passages of a row."""
    shape: dict
    sides: list[str]

    @property
    def of_texts(self) -> bool:
        """Its rows are texts alone."""
        return self.name == "pretraining"


def comparisons(args) -> list[Comparison]:
    checkpointing = ["M3 trainer, checkpointing"] if args.checkpointing or args.limit_memory else []
    m3 = ["Tercet", "M3 trainer", *checkpointing]
    retromae = ["Tercet", "Tercet, published masks", "RetroMAE trainer", "RetroMAE trainer, one text at a time"]
    small = args.smoke
    pairs, texts = (models.SMALL, models.SMALL) if small else (models.MINILM_L6, models.XLM_R_BASE)
    num_queries = {"unified": 2, "dense": 8} if small else {"unified": 8, "dense": 64}
    if args.num_queries:
        num_queries = dict.fromkeys(num_queries, args.num_queries)
    all_of_them = [
        Comparison("unified", num_queries["unified"], 3 if small else 8, pairs, m3),
        Comparison("dense", num_queries["dense"], 1, pairs, [*m3, "cached MNRL"]),
        Comparison("pretraining", args.num_texts, 1, texts, retromae),
    ]
    return [comparison for comparison in all_of_them if comparison.name in args.only]


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
    add("rows", nargs="+", type=pathlib.Path, help="rows with mined negatives, for pretraining any: .jsonl, .jsonl.gz, .jsonl.zst")
    add("--tokenizer", required=True, type=pathlib.Path, help="model directory with a tokenizer.json")
    add("--vocabularies", type=int, nargs="+", help="embeddings of the models; default: the tokenizer's, and 250002")
    add("--only", nargs="+", choices=PRESETS, default=list(PRESETS))
    add("--retromae", type=pathlib.Path, metavar="DIR", help="FlagEmbedding's folder retromae_pretrain, for pretraining")
    add("--num-queries", type=int, help="of a batch; default: 8 with 8 passages each, dense 64 with one")
    add("--num-texts", type=int, default=32, help="of a batch of pretraining")
    add("--turns", type=int, default=3, help="how often each side runs, each time with other rows")
    add("--steps", type=int, default=5, help="timed steps of a turn, after one that is not")
    add("--threads", type=int, default=1)
    add("--first-core", type=int, default=0, help="the first of as many cores as there are threads")
    add("--query-max-len", type=int, default=64)
    add("--passage-max-len", type=int, default=256)
    add("--text-max-len", type=int, default=512)
    add("--mini-batch", type=int, default=16, help="texts that sentence-transformers encodes at a time")
    add("--micro-batch", type=int, default=8, help="texts that the RetroMAE trainer computes at a time")
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
        args.query_max_len, args.passage_max_len, args.text_max_len, args.turns, args.steps = 32, 64, 64, 1, 2
        args.num_texts, args.micro_batch = 8, 4
    args.only = [name for name in args.only if name != "pretraining" or can_pretrain(args)]
    return args


def can_pretrain(args) -> bool:
    """Whether pretraining is compared. Says why not; where nothing else was asked for, that is the end."""
    if args.limit_memory:
        missing = "one text's graph is all that grows, so --limit-memory finds nothing"
    elif args.retromae is None:
        missing = f"it needs RETROMAE=DIR (--retromae DIR), {RETROMAE} of a clone of FlagEmbedding"
    else:
        check_retromae(args)
        return True
    if args.only == ["pretraining"]:
        raise SystemExit(f"bench-peers: pretraining: {missing}")
    print(f"pretraining is left out: {missing}\n", flush=True)
    return False


def check_retromae(args):
    if not (args.retromae / "enhancedDecoder.py").is_file():
        raise SystemExit(f"bench-peers: no enhancedDecoder.py in {args.retromae}: name {RETROMAE} of a clone of FlagEmbedding")
    if not sides.RETROMAE_PYTHON.exists():
        raise SystemExit(f"bench-peers: no {sides.RETROMAE_PYTHON}: `make bench-peers RETROMAE=DIR` installs it")
    if args.num_texts % args.micro_batch != 0:
        raise SystemExit(f"bench-peers: --num-texts {args.num_texts} is no multiple of --micro-batch {args.micro_batch}")


def gibibytes(text: str) -> float:
    return float(text.lower().removesuffix("gib")) * 2**30


class Bench:
    """What all comparisons share."""

    def __init__(self, args, scratch: pathlib.Path):
        self.args, self.scratch = args, scratch
        num_tokens = max(models.vocabulary(args.tokenizer).values()) + 1
        self.vocabularies = args.vocabularies or [num_tokens, num_tokens + 1000 if args.smoke else 250_002]
        of_pairs = [comparison for comparison in comparisons(args) if not comparison.of_texts]
        if of_pairs:
            num_negatives = max(comparison.group_size for comparison in of_pairs) - 1
            rules = args.tokenizer / "tokenizer.json"
            self.pairs = rows.Rows.pairs(args.rows, rules, args.query_max_len, num_negatives)
        if "pretraining" in args.only:
            self.texts = rows.Rows.texts(args.rows)
        allowed = sorted(os.sched_getaffinity(0))
        self.cores = [core for core in allowed if core >= args.first_core][: args.threads]
        if len(self.cores) < args.threads:
            raise SystemExit(f"bench-peers: {args.threads} threads from core {args.first_core} on, but there are {allowed}")
        self.models: dict[str, pathlib.Path] = {}
        # A side that needs more than there is would have the machine end something else.
        self.all_memory = 0.9 * psutil.virtual_memory().available

    def model(self, shape: dict, num_words: int) -> pathlib.Path:
        name = f"model-{shape['hidden_size']}-{num_words}"
        if name not in self.models:
            self.models[name] = models.write(self.scratch / name, self.args.tokenizer, shape, num_words)
        return self.models[name]

    def run(self, side: str, comparison: Comparison, num_words: int, turn: int, steps: int, limit: float) -> jobs.Outcome:
        """One side's turn, with the rows that all sides get in this turn."""
        args = self.args
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            batch = pathlib.Path(folder) / "rows.jsonl"
            own = self.texts if comparison.of_texts else self.pairs
            own.write(batch, turn, comparison.num_rows, comparison.group_size)
            job = jobs.Job(
                folder=pathlib.Path(folder) / "job",
                model=self.model(comparison.shape, num_words),
                rows=batch,
                preset=PRESETS[comparison.name],
                num_rows=comparison.num_rows,
                group_size=comparison.group_size,
                query_max_len=args.query_max_len,
                passage_max_len=args.passage_max_len,
                text_max_len=args.text_max_len,
                steps=steps,
                mini_batch=args.mini_batch,
                micro_batch=args.micro_batch,
                retromae=args.retromae and args.retromae.resolve(),
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
            fits, outcome, num_queries = None, None, max(comparison.num_rows // 8, 1)
            while num_queries <= self.args.max_queries and not (outcome and outcome.failure):
                larger = dataclasses.replace(comparison, num_rows=num_queries)
                outcome = self.run(side, larger, num_words, 0, 1, min(self.args.limit_memory, self.all_memory))
                if not outcome.failure:
                    fits = (num_queries, outcome)
                num_queries *= 2
            found[side] = (fits, outcome)
        print(report.largest(comparison, num_words, self.args.limit_memory, found), flush=True)


if __name__ == "__main__":
    main()
