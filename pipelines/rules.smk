# The rules of PIPELINE, which the Snakefile that includes this has made: one for each of its stages (stages.py), and
# one command each.
#
# A rule's output is a file that says that its command is complete. Snakemake removes the outputs of a rule before it
# runs again, and a command that goes on where it was ended needs what it left. What it fills is therefore no output.
# The folder of one that begins anew is an output, so that Snakemake clears it.

import os
import shlex
from pathlib import Path

STAGES = PIPELINE.stages
PROGRAMS = os.environ.get("TERCET_PROGRAMS", "target/release")

for file, text in [stage.filled_in for stage in STAGES.values() if stage.filled_in]:
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        beside = Path(f"{file}.{os.getpid()}")
        beside.write_text(text)
        beside.rename(file)


def command(stage):
    """The stage's command line."""
    own = stage.words if stage.kind == "text" else ["tercet", *stage.words]
    line = shlex.join([f"{PROGRAMS}/{own[0]}", *own[1:]])
    # Whoever ends Snakemake ends what it started.
    line = f"exec setpriv --pdeathsig TERM {line}"
    if stage.complete:
        # It may have been when Snakemake was ended.
        there, before = map(shlex.quote, stage.complete)
        line = f"[ -f {there} ] && [ ! -e {before} ] || {line}"
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
