"""Judges WordLlama's vectors as `tercet eval` judges a model, so that `tercet report` puts the figures side by side.

WordLlama (PyPI, MIT) is the pre-trained encoder that a package carries with its weights: 256 dimensions for each of
Llama 2's 32,000 tokens, trained for sentence similarity; a text has their mean. Folders are BEIR's.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import wordllama

CUT_OFFS = {"ndcg@10": 10, "recall@100": 100}


def texts_of(file):
    """Ids and texts of lines; a title stands before its text."""
    rows = [json.loads(line) for line in file.open(encoding="utf-8")]
    return [row["_id"] for row in rows], [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]


def judgments(file):
    """The relevant passages of each query, with how relevant they are."""
    judged = defaultdict(dict)
    for line in file.read_text(encoding="utf-8").splitlines()[1:]:
        query, passage, relevance = line.split("\t")
        if int(relevance) > 0:
            judged[query][passage] = int(relevance)
    return judged


def figures(best, judged):
    """nDCG@10 and recall@100 of a list of passages."""
    gains = [judged.get(passage, 0) / math.log2(rank + 2) for rank, passage in enumerate(best[:10])]
    ideal = [gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(judged.values(), reverse=True)[:10])]
    found = sum(passage in judged for passage in best[:100])
    return {"ndcg@10": sum(gains) / sum(ideal), "recall@100": found / len(judged)}


def evaluate(encoder, folder, split):
    """The figures of each judged query, by its name."""
    judged = judgments(folder / "qrels" / f"{split}.tsv")
    passages, texts = texts_of(folder / "corpus.jsonl")
    corpus = encoder.embed(texts, norm=True)
    names, texts = texts_of(folder / "queries.jsonl")
    queries = {name: text for name, text in zip(names, texts) if name in judged}
    scores = encoder.embed(list(queries.values()), norm=True) @ corpus.T
    of = {}
    for name, row in zip(queries, scores):
        # As BEIR's own evaluation does, a passage with the query's name is left out.
        order = [passages[at] for at in np.argsort(-row, kind="stable")[:101] if passages[at] != name]
        of[name] = figures(order, judged[name])
    return of


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="BEIR folders")
    parser.add_argument("--split", default="test", help="qrels/SPLIT.tsv")
    parser.add_argument("--out", type=Path, required=True, help="the folder for metrics.json and per_query.jsonl")
    arguments = parser.parse_args()
    # The package looks for its tokenizer in a folder of another name than its wheel has, unless it is the cache's.
    encoder = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    means = {}
    with (arguments.out / "per_query.jsonl").open("w", encoding="utf-8") as lines:
        for folder in arguments.data:
            of = evaluate(encoder, folder, arguments.split)
            for name, values in of.items():
                line = {"data": folder.name, "query": name, "ranking": "dense", **values}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            means[folder.name] = {"dense": {key: float(np.mean([v[key] for v in of.values()])) for key in CUT_OFFS}}
            print(folder.name, means[folder.name]["dense"], flush=True)
    (arguments.out / "metrics.json").write_text(json.dumps(means, indent=2) + "\n")


if __name__ == "__main__":
    main()
