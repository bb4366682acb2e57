"""transformers reads the masked language model that `tercet export --layout masked-lm` writes, and computes the logits of
the published class (tests/golden)."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from transformers import AutoModelForMaskedLM

import runs

GOLDEN = runs.CHECKOUT / "tests/golden"

BERT_HEAD = {
    "cls.predictions.transform.dense.weight": "lm_head.dense.weight",
    "cls.predictions.transform.dense.bias": "lm_head.dense.bias",
    "cls.predictions.transform.LayerNorm.weight": "lm_head.layer_norm.weight",
    "cls.predictions.transform.LayerNorm.bias": "lm_head.layer_norm.bias",
    "cls.predictions.bias": "lm_head.bias",
}
"""The names of mlm_head.safetensors, by transformers' names."""


def as_pre_training_saves_it(hf: Path, folder: Path) -> None:
    """The encoder without prefixes, and the head in a file of its own under names that are the same for all families."""
    folder.mkdir()
    encoder, head = {}, {}
    for name, tensor in safetensors.torch.load_file(hf / "model.safetensors").items():
        if name.startswith(("roberta.", "bert.")):
            encoder[name.split(".", 1)[1]] = tensor
        else:
            head[BERT_HEAD.get(name, name)] = tensor
    assert len(head) == 5
    safetensors.torch.save_file(encoder, folder / "model.safetensors")
    safetensors.torch.save_file(head, folder / "mlm_head.safetensors")
    config = json.loads((hf / "config.json").read_text())
    config["architectures"] = ["XLMRobertaModel"]
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copyfile(hf / "special_tokens.json", folder / "special_tokens.json")


@pytest.mark.parametrize(
    ("name", "class_name"), [("nano_xlmr_mae", "XLMRobertaForMaskedLM"), ("nano_bert_mae", "BertForMaskedLM")]
)
def test_the_logits_are_the_published_classes(name, class_name, tmp_path, caplog, compare):
    as_pre_training_saves_it(GOLDEN / name / "hf", tmp_path / "model")
    out = tmp_path / "masked-lm"
    runs.tercet("export", "--layout", "masked-lm", tmp_path / "model", out)

    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(out, output_loading_info=True)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records, caplog.text
    for problem in ["missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"]:
        assert not info[problem], f"{problem}: {info[problem]}"
    assert type(model).__name__ == class_name
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight

    golden = safetensors.torch.load_file(GOLDEN / name / "basic/tensors.safetensors")
    with torch.no_grad():
        logits = model.eval()(golden["enc.input_ids"], golden["enc.attention_mask"]).logits
    text, place = golden["enc.logits.places"].T
    compare("logits of a masked language model", logits[text, place], golden["enc.logits"], 1e-5)
