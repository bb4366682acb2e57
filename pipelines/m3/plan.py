#!/usr/bin/env python3
"""What a configuration's stages will do and cost, before anything is booked for them.

    plan.py CONFIG.yaml [TERCET]

A line for each stage: ranks, GPU-hours, core-hours of jobs without ranks, disk, memory of a rank, and what a rank
sends. Figures of training are those of `tercet plan` for the cards that the configuration names, of the stage's own
store if it is complete, else of a store that has only lengths, made of the rows and lengths in the configuration's
section `plan`. For an index, mining and evaluations encoding and products are reckoned from the corpora named there,
for curation and stores their rates. What is not reckoned is "-"; where numbers for it are missing, the table says so.
The last line is the sum.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml

sys.path.append(str(Path(__file__).parents[1]))
from graph import Paper
from lengths import Lengths
from shape import refuse

# Of a token, and of a row: order, lengths and offsets (docs/know/formats.md, "Token store").
TOKEN_BYTES, ROW_BYTES = 4, 40
# Of a parameter, in a checkpoint: the weight and AdamW's two moments, each in 32 bits.
CHECKPOINT_BYTES = 12
# Of a passage's token, in an index: its weights, postings and packed text (docs/measured/now.md: 1.35 kB for 86).
INDEX_TOKEN_BYTES = 15.7
# Of an entry of its dense vector, by the kind of command that makes the index.
DENSE_BYTES = {"index": 2, "mine": 4, "eval": 4}


def read(file):
    """A configuration."""
    try:
        return yaml.safe_load(Path(file).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        refuse(f"{file} cannot be read: {error}")


def scaled(value, unit):
    """`5.33 GB`."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def duration(hours):
    """`4,550 h`, `2.3 h`, `12 min`, `3 s`."""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    if hours < 1:
        return f"{60 * hours:.2g} min" if hours < 1 / 6 else f"{60 * hours:.0f} min"
    return f"{hours:,.1f} h" if hours < 10 else f"{hours:,.0f} h"


class Planner:
    """Asks `tercet plan` for each run of a pipeline."""

    def __init__(self, file, tercet, scratch):
        config = read(file)
        self.pipeline, self.tercet, self.scratch = Paper(config, [file]), tercet, Path(scratch)
        self.plan, self.made_up, self.remarks = config.get("plan", {}), {}, []
        self.rank_hours, self.disk_bytes = 0, 0

    def lengths(self, name):
        """What is known of a store: its manifest, or the configuration's numbers."""
        manifest = Path(str(self.pipeline.stages[name])) / "manifest.json"
        if manifest.exists() and not manifest.with_name("unfinished.json").exists():
            return Lengths.of_manifest(manifest)
        asked = self.plan.get("stores", {}).get(name)
        if asked is None:
            self.remarks.append(f"{name}: say its rows and lengths in the configuration, as plan.stores.{name}")
            return None
        if asked.get("assumed"):
            self.remarks.append(f"{name}: {asked['assumed']}")
        try:
            return Lengths.of_config(asked)
        except ValueError as error:
            self.pipeline.refuse(f"plan.stores.{name}.{error}")

    def row(self, stage):
        """A stage's cells, by key."""
        if stage.kind == "prepare":
            lengths = self.lengths(stage.name)
            self.made_up[stage.name] = lengths
            return self.store_columns(stage, lengths)
        kinds = {"train": self.train_columns, "curate": self.curate_columns, "synthesize": self.synthesize_columns}
        searches = dict.fromkeys(("index", "mine", "eval"), self.search_columns)
        return {**kinds, **searches}.get(stage.kind, lambda _: {})(stage)

    def asked(self, section, name, keys):
        """The numbers of a section of `plan`, if all are there."""
        numbers = self.plan.get(section, {})
        numbers = numbers if name is None else numbers.get(name, {})
        where = ".".join(["plan", section, *([name] if name else [])])
        if any(key not in numbers for key in keys):
            self.remarks.append(f"{name or section}: say {', '.join(keys)} in the configuration, as {where}")
            return None
        if numbers.get("assumed"):
            self.remarks.append(f"{name or section}: {numbers['assumed']}")
        return numbers

    def has(self, *keys):
        """Whether `plan` has all of these."""
        lacking = [f"plan.{key}" for key in keys if key not in self.plan]
        if lacking:
            self.remarks.append(f"say {' and '.join(lacking)} in the configuration: without there are no hours")
        return not lacking

    def disk(self, num_bytes):
        """A cell, which counts for all stages together."""
        self.disk_bytes += num_bytes
        return scaled(num_bytes, "B")

    def curate_columns(self, stage):
        """Hours of the stage's cores, and what it writes."""
        keys = ("pairs", "kept", "pairs_per_core_sec", "bytes_per_row")
        numbers = self.asked("curate", None, keys)
        if numbers is None:
            return {}
        pairs, kept, rate, row_bytes = (float(numbers[key]) for key in keys)
        columns = {"rows": f"{int(kept):,}", **self.of_cores(stage, pairs / rate / 3600)}
        # The keys by which duplicates are found take as much again as the rows while it works.
        return {**columns, "disk": self.disk(2 * kept * row_bytes)}

    def synthesize_columns(self, stage):
        """What its caps let it ask; the time is the server's."""
        text = stage.filled_in[1] if stage.filled_in else Path(stage.words[1]).read_text()
        caps = tomllib.loads(text).get("caps", {})
        known = [f"{caps[cap]:,} {cap}" for cap in ("requests", "tokens") if cap in caps]
        told = f"at most {' and '.join(known)}, by its caps" if known else "say caps in its recipe"
        self.remarks.append(f"{stage.name}: {told}; the time is that of the server")
        return {}

    def search_columns(self, stage):
        """Of an index the encoding; of mining the products; of an evaluation index and candidates."""
        # Without an index it makes one, of what it searches.
        name = stage.name.replace("mine", "index", 1) if "--index" in stage.words else stage.name
        if stage.kind == "eval":
            suites = [suite["name"] for suite in self.pipeline.config["eval"]["suites"]]
            name = max((suite for suite in suites if stage.name.endswith(f"_{suite}")), key=len)
        numbers = self.asked("corpora", name, ("passages", "tokens", "queries"))
        if numbers is None or not self.has("model_config", "flops"):
            return {}
        model = json.loads(Path(self.plan["model_config"]).read_text())
        width, layers = model["hidden_size"], model["num_hidden_layers"]
        passages, tokens, queries = (float(numbers[key]) for key in ("passages", "tokens", "queries"))
        encoded = passages
        if stage.kind == "eval":
            suite = tomllib.loads(Path(stage.recipe).read_text())
            # A data set's candidates are encoded once, so at most all of its corpus.
            encoded += min(queries * suite.get("rerank", 200), passages * numbers.get("searched", 1))
        if stage.kind == "mine" and "--index" in stage.words:
            encoded = 0
        weights = layers * (4 * width**2 + 2 * width * model["intermediate_size"])
        flops = encoded * tokens * (2 * weights + 4 * layers * width * tokens)
        flops += 2 * width * queries * passages if stage.kind != "index" else 0
        hours = flops / float(self.plan["flops"]) / 3600
        self.predicted("indexes, mining and evaluations")
        columns = {"hours": duration(hours), "takes": duration(hours / stage.ranks)}
        self.rank_hours += hours
        if encoded:
            columns["tokens"] = scaled(encoded * tokens, "")
            columns["disk"] = self.disk(passages * (DENSE_BYTES[stage.kind] * width + INDEX_TOKEN_BYTES * tokens))
        return columns

    def store_columns(self, stage, lengths):
        if lengths is None:
            return {}
        disk = lengths.num_tokens * TOKEN_BYTES + lengths.num_rows * ROW_BYTES
        columns = {"rows": f"{lengths.num_rows:,}", "tokens": scaled(lengths.num_tokens, ""), "disk": self.disk(disk)}
        rate = self.asked("prepare", None, ("tokens_per_core_sec",))
        if rate:
            columns |= self.of_cores(stage, lengths.num_tokens / float(rate["tokens_per_core_sec"]) / 3600)
        return columns

    def of_cores(self, stage, hours):
        """Cells of a job that takes so many hours of a core."""
        cores = self.pipeline.on(stage.name, stage.kind).get("threads", 1)
        return {"core_hours": duration(hours), "takes": duration(hours / cores)}

    def train_columns(self, stage):
        """What `tercet plan` says of a run."""
        store = next(name for name in stage.after if self.pipeline.stages[name].kind == "prepare")
        lengths = self.made_up.get(store)
        if lengths is None:
            return {}
        words = ["plan", stage.recipe, "--world", str(stage.ranks), "--json", "-"]
        for word, setting in zip(stage.words, stage.words[1:]):
            if word == "--set" and not setting.startswith("data.store="):
                words += ["--set", setting]
        words += ["--set", f"data.store={lengths.store(self.scratch / store)}"]
        words += self.speed(stage)
        model = self.plan.get("model_config")
        words += ["--model-config", model] if model and not self.is_there(stage) else []
        said = subprocess.run([self.tercet, *words], capture_output=True, text=True, check=False)
        if not said.stdout.startswith("{"):
            self.remarks.append(f"{stage.name}: {said.stderr.strip() or said.stdout.strip()}")
            return {}
        return self.of_plan(stage, json.loads(said.stdout))

    def speed(self, stage):
        """What `tercet plan` is told of the stage's cards."""
        cards = self.plan.get("gpu", {})
        card = cards.get(stage.name, cards.get("default"))
        if card:
            self.remarks.append(f"{stage.name}: hours are predicted for {card}")
            rates = {"gpu": card, "bandwidth": self.plan.get("bandwidth"), "measured": self.plan.get("measured")}
        elif self.has("flops", "bandwidth"):
            self.predicted(stage.name)
            rates = {"device": "cuda", "flops": self.plan["flops"], "bandwidth": self.plan["bandwidth"]}
        else:
            rates = {"device": "cuda"}
        return [word for key, value in rates.items() if value for word in (f"--{key}", str(value))]

    def predicted(self, what):
        """Says, once, what these hours rest on, which follow from one rate."""
        remark = f"{what}: hours are predicted, from {scaled(float(self.plan['flops']), 'FLOP/s')} a card"
        self.remarks += [] if remark in self.remarks else [remark]

    def of_plan(self, stage, plan):
        columns, model, totals = {}, plan.get("model") or {}, plan.get("totals") or {}
        self.remarks += [f"{stage.name}: {said}" for said in plan["errors"] + plan["warnings"]]
        if totals.get("tokens"):
            columns["tokens"] = scaled(totals["tokens"], "")
        if totals.get("time"):
            self.rank_hours += totals["time"]["rank_hours"]
            columns["hours"] = duration(totals["time"]["rank_hours"])
            columns["takes"] = duration(totals["time"]["secs"] / 3600)
        if totals.get("sent_bytes_per_rank"):
            columns["sent"] = scaled(totals["sent_bytes_per_rank"], "B")
        if plan.get("memory"):
            columns["memory"] = scaled(plan["memory"]["total_bytes"], "B")
        if model.get("num_parameters"):
            # The newest ones that are kept, and the one that is being written.
            kept = self.kept(stage) + 1
            columns["disk"] = self.disk(model["num_parameters"] * CHECKPOINT_BYTES * kept)
        return columns

    @staticmethod
    def kept(stage):
        recipe = tomllib.loads(Path(stage.recipe).read_text()).get("checkpoint", {}).get("keep", 3)
        said = [word.partition("=")[2] for word in stage.words if word.startswith("checkpoint.keep=")]
        return int(said[-1]) if said else recipe

    @staticmethod
    def is_there(stage):
        """Whether the model that the stage starts from can be read."""
        paths = [word.partition("=")[2] for word in stage.words if word.startswith(("model.path=", "model.config="))]
        return bool(paths) and Path(paths[-1]).exists()

    def table(self):
        """The lines to print."""
        keys = ["stage", "ranks", "rows", "tokens", "hours", "core_hours", "takes", "disk", "memory", "sent"]
        names = ["stage", "ranks", "rows", "tokens", "rank-hours", "core-hours", "takes", "disk", "memory/rank"]
        names.append("sent/rank")
        rows = [names]
        for stage in self.pipeline.stages.values():
            columns = {"stage": stage.name, "ranks": str(stage.ranks), **self.row(stage)}
            rows.append([columns.get(key, "-") for key in keys])
        total = {"stage": "all", "hours": duration(self.rank_hours), "disk": scaled(self.disk_bytes, "B")}
        rows.append([total.get(key, "") for key in keys])
        widths = [max(len(row[i]) for row in rows) for i in range(len(keys))]
        for row in rows:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
            yield "  ".join(cells).rstrip()
        yield ""
        yield "-: not reckoned"
        yield from dict.fromkeys(self.remarks)
        yield from self.to_be_measured()

    def to_be_measured(self):
        """Stages whose cost a model and a sample of the passages tell."""
        for stage in self.pipeline.stages.values():
            if stage.kind != "index":
                continue
            words = ["tercet", *stage.words, "--dry-run"]
            passages = self.plan.get("corpora", {}).get(stage.name, {}).get("passages")
            words += ["--for-passages", str(passages)] if passages else []
            words += ["--for-ranks", str(stage.ranks)]
            words += ["--flops", str(self.plan["flops"])] if "flops" in self.plan else []
            yield f"{stage.name}: when its model is there: {shlex.join(words)}"


def main():
    tercet = sys.argv[2] if len(sys.argv) > 2 else "target/release/tercet"
    with tempfile.TemporaryDirectory() as scratch:
        for line in Planner(sys.argv[1], tercet, scratch).table():
            print(line)


if __name__ == "__main__":
    main()
