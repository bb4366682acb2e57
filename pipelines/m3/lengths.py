"""Rows by their lengths: what `tercet plan` needs of a token store, without the tokens.

`Lengths.of_config` takes, for each data set, `rows`, the share of rows `up_to` each number of tokens, the tokens of a
`query` and the number of `negatives`; a data set without `query` holds texts alone. Rows between two lengths are spread
evenly over a few lengths between them.
"""

import json
from pathlib import Path

import blake3
import pyarrow as pa

# Distinct lengths between two that are named.
STEPS = 8
# Special tokens of a text.
FRAMING = 2
# Of the order by length.
ROWS_PER_BATCH = 1 << 20


class Lengths:
    """The data sets of a store."""

    def __init__(self, folder, num_rows, num_tokens, datasets=()):
        self.folder, self.num_rows, self.num_tokens, self.datasets = folder, num_rows, num_tokens, datasets

    @classmethod
    def of_manifest(cls, path):
        """Those of a store that is complete."""
        datasets = json.loads(path.read_text())["datasets"]
        return cls(path.parent, sum(d["num_rows"] for d in datasets), sum(d["num_tokens"] for d in datasets))

    @classmethod
    def of_config(cls, asked):
        """Those that a configuration names.

        Raises ValueError, which begins with the key: what is asked for is not there, or does not add up.
        """
        datasets = [DataSet(name, {**asked.get("each", {}), **own}) for name, own in asked["sets"].items()]
        return cls(None, sum(d.num_rows for d in datasets), sum(d.num_tokens for d in datasets), datasets)

    @property
    def has_tokens(self):
        """Whether it is a store that was prepared."""
        return self.folder is not None

    def store(self, folder):
        """The store's folder; one of lengths alone is written to `folder`."""
        if self.folder is not None:
            return self.folder
        manifest = {
            "format_version": 2,
            "tokenizer_hash": "",
            "special": {"cls_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "unk_token_id": 3},
            "max_token_id": 3,
            "query_max_len": 512,
            "passage_max_len": 8192,
            "text_max_len": 8192,
            "datasets": [dataset.write(folder) for dataset in self.datasets],
            "checksum": "",
        }
        text = json.dumps(manifest, separators=(",", ":"))
        manifest["checksum"] = blake3.blake3(text.encode()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder


class DataSet:
    """A data set's rows by length."""

    def __init__(self, name, asked):
        for key in ("rows", "up_to"):
            if key not in asked:
                raise ValueError(f"sets.{name}: {key} is missing, here and in `each`")
        self.name, self.num_rows, self.query = name, asked["rows"], asked.get("query")
        self.negatives = asked.get("negatives", 0)
        self.shapes = list(self.spread(asked["up_to"]))
        texts = 1 + self.negatives
        self.num_tokens = sum(n * ((length - FRAMING) * texts + (self.query or 0)) for length, n in self.shapes)

    def spread(self, up_to):
        """(tokens of the longest text, rows), ascending."""
        below, begun, given, share = FRAMING, 0, 0, 0.0
        for length, part in sorted(up_to.items()):
            for step in range(1, STEPS + 1):
                share_here = share + part * step / STEPS
                until = min(self.num_rows, round(share_here * self.num_rows))
                longest = max(below + (length - below) * step // STEPS, (self.query or 0) + FRAMING, FRAMING + 1)
                if until > given:
                    yield longest, until - given
                    given = until
            below, share = length, share + part
        if abs(share - 1) > 1e-6:
            raise ValueError(f"sets.{self.name}.up_to: the shares add up to {share}, and not to 1")

    def write(self, folder):
        """Writes what planning reads below `folder`, and returns the manifest's entry."""
        own = folder / self.name
        own.mkdir(parents=True)
        (own / "shard-00000.arrow").touch()
        order = self.write_order(own / "by_length.arrow")
        merged = {}
        for length, rows in self.shapes:
            merged[length] = merged.get(length, 0) + rows
        rows_up_to, total = [], 0
        for length, rows in sorted(merged.items()):
            total += rows
            rows_up_to.append([length, total])
        shapes = self.write_shapes(own / "shapes.arrow", rows_up_to)
        empty = {"bytes": 0, "blake3": ""}
        holds = {} if self.query else {"holds": "texts"}
        return {
            "name": self.name,
            "type": None,
            **holds,
            "num_rows": self.num_rows,
            "has_scores": False,
            "rows_per_shard": self.num_rows,
            "rows_per_record_batch": 4096,
            "shards": [{"num_rows": self.num_rows, "file": "shard-00000.arrow", **empty}],
            "num_duplicates": 0,
            "duplicates_dropped": False,
            "by_length": order,
            "shapes": shapes,
            "rows_up_to": rows_up_to,
            "num_tokens": self.num_tokens,
            "num_texts_cut": 0,
            "languages": {},
            "sources": [],
        }

    def write_order(self, path):
        """The file of row numbers in the order by length. Only choices among a row's negatives look into it."""
        columns = (("row", pa.uint64()), ("check", pa.uint32()))
        schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for start in range(0, self.num_rows if self.negatives else 0, ROWS_PER_BATCH):
                rows = range(start, min(start + ROWS_PER_BATCH, self.num_rows))
                columns = [pa.array(rows, pa.uint64()), pa.array([0] * len(rows), pa.uint32())]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        return described(path)

    def write_shapes(self, path, rows_up_to):
        """The file of distinct lengths."""
        passages = [length - FRAMING for length, _ in rows_up_to]
        lens = pa.list_(pa.field("item", pa.uint16(), nullable=False))
        queries = [self.query] * len(passages) if self.query else passages
        positives = [[p] if self.query else [] for p in passages]
        columns = [
            ("rows_up_to", pa.uint64(), [rows for _, rows in rows_up_to]),
            ("query", pa.uint16(), queries),
            ("pos", lens, positives),
            ("neg", lens, [p * self.negatives for p in positives]),
        ]
        schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind, _ in columns])
        batch = pa.record_batch([pa.array(values, kind) for _, kind, values in columns], schema=schema)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(batch)
        return described(path)


def described(path):
    """A file in a manifest."""
    return {"file": path.name, "bytes": path.stat().st_size, "blake3": blake3.blake3(path.read_bytes()).hexdigest()}
