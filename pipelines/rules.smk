# The rules of PIPELINE, which the Snakefile that includes this has made: one for each of its stages (stages.py), and
# one command each.
#
# A rule's output is a file that says that its command is complete. Snakemake removes the outputs of a rule before it
# runs again, and a command that goes on where it was ended needs what it left. What it fills is therefore no output.
# The folder of one that begins anew is an output, so that Snakemake clears it.

import os
import shlex
from pathlib import Path

import stages

STAGES = PIPELINE.stages
PROGRAMS = os.environ.get("TERCET_PROGRAMS", "target/release")
RUN = shlex.quote(os.path.relpath(Path(stages.__file__).parent / "run.sh"))

# Recipes that name stages, also for `--dry-run`, which prints the commands that read them.
for file, text in [stage.filled_in for stage in STAGES.values() if stage.filled_in]:
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        beside = Path(f"{file}.{os.getpid()}")
        beside.write_text(text)
        beside.rename(file)


def refused(stage):
    """The file that run.sh leaves when the stage's command would end in the same way again."""
    return f"{PIPELINE.run}/refused/{Path(stage.folder).name}"


def command(stage, resources):
    """The stage's command line."""
    own = stage.words if stage.kind == "text" else ["tercet", *stage.words]
    program = own[0] if "/" in own[0] else f"{PROGRAMS}/{own[0]}"
    line = shlex.join([program, *own[1:]])
    # Whoever ends Snakemake ends what it started.
    line = f"setpriv --pdeathsig KILL {RUN} {shlex.quote(refused(stage))} {line}"
    if "mpi" in resources:
        # The rest of what `tercet` asks Slurm's variables for; it looks at them in a job alone.
        line = f"env SLURM_NTASKS_PER_NODE={resources['tasks_per_node']} {line}"
    line = f"exec {line}"
    if stage.complete:
        # It may have been when Snakemake was ended.
        there, before = map(shlex.quote, stage.complete)
        line = f"[ -f {there} ] && [ ! -e {before} ] || {line}"
    return line


class Retries(int):
    """Snakemake's `--retries`, which it compares with the tries there were: no more once the command was refused."""

    def __new__(cls, refused):
        # Snakemake takes an integer, and has not read its own yet.
        retries = super().__new__(cls, 1)
        retries.refused = refused
        return retries

    def __gt__(self, tries):
        return workflow.execution_settings.retries > tries and not os.path.exists(self.refused)


for stage in STAGES.values():
    machine = PIPELINE.on(stage.name, stage.kind)
    resources = machine.get("resources", {})

    rule:
        name:
            stage.name
        input:
            [PIPELINE.done(STAGES[name]) for name in stage.after],
        output:
            done=touch(PIPELINE.done(stage)),
            folder=[directory(stage.folder)] if stage.begins_anew else [],
        log:
            f"{PIPELINE.run}/logs/{Path(stage.folder).name}.txt",
        # On this machine one at a time, as each takes all cores. Slurm's jobs have what their resources say; Snakemake
        # runs in them again, with all of a node's cores, and srun refuses more than a job has.
        threads: machine.get("threads") or (not workflow.remote_exec and workflow.resource_settings.cores) or stage.ranks
        resources:
            **resources,
        retries: Retries(refused(stage)),
        # A loop's rules share its variables; what stands here is looked at now, and not when the rule runs.
        params:
            command=command(stage, resources),
        shell:
            "{params.command} >> {log:q} 2>&1"
