"""The sides: each a function from a job to the command that does it, and one that reads what came of it."""

import json
import os
import pathlib
import subprocess
import sys

import jobs
import watched

HERE = pathlib.Path(__file__).resolve().parent
TERCET = pathlib.Path(os.environ.get("TERCET", HERE.parents[2] / "target/release/tercet"))
# The RetroMAE trainer needs an older transformers: tests/peers/requirements-retromae.txt.
RETROMAE_PYTHON = HERE.parents[2] / ".deps/peers-retromae/bin/python"


def tercet(*words):
    """`tercet WORDS`, which must succeed."""
    done = subprocess.run([TERCET, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench-peers: tercet {' '.join(map(str, words))}: {done.stderr}")


def tercet_command(job: jobs.Job, masks: str = ""):
    """Prepares the same rows and writes the same settings as a recipe; the step is `tercet bench`'s."""
    store, recipe = job.folder / "store", job.folder / "recipe.toml"
    words = ["prepare", "--tokenizer", job.model / "tokenizer.json", "--out", store]
    if job.preset == "retromae":
        data, longest = TEXTS.format(job=job, masks=masks), job.text_max_len
        words += ["--text-max-len", job.text_max_len, "--texts", f"rows={job.rows}"]
    else:
        data, longest = PAIRS.format(job=job, temperature=jobs.TEMPERATURE), max(job.query_max_len, job.passage_max_len)
        words += ["--query-max-len", job.query_max_len, "--passage-max-len", job.passage_max_len, f"rows={job.rows}"]
    tercet(*words)
    recipe.write_text(
        RECIPE.format(
            job=job,
            store=store,
            steps=job.steps + 1,
            longest=longest,
            data=data,
            learning_rate=jobs.LEARNING_RATE,
            seed=jobs.SEED,
        )
    )
    return [TERCET, "bench", recipe, "-n", 1, "--json", "--steps", job.steps]


def tercet_published_command(job: jobs.Job):
    """Hides what the RetroMAE trainer hides."""
    return tercet_command(job, 'max_masked = 512\ncls_visible = false\nmask_specials = true\nrandom_words = "all"')


RECIPE = """
name = "bench-peers"
seed = {seed}
steps = {steps}
precision = "fp32"
sub_batch_tokens = {job.sub_batch_tokens}
kept_graph_tokens = {job.kept_graph_tokens}

[model]
path = "{job.model}"

[optimizer]
learning_rate = {learning_rate}
linear_decay = true

[data]
store = "{store}"
length_groups = [{{ max_len = {longest}, global_batch = {job.num_rows} }}]
{data}
"""

PAIRS = """query_max_len = {job.query_max_len}
passage_max_len = {job.passage_max_len}
group_size = {job.group_size}

[loss]
preset = "{job.preset}"
temperature = {temperature}
distill_start_step = 0
mask_false_negatives = false"""

TEXTS = """text_max_len = {job.text_max_len}

[loss]
preset = "{job.preset}"

[pretrain]
{masks}"""


def read_tercet(_, output: str) -> jobs.Outcome:
    report = json.loads(output)
    steps = [
        jobs.Step(
            step["step_secs"],
            step["cpu_secs"],
            round(step["tokens"]),
            round(step["tokens"]),
        )
        for step in report["steps"]
    ]
    return jobs.Outcome(steps, round(report["peak_rss_bytes"]))


def m3_command(job: jobs.Job, *words: str):
    torchrun = [sys.executable, "-B", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 1]
    return [*torchrun, HERE / "train_m3.py", job.write(), *words]


def m3_checkpointing_command(job: jobs.Job):
    return m3_command(job, "checkpointing")


def cached_mnrl_command(job: jobs.Job):
    return [sys.executable, "-B", HERE / "train_cached_mnrl.py", job.write()]


def retromae_command(job: jobs.Job, *words: str):
    return [RETROMAE_PYTHON, "-B", HERE / "train_retromae.py", job.write(), *words]


def retromae_unpadded_command(job: jobs.Job):
    return retromae_command(job, "one-at-a-time")


def read_trainer(job: jobs.Job, _) -> jobs.Outcome:
    outcome = json.loads((job.folder / "outcome.json").read_text())
    return jobs.Outcome([jobs.Step(**step) for step in outcome["steps"]], outcome["peak_rss_bytes"])


SIDES = {
    "Tercet": (tercet_command, read_tercet),
    "Tercet, published masks": (tercet_published_command, read_tercet),
    "M3 trainer": (m3_command, read_trainer),
    "M3 trainer, checkpointing": (m3_checkpointing_command, read_trainer),
    "cached MNRL": (cached_mnrl_command, read_trainer),
    "RetroMAE trainer": (retromae_command, read_trainer),
    "RetroMAE trainer, one text at a time": (retromae_unpadded_command, read_trainer),
}


def run(side: str, job: jobs.Job, cores: list[int], limit_bytes: float, limit_secs: float) -> jobs.Outcome:
    """Does the job in a process of its own."""
    job.folder.mkdir(parents=True)
    command, read = SIDES[side]
    output, peak, failure = watched.run(command(job), job.folder / "log", cores, limit_bytes, limit_secs)
    if failure is not None:
        return jobs.Outcome([], peak, failure)
    return read(job, output)
