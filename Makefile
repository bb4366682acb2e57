# What people type. The work is done by cargo and by the scripts of cluster/setup.
#
# TORCH=cpu, cuda, cu126 or cu130 chooses the libtorch that `setup` fetches (cluster/setup/libtorch.sh says how);
# LIBTORCH=FOLDER uses one that is there.

.DEFAULT_GOAL := help
.PHONY: help setup build dist demo test same-numbers wrap test-slurm soak rehearse-96 rehearse-m3 m3-mini m3-plan ablations model data-is-named search-10m curate-debian test-nccl test-nvrtc test-cuda-build test-gpu test-peers bench bench-prepare bench-peers bench-search lint deny clean

BIN := $(or $(CARGO_TARGET_DIR),target)/release
PEERS := $(CURDIR)/.deps/peers
# FlagEmbedding's pre-training needs a transformers of its own, where RETROMAE=FOLDER names its code.
PEERS_RETROMAE := $(PEERS)-retromae
SNAKEMAKE := $(CURDIR)/.deps/snakemake
E5 := $(CURDIR)/.deps/multilingual-e5-small
ABLATIONS := pipelines/ablations/config
# What `make curate-debian` writes last.
CURATED := runs/curate-debian/curated/report.json
ANSERINI := $(CURDIR)/.deps/anserini/anserini-0.25.0-fatjar.jar
ALL_PEERS := $(PEERS)/requirements.txt $(if $(RETROMAE),$(PEERS_RETROMAE)/requirements.txt)
NCCL := $(CURDIR)/.deps/nccl
NVRTC := $(CURDIR)/.deps/nvrtc
CARGO := cluster/setup/with.sh cargo

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing: MPI, libclang, libtorch (into .deps; TORCH=cpu|cuda|cu126|cu130)
	@TELL='$(filter setup,$(MAKECMDGOALS))' cluster/setup/system.sh .deps
	@TELL='$(filter setup,$(MAKECMDGOALS))' cluster/setup/libtorch.sh .deps

# One profile everywhere: third-party code is built once.
build: setup ## Build tercet, tercet-worker, tercet-curate, tercet-demo and tercet-test-gpu into target/release [CURATE=no]
	@$(CARGO) build --release --package tercet --package tercet-worker --package tercet-demo --package tercet-test-gpu \
		$(if $(filter no,$(CURATE)),,--package tercet-curate)

dist: build ## Pack what ranks need into DIST=FOLDER (dist/tercet-VERSION-KIND); TAR=1 makes FOLDER.tar, too
	@cluster/setup/dist.sh $(BIN) $(DIST)

demo: setup ## Train a small model on manual pages in many languages, and show how much better it got
	@$(CARGO) build --release --package tercet --package tercet-worker --package tercet-demo
	@$(BIN)/tercet-demo

m3-mini: build $(SNAKEMAKE)/requirements.txt ## The paper's whole graph in miniature, from Debian's manual pages to tables; goes on where it was ended
	@TERCET_PROGRAMS=$(BIN) $(SNAKEMAKE)/bin/snakemake --snakefile pipelines/m3/Snakefile \
		--workflow-profile pipelines/m3/profiles/local --configfile $(or $(CONFIG),pipelines/m3/config/mini.yaml)

m3-plan: build $(SNAKEMAKE)/requirements.txt ## What each job of the paper's run takes: ranks, hours, disk, bytes: CONFIG=FILE.yaml
	@$(SNAKEMAKE)/bin/python -B pipelines/m3/plan.py $(or $(CONFIG),pipelines/m3/config/m3.yaml) $(BIN)/tercet

# Of one's own data, the folder has rows in train and BEIR folders in eval. CONFIG=FILE.yaml has the last word but for
# TABLE=NAME, with which only that table is made.
ablations: build $(SNAKEMAKE)/requirements.txt $(if $(DATA),,$(CURATED)) ## The paper's claims in small, as tables; goes on where it was ended [SEEDS=3] [DATA=FOLDER] [TABLE=NAME]
	@TERCET_PROGRAMS=$(BIN) $(SNAKEMAKE)/bin/snakemake --snakefile pipelines/ablations/Snakefile \
		--workflow-profile pipelines/m3/profiles/local --configfile $(ABLATIONS)/ablations.yaml \
		$(ABLATIONS)/$(if $(DATA),data,debian).yaml $(MODEL_CONFIG) $(CONFIG) \
		--config seeds=$(or $(SEEDS),1) $(if $(TABLE),only='$(TABLE)') $(if $(DATA),data="$$(realpath -- '$(DATA)')")

model: MODEL_CONFIG := $(ABLATIONS)/model.yaml
model: data-is-named $(E5)/model ablations ## One model of a folder's rows, from multilingual-e5-small (PyPI), and its table: DATA=FOLDER

data-is-named:
	@[ -n "$(DATA)" ] || { echo "DATA=FOLDER is missing: rows in train, BEIR folders in eval (docs/ablations.md)" >&2; exit 2; }

$(CURATED): | build
	@tests/curate-debian/run.sh

# Two tests per core: many wait for a process more than they compute.
test: build ## Run all tests, or those whose path contains NAME: T=NAME, e.g. a file's or a test's
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} \
		$(if $(T),cluster/setup/with.sh tests/named.sh '$(T)',$(CARGO) test --release --workspace)

same-numbers: build ## Weights after 20 steps, and whether they are those of BEFORE=PROGRAM or BEFORE=REVISION
	@BEFORE='$(BEFORE)' cluster/setup/with.sh tests/same-numbers.sh

test-slurm: build $(SNAKEMAKE)/requirements.txt ## Run the tests that need a real Slurm, in namespaces of this machine (root; installs slurm-wlm and munge)
	@cluster/setup/system.sh .deps slurm
	@time $(CARGO) test --release --workspace --test system slurm:: -- --ignored --test-threads=1

soak: build ## Hurt a training run a hundred times, in every way, and compare its weights with an undisturbed one's
	@$(CARGO) test --release --workspace --test system soak:: -- --ignored --nocapture

rehearse-96: build ## Stages 1 and 2, an index and a search, with a miniature model on 96 real ranks of this machine
	@$(CARGO) test --release --workspace --test system rehearse:: -- --ignored --nocapture --test-threads=1

rehearse-m3: build $(SNAKEMAKE)/requirements.txt ## The graph of m3-mini with a toy model, killed at random moments: the same tables
	@$(CARGO) test --release --workspace --test system pipeline:: -- --ignored --nocapture

search-10m: build ## Search ten million passages, and look at the memory; kill 30 times: PASSAGES=N takes another number
	@$(CARGO) test --release --workspace --test system retrieval_scale:: -- --ignored --nocapture

curate-debian: build ## Make training rows of Debian's documentation in some seventy languages, into runs/curate-debian
	@tests/curate-debian/run.sh

# Apart from `test`: the wheel is 240 MB unpacked, for one test.
test-nccl: build $(NCCL)/nvidia/nccl/lib/libnccl.so.2 ## Load NVIDIA's NCCL, read its version, be refused without a driver
	@TERCET_TEST_NCCL=1 NCCL_HOME=$(NCCL)/nvidia/nccl $(CARGO) test --release --workspace --lib the_real_library -- --nocapture

$(NCCL)/nvidia/nccl/lib/libnccl.so.2: | setup
	@echo "nccl: installing the PyPI wheel into $(NCCL)" >&2
	@rm -rf $(NCCL) && python3 -m venv $(NCCL)/venv
	@$(NCCL)/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(NCCL) nvidia-nccl-cu13

# Apart from `test`, too: 230 MB unpacked. NVRTC says nothing of what it has in its own cache.
test-nvrtc: build $(NVRTC)/nvidia/cu13/lib/libnvrtc.so.13 ## Compile the kernels for three kinds of cards by NVIDIA's NVRTC: registers, spills
	@TERCET_TEST_NVRTC=1 CUDA_CACHE_DISABLE=1 CUDA_HOME=$(NVRTC)/nvidia/cu13 \
		$(CARGO) test --release --workspace --lib nvrtc_compiles -- --nocapture

$(NVRTC)/nvidia/cu13/lib/libnvrtc.so.13: | setup
	@echo "nvrtc: installing the PyPI wheel into $(NVRTC)" >&2
	@rm -rf $(NVRTC) && python3 -m venv $(NVRTC)/venv
	@$(NVRTC)/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(NVRTC) nvidia-cuda-nvrtc==13.0.*

# Apart from `test`: NVIDIA's libraries are gigabytes, and it builds everything in a folder of its own.
test-cuda-build: ## What can be proved of the CUDA build without a GPU (9 GB in .deps/cuda-build; TORCH=cu130 or cu126)
	@cluster/setup/system.sh .deps
	@tests/cuda-build/run.sh $(or $(TORCH),cu130)

test-gpu: build ## Ten minutes that settle what this machine's GPUs do; fails where there is none: ARGS="--only PART,…"
	@$(BIN)/tercet-test-gpu $(ARGS)

test-peers: build $(ALL_PEERS) $(ANSERINI) $(E5)/model ## Compare with FlagEmbedding, sentence-transformers and others (5.7 GB) [RETROMAE=FOLDER]
	@$(CARGO) build --release --package tercet-retrieval --example answers
	@$(CARGO) build --release --package tercet-curate --example judge
	@TERCET=$(abspath $(BIN)/tercet) $(PEERS)/bin/python -B -m pytest -p no:cacheprovider tests/peers

# The copy of the list is the stamp: it is there when all of it is installed.
$(PEERS)/requirements.txt: tests/peers/requirements.txt | setup
$(PEERS_RETROMAE)/requirements.txt: tests/peers/requirements-retromae.txt | setup
$(SNAKEMAKE)/requirements.txt: pipelines/m3/requirements.txt | setup
$(E5)/requirements.txt: pipelines/ablations/requirements.txt | setup
$(patsubst %,%/requirements.txt,$(PEERS) $(PEERS_RETROMAE) $(SNAKEMAKE) $(E5)):
	@echo "$(notdir $(@D)): installing $< into $(@D)" >&2
	@python3 -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@cp $< $@

$(E5)/model: $(E5)/requirements.txt pipelines/ablations/encoder.py
	@$(E5)/bin/python -B pipelines/ablations/encoder.py $@

# Of the wheel only Lucene with Anserini is wanted, 174 MB.
$(ANSERINI): | $(PEERS)/requirements.txt
	@echo "anserini: taking the jar of PyPI's pyserini into $(@D)" >&2
	@rm -rf $(@D) && mkdir -p $(@D)/wheel
	@$(PEERS)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(@D) pyserini==0.25.0
	@cd $(@D) && python3 -m zipfile -e pyserini-*.whl wheel && rm pyserini-*.whl
	@mv $(@D)/wheel/pyserini/resources/jars/$(@F) $(@D) && rm -r $(@D)/wheel && touch $@

bench: setup ## Measure, as ratios to what the machine can do
	@$(CARGO) bench --workspace --bench '*'

bench-prepare: build $(PEERS)/requirements.txt ## Measure prepare beside Python: TOKENIZER=MODEL_DIR [ROWS="FILE.jsonl …"]
	@TERCET=$(abspath $(BIN)/tercet) $(PEERS)/bin/python -B sampler/benches/prepare_peers.py --tokenizer $(TOKENIZER) $(ROWS)

bench-peers: build $(ALL_PEERS) ## Measure training beside Python: TOKENIZER=MODEL_DIR ROWS="FILE.jsonl …" [RETROMAE=FOLDER] [ARGS=…]
	@TERCET=$(abspath $(BIN)/tercet) $(PEERS)/bin/python -B worker/benches/peers/bench_peers.py \
		--tokenizer $(TOKENIZER) $(if $(RETROMAE),--retromae $(RETROMAE)) $(ROWS) $(ARGS)

bench-search: build $(PEERS)/requirements.txt ## Measure a dense query beside numpy and faiss: ARGS="--passages N"
	@TERCET=$(abspath $(BIN)/tercet) $(PEERS)/bin/python -B worker/benches/peers/bench_search.py $(ARGS)

lint: setup ## Formatting, clippy and rustdoc, warnings being errors
	@cargo fmt --all --check
	@$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --workspace --no-deps

wrap: ## Wrap again the comments that `make test T=house` complains of
	@WRAP=1 $(CARGO) test --release --workspace --test system house::comments

# Licences, sources and duplicates by deny.toml, from what is downloaded. `cargo deny check advisories` needs a git
# server.
deny: ## Licences and sources of third-party crates (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 2; }
	@cargo deny --offline --log-level error check bans licenses sources

clean: ## Remove what was built; .deps and runs stay
	@cargo clean
