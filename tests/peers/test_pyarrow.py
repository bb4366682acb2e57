"""pyarrow opens every file of a token store and finds the rows' tokens in it."""

import json
from pathlib import Path

import pyarrow as pa
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


def test_rows_by_length(run):
    for dataset in manifest(run.store)["datasets"]:
        shapes = []
        for row in read_shards(run.store, dataset).to_pylist():
            pos, neg = [[len(text) for text in row[name]] for name in ["pos", "neg"]]
            query = len(row["query"])
            # Two special tokens frame every text.
            shapes.append((max([query, *pos, *neg]) + 2, len(neg), query, pos, neg))
        expected = sorted(range(len(shapes)), key=lambda row: (shapes[row], row))
        folder = run.store / dataset["name"]
        order = read(folder / dataset["by_length"]["file"])
        assert [(field.name, field.type) for field in order.schema] == [("row", pa.uint64()), ("check", pa.uint32())]
        assert order["row"].to_pylist() == expected

        distinct = read(folder / dataset["shapes"]["file"]).to_pylist()
        ends = [shape.pop("rows_up_to") for shape in distinct]
        assert ends == sorted(set(ends)) and ends[-1] == len(shapes)
        for start, end, shape in zip([0, *ends], ends, distinct):
            for row in expected[start:end]:
                assert shape == dict(zip(["query", "pos", "neg"], shapes[row][2:]))
        limits, num_rows = zip(*dataset["rows_up_to"])
        assert list(num_rows) == [sum(shape[0] <= limit for shape in shapes) for limit in limits]


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
