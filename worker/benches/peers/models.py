"""Model directories that all sides load: fresh weights, written by `tercet train` with no steps."""

import json
import pathlib

from sides import tercet

# MiniLM-L6: huggingface.co/sentence-transformers/all-MiniLM-L6-v2.
MINILM_L6 = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
# XLM-RoBERTa-base: huggingface.co/FacebookAI/xlm-roberta-base.
XLM_R_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}


def vocabulary(tokenizer: pathlib.Path) -> dict[str, int]:
    """Token → id, special tokens included."""
    description = json.loads((tokenizer / "tokenizer.json").read_text())
    vocab = description["model"]["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {piece: id for id, (piece, _) in enumerate(vocab)}
    return ids | {token["content"]: token["id"] for token in description["added_tokens"]}


def write(folder: pathlib.Path, tokenizer: pathlib.Path, shape: dict, num_words: int) -> pathlib.Path:
    """A model of `shape` with `num_words` embeddings, for the tokenizer's family; embeddings beyond its tokens are unused."""
    ids = vocabulary(tokenizer)
    bert = "[PAD]" in ids
    config = shape | {
        "architectures": ["BertModel" if bert else "XLMRobertaModel"],
        "model_type": "bert" if bert else "xlm-roberta",
        "vocab_size": num_words,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512 if bert else 514,
        "type_vocab_size": 2 if bert else 1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12 if bert else 1e-5,
        "pad_token_id": ids["[PAD]" if bert else "<pad>"],
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'name = "fresh"\nsteps = 0\nrun_dir = "{folder}/run"\n[model]\nconfig = "{folder}/config.json"\n'
        f'tokenizer = "{tokenizer.resolve()}/tokenizer.json"\n'
    )
    tercet("train", recipe, "-n", 1)
    return folder / "run/step-00000000/model"
