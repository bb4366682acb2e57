"""FlagEmbedding's own M3 trainer on a job; run by torchrun, because `negatives_cross_device` needs a process group.

    torchrun --nproc_per_node 1 train_m3.py JOB.json [checkpointing]

Settings follow its published example for M3 fine-tuning, in fp32 and without DeepSpeed. Nothing in the package is changed.
"""

import sys

from FlagEmbedding.finetune.embedder.encoder_only.m3 import (
    EncoderOnlyEmbedderM3DataArguments,
    EncoderOnlyEmbedderM3ModelArguments,
    EncoderOnlyEmbedderM3Runner,
    EncoderOnlyEmbedderM3TrainingArguments,
)
from transformers import HfArgumentParser

import jobs
import step_clock


def main():
    job = jobs.Job.read(sys.argv[1])
    kinds = [
        EncoderOnlyEmbedderM3ModelArguments,
        EncoderOnlyEmbedderM3DataArguments,
        EncoderOnlyEmbedderM3TrainingArguments,
    ]
    arguments = HfArgumentParser(kinds).parse_dict(settings(job, "checkpointing" in sys.argv[2:]))
    model_args, data_args, training_args = arguments
    runner = EncoderOnlyEmbedderM3Runner(model_args=model_args, data_args=data_args, training_args=training_args)
    step_clock.train(runner.trainer, job)


def settings(job: jobs.Job, checkpointing: bool) -> dict:
    return {
        "model_name_or_path": str(job.model),
        "train_data": [str(job.rows)],
        "cache_path": str(job.folder / "cache"),
        "train_group_size": job.group_size,
        "query_max_len": job.query_max_len,
        "passage_max_len": job.passage_max_len,
        "output_dir": str(job.folder / "out"),
        "per_device_train_batch_size": job.num_rows,
        "max_steps": job.steps + 1,
        "learning_rate": jobs.LEARNING_RATE,
        "temperature": jobs.TEMPERATURE,
        "seed": jobs.SEED,
        "unified_finetuning": job.preset == "unified",
        "use_self_distill": job.preset == "unified",
        "self_distill_start_step": 0,
        "negatives_cross_device": True,
        "kd_loss_type": "m3_kd_loss",
        "sentence_pooling_method": "cls",
        "normalize_embeddings": True,
        "dataloader_drop_last": True,
        "gradient_checkpointing": checkpointing,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


if __name__ == "__main__":
    main()
