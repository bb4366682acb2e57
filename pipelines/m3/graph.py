"""The graph of the paper: its three stages, what they learn from, and the figures of their models."""

from shape import choices
from stages import COMMON, WORDS, Pipeline

RECIPE = {"recipe!": str, "options": WORDS}
STORE = {"files!": {...: str}, "options": WORDS}
RUN = {"recipe!": str, "set": WORDS}
SUITE = {"name!": str, "suite!": str, "data!": WORDS, "languages": WORDS, "options": WORDS}
ASSUMED = {"assumed": str}
LENGTHS = {"rows": int, "query": int, "negatives": int, "up_to": {...: object}}
PLAN = {
    "model_config": str,
    "gpu": {...: str},
    "bandwidth": object,
    "measured": str,
    "flops": object,
    "prepare": {**ASSUMED, "tokens_per_core_sec": object},
    "curate": {**ASSUMED, **dict.fromkeys(("pairs", "kept", "pairs_per_core_sec", "bytes_per_row"), object)},
    "corpora": {...: {**ASSUMED, **dict.fromkeys(("passages", "tokens", "queries", "searched"), object)}},
    "stores": {...: {**ASSUMED, "each": LENGTHS, "sets!": {...: LENGTHS}}},
}


class Paper(Pipeline):
    shape = {
        **COMMON,
        "tokenizer!": str,
        "curate": RECIPE,
        "synthesize": RECIPE,
        "texts!": STORE,
        "stage1!": RUN,
        "pairs!": STORE,
        "stage2!": RUN,
        "rows!": {
            **STORE,
            "rounds": int,
            "as_they_are": {...: str},
            "mine": {"corpus": WORDS, "index": WORDS, "own_passages": WORDS, "options": WORDS},
        },
        "warmup": RUN,
        "stage3!": RUN,
        "eval!": {"models!": WORDS, "suites!": [SUITE]},
        "report": {"options": WORDS},
        "plan": PLAN,
    }
    other_stages = ("warmup",)

    def build(self):
        config = self.config
        if "text" in config:
            self.text(config["text"])
        if "curate" in config:
            self.with_recipe("curate", ["curate"], config["curate"])
        if "synthesize" in config:
            self.with_recipe("synthesize", ["synthesize"], config["synthesize"])
        self.prepare("texts", ["--texts"], config["texts"])
        self.train("stage1", "texts", config["stage1"])
        self.prepare("pairs", [], config["pairs"])
        self.train("stage2", "pairs", config["stage2"], after="stage1")
        self.fine_tune(config["stage3"], config["rows"])
        runs = [name for name, stage in self.stages.items() if stage.kind == "train"]
        for model in config["eval"]["models"]:
            if model not in runs:
                self.refuse(f"eval.models: there is no training run {model!r}; they are: {choices(runs)}")
            for suite in config["eval"]["suites"]:
                self.evaluate(f"eval_{model}_{suite['name']}", model, suite)
        if "report" in config:
            seen = [f"{name}={{{name}}}" for name, stage in self.stages.items() if stage.kind in ("train", "eval")]
            self.report("report", seen, config["report"])

    def fine_tune(self, stage3, rows):
        """Rounds of mining, each with the newest model, and after each a training run; the last one is stage 3."""
        model, rounds = "stage2", rows.get("rounds", 1)
        for number in range(1, rounds + 1):
            files = self.with_negatives(number, model, rows["files"], rows["mine"]) if "mine" in rows else rows["files"]
            files = {**files, **rows.get("as_they_are", {})}
            self.prepare(f"rows{number}", [], {"files": files, "options": rows.get("options", [])})
            if number < rounds:
                if "warmup" not in self.config:
                    self.refuse(f"rows.rounds is {rounds}, and warmup, which trains between two rounds, is missing")
                self.train(f"warmup{number}", f"rows{number}", self.config["warmup"], after=model)
                model = f"warmup{number}"
            else:
                self.train("stage3", f"rows{number}", stage3, after=model)

    def with_negatives(self, number, model, files, mine):
        """The files of rows with negatives that the model finds: in the corpus, or, for sets of another kind than it
        (long documents), among the passages of their own rows."""
        apart = {name: files[name] for name in mine.get("own_passages", []) if name in files}
        for name in mine.get("own_passages", []):
            if name not in files:
                self.refuse(f"rows.mine.own_passages: there is no set {name!r} in rows.files: {choices(files)}")
        together = {name: file for name, file in files.items() if name not in apart}
        options, index, found = mine.get("options", []), None, {}
        if together and "corpus" in mine:
            index = self.index(f"index{number}", model, mine["corpus"], mine.get("index", []))
        if together:
            found = self.mine(f"mine{number}", model, together, options, index=index)
        if apart:
            found |= self.mine(f"mine_own{number}", model, apart, options)
        return found
