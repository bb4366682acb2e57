"""The run folders that the tests look at: the demo's, if it is there, and small ones made on the spot.

A small run goes the way of a real one (prepare, train, eval) with generated text and a model of a few thousand weights,
so it takes seconds. They cover what the demo does not: BERT, mean pooling, narrow multi-vectors, a tokenizer.json all by
itself, hard negatives with teacher scores, texts longer than the model takes.
"""

import json
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import tokenizer_files
from texts import KNOWN

CHECKOUT = Path(__file__).resolve().parents[2]
TERCET = Path(os.environ.get("TERCET", CHECKOUT / "target/release/tercet"))
DEMO = CHECKOUT / "runs/demo"
STEPS = 12


@dataclass(frozen=True)
class Small:
    """What a small run is like."""

    family: str
    pooling: str = "cls"
    companions: bool = True
    """The tokenizer comes with tokenizer_config.json and special_tokens_map.json."""
    multi_vector_dim: int = 32
    """The hidden size is 32."""


SMALL_RUNS = {
    "xlm-roberta": Small("xlm-roberta"),
    "bert": Small("bert"),
    "unusual": Small("xlm-roberta", pooling="mean", companions=False, multi_vector_dim=24),
}


@dataclass(frozen=True)
class Run:
    """Where the files of one run are."""

    model: Path
    """The trained model's directory."""
    store: Path
    """The token store it was trained on."""
    training: Path
    """metrics.jsonl and tensorboard/."""
    eval_data: list[Path]
    """BEIR folders."""
    eval_out: Path
    """metrics.json and DATASET/HEAD.trec of these."""
    pooling: str
    """cls or mean."""
    multi_vector_dim: int
    has_pooler: bool = True
    """A model that begins with pre-training has none, as that has none."""

    @property
    def max_len(self) -> int:
        """Tokens of a text at most, special ones included."""
        config = json.loads((self.model / "config.json").read_text())
        first = 0 if config["model_type"] == "bert" else config["pad_token_id"] + 1
        return config["max_position_embeddings"] - first


def tercet(*words: object) -> str:
    """Runs `tercet WORDS` and returns its standard output."""
    done = subprocess.run([TERCET, *map(str, words)], capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.returncode == 0, f"tercet {' '.join(map(str, words))}\nexit code {done.returncode}\n{done.stderr}"
    return done.stdout


def names() -> list[str]:
    """The runs that there are to look at. The demo writes its summary last."""
    return (["demo"] if (DEMO / "summary.json").exists() else []) + list(SMALL_RUNS)


def get(name: str, folder: Path) -> Run:
    """The run called `name`; a small one is made in `folder`."""
    return demo() if name == "demo" else small(folder, SMALL_RUNS[name])


def demo() -> Run:
    """What `make demo` left."""
    model = sorted(DEMO.glob("unified/step-*/model"))[-1]
    return Run(
        model=model,
        store=DEMO / "store-unified",
        training=DEMO / "unified",
        eval_data=[DEMO / "eval/cross", DEMO / "eval/mono"],
        eval_out=DEMO / "results/stage3",
        pooling="cls",
        multi_vector_dim=json.loads((model / "config.json").read_text())["hidden_size"],
        has_pooler=False,
    )


def small(folder: Path, kind: Small) -> Run:
    """Makes text, tokenizer, store and model in `folder`, trains on two ranks, evaluates."""
    text = Text(seed=7)
    rows = text.write_rows(folder / "rows")
    data = text.write_beir(folder / "beir")
    start = folder / "start"
    tokenizer_files.write(start, kind.family, text.passages + KNOWN, kind.companions)
    write_config(start / "config.json", kind.family)
    store, training, eval_out = folder / "store", folder / "training", folder / "eval"
    lens = ["--query-max-len", 32, "--passage-max-len", 128]
    tercet("prepare", "--tokenizer", start / "tokenizer.json", "--out", store, *lens, *rows)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(start=start, store=store, training=training, kind=kind))
    tercet("train", recipe, "-n", 2)
    model = training / f"step-{STEPS:08}" / "model"
    tercet("eval", "--model", model, "--data", data, "--out", eval_out, *lens, "-n", 2)
    return Run(model, store, training, [data], eval_out, kind.pooling, kind.multi_vector_dim)


RECIPE = f"""
name = "peers"
steps = {STEPS}
run_dir = "{{training}}"
sub_batch_tokens = 1024

[model]
config = "{{start}}/config.json"
pooling = "{{kind.pooling}}"
multi_vector_dim = {{kind.multi_vector_dim}}

[data]
store = "{{store}}"
query_max_len = 32
passage_max_len = 128
group_size = 3
length_groups = [{{{{ max_len = 40, global_batch = 8 }}}}, {{{{ max_len = 128, global_batch = 4 }}}}]

[[data.sets]]
name = "plain"
group_size = 1

[loss]
temperature = 0.1

[optimizer]
learning_rate = 1e-3
"""


def write_config(path: Path, family: str) -> None:
    """A config.json for fresh weights. Both families take 128 tokens; wide initial weights make texts differ."""
    roberta = family == "xlm-roberta"
    config = {
        "architectures": ["XLMRobertaModel" if roberta else "BertModel"],
        "model_type": family,
        "vocab_size": tokenizer_files.VOCAB_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 130 if roberta else 128,
        "type_vocab_size": 1 if roberta else 2,
        "initializer_range": 0.5,
        "layer_norm_eps": 1e-5 if roberta else 1e-12,
        "pad_token_id": 1 if roberta else 0,
    }
    path.write_text(json.dumps(config))


class Text:
    """Generated passages of made-up words in seven scripts; a passage's query is some of its words."""

    SCRIPTS = [
        "ka lo mi te ru sha no ver ing pol",
        "ká lö mí tě rů šá ňo vér ïng pøl",
        "κα λο μι τε ρου σα νο βερ",
        "ка ло ми те ру ша но вер",
        "か ろ み て る しゃ の べ",
        "文 件 目 录 列 表 打 印",
        "का लो मी ते रू शा",
    ]

    def __init__(self, seed: int, num_passages: int = 160):
        draw = random.Random(seed)
        syllables = [script.split() for script in self.SCRIPTS]
        words = [["".join(draw.choices(s, k=draw.randint(1, 3))) for _ in range(60)] for s in syllables]
        self.draw = draw
        self.passages = []
        self.queries = []
        for n in range(num_passages):
            own = words[n % len(words)]
            # Every tenth is longer than the model takes.
            length = draw.randint(150, 220) if n % 10 == 0 else draw.randint(4, 70)
            passage = [draw.choice(own) for _ in range(length)]
            self.passages.append(" ".join(passage))
            self.queries.append(" ".join(draw.sample(passage, k=draw.randint(2, 4))))

    def write_rows(self, folder: Path) -> list[Path]:
        """Two data sets: positives only; hard negatives with teacher scores."""
        folder.mkdir(parents=True)
        pairs = list(zip(self.queries, self.passages))
        plain = [{"query": q, "pos": [p]} for q, p in pairs[::2]]
        scored = []
        for query, passage in pairs[1::2]:
            negatives = self.draw.sample([p for p in self.passages if p != passage], k=3)
            scores = [round(self.draw.uniform(-1, 1), 3) for _ in negatives]
            scored.append(
                {"query": query, "pos": [passage], "neg": negatives, "pos_scores": [1.5], "neg_scores": scores}
            )
        paths = [folder / "plain.jsonl", folder / "scored.jsonl"]
        for path, rows in zip(paths, [plain, scored]):
            write_json_lines(path, rows)
        return paths

    def write_beir(self, folder: Path) -> Path:
        """Graded judgments, ids whose order is not that of the lines, and a query that shares no word with anything."""
        (folder / "qrels").mkdir(parents=True)
        docs = [{"_id": f"d{n}", "title": "", "text": p} for n, p in enumerate(self.passages)]
        # Twins score the same: ties must break as trec_eval breaks them.
        docs += [{"_id": f"twin{n}", "text": self.passages[n]} for n in range(0, 40, 3)]
        queries = [{"_id": f"q{n}", "text": q} for n, q in enumerate(self.queries[:60])]
        queries.append({"_id": "stranger", "text": "§§§ ¤¤¤"})
        judgments = ["query-id\tcorpus-id\tscore"]
        for n in range(60):
            judgments.append(f"q{n}\td{n}\t2")
            judgments.append(f"q{n}\td{(n + 7) % len(self.passages)}\t1")
            judgments.append(f"q{n}\td{(n + 14) % len(self.passages)}\t0")
        judgments.append("stranger\td3\t1")
        write_json_lines(folder / "corpus.jsonl", docs)
        write_json_lines(folder / "queries.jsonl", queries)
        (folder / "qrels/test.tsv").write_text("\n".join(judgments) + "\n")
        return folder


def write_json_lines(path: Path, objects: list[dict]) -> None:
    path.write_text("".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects))


def read_json_lines(path: Path) -> list[dict]:
    # Not splitlines(), which also breaks at characters that JSON may have inside a string.
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]
