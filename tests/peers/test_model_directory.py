"""transformers and torch read a model directory: every weight has its place, every token its id."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import safetensors.torch
import torch
from transformers import AutoModel, AutoTokenizer

import runs
from texts import TEXTS

GOLDEN = runs.CHECKOUT / "tests/golden"


POOLER = {"pooler.dense.weight", "pooler.dense.bias"}


def load_whole(model: Path, has_pooler: bool = True) -> torch.nn.Module:
    """AutoModel, of which nothing may be missing or left over, but the pooler must be if the model has none."""
    loaded, info = AutoModel.from_pretrained(model, output_loading_info=True)
    assert set(info["missing_keys"]) == (set() if has_pooler else POOLER)
    for problem in ["unexpected_keys", "mismatched_keys", "error_msgs"]:
        assert not info[problem], f"{problem}: {info[problem]}"
    return loaded


def test_every_weight_has_its_place(run):
    model = load_whole(run.model, run.has_pooler)
    ours = safetensors.torch.load_file(run.model / "model.safetensors")
    places = model.state_dict().keys() - (set() if run.has_pooler else POOLER)
    for name in places:
        assert torch.equal(model.state_dict()[name], ours[name]), name


def test_the_heads_are_plain_state_dicts(run):
    width = json.loads((run.model / "config.json").read_text())["hidden_size"]
    for name, shape in [("colbert_linear.pt", (run.multi_vector_dim, width)), ("sparse_linear.pt", (1, width))]:
        head = torch.load(run.model / name, weights_only=True)
        assert {key: tuple(t.shape) for key, t in head.items()} == {"weight": shape, "bias": shape[:1]}


@pytest.mark.parametrize("name", ["nano_xlmr", "nano_bert"])
def test_a_model_saved_again_is_the_same_bit_for_bit(name, tmp_path):
    original = GOLDEN / name / "hf"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'name = "again"\nsteps = 0\nrun_dir = "{tmp_path}/run"\n[model]\npath = "{original}"\n')
    runs.tercet("train", recipe, "-n", 1)
    again = tmp_path / "run/step-00000000/model"
    load_whole(again)
    before, after = (safetensors.torch.load_file(d / "model.safetensors") for d in [original, again])
    assert before.keys() <= after.keys()
    assert all(torch.equal(weight, after[key]) for key, weight in before.items())
    for head in ["colbert_linear.pt", "sparse_linear.pt"]:
        before, after = (torch.load(d / head, weights_only=True) for d in [original, again])
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_texts_become_the_same_tokens(run, tmp_path):
    """Ours are those of a token store, which leaves out the special tokens."""
    rows = tmp_path / "texts.jsonl"
    runs.write_json_lines(rows, [{"query": text, "pos": [text]} for text in TEXTS])
    store = tmp_path / "store"
    runs.tercet("prepare", "--tokenizer", run.model / "tokenizer.json", "--out", store, "--query-max-len", 8192, rows)
    with pa.OSFile(str(store / "texts/shard-00000.arrow")) as file:
        ours = pa.ipc.open_file(file).read_all().column("query").to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    special = json.loads((store / "manifest.json").read_text())["special"]
    theirs = tokenizer(TEXTS)["input_ids"]
    assert [[special["cls_token_id"], *ids, special["eos_token_id"]] for ids in ours] == theirs
    for role in ["cls", "eos", "pad", "unk"]:
        assert getattr(tokenizer, f"{role}_token_id") == special[f"{role}_token_id"], role
    unknown = sum(ids.count(special["unk_token_id"]) for ids in ours)
    assert unknown > 0, "none of the texts has an unknown token"
