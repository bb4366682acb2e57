"""What every side is asked to do, and what it answers with."""

import dataclasses
import json
import pathlib


@dataclasses.dataclass(frozen=True)
class Job:
    """Some training steps. Without shuffling there is nothing to choose: the rows are one batch, used in every step."""

    folder: pathlib.Path
    """Of this job alone: what a side writes goes there."""
    model: pathlib.Path
    """A Hugging Face directory with the heads in the published layout."""
    rows: pathlib.Path
    """JSON Lines: exactly the batch's rows, each with as many passages as a group has, or with a text alone."""
    preset: str
    """What is trained, as Tercet calls it: "unified", all three heads with self-distillation; "dense", that head alone;
    "retromae", pre-training on texts alone."""
    num_rows: int
    group_size: int
    query_max_len: int
    passage_max_len: int
    text_max_len: int
    steps: int
    """That are timed, after one that is not."""
    mini_batch: int
    """Texts that sentence-transformers encodes at a time."""
    micro_batch: int
    """Texts that the RetroMAE trainer pads to one length and computes at a time."""
    retromae: pathlib.Path | None
    """Where that trainer's code is."""
    sub_batch_tokens: int
    kept_graph_tokens: int

    def write(self) -> pathlib.Path:
        path = self.folder / "job.json"
        path.write_text(json.dumps(dataclasses.asdict(self), default=str))
        return path

    @staticmethod
    def read(path: str) -> "Job":
        fields = json.loads(pathlib.Path(path).read_text())
        paths = [name for name in ["folder", "model", "rows", "retromae"] if fields[name] is not None]
        return Job(**fields | {name: pathlib.Path(fields[name]) for name in paths})


@dataclasses.dataclass(frozen=True)
class Step:
    """One timed step."""

    secs: float
    cpu_secs: float
    """Of all the process's threads."""
    tokens: int
    """Real ones."""
    padded_tokens: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    steps: list[Step]
    peak_rss_bytes: int
    """The kernel's VmHWM; of a job that was ended, the largest that was seen."""
    failure: str | None = None


TEMPERATURE = 0.02
LEARNING_RATE = 1e-5
SEED = 42
