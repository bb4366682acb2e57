//! The text of a job script: what Slurm is asked for, the environment, and the lines that start `tercet`, pass signals
//! on and queue the job again. Everything in it is meant to be read and changed by people.

use std::fmt::Write;
use std::path::Path;

use crate::args::Submit;
use crate::exit::Fail;
use crate::submit::options::SbatchOption;
use crate::submit::quote;

/// What a script is made of.
pub struct Job<'a> {
    /// What was asked for.
    pub args: &'a Submit,
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
            let line = format!("#SBATCH {option}");
            text += &if why.is_empty() { format!("{line}\n") } else { format!("{line:<36} # {why}\n") };
        }
        text += SIGNALS;
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
        let (nodes, every) = match self.args.nodes.get() {
            1 => ("one node".to_owned(), ""),
            nodes => (format!("{nodes} nodes"), " each"),
        };
        let each = match self.args.gpus_per_node {
            0 => format!("{} ranks on CPUs", self.args.ranks_per_node()),
            gpus => format!("{gpus} GPUs"),
        };
        let name = quote::comment(self.name);
        format!(
            "#!/bin/bash\n# Trains {name} on {nodes} with {each}{every}. Written by `tercet submit`; change what you \
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
        let typed = args.sbatch.iter().map(|typed| SbatchOption::read(typed)).collect::<Result<Vec<_>, _>>()?;
        options.retain(|(own, _)| !typed.iter().any(|option| option.replaces(own)));
        let mut lines: Vec<_> = options.into_iter().map(|(option, why)| (format!("--{option}"), why)).collect();
        lines.extend(typed.iter().map(|option| (option.line().to_owned(), "")));
        Ok(lines)
    }

    /// The line that trains.
    fn command(&self) -> Result<String, Fail> {
        let mut words = vec![quote::shell(self.tercet.as_os_str())?, "train".into()];
        words.push(quote::shell(self.recipe.as_os_str())?);
        for setting in self.args.recipe.settings() {
            words.extend(["--set".into(), quote::shell(setting.as_ref())?]);
        }
        words.push("--resume".into());
        Ok(words.join(" "))
    }
}

/// For GPUs of the A100's kind and InfiniBand. They are few on purpose, because NCCL's own choices are mostly better.
const ENVIRONMENT: &str = "
# GPUs are counted in the order of their slots, the same on all nodes, not by speed.
export CUDA_DEVICE_ORDER=PCI_BUS_ID
# NCCL says what goes wrong, and nothing else.
export NCCL_DEBUG=WARN
# A packet is given up after 4.096 us * 2^22 = 17 s times the retries, not 4 s: a switch that reroutes may take longer,
# and a queue pair that has failed cannot be mended, it ends the run. Hangs are found by heartbeats, not by this.
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

/// It stands before anything that takes time, because a signal may come as soon as the script runs.
const SIGNALS: &str = r#"
# Signals go to the launcher, which has all ranks take a checkpoint of the same step and ends with 75. One that comes
# before there is a launcher is kept for it.
launcher=
signalled=0
early=0
stop() {
  signalled=1
  if [ -z "$launcher" ]; then early=1; return; fi
  # As long as it is still this shell's copy, it would lose the signal.
  for _ in {1..100}; do [ "/proc/$launcher/exe" -ef "/proc/$$/exe" ] || break; sleep 0.1; done
  kill -s USR1 "$launcher" 2> /dev/null
}
trap stop USR1 TERM
"#;

/// Starts the training, and queues the job again where that helps.
const RUN: &str = r#"COMMAND &
launcher=$!
[ "$early" = 0 ] || stop
# A signal ends `wait` early; the launcher's own code comes from the `wait` that none has disturbed.
while wait "$launcher"; code=$?; [ "$signalled" = 1 ]; do signalled=0; done
launcher=

# One task of an array: its number alone may stand for the whole array.
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
# Whether Slurm has not decided otherwise: the job may be cancelled, preempted, or queued again already.
is_running() { [[ $(scontrol --oneliner show job "$job") == *JobState=RUNNING* ]]; }
losses_file=$run_dir/losses-$job
case $code in
  75 | 138) # stopped after a checkpoint, or (138) before it could listen to signals: goes on where it was
    is_running || exit "$code"
    rm -f "$losses_file"
    scontrol requeue "$job" ;;
  3) # a machine has failed: other nodes may do
    # If it is a node, Slurm queues the job again when it counts the node as down. A job of whole nodes that asks for it
    # earlier is never started again (seen with Slurm 22.05: BadConstraints).
    patience=$(scontrol show config | sed -n 's/^SlurmdTimeout *= *\([0-9]*\).*/\1/p')
    deadline=$((SECONDS + ${patience:-300} + 30))
    while is_running && [ "$SECONDS" -lt "$deadline" ] && [ "$signalled" = 0 ]; do sleep 2; done
    is_running || exit "$code"
    losses=$(cat "$losses_file" 2> /dev/null)
    losses=$((${losses:-0} + 1))
    if [ "$losses" -le "$max_losses" ]; then
      echo "$losses" > "$losses_file"
      echo "job $job: machine failure $losses of at most $max_losses: queued again" >&2
      scontrol requeue "$job"
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
        let own = ["--nodes=3", "--sbatch=--output=o.txt", "--sbatch=--mem-per-gpu=9G", "--sbatch=-Ame"];
        let text = script(&own, "x", "/r.toml", "/work").unwrap();
        assert!(options(&text).contains(&"output=o.txt") && text.contains("\n#SBATCH -Ame\n"), "{text}");
        assert!(!text.contains("slurm-%j.out") && !options(&text).contains(&"mem=0"), "{text}");
    }

    /// Runs a script of CPUs with `tercet` as the shell's `launcher`, and a Slurm that says that the job runs; what it
    /// asked of Slurm, and its own code.
    fn run(launcher: &str, change: impl Fn(String) -> String) -> (String, Option<i32>) {
        let folder = tempfile::tempdir().unwrap();
        let text =
            script(&["--nodes=1", "--gpus-per-node=0"], "x", "/r.toml", folder.path().to_str().unwrap()).unwrap();
        let slurm = "scontrol() { case $1 in requeue) echo \"$@\" ;; show) echo SlurmdTimeout = 0 sec ;; *) echo JobState=RUNNING ;; esac; }";
        let text = text.replace("/opt/tercet train /r.toml --resume", launcher).replace("+ 30))", "+ 3))");
        let text = text.replace("/runs/x y", folder.path().to_str().unwrap());
        let file = folder.path().join("job.sh");
        std::fs::write(&file, change(text.replacen("\nlauncher=\n", &format!("\n{slurm}\nlauncher=\n"), 1))).unwrap();
        let output = Command::new("bash").arg(&file).env("SLURM_JOB_ID", "7").output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }

    #[test]
    fn codes_that_a_new_start_helps_queue_the_job_again() {
        for (code, asked) in [(0, ""), (2, ""), (3, "requeue 7\n"), (4, ""), (75, "requeue 7\n"), (101, "")] {
            assert_eq!(run(&format!("sh -c 'exit {code}'"), |text| text), (asked.to_owned(), Some(code)));
        }
    }

    /// Before there is a launcher, while it is being started, and while it runs.
    #[test]
    fn no_signal_is_lost() {
        let requeued = |code| ("requeue 7\n".to_owned(), Some(code));
        for signal in ["USR1", "TERM"] {
            let early = |text: String| text.replace("\nrun_dir=", &format!("\nkill -{signal} $$\nrun_dir="));
            assert_eq!(run("sleep 600", early), requeued(138));
            let late = |text: String| text.replace("launcher=$!\n", &format!("launcher=$!\nkill -{signal} $$\n"));
            assert_eq!(run("sleep 600", late), requeued(138));
        }
        let listening = "sh -c 'trap \"exit 75\" USR1; kill -USR1 $PPID; while :; do sleep 0.1; done'";
        assert_eq!(run(listening, |text| text), requeued(75));
    }

    /// The scripts of cluster/slurm are what is written for stage2.toml, but for the lines named here. `TERCET_BLESS=1`
    /// writes them anew.
    #[test]
    fn the_ready_scripts_are_what_is_written() {
        let hand = [
            (
                "# it can be submitted by hand with sbatch, from the run folder.",
                "# the lines that name stage2 are to be changed \
              for another recipe. Submit it with sbatch from the\n# folder that the recipe's paths start from.",
            ),
            ("cd -- /here ||", "cd -- \"$SLURM_SUBMIT_DIR\" ||"),
            ("run_dir=/run\n", "run_dir=runs/stage2   # as in the recipe\n"),
        ];
        let left = [("stage2.toml --resume", "stage2.toml --set restart.min_world=64 --resume")];
        let array = [
            ("output=slurm-%j.out   ", "output=slurm-%A_%a.out"),
            (
                "run_dir=runs/stage2   # as in the recipe",
                "run_dir=runs/stage2-seed-$SLURM_ARRAY_TASK_ID   # one for each task",
            ),
            (
                "stage2.toml --resume",
                "stage2.toml --set \"seed=$SLURM_ARRAY_TASK_ID\" --set \"run_dir=$run_dir\" --resume",
            ),
        ];
        let none: [(&str, &str); 0] = [];
        for (file, typed, changes) in [
            ("train.sh", &["--nodes=12"][..], &none[..]),
            ("train-on-what-is-left.sh", &["--nodes=12", "--no-kill"], &left),
            ("array.sh", &["--nodes=1", "--sbatch=array=0-3"], &array),
        ] {
            let mut text = script(typed, "stage2", "configs/stage2.toml", "/here").unwrap();
            text = text.replace("/opt/tercet train", "tercet train").replace("run_dir='/runs/x y'", "run_dir=/run");
            for (written, ready) in hand.iter().chain(changes) {
                assert_eq!(text.matches(written).count(), 1, "{file}: {written:?}: {text}");
                text = text.replace(written, ready);
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/slurm").join(file);
            if std::env::var_os("TERCET_BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{file} is not what `tercet submit` writes");
        }
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
