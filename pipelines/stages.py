"""The stages of a pipeline's configuration: each is one command, what it reads, and the folder that it fills.

A string of the configuration may name what a stage makes: `{curate}` is that stage's folder, `{stage1.model}` the model
that a training stage ends with, `{run}` the folder of all, and `{data}` one of the user's. A stage that names another
comes after it. The recipe of `curate` or `synthesize` may name stages, too: filled in it lies below the folder of all.

A folder is named after its stage and a hash of all that its command is asked for: its words, in which the folders
before it stand, the recipes that it reads and the shapes of fresh models. Another question is another folder, so nothing
that is there is written over, and what was asked for before is found again. Ranks and machines are no part of it: the
question is the same, though other ranks round otherwise and draw other dropout.
"""

import hashlib
import json
import os
import re
import tomllib
from pathlib import Path

from shape import check, choices, refuse

# What a word or a recipe may name: a stage's folder, or its model. Other braces are TOML's.
NAMED = re.compile(r"\{(\w+)(\.model)?\}")
# Kinds of commands, and those that run on several ranks.
KINDS = ("text", "curate", "synthesize", "prepare", "train", "index", "mine", "eval", "report")
WITH_RANKS = ("train", "index", "mine", "eval")
# How a file's name ends that is packed, and one of lines.
PACKED = re.compile(r"\.(gz|zst|bz2)$")
LINES = re.compile(r"\.(jsonl|json|ndjson)(\.(gz|zst|bz2))?$")
# Shapes (shape.py) of what all graphs' configurations have.
WORDS = [str]
COMMON = {
    "run!": str,
    "data": str,
    "text": {"command!": WORDS},
    "machines": {...: {"ranks": int, "threads": int, "resources": {...: object}}},
}


class Stage:
    """A command, and what is known of it before it runs."""

    def __init__(self, name, kind, folder, words, after, ranks, model=None, recipe=None):
        self.name, self.kind, self.folder, self.words = name, kind, folder, words
        self.after, self.ranks, self.model, self.recipe = after, ranks, model, recipe
        # Of a recipe that names stages: where it lies when it is filled in, and its text.
        self.filled_in = None

    def __str__(self):
        return self.folder

    @property
    def begins_anew(self):
        """Whether a command that was ended begins again, with nothing of the one before in its way."""
        return self.kind == "text"

    @property
    def complete(self):
        """Of a command that refuses what is complete: a file that it has then, and one that it has until then."""
        files = {
            "prepare": ("manifest.json", "unfinished.json"),
            "mine": ("mine.json", "mine.json.tercet-partial"),
            "eval": ("metrics.json", "metrics.json.tercet-partial"),
        }
        return tuple(f"{self.folder}/{name}" for name in files.get(self.kind, ()))


class Model:
    """A model folder that no stage makes; `{NAME.model}` is its path."""

    def __init__(self, path):
        self.model = path

    def __str__(self):
        return self.model


class Pipeline:
    """All stages of a configuration, in an order in which they can run."""

    # What the configuration may say (shape.py).
    shape = {...: object}
    # Stages that a configuration of this graph may have, and this one has not.
    other_stages = ()

    def __init__(self, config, files=()):
        """`files` are those that the configuration was read from."""
        self.config, self.stages = config, {}
        self.read_from = [min(os.path.relpath(file), str(file), key=len) for file in files]
        for message in check(config, self.shape):
            self.refuse(message)
        self.run = config["run"]
        self.names = {name: config[name] for name in ("run", "data") if name in config}
        self.build()
        self.check_machines()

    def build(self):
        """Adds the stages, each after those that it names."""
        raise NotImplementedError

    def refuse(self, message):
        """Says what is wrong with the configuration, and ends."""
        refuse(f"{', '.join(self.read_from) or 'the configuration'}: {message}")

    def chosen(self, section, name, where):
        """An entry of a section, by the name that stands at the key `where`."""
        entries = self.config.get(section, {})
        if name not in entries:
            self.refuse(f"{where}: there is no {name!r} in {section}; it has: {choices(entries)}")
        return entries[name]

    def check_machines(self):
        """Whether what is said of machines is about stages, and Slurm's jobs have as many tasks as ranks."""
        stages = {name for stage in self.stages for name in (stage, unnumbered(stage))}
        for name, said in self.config.get("machines", {}).items():
            if name not in {"default", *KINDS, *stages, *self.other_stages}:
                known = choices({"default", *KINDS, *self.stages})
                self.refuse(f"machines.{name}: no stage or kind of command; they are: {known}")
            kinds = {stage.kind for stage in self.stages.values() if name in (stage.name, unnumbered(stage.name))}
            if "ranks" in said and not kinds | {name} & set(KINDS) <= set(WITH_RANKS):
                self.refuse(f"machines.{name}.ranks: this command has no ranks; those with ranks: {choices(WITH_RANKS)}")
        for stage in self.stages.values():
            asked = self.on(stage.name, stage.kind).get("resources", {})
            if "mpi" not in asked:
                continue
            nodes, tasks = asked.get("nodes", 1), asked.get("tasks_per_node")
            if not tasks or nodes * tasks != stage.ranks:
                self.refuse(
                    f"machines: {stage.name} has {stage.ranks} ranks, and its resources, with mpi, {nodes} nodes of "
                    f"{tasks or 'no'} tasks_per_node: let their product be its ranks"
                )

    def text(self, config):
        """Text to begin with, made by a command of its own."""
        self.add("text", "text", config["command"], out="--out")

    def with_recipe(self, name, words, config):
        """A command whose recipe says everything, stages before it included."""
        recipe, options = config["recipe"], config.get("options", [])
        text = self.read(recipe)
        after = dict.fromkeys(part for part, _ in NAMED.findall(text) if part in self.stages)
        if not after:
            self.add(name, name, [*words, recipe, *options], out="--out", reads=[recipe])
            return
        folder = f"{self.run}/recipes"

        def relative(part):
            return os.path.relpath(part[0].format_map(self.stages), folder) if part[1] in after else part[0]

        text = NAMED.sub(relative, text)
        recipe = f"{folder}/{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.toml"
        self.add(name, name, [*words, recipe, *options], out="--out")
        self.stages[name].after += after
        self.stages[name].filled_in = recipe, text

    def prepare(self, name, before, config):
        """A token store."""
        files = [word for name, file in config["files"].items() for word in [*before, f"{name}={file}"]]
        words = ["prepare", "--tokenizer", self.config["tokenizer"], *config.get("options", []), *files]
        self.add(name, "prepare", words, out="--out")

    def train(self, name, store, config, after=None):
        """A training run; with `after`, from that run's last model."""
        settings = [f"data.store={{{store}}}", *([f"model.path={{{after}.model}}"] if after else [])]
        settings += config.get("set", [])
        words = ["train", config["recipe"], *[word for setting in settings for word in ("--set", setting)]]
        steps = self.steps(config["recipe"], settings)
        shapes = [value for key, _, value in (setting.partition("=") for setting in settings) if key == "model.config"]
        self.add(name, "train", words, out="--set run_dir=", reads=[config["recipe"], *shapes], steps=steps)

    def steps(self, recipe, settings):
        """How many steps a run takes: what the last setting says, or else the recipe."""
        said = [value for key, _, value in (setting.partition("=") for setting in settings) if key.strip() == "steps"]
        try:
            return int(said[-1].replace("_", "")) if said else int(tomllib.loads(self.read(recipe))["steps"])
        except (KeyError, TypeError, ValueError) as error:
            self.refuse(f"{recipe}{', with ' + ', '.join(settings) if said else ''}: no number of steps ({error})")

    def read(self, file):
        """The text of a recipe, or of a model's config.json."""
        try:
            return Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            self.refuse(f"{file} cannot be read: {error}")

    def index(self, name, model, corpus, options):
        """A corpus as a model sees it; its name."""
        words = ["index", "--model", f"{{{model}.model}}", "--corpus", *corpus, *options]
        self.add(name, "index", words, out="--out")
        return name

    def mine(self, name, model, files, options, index=None):
        """The files of rows with their negatives."""
        words = ["mine", "--model", f"{{{model}.model}}", "--rows", *files.values()]
        words += ["--index", f"{{{index}}}"] if index else []
        self.add(name, "mine", words + options, out="--out")
        return mined_files(name, files)

    def evaluate(self, name, model, suite):
        """A suite's figures of a model."""
        below = suite.get("languages")
        data = [f"{folder}/{language}" for folder in suite["data"] for language in below] if below else suite["data"]
        words = ["eval", "--model", f"{{{model}.model}}", "--data", *data, "--suite", suite["suite"]]
        self.add(name, "eval", words + suite.get("options", []), out="--out", reads=[suite["suite"]])

    def report(self, name, seen, config):
        """Runs and figures beside each other, each as `NAME={stage}`."""
        self.add(name, "report", ["report", *seen, *config.get("options", [])], out="--out", ending=".html")

    def add(self, name, kind, words, out, reads=(), steps=None, ending=""):
        """A stage whose folder follows `out`, after its other words; `reads` are its recipe and other files that it
        reads."""
        named = dict.fromkeys(part for word in words for part, _ in NAMED.findall(word))
        after = [part for part in named if part not in self.names]
        words = [self.filled_in(name, word) for word in words]
        asked = [words, *map(self.read, reads)]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:10]
        folder = f"{self.run}/{name}-{digest}{ending}"
        ranks = self.on(name, kind).get("ranks") if kind in WITH_RANKS else None
        if ranks:
            words = [*words, "-n", str(ranks)]
        *before, last = out.split(" ")
        words = [*words, *before, last + folder] if last.endswith("=") else [*words, out, folder]
        words = [*words, "--resume"] if kind == "train" else words
        model = f"{folder}/step-{steps:08}/model" if steps is not None else None
        self.stages[name] = Stage(name, kind, folder, words, after, ranks or 1, model, next(iter(reads), None))

    def filled_in(self, name, word):
        """A word of a stage's command, with folders and models in place of their names."""
        there = {**self.names, **self.stages}

        def path(part):
            found = there.get(part[1])
            found = getattr(found, "model", None) if part[2] else found
            if found is None:
                known = choices(there)
                self.refuse(
                    f"{name}: {word!r} names what is not there before it; names: {known}; of a training run NAME.model"
                )
            return str(found)

        return NAMED.sub(path, word)

    def on(self, name, kind):
        """Where a stage runs: what the configuration says of its kind, and of itself, with its number or without."""
        machines = self.config.get("machines", {})
        names = dict.fromkeys(("default", kind, unnumbered(name), name))
        return {key: value for name in names for key, value in machines.get(name, {}).items()}

    def done(self, stage):
        """The file that is there when the stage is complete."""
        return f"{self.run}/done/{Path(stage.folder).name}"


def unnumbered(name):
    """A stage's name without the number of its round or its seed."""
    return re.sub(r"_?\d+$", "", name)


def mined_files(name, files):
    """Where a stage that mines has put its rows of each file."""
    return {set_name: f"{{{name}}}/{name_of_lines(file)}" for set_name, file in files.items()}


def name_of_lines(file):
    """What `tercet mine` calls its rows of a file: the same if it can be written as lines, else `.jsonl`."""
    name = file.rpartition("/")[2]
    if os.path.isdir(file):
        return f"{name}.jsonl"
    if LINES.search(name):
        return name
    return f"{PACKED.sub('', name).rpartition('.')[0] or name}.jsonl"
