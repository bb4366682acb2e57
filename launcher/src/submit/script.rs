//! The text of a job script: what Slurm is asked for, the environment, and the lines that start `tercet`, pass signals on
//! and queue the job again. Everything in it is meant to be read and changed by people.

use std::fmt::Write;
use std::path::Path;

use crate::args::SubmitArgs;
use crate::exit::Fail;
use crate::submit::quote;

/// What a script is made of.
pub struct Job<'a> {
    /// What was asked for.
    pub args: &'a SubmitArgs,
    /// The recipe's name.
    pub name: &'a str,
    /// Where the recipe is.
    pub recipe: &'a Path,
    /// Where this program is.
    pub tercet: &'a Path,
    /// The folder that relative paths of the recipe start from.
    pub here: &'a Path,
    /// The run folder.
    pub folder: &'a Path,
}

impl Job<'_> {
    /// The whole script.
    ///
    /// # Errors
    /// [`tercet_configs::ExitCode::Usage`] for what cannot stand in a script.
    pub fn text(&self) -> Result<String, Fail> {
        let mut text = self.head();
        for (option, why) in self.options()? {
            let line = format!("#SBATCH --{option}");
            text += &if why.is_empty() { format!("{line}\n") } else { format!("{line:<36} # {why}\n") };
        }
        if self.args.gpus_per_node > 0 {
            text += ENVIRONMENT;
        }
        let command = self.command()?;
        let _ = write!(text, "\ncd -- {} || exit 3\n", quote::shell(self.here.as_os_str())?);
        let _ = write!(
            text,
            "run_dir={}\nmax_losses={}\n\n{}",
            quote::shell(self.folder.as_os_str())?,
            self.args.max_losses,
            RUN.replace("COMMAND", &command)
        );
        Ok(text)
    }

    fn head(&self) -> String {
        let nodes = self.args.nodes;
        let each = match self.args.gpus_per_node {
            0 => format!("{} ranks on CPUs", self.args.ranks_per_node()),
            gpus => format!("{gpus} GPUs"),
        };
        let name = quote::comment(self.name);
        format!(
            "#!/bin/bash\n# Trains {name} on {nodes} nodes with {each} each. Written by `tercet submit`; change what you \
             like:\n# it can be submitted by hand with sbatch, from the run folder.\n#\n"
        )
    }

    /// Options of sbatch and why they are there. A `#` ends an `#SBATCH` line, as in bash.
    fn options(&self) -> Result<Vec<(String, &'static str)>, Fail> {
        let args = self.args;
        let mut options = vec![
            (format!("job-name={}", quote::job_name(self.name)), ""),
            (format!("nodes={}", args.nodes), ""),
            (format!("ntasks-per-node={}", args.ranks_per_node()), "one task per rank"),
        ];
        if args.gpus_per_node > 0 {
            options.push((format!("gpus-per-node={}", args.gpus_per_node), "and one rank per GPU"));
        }
        options.extend([
            ("exclusive".into(), "all cores of a node, which its ranks share"),
            ("mem=0".into(), "all memory of a node"),
            (format!("time={}", quote::sbatch("--time", &args.time)?), ""),
            (format!("signal=B:USR1@{}", args.signal_secs), "seconds before the end: time for a checkpoint"),
            ("requeue".into(), "Slurm may queue it again: node failure, preemption"),
            ("open-mode=append".into(), "what was said before a requeue stays"),
            ("output=slurm-%j.out".into(), "in the folder that sbatch is called in"),
        ]);
        if args.no_kill {
            options.push(("no-kill".into(), "goes on with fewer nodes, if the recipe allows"));
        }
        if let Some(partition) = &args.partition {
            options.push((format!("partition={}", quote::sbatch("--partition", partition)?), ""));
        }
        for option in &args.sbatch {
            let option = option.strip_prefix("--").unwrap_or(option);
            options.push((quote::sbatch("--sbatch", option)?, ""));
        }
        Ok(options)
    }

    /// The line that trains.
    fn command(&self) -> Result<String, Fail> {
        let mut words = vec![quote::shell(self.tercet.as_os_str())?, "train".into()];
        words.push(quote::shell(self.recipe.as_os_str())?);
        for setting in self.args.settings.all() {
            words.extend(["--set".into(), quote::shell(setting.as_ref())?]);
        }
        words.push("--resume".into());
        Ok(words.join(" "))
    }
}

/// For GPUs of the A100's kind and InfiniBand. Few on purpose: what NCCL finds out by itself it mostly finds better.
const ENVIRONMENT: &str = "
# GPUs are counted in the order of their slots, the same on all nodes, not by speed.
export CUDA_DEVICE_ORDER=PCI_BUS_ID
# NCCL says what goes wrong, and nothing else.
export NCCL_DEBUG=WARN
# A packet is given up after 4.096 us * 2^22 = 17 s times the retries, not 4 s: a switch that reroutes may take longer, and a
# queue pair that has failed cannot be mended, it ends the run. Hangs are found by heartbeats, not by this.
export NCCL_IB_TIMEOUT=22
export NCCL_IB_RETRY_CNT=7
# The site's choices; NCCL finds good ones itself unless a node has several networks:
# export NCCL_SOCKET_IFNAME==ib0          # the network by which ranks first meet
# export NCCL_IB_HCA==mlx5_0,mlx5_1       # only these adapters, if others lead elsewhere (storage, management)
# export NCCL_CROSS_NIC=0                 # fabrics with a rail per adapter: keep each ring on one
# export NCCL_NET_GDR_LEVEL=PXB           # adapters write to GPUs behind the same PCIe switches only
# export NCCL_IB_GID_INDEX=3              # Ethernet (RoCE v2) in place of InfiniBand
# Nothing is set for NVLink: an A800's is slower than an A100's, and NCCL measures the topology.
";

/// Starts the training, passes signals on, and queues the job again where that helps.
const RUN: &str = r#"# Signals go to the launcher, which has all ranks take a checkpoint of the same step and ends with 75.
signalled=0
pass_on() { signalled=1; kill -s "$1" "$launcher" 2> /dev/null; }
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

COMMAND &
launcher=$!
# A signal ends `wait` early; the launcher's own code comes from the `wait` that none has disturbed.
while wait "$launcher"; code=$?; [ "$signalled" = 1 ]; do signalled=0; done

# Cancelled, preempted, or queued again by Slurm already: it has decided.
case $(scontrol --oneliner show job "$SLURM_JOB_ID") in
  *JobState=RUNNING*) ;;
  *) exit "$code" ;;
esac
losses_file=$run_dir/losses-$SLURM_JOB_ID
case $code in
  75) # stopped after a checkpoint: goes on where it was
    rm -f "$losses_file"
    scontrol requeue "$SLURM_JOB_ID" ;;
  3) # a machine has failed: other nodes may do
    losses=$(cat "$losses_file" 2> /dev/null)
    losses=$((${losses:-0} + 1))
    if [ "$losses" -le "$max_losses" ]; then
      echo "$losses" > "$losses_file"
      echo "job $SLURM_JOB_ID: machine failure $losses of at most $max_losses: queued again" >&2
      scontrol requeue "$SLURM_JOB_ID"
    fi ;;
esac
# Everything else is done, or would happen again: 2 a mistake in what was asked, 4 bad data, 101 a bug.
exit "$code"
"#;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::Parser;

    use super::*;
    use crate::args;

    fn script(typed: &[&str], name: &str, recipe: &str, here: &str) -> Result<String, Fail> {
        let words = ["tercet", "submit", "r.toml"].into_iter().chain(typed.iter().copied());
        let args::Command::Submit(args) = args::Cli::try_parse_from(words).unwrap().command else { unreachable!() };
        let (recipe, here) = (Path::new(recipe), Path::new(here));
        Job { args: &args, name, recipe, tercet: Path::new("/opt/tercet"), here, folder: Path::new("/runs/x y") }.text()
    }

    /// What the script's lines ask of sbatch, without the comments.
    fn options(script: &str) -> Vec<&str> {
        script.lines().filter_map(|line| line.strip_prefix("#SBATCH --")?.split_whitespace().next()).collect()
    }

    #[test]
    fn a_script_asks_for_what_was_asked() {
        let text = script(&["--nodes", "12", "--time", "1-00:00:00"], "stage2", "/r.toml", "/work").unwrap();
        for option in ["nodes=12", "ntasks-per-node=8", "gpus-per-node=8", "exclusive", "time=1-00:00:00", "requeue"] {
            assert!(options(&text).contains(&option), "{option}: {text}");
        }
        assert!(text.contains("\n/opt/tercet train /r.toml --resume &\n"), "{text}");
        let cpus = ["--nodes=3", "--gpus-per-node=0", "--ranks-per-node=2", "--sbatch=--account=me", "--set=seed=1"];
        let text = script(&cpus, "x", "/r.toml", "/work").unwrap();
        assert!(!text.contains("gpu") && !text.contains("NCCL"), "{text}");
        assert!(options(&text).contains(&"ntasks-per-node=2") && options(&text).contains(&"account=me"), "{text}");
        assert!(script(&["--nodes=3", "--partition=a b"], "x", "/r.toml", "/work").is_err());
    }

    /// Names are the only thing a stranger can choose: bash must take each as one word, and run nothing in them.
    #[test]
    fn names_cannot_break_out_of_the_script() {
        let evil = "a b'c\"d\n#SBATCH --nodes=999\n$(touch HIT) `touch HIT` ; touch HIT #";
        let set = format!("--set=name={evil}");
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("it's $(touch HIT)\nhere");
        std::fs::create_dir(&here).unwrap();
        let recipe = format!("/recipes/{evil}.toml");
        let text = script(&["--nodes=1", &set], evil, &recipe, here.to_str().unwrap()).unwrap();
        let options = text.split("\ncd -- ").next().unwrap();
        assert!(!options.contains("touch HIT)\n") && !options.contains("\n#SBATCH --nodes=999"), "{options}");

        // Run with a `tercet` that prints its words, and without Slurm.
        let text = text.replace("/opt/tercet ", "printf '<%s>\\n' ").replace("scontrol", "echo");
        let file = folder.path().join("job.sh");
        std::fs::write(&file, text).unwrap();
        let output = Command::new("bash").arg(&file).env("SLURM_JOB_ID", "1").current_dir(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("<train>\n<{recipe}>\n<--set>\n<name={evil}>\n<--resume>\n"), "{output:?}");
        for place in [folder.path(), &here] {
            assert!(!place.join("HIT").exists());
        }
    }
}
