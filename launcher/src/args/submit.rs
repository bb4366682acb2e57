//! What `tercet submit` is asked.

use std::num::NonZeroUsize;

use clap::Args;
use tercet_protocol::args::RecipeArgs;

/// `tercet submit`.
#[derive(Debug, Args)]
pub struct Submit {
    /// What is trained.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Nodes to ask for
    #[arg(long, value_name = "N")]
    pub nodes: NonZeroUsize,
    /// GPUs of a node, each with a rank; 0 computes on CPUs
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub gpus_per_node: usize,
    /// Ranks of a node without GPUs
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks_per_node: NonZeroUsize,
    /// How long a job may run, as Slurm writes it; training that needs longer is queued again
    #[arg(long, value_name = "TIME", default_value = "1-00:00:00")]
    pub time: String,
    /// Seconds before the end of that time at which the run takes its last checkpoint
    #[arg(long = "signal-secs", value_name = "SECS", default_value_t = 600)]
    pub signal_secs: u16,
    /// Slurm's partition; default: the site's
    #[arg(long)]
    pub partition: Option<String>,
    /// Keep the job when a node fails, for a recipe that may go on with fewer ranks
    #[arg(long)]
    pub no_kill: bool,
    /// How often in a row a failed machine may queue the job again
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub max_losses: u32,
    /// A further option of sbatch, e.g. --sbatch=--account=NAME; may be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Write the script and print it, but do not submit it
    #[arg(long)]
    pub dry_run: bool,
}

impl Submit {
    /// One per GPU, or as asked.
    pub fn ranks_per_node(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.gpus_per_node).unwrap_or(self.ranks_per_node)
    }

    /// World size.
    pub fn num_ranks(&self) -> NonZeroUsize {
        self.nodes.saturating_mul(self.ranks_per_node())
    }
}
