"""The largest batch a device takes in a fixed memory, with and without split batches: the paper's Table 10, in host memory.

    python3 worker/benches/largest_batch.py --tokenizer MODEL_DIR [--budget 12GiB] [--lengths 1024 4096 8192] [--preset dense]

A model of XLM-R-base's shape with fresh weights (or of --config's), fp32, one rank. A batch is N queries of up to 64 tokens, each with one
passage of the given length. Tercet itself measures, when it fits a run into `memory_budget`: what the run holds, what the
batch's representations and scores take, and what one text's graph takes. With split batches the largest N is searched: the
table says the largest that was accepted and the smallest that was refused. Without, all graphs exist at once: N is what is
left of the budget over the measured size of one text's graph.

Limits: no step is trained, which at these sizes takes hours on a CPU; that steps stay within what was accepted is what
tests/tests/memory_budget.rs holds. Needs as much free memory as the budget.
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile

BASE = {
    "model_type": "xlm-roberta", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 8194, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": 0, "pad_token_id": 1,
    "eos_token_id": 2,
}
QUERY_LEN = 64
# Kept free by Tercet: BUDGET_SLACK in configs/src/limits.rs.
SLACK = 0.05
UNITS = {"MiB": 2**20, "GiB": 2**30}


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, pathlib.Path(folder)
        self.worker = str(pathlib.Path(args.tercet).with_name("tercet-worker"))
        self.budget = float(args.budget[:-3]) * UNITS[args.budget[-3:]]
        tokenizer = pathlib.Path(args.tokenizer) / "tokenizer.json"
        words = sorted(json.loads(tokenizer.read_text())["model"]["vocab"], key=len)[-2000:]
        self.words = [(word if isinstance(word, str) else word[0]).lstrip("\u2581") for word in words]
        self.tokenizer = tokenizer
        config = self.folder / "config.json"
        shape = json.loads(args.config.read_text()) if args.config else BASE | {"vocab_size": args.vocabulary}
        config.write_text(json.dumps(shape))
        self.config = config

    def prepare(self, length):
        """A store of rows whose passages have `length` tokens: more rows than any batch takes."""
        store = self.folder / f"store-{length}"
        rows = self.folder / "rows.jsonl"
        rng = random.Random(length)
        # One long text for all: only the length matters, and it is tokenised once.
        text = " ".join(rng.choices(self.words, k=length))
        with rows.open("w") as file:
            for i in range(self.args.most):
                file.write(json.dumps({"query": f"{i} what", "pos": [text], "neg": []}) + "\n")
        subprocess.run(
            [self.args.tercet, "prepare", "--tokenizer", self.tokenizer, "--out", store, "--passage-max-len", str(length),
             "--query-max-len", str(QUERY_LEN), f"rows={rows}"], check=True, stdout=subprocess.DEVNULL)
        rows.unlink()
        return store

    def fit(self, store, length, n):
        """Bytes (held, scoring, one text) if N = `n` was accepted, and whether it was."""
        recipe = self.folder / "recipe.toml"
        recipe.write_text(f"""
            name = "largest-batch"
            steps = 1
            run_dir = "{self.folder}/run"
            memory_budget = "{self.args.budget}"
            sub_batch_tokens = {length}
            [model]
            config = "{self.config}"
            tokenizer = "{self.tokenizer}"
            [data]
            store = "{store}"
            query_max_len = {QUERY_LEN}
            passage_max_len = {length}
            group_size = 1
            length_groups = [{{ max_len = {length}, global_batch = {n} }}]
            [loss]
            preset = "{self.args.preset}"
            """)
        run = subprocess.Popen([self.worker, "train", recipe], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"RUST_LOG": "info"})
        accepted = re.compile(r"memory budget \d+ MiB: (\d+) held.*?, (\d+) for the .*? scores, (\d+) for a sub-batch of")
        refused = re.compile(r"holds (\d+) .*scores take (\d+) and its longest text (\d+)")
        said = []
        try:
            for line in run.stderr:
                said.append(line)
                if found := accepted.search(line):
                    return [int(mib) << 20 for mib in found.groups()], True
                if found := refused.search(line):
                    return [int(count) for count in found.groups()], False
        finally:
            run.kill()
            run.wait()
        raise SystemExit("largest-batch: the run ended otherwise:\n" + "".join(said))

    def row(self, length):
        store = self.prepare(length)
        most, least_refused, n = 0, self.args.most + 1, self.args.first
        for _ in range(self.args.tries):
            (held, scoring, text), fits = self.fit(store, length, n)
            most, least_refused = (max(most, n), least_refused) if fits else (most, min(least_refused, n))
            print(f"  {length} tokens, N = {n}: {'fits' if fits else 'too much'}; held {held >> 20} MiB, scores "
                  f"{scoring >> 20}, one text {text >> 20}", flush=True)
            free = self.budget * (1 - SLACK) - held - text
            # Between proportional to N (representations) and to N² (scores).
            guess = int(n * (free / scoring) ** 0.6) if free > 0 else n // 2
            n = min(max(guess, most + max(most // 50, 1)), least_refused - 1, self.args.most)
            if n <= most:
                break
        whole = int((self.budget * (1 - SLACK) - held) / (text * (1 + QUERY_LEN / length)))
        return length, whole, most, least_refused if least_refused <= self.args.most else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--tercet", default="target/release/tercet")
    add("--tokenizer", required=True)
    add("--budget", default="12GiB")
    add("--lengths", type=int, nargs="+", default=[1024, 4096, 8192])
    add("--vocabulary", type=int, default=250_002)
    add("--config", type=pathlib.Path, help="another config.json than XLM-R-base's")
    add("--preset", default="dense")
    add("--first", type=int, default=2000, help="N to begin with")
    add("--most", type=int, default=30_000, help="rows to make: the largest N that can be tried")
    add("--tries", type=int, default=6)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        rows = [bench.row(length) for length in args.lengths]
    print(f"\n| tokens | without split batches | with | gain |\n|---|---|---|---|   ({args.preset}, {args.budget})")
    for length, whole, split, refused in rows:
        bound = f"{split:,} (refused at {refused:,})" if refused else f"{split:,} or more"
        print(f"| {length} | {whole} | {bound} | {split / max(whole, 1):,.0f} × |")


if __name__ == "__main__":
    main()
