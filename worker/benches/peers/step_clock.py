"""Times the steps of a Hugging Face Trainer and counts their tokens, from outside: a callback and a wrapped collator."""

import collections.abc
import json
import time

import transformers

import jobs


class CountedBatches:
    """A collator that notes how many tokens its batches have; in all else the one that it wraps."""

    def __init__(self, collator):
        self.collator = collator
        self.counts: list[tuple[int, int]] = []

    def __call__(self, features):
        batch = self.collator(features)
        masks = list(attention_masks(batch))
        self.counts.append((sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)))
        return batch

    def __getattr__(self, name):
        return getattr(self.collator, name)


def attention_masks(batch):
    """All masks of a batch, however its texts are arranged; a decoder's [texts, places, places] counts no tokens."""
    if isinstance(batch, collections.abc.Mapping):
        for name, value in batch.items():
            if not str(name).endswith("attention_mask"):
                yield from attention_masks(value)
            elif value.dim() == 2:
                yield value
    elif isinstance(batch, (list, tuple)):
        for part in batch:
            yield from attention_masks(part)


class StepClock(transformers.TrainerCallback):
    """A step lasts from the end of the one before to its own end, so that making the batch is in it."""

    def __init__(self):
        self.marks: list[tuple[float, float]] = []

    def mark(self):
        self.marks.append((time.perf_counter(), time.process_time()))

    def on_train_begin(self, args, state, control, **kwargs):
        self.mark()

    def on_step_end(self, args, state, control, **kwargs):
        self.mark()


def train(trainer, job: jobs.Job):
    """Trains, and writes the figures of all steps but the first to the job's folder."""
    clock, batches = StepClock(), CountedBatches(trainer.data_collator)
    trainer.data_collator = batches
    trainer.add_callback(clock)
    trainer.train()
    timed = zip(clock.marks, clock.marks[1:], per_step(batches.counts, trainer.args.gradient_accumulation_steps))
    steps = [
        jobs.Step(end[0] - begin[0], end[1] - begin[1], *counts) for begin, end, counts in list(timed)[1:]
    ]
    outcome = {"steps": [vars(step) for step in steps], "peak_rss_bytes": peak_rss_bytes()}
    (job.folder / "outcome.json").write_text(json.dumps(outcome))


def per_step(counts: list[tuple[int, int]], num_batches: int) -> list[tuple[int, int]]:
    """The sums over the batches of each step."""
    steps = [counts[first : first + num_batches] for first in range(0, len(counts), num_batches)]
    return [(sum(real for real, _ in step), sum(padded for _, padded in step)) for step in steps]


def peak_rss_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
