# Lockgate. `make help` says what there is.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

MODULES := slack-signature form-to-json pubsub-enqueue pubsub-playback
WASM := target/wasm32-wasip1/wasm/lockgate_bundle.wasm
WASM_BUILD := cargo build --quiet --profile wasm --target wasm32-wasip1 -p lockgate-bundle --no-default-features --features

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: wasm
wasm: ## Build the modules into dist/
	@mkdir -p dist
	for module in $(MODULES) log; do
	    $(WASM_BUILD) $$module
	    cp $(WASM) dist/$$module.wasm
	done
	cp dist/log.wasm dist/lockgate.wasm
	ls -l dist/*.wasm | awk '{ print $$5, $$9 }'

.PHONY: log-wasm
log-wasm:
	@mkdir -p dist
	$(WASM_BUILD) log
	cp $(WASM) dist/log.wasm
	cp dist/log.wasm dist/lockgate.wasm
