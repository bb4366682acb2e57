//! Why a run cannot begin or go on as it is asked to.

use tercet_configs::ExitCode;

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The run folder holds another run.
    #[error("{0} already holds a run: --resume continues it; for a new one choose another folder with --set run_dir=…")]
    RunExists(String),
    /// Another process trains in the run folder.
    #[error(
        "run folder {run_dir} is in use {holder}: wait for that run or stop it, or choose another folder with --set run_dir=…"
    )]
    Locked {
        /// The run folder.
        run_dir: String,
        /// By whom, and since when.
        holder: String,
    },
    /// Another task of the same job array has trained this run to its end.
    #[error(
        "{run_dir} holds the run of task {task} of this job array, which is complete, and this task would train nothing: each \
         task needs a run folder of its own, --set run_dir=…$SLURM_ARRAY_TASK_ID (cluster/slurm/array.sh shows one run per seed); the rest of a chain of tasks that continue one run can be cancelled"
    )]
    OtherTask {
        /// The run folder.
        run_dir: String,
        /// The other task.
        task: String,
    },
    /// Nothing can be hidden from the encoder.
    #[error(
        "{0}: the tokenizer has no mask token (<mask> or [MASK]), which pre-training puts in place of words: add one to \
         the tokenizer and a row for it to the model's table of words, or take another model"
    )]
    NoMask(String),
    /// Evaluation reads texts, and nothing says how.
    #[error(
        "{0} has no tokenizer.json, which [eval] reads texts with: name the store's in model.tokenizer, or leave eval.data \
         out"
    )]
    NoTokenizer(String),
    /// A checkpoint of another recipe.
    #[error(
        "{path}: was written by another recipe ({keys}): undo the change to resume, or start a new run from its model with --set model.path={path}/model run_dir=…"
    )]
    OtherRecipe {
        /// The checkpoint.
        path: String,
        /// The keys that differ.
        keys: String,
    },
    /// A checkpoint whose steps took other rows than this plan would have.
    #[error(
        "{path}: its {step} steps were not taken from these rows in this way ({differs}): what is added or changed must begin at or after step {step} ([[data.changes]] with from_step; a new data set needs weight 0 until then)"
    )]
    OtherPlan {
        /// The checkpoint.
        path: String,
        /// Steps done.
        step: u64,
        /// What is another.
        differs: String,
    },
    /// A store of another tokenizer's token ids.
    #[error(
        "{store} holds the token ids of another tokenizer than the model's: its tokenizer.json has BLAKE3 {store_hash}, \
         {tokenizer} has {hash}; prepare the rows again with --tokenizer {tokenizer}, or name the store's tokenizer.json in \
         model.tokenizer if the model was trained with that one"
    )]
    OtherTokenizer {
        /// The store.
        store: String,
        /// BLAKE3 of the tokenizer.json that it was made with.
        store_hash: String,
        /// The model's tokenizer.json.
        tokenizer: String,
        /// Its BLAKE3.
        hash: String,
    },
    /// Nowhere to put the run's files.
    #[error("the recipe's run_dir is empty: set it to the folder for the run's files")]
    NoRunDir,
    /// A variable for Tercet's own tests, of the wrong form.
    #[error("{0}; unset it, it is for Tercet's own tests")]
    TestVariable(String),
    /// Ranks that would train different things.
    #[error("this rank's {0} differs from rank 0's: all hosts need the same recipe and the same store")]
    RanksDiffer(&'static str),
    /// A place to hold a run at that is none.
    #[error("{0}: expected STEP:FILE; unset it, it is for Tercet's own tests")]
    Hold(String),
}

impl SetupError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}
