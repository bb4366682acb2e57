"""Batches of the user's rows that leave no side anything to choose: one positive, as many negatives as a group needs."""

import json
import pathlib
import random

import pyarrow
import tokenizers


class Rows:
    """The rows of some files of JSON Lines (plain, .gz, .zst) that any side reads alike, in an order of its own."""

    def __init__(self, paths: list[pathlib.Path], tokenizer: pathlib.Path, query_max_len: int, num_negatives: int):
        rules = tokenizers.Tokenizer.from_file(str(tokenizer))
        rules.no_truncation()
        rules.no_padding()
        self.rows = []
        for path in paths:
            with pyarrow.input_stream(str(path)) as file:
                lines = file.read().decode().split("\n")
            for row in (json.loads(line) for line in lines if line.strip()):
                negatives = row.get("neg") or []
                # sentence-transformers has one limit for queries and passages: no query may be cut.
                if len(negatives) >= num_negatives and len(rules.encode(row["query"]).ids) <= query_max_len:
                    self.rows.append({"query": row["query"], "pos": row["pos"][:1], "neg": negatives[:num_negatives]})
        if not self.rows:
            raise SystemExit(f"bench-peers: no row has {num_negatives} negatives and a query of {query_max_len} tokens")
        random.Random(0).shuffle(self.rows)

    def write(self, path: pathlib.Path, turn: int, num_queries: int, num_negatives: int):
        """The batch of a turn; rows repeat where there are too few."""
        first = turn * num_queries
        batch = [self.rows[(first + n) % len(self.rows)] for n in range(num_queries)]
        batch = [row | {"neg": row["neg"][:num_negatives]} for row in batch]
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in batch))
