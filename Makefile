# `make run` and `make test` install missing packages, after a notice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

CARGO ?= cargo
target := $(or $(CARGO_TARGET_DIR),target)
# Debian installs haproxy in /usr/sbin, which is not in the PATH of all users.
export PATH := $(PATH):/usr/sbin

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: build
build: ## build the release binary
	$(CARGO) build --release

# A debug build: the release build takes minutes longer.
.PHONY: run
run: ## run the demonstration: a real HAProxy in front of hosts that you can edit
	tests/setup/install.sh run
	$(CARGO) build
	exec $(target)/debug/proxymgr demo

# The stages of `test` can be run alone after `tests/setup/install.sh test`.
.PHONY: test
test: ## run everything: format, lints, documentation, licences, unit and real-server tests
	tests/setup/install.sh test
	$(MAKE) --no-print-directory format lint docs licences unit-and-real-tests

.PHONY: format
format:
	$(CARGO) fmt --all --check

.PHONY: lint
lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: reference
reference: ## generate config/proxymgr.yml and docs/settings.md from the table of settings, docs/allowed-options.md from the grammar
	UPDATE_REFERENCE=1 $(CARGO) nextest run -p proxymgr --lib settings::tests::reference

.PHONY: docs
docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# The database of advisories is fetched from the network, which a build machine may not reach; other checks are local.
.PHONY: licences
licences:
	$(CARGO) deny check --hide-inclusion-graph licenses bans sources
	@if timeout 60 $(CARGO) deny fetch db >/dev/null 2>&1; then \
		$(CARGO) deny check --disable-fetch --hide-inclusion-graph advisories; \
	else \
		echo "cargo deny: advisories SKIPPED, their database is not reachable from this machine"; \
	fi

# The dependencies of the binary as CycloneDX: $(target)/proxymgr.cdx.json. For releases.
.PHONY: sbom
sbom: ## write the software bill of materials (SBOM) of the binary
	tests/setup/install.sh sbom
	$(CARGO) cyclonedx --quiet --format json --override-filename proxymgr.cdx
	mkdir -p $(target)
	mv proxymgr.cdx.json $(target)/
	rm actors/proxymgr.cdx.json simulation/proxymgr.cdx.json yaml/proxymgr.cdx.json
	@echo "$(target)/proxymgr.cdx.json"

.PHONY: unit-and-real-tests
unit-and-real-tests:
	$(CARGO) nextest run --workspace
	$(CARGO) test --workspace --doc

.PHONY: test-versions
test-versions: ## fetch HAProxy 2.2, 2.6, 3.0, 3.2 and 3.4; `make test` then tests with each
	tests/setup/install.sh run
	tests/setup/haproxy-versions.sh

# Separate, because the AWS client takes minutes to build and to lint.
.PHONY: test-aws
test-aws: ## lint and test the cargo feature `aws`, against moto
	tests/setup/install.sh test
	tests/setup/get-moto.sh
	$(CARGO) clippy --workspace --all-targets --features aws -- -D warnings
	$(CARGO) nextest run --features aws --test aws_source --test discovery_contract -E 'binary(aws_source) | test(/^aws::/)'

.PHONY: bench
bench: ## measure the figures of docs/figures.md on this machine
	tests/setup/install.sh test
	$(CARGO) bench --workspace

# The short run of the same properties is a part of `make test` (actors/tests/allowed_options.rs).
FUZZ_SECONDS ?= 600
fuzz_targets := listen_line server_options
.PHONY: fuzz
fuzz: ## fuzz the grammar for FUZZ_SECONDS (600) per target; needs a nightly compiler
	command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	$(CARGO) +nightly run --manifest-path fuzz/Cargo.toml --bin write_seeds .cache/fuzz
	for name in $(fuzz_targets); do \
		$(CARGO) +nightly fuzz run $$name .cache/fuzz/$$name -- -max_total_time=$(FUZZ_SECONDS) -max_len=1024 \
			-artifact_prefix=.cache/fuzz/$$name-; \
	done

.PHONY: clean
clean: ## remove everything that was built or fetched
	$(CARGO) clean
	rm -rf .cache
