# The rules of PIPELINE, which the Snakefile that includes this has made: one for each of its stages (stages.py), and
# one command each.
#
# A rule's output is a file that says that its command is complete. Snakemake removes the outputs of a rule before it
# runs again, and a command that goes on where it was ended needs what it left. What it fills is therefore no output.
# Commands that begin anew refuse to write over what is there; their folders are outputs, so that Snakemake clears them.

import os
import shlex
from pathlib import Path

STAGES = PIPELINE.stages
PROGRAMS = os.environ.get("TERCET_PROGRAMS", "target/release")


def command(stage):
    """The stage's command line."""
    own = stage.words if stage.kind == "text" else ["tercet", *stage.words]
    line = shlex.join([f"{PROGRAMS}/{own[0]}", *own[1:]])
    # Whoever ends Snakemake ends what it started.
    line = f"exec setpriv --pdeathsig TERM {line}"
    if stage.kind == "prepare":
        # It may have been complete when Snakemake was ended, and a complete store is not written over.
        line = f"[ -f {stage}/manifest.json ] && [ ! -f {stage}/unfinished.json ] || {line}"
    return line


for stage in STAGES.values():
    machine = PIPELINE.on(stage.name, stage.kind)

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
        threads: machine.get("threads", stage.ranks)
        resources:
            **machine.get("resources", {}),
        # A loop's rules share its variables; what stands here is looked at now, and not when the rule runs.
        params:
            command=command(stage),
        shell:
            "{params.command} >> {log} 2>&1"
