"""The graph of the ablations: variants of the paper's training runs, and the tables that set them side by side.

Texts and token stores are there once. Every run, and what is mined by its model, is there once for each seed; a run
that several tables name is one stage. What no table names that is made is not trained, and its files are not asked for.
"""

from glob import escape, glob

from shape import choices
from stages import COMMON, WORDS, Model, Pipeline, mined_files


class Ablations(Pipeline):
    shape = {
        **COMMON,
        "text!": COMMON["text"],
        "only": str,
        "seeds": int,
        "tokenizer!": str,
        "model!": str,
        "recipes!": str,
        "set": {...: WORDS},
        "models": {...: str},
        "train!": {...: {"recipe!": str, "store!": str, "after": str, "set": WORDS}},
        "stores!": {
            ...: {"files": WORDS, "texts": bool, "mine": str, "as_they_are": {...: WORDS}, "options": WORDS},
        },
        "mine": {"model!": str, "options": WORDS, ...: WORDS},
        "suites!": {...: {"suite!": str, "data!": WORDS, "options": WORDS}},
        "tables!": {...: [{"name!": str, "run!": str, "suite!": str}]},
    }

    def build(self):
        self.searched = {}
        self.names |= {name: Model(path) for name, path in self.config.get("models", {}).items()}
        recipes = {run["recipe"] for run in self.config["train"].values()}
        for recipe in self.config.get("set", {}):
            if recipe not in recipes:
                self.refuse(f"set.{recipe}: no run has this recipe; they are: {choices(recipes)}")
        self.text(self.config["text"])
        chosen = self.config.get("only", "").split() or self.config["tables"]
        for name in chosen:
            table = self.chosen("tables", name, "only")
            rows = [(row, ",".join(f"{{{self.evaluated(row, seed)}}}" for seed in self.seeds())) for row in table]
            self.report(name, [f"{row['name']}={folders}" for row, folders in rows], {})
        runs = [name for name, stage in self.stages.items() if stage.kind == "train"]
        self.report("runs", [f"{name}={{{name}}}" for name in runs], {})
        if not any("text" in stage.after for stage in self.stages.values()):
            del self.stages["text"]

    @property
    def other_stages(self):
        """Those of tables that are not made."""
        return {name for section in ("train", "stores", "mine") for name in self.config.get(section, {})}

    def seeds(self):
        return range(1, self.config.get("seeds", 1) + 1)

    def evaluated(self, row, seed):
        """The stage that has a row's figures."""
        where = f"tables: the row {row['name']!r}"
        suite = self.chosen("suites", row["suite"], where)
        name, model = f"eval_{row['suite']}_{row['run']}_{seed}", self.trained(row["run"], seed, where)
        if name not in self.stages:
            data = self.files(suite["data"], f"suites.{row['suite']}.data")
            self.evaluate(name, model, {**suite, "data": data})
        return name

    def trained(self, run, seed, where, before=()):
        """What has a run's model; `before` are the runs that wait for it."""
        if run in self.config.get("models", {}):
            return run
        name, config = f"{run}_{seed}", self.chosen("train", run, where)
        if name in self.stages:
            return name
        if run in before:
            self.refuse(f"{where}: {' waits for '.join([*before, run])}")
        before = [*before, run]
        after = self.trained(config["after"], seed, f"train.{run}.after", before) if "after" in config else None
        store = self.prepared(config["store"], seed, f"train.{run}.store", before)
        settings = [f"seed={seed}"]
        if not after:
            settings += [f"model.config={self.config['model']}", f"model.tokenizer={self.config['tokenizer']}"]
        # For all runs of the recipe, and for this one.
        settings += [*self.config.get("set", {}).get(config["recipe"], []), *config.get("set", [])]
        recipe = f"{self.config['recipes']}/{config['recipe']}.toml"
        self.train(name, store, {"recipe": recipe, "set": settings}, after=after)
        return name

    def prepared(self, store, seed, where, before):
        """The stage that has a store; one with negatives that a model has found is a seed's own."""
        config = self.chosen("stores", store, where)
        mined = config.get("mine")
        name = f"{store}_{seed}" if mined else store
        if name in self.stages:
            return name
        files = self.sets(config.get("files", []), f"stores.{store}.files")
        if mined:
            where = f"stores.{store}.mine"
            self.chosen("mine", mined, where)
            model = self.trained(self.config["mine"]["model"], seed, "mine.model", before)
            files = self.mined(mined, model, files, seed, where)
        for set_name, patterns in config.get("as_they_are", {}).items():
            files[set_name] = ",".join(self.files(patterns, f"stores.{store}.as_they_are.{set_name}"))
        before = ["--texts"] if config.get("texts") else []
        self.prepare(name, before, {"files": files, "options": config.get("options", [])})
        return name

    def mined(self, negatives, model, files, seed, where):
        """The files of rows with negatives of a kind."""
        name, config = f"{negatives}_{seed}", self.config["mine"]
        if self.searched.setdefault(name, files) != files:
            self.refuse(f"{where}: another store's rows have {negatives!r}: give these a name of their own in mine")
        if name not in self.stages:
            self.mine(name, model, files, [*config.get("options", []), *config[negatives], "--seed", str(seed)])
        return mined_files(name, files)

    def sets(self, patterns, where):
        """Data sets by their names: each file is one."""
        return {file.rpartition("/")[2].partition(".jsonl")[0]: file for file in self.files(patterns, where)}

    def files(self, patterns, where):
        """Files and folders at the key `where`; those in the user's folder may be patterns."""
        found = []
        for pattern in patterns:
            if pattern.startswith("{data}"):
                data = self.names["data"]
                below = pattern.removeprefix("{data}")
                found += sorted(glob(escape(data) + below)) or self.missing(data + below, where)
            else:
                found.append(pattern)
        return found

    def missing(self, pattern, where):
        self.refuse(
            f"{where}: there is no {pattern}; DATA=FOLDER is the folder, and a CONFIG names other files of it "
            "(docs/ablations.md)"
        )
