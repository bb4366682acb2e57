"""What the tests share: the runs, our encodings of the texts, and the table of the largest differences."""

import os

# Before any import of the libraries: nothing here may ask the network, and progress bars only clutter.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1", CUDA_VISIBLE_DEVICES="")

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import runs
from texts import TEXTS


@dataclass
class Encoded:
    """What `tercet encode` gave for TEXTS."""

    dense: np.ndarray
    lexical: list[dict[int, float]]
    multi_vector: list[np.ndarray]


def encode(run: runs.Run, folder: Path, ending: str) -> Path:
    """`tercet encode` of TEXTS on two ranks into a file with this ending."""
    texts, out = folder / "texts.jsonl", folder / f"encoded.{ending}"
    runs.write_json_lines(texts, [{"id": f"t{n}", "text": text} for n, text in enumerate(TEXTS)])
    runs.tercet("encode", "--model", run.model, "--input", texts, "--out", out, "-n", 2)
    return out


@pytest.fixture(scope="session", params=runs.names())
def run(request, tmp_path_factory) -> runs.Run:
    return runs.get(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def encoded(run, tmp_path_factory) -> Encoded:
    tensors = safetensors.numpy.load_file(encode(run, tmp_path_factory.mktemp("encode"), "safetensors"))

    def per_text(offsets, *columns):
        return [[c[start:end] for c in columns] for start, end in zip(offsets, offsets[1:])]

    lexical = per_text(tensors["lexical.offsets"], tensors["lexical.token_ids"], tensors["lexical.weights"])
    vectors = per_text(tensors["multi_vector.offsets"], tensors["multi_vector.vectors"])
    return Encoded(
        dense=tensors["dense"],
        lexical=[dict(zip(ids.tolist(), weights.tolist())) for ids, weights in lexical],
        multi_vector=[v for (v,) in vectors],
    )


_differences: dict[tuple[str, str], tuple[float, float]] = {}


@pytest.fixture
def compare(request):
    """compare(what, ours, theirs, limit): asserts that no two numbers differ by more than `limit`, and notes by how much.

    The difference is relative to numbers above 1: lexical scores of long texts go into the hundreds.
    """
    callspec = getattr(request.node, "callspec", None)
    name = str(callspec.params.get("run", "")) if callspec else ""

    def compare(what: str, ours, theirs, limit: float) -> None:
        ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
        assert ours.shape == theirs.shape, f"{what}: shapes {ours.shape} and {theirs.shape}"
        largest = float(np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1.0), initial=0.0))
        before, _ = _differences.get((what, name), (0.0, limit))
        _differences[what, name] = (max(before, largest), limit)
        assert largest <= limit, f"{what}: differs by {largest:.3g}, allowed are {limit:.3g}"

    return compare


def pytest_terminal_summary(terminalreporter):
    if not _differences:
        return
    terminalreporter.section("largest differences")
    for (what, name), (largest, limit) in sorted(_differences.items()):
        terminalreporter.write_line(f"{what:<52} {name:<14} {largest:9.2e}  (allowed {limit:.0e})")
