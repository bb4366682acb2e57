"""pyarrow opens every file of a token store and finds the rows' tokens in it."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import AutoTokenizer

import runs

# Rows of each data set whose texts are tokenised again.
NUM_CHECKED = 200


def read(path: Path) -> pa.Table:
    """The file, mapped as a reader of large stores would."""
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    table.validate(full=True)
    return table


def read_shards(store: Path, dataset: dict) -> pa.Table:
    shards = []
    for shard in dataset["shards"]:
        path = store / dataset["name"] / shard["file"]
        assert path.stat().st_size == shard["bytes"]
        shards.append(read(path))
        assert shards[-1].num_rows == shard["num_rows"]
    return pa.concat_tables(shards)


def manifest(store: Path) -> dict:
    return json.loads((store / "manifest.json").read_text())


def test_counts_and_types(run):
    def lists(item: pa.DataType) -> pa.DataType:
        return pa.list_(pa.field("item", item, nullable=False))

    tokens, scores = lists(pa.uint32()), lists(pa.float32())
    types = [("query", tokens), ("pos", lists(tokens)), ("neg", lists(tokens))]
    types += [("pos_scores", scores), ("neg_scores", scores)]
    for dataset in manifest(run.store)["datasets"]:
        table = read_shards(run.store, dataset)
        assert [(field.name, field.type) for field in table.schema] == types
        assert table.num_rows == dataset["num_rows"]
        flat = [table["query"].combine_chunks().flatten()]
        flat += [table[name].combine_chunks().flatten().flatten() for name in ["pos", "neg"]]
        assert sum(map(len, flat)) == dataset["num_tokens"]
        has_scores = table["pos_scores"].null_count == 0 and table["neg_scores"].null_count == 0
        assert has_scores == dataset["has_scores"]


def longest_texts(table: pa.Table) -> np.ndarray:
    """Tokens of each row's longest text; two special ones frame every text."""
    longest = pc.list_value_length(table["query"]).to_numpy()
    for name in ["pos", "neg"]:
        texts = table[name].combine_chunks()
        lengths = pa.ListArray.from_arrays(texts.offsets, pc.list_value_length(texts.values))
        longest = np.maximum(longest, [max(row, default=0) for row in lengths.to_pylist()])
    return longest + 2


def test_rows_by_length(run):
    for dataset in manifest(run.store)["datasets"]:
        lengths = longest_texts(read_shards(run.store, dataset))
        order = read(run.store / dataset["name"] / dataset["by_length"]["file"])["row"].to_numpy()
        assert np.array_equal(order, np.argsort(lengths, kind="stable"))
        limits, num_rows = zip(*dataset["rows_up_to"])
        assert list(num_rows) == np.searchsorted(np.sort(lengths), limits, side="right").tolist()


def test_tokens_are_those_of_the_texts(run):
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    about = manifest(run.store)

    def tokens(texts: list[str], max_len: int) -> list[list[int]]:
        return [ids[: max_len - 2] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    for dataset in about["datasets"]:
        table = read_shards(run.store, dataset).slice(0, NUM_CHECKED).to_pylist()
        rows = [row for source in dataset["sources"] for row in runs.read_json_lines(runs.CHECKOUT / source["path"])]
        assert len(rows) == dataset["num_rows"]
        for stored, row in zip(table, rows):
            assert stored["query"] == tokens([row.get("prompt", "") + row["query"]], about["query_max_len"])[0]
            assert stored["pos"] == tokens(row["pos"], about["passage_max_len"])
            assert stored["neg"] == (tokens(row["neg"], about["passage_max_len"]) if row.get("neg") else [])
            for column in ["pos_scores", "neg_scores"]:
                scores = row.get(column)
                assert stored[column] == (None if scores is None else pa.array(scores, pa.float32()).to_pylist())
