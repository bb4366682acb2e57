"""Lucene as Anserini drives it (Yang et al., 2017): the jar in PyPI's pyserini, by the class path."""

import shutil
import subprocess
from pathlib import Path

import runs

JAR = runs.CHECKOUT / ".deps/anserini/anserini-0.25.0-fatjar.jar"


def why_not() -> str | None:
    """Why it cannot be run here, if it cannot."""
    if not JAR.exists():
        return f"{JAR} is not there: `make test-peers` fetches it"
    if shutil.which("java") is None:
        return "no java: install default-jre-headless, 11 or newer"
    return None


def java(what: str, *words: object) -> None:
    command = ["java", "-Xmx1g", "-cp", JAR, f"io.anserini.{what}", *words]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{what} {words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def index(folder: Path, collection: str, docs: list[dict], *words: str) -> Path:
    """An index of `docs` in `folder`."""
    (folder / "docs").mkdir(parents=True)
    runs.write_json_lines(folder / "docs/docs.jsonl", docs)
    # One thread, so that an index is the same each time.
    words = ("-collection", collection, "-threads", "1", *words)
    java("index.IndexCollection", "-input", folder / "docs", "-index", folder / "index", *words)
    return folder / "index"


def search(index: Path, queries: dict[str, str], hits: int, *words: str) -> dict[str, dict[str, float]]:
    """Query → document → score, of the best `hits`."""
    topics, out = index.parent / "topics.tsv", index.parent / "run.trec"
    assert not any("\t" in text or "\n" in text for text in queries.values())
    topics.write_text("".join(f"{name}\t{text}\n" for name, text in queries.items()))
    words = ("-topicReader", "TsvString", "-hits", str(hits), "-threads", "1", *words)
    java("search.SearchCollection", "-index", index, "-topics", topics, "-output", out, *words)
    return read_run(out)


def read_run(path: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        query, _, doc, _, score, _ = line.split(" ")
        found.setdefault(query, {})[doc] = float(score)
    return found

