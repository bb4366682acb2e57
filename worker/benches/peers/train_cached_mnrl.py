"""sentence-transformers with CachedMultipleNegativesRankingLoss, its way of gradient caching, on a job: the dense head.

    python train_cached_mnrl.py JOB.json
"""

import json
import sys

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    losses,
)

import jobs
import step_clock


def main():
    job = jobs.Job.read(sys.argv[1])
    # The directory says how it pools and that it normalises.
    model = SentenceTransformer(str(job.model), device="cpu")
    # One limit for all columns; no query of the rows is longer than its own.
    model.max_seq_length = job.passage_max_len
    loss = losses.CachedMultipleNegativesRankingLoss(
        model, scale=1 / jobs.TEMPERATURE, mini_batch_size=job.mini_batch
    )
    args = SentenceTransformerTrainingArguments(
        output_dir=str(job.folder / "out"),
        per_device_train_batch_size=job.num_rows,
        max_steps=job.steps + 1,
        learning_rate=jobs.LEARNING_RATE,
        seed=jobs.SEED,
        dataloader_drop_last=True,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    step_clock.train(SentenceTransformerTrainer(model=model, args=args, train_dataset=columns(job), loss=loss), job)


def columns(job: jobs.Job) -> Dataset:
    rows = [json.loads(line) for line in job.rows.read_text().split("\n") if line]
    table = {"anchor": [row["query"] for row in rows], "positive": [row["pos"][0] for row in rows]}
    for n in range(job.group_size - 1):
        table[f"negative_{n + 1}"] = [row["neg"][n] for row in rows]
    return Dataset.from_dict(table)


if __name__ == "__main__":
    main()
