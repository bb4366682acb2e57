"""FlagEmbedding's own pre-training, RetroMAE, on a job: from its repository's files, which no package has.

    python train_retromae.py JOB.json [one-at-a-time]

Model, collator and trainer are put together as its run.py does, with its own defaults, in fp32. Nothing of them
is changed. What run.py does besides is to save the model after each epoch, and an epoch is a step here.
"""

import importlib
import sys

from transformers import AutoTokenizer, TrainingArguments, set_seed

import jobs
import step_clock


def main():
    job = jobs.Job.read(sys.argv[1])
    sys.path.insert(0, str(job.retromae.parent))
    arguments, data, modeling, training = (
        importlib.import_module(f"{job.retromae.name}.{module}") for module in ["arguments", "data", "modeling", "trainer"]
    )
    data_args = arguments.DataTrainingArguments(train_data=str(job.rows), max_seq_length=job.text_max_len)
    set_seed(jobs.SEED)
    model = modeling.RetroMAEForPretraining.from_pretrained(arguments.ModelArguments(), str(job.model))
    tokenizer = AutoTokenizer.from_pretrained(str(job.model))
    collator = data.RetroMAECollator(
        tokenizer,
        encoder_mlm_probability=data_args.encoder_mlm_probability,
        decoder_mlm_probability=data_args.decoder_mlm_probability,
        max_seq_length=data_args.max_seq_length,
    )
    trainer = training.PreTrainer(
        model=model,
        args=settings(job, 1 if "one-at-a-time" in sys.argv[2:] else job.micro_batch),
        train_dataset=data.DatasetForPretraining(data_args.train_data),
        data_collator=collator,
        tokenizer=tokenizer,
    )
    step_clock.train(trainer, job)


def settings(job: jobs.Job, micro_batch: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(job.folder / "out"),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=job.num_rows // micro_batch,
        max_steps=job.steps + 1,
        learning_rate=jobs.LEARNING_RATE,
        seed=jobs.SEED,
        remove_unused_columns=False,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main()
