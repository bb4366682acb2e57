"""Batches of the user's rows that leave no side anything to choose: one positive, as many negatives as a group needs."""

import json
import pathlib
import random

import pyarrow
import tokenizers


class Rows:
    """Rows that any side reads alike, in an order of their own."""

    def __init__(self, rows: list[dict]):
        self.rows = rows
        random.Random(0).shuffle(self.rows)

    @staticmethod
    def pairs(paths: list[pathlib.Path], tokenizer: pathlib.Path, query_max_len: int, num_negatives: int) -> "Rows":
        """Those with a query that fits and as many negatives."""
        rules = tokenizers.Tokenizer.from_file(str(tokenizer))
        rules.no_truncation()
        rules.no_padding()
        pairs = []
        for row in read(paths):
            negatives = row.get("neg") or []
            # sentence-transformers has one limit for queries and passages: no query may be cut.
            if len(negatives) >= num_negatives and len(rules.encode(row["query"]).ids) <= query_max_len:
                pairs.append({"query": row["query"], "pos": row["pos"][:1], "neg": negatives[:num_negatives]})
        if not pairs:
            raise SystemExit(f"bench-peers: no row has {num_negatives} negatives and a query of {query_max_len} tokens")
        return Rows(pairs)

    @staticmethod
    def texts(paths: list[pathlib.Path]) -> "Rows":
        """The text of each row, or its first positive."""
        texts = [row["text"] if "text" in row else row["pos"][0] for row in read(paths)]
        return Rows([{"text": text} for text in texts if text.strip()])

    def write(self, path: pathlib.Path, turn: int, num_rows: int, group_size: int):
        """The batch of a turn; rows repeat where there are too few."""
        first = turn * num_rows
        batch = [self.rows[(first + n) % len(self.rows)] for n in range(num_rows)]
        batch = [row | {"neg": row["neg"][: group_size - 1]} if "neg" in row else row for row in batch]
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in batch))


def read(paths: list[pathlib.Path]):
    """The rows of files of JSON Lines: plain, .gz, .zst."""
    for path in paths:
        with pyarrow.input_stream(str(path)) as file:
            for line in file.read().decode().split("\n"):
                if line.strip():
                    yield json.loads(line)
