"""The graph of the paper: its three stages, what they learn from, and the figures of their models."""

from stages import Pipeline


class Paper(Pipeline):
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
        for model in config["eval"]["models"]:
            for suite in config["eval"]["suites"]:
                self.evaluate(f"eval_{model}_{suite['name']}", model, suite)
        if "report" in config:
            seen = [f"{name}={{{name}}}" for name, stage in self.stages.items() if stage.kind in ("train", "eval")]
            self.report("report", seen, config["report"])

    def fine_tune(self, stage3, rows):
        """Rounds of mining, each with the newest model, and after each a training run; the last one is stage 3."""
        model, rounds = "stage2", rows.get("rounds", 1)
        for number in range(1, rounds + 1):
            files, mined = rows["files"], rows.get("mine")
            if mined:
                index = None
                if "corpus" in mined:
                    index = self.index(f"index{number}", model, mined["corpus"], mined.get("index", []))
                files = self.mine(f"mine{number}", model, files, mined.get("options", []), index=index)
            files = {**files, **rows.get("as_they_are", {})}
            self.prepare(f"rows{number}", [], {"files": files, "options": rows.get("options", [])})
            if number < rounds:
                self.train(f"warmup{number}", f"rows{number}", self.config["warmup"], after=model)
                model = f"warmup{number}"
            else:
                self.train("stage3", f"rows{number}", stage3, after=model)
