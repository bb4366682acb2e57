# What people type. The work is done by cargo and by the scripts of cluster/setup.
#
# LIBTORCH=FOLDER uses a libtorch that is there; TORCH=cpu or TORCH=cuda chooses the one that `setup` fetches.

.DEFAULT_GOAL := help
.PHONY: help setup build demo test same-numbers wrap test-slurm soak rehearse-96 test-nccl test-gpu test-peers bench bench-prepare bench-peers lint deny clean

BIN := $(or $(CARGO_TARGET_DIR),target)/release
PEERS := $(CURDIR)/.deps/peers
NCCL := $(CURDIR)/.deps/nccl

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing: MPI, libclang, libtorch (into .deps)
	@cluster/setup/system.sh
	@cluster/setup/libtorch.sh .deps

# One profile everywhere: third-party code is built once.
build: setup ## Build tercet, tercet-worker and tercet-test-gpu into target/release
	@cargo build --release --package tercet --package tercet-worker --package tercet-test-gpu

demo: setup ## Train a small model on manual pages in many languages, and show how much better it got
	@cargo build --release --package tercet --package tercet-worker --package tercet-demo
	@$(BIN)/tercet-demo

# Two tests per core: many wait for a process more than they compute.
test: build ## Run all tests, or those whose path contains NAME: T=NAME, e.g. a file's or a test's
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} \
		$(if $(T),tests/named.sh '$(T)',cargo test --release --workspace)

same-numbers: build ## Weights after 20 steps, and whether they are those of BEFORE=PROGRAM or BEFORE=REVISION
	@BEFORE='$(BEFORE)' tests/same-numbers.sh

test-slurm: build ## Run the tests that need a real Slurm, in namespaces of this machine (root; installs slurm-wlm and munge)
	@cluster/setup/system.sh slurm
	@time cargo test --release --workspace --test system slurm:: -- --ignored --test-threads=1

soak: build ## Hurt a training run a hundred times, in every way, and compare its weights with an undisturbed one's
	@cargo test --release --workspace --test system soak:: -- --ignored --nocapture

rehearse-96: build ## The stage-2 recipe with a miniature model on 96 real ranks of this machine
	@cargo test --release --workspace --test system rehearse:: -- --ignored --nocapture

# Apart from `test`: the wheel is 240 MB unpacked, for one test.
test-nccl: build $(NCCL)/nvidia/nccl/lib/libnccl.so.2 ## Load NVIDIA's NCCL, read its version, be refused without a driver
	@TERCET_TEST_NCCL=1 NCCL_HOME=$(NCCL)/nvidia/nccl cargo test --release --workspace --lib the_real_library -- --nocapture

$(NCCL)/nvidia/nccl/lib/libnccl.so.2: | setup
	@echo "nccl: installing the PyPI wheel into $(NCCL)" >&2
	@rm -rf $(NCCL) && python3 -m venv $(NCCL)/venv
	@$(NCCL)/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(NCCL) nvidia-nccl-cu13

test-gpu: build ## Ten minutes that settle what this machine's GPUs do; fails where there is none: ARGS="--only PART,…"
	@$(BIN)/tercet-test-gpu $(ARGS)

test-peers: build $(PEERS)/requirements.txt ## Compare with FlagEmbedding, sentence-transformers and others (5.5 GB)
	@TERCET=$(abspath $(BIN)/tercet) $(PEERS)/bin/python -B -m pytest -p no:cacheprovider tests/peers

# The copy of the list is the stamp: it is there when all of it is installed.
$(PEERS)/requirements.txt: tests/peers/requirements.txt | setup
	@echo "peers: installing tests/peers/requirements.txt into $(PEERS)" >&2
	@python3 -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@cp $< $@

bench: setup ## Measure, as ratios to what the machine can do
	@cargo bench --workspace --bench '*'

bench-prepare: build $(PEERS)/requirements.txt ## Measure prepare beside Python: TOKENIZER=MODEL_DIR [ROWS="FILE.jsonl …"]
	@TERCET=$(abspath $(BIN)/tercet) $(PEERS)/bin/python -B sampler/benches/prepare_peers.py --tokenizer $(TOKENIZER) $(ROWS)

bench-peers: build $(PEERS)/requirements.txt ## Measure training beside Python: TOKENIZER=MODEL_DIR ROWS="FILE.jsonl …" [ARGS=…]
	@TERCET=$(abspath $(BIN)/tercet) $(PEERS)/bin/python -B worker/benches/peers/bench_peers.py --tokenizer $(TOKENIZER) $(ROWS) $(ARGS)

lint: setup ## Formatting, clippy and rustdoc, warnings being errors
	@cargo fmt --all --check
	@cargo clippy --release --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps

wrap: ## Wrap again the comments that `make test T=house` complains of
	@WRAP=1 cargo test --release --workspace --test system house::comments

# Licences, sources and duplicates by deny.toml, from what is downloaded. `cargo deny check advisories` needs a git server.
deny: ## Licences and sources of third-party crates (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 2; }
	@cargo deny --offline --log-level error check bans licenses sources

clean: ## Remove what was built; .deps and runs stay
	@cargo clean
