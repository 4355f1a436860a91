# Everything a newcomer needs is `make run` and `make test`; each installs what it lacks, and says so.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

CARGO ?= cargo
target := $(or $(CARGO_TARGET_DIR),target)
# Debian keeps haproxy in /usr/sbin, which is not on every user's PATH.
export PATH := $(PATH):/usr/sbin

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: build
build: ## the release binary
	$(CARGO) build --release

# Built as the tests are: a release is linked as a whole, and takes minutes longer.
.PHONY: run
run: ## the demonstration: a real HAProxy in front of hosts that you can change
	tests/setup/install.sh run
	$(CARGO) build
	exec $(target)/debug/proxymgr demo

# The stages of `test`, each of which can be called alone once `tests/setup/install.sh test` has run.
.PHONY: test
test: ## everything: format, lints, documentation, licences, unit and real-server tests
	tests/setup/install.sh test
	$(MAKE) --no-print-directory format lint docs licences unit-and-real-tests

.PHONY: format
format:
	$(CARGO) fmt --all --check

.PHONY: lint
lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: docs
docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# The database of advisories is fetched from the network, which a build machine may not reach; the rest is local.
.PHONY: licences
licences:
	$(CARGO) deny check --hide-inclusion-graph licenses bans sources
	@if timeout 60 $(CARGO) deny fetch db >/dev/null 2>&1; then \
		$(CARGO) deny check --disable-fetch --hide-inclusion-graph advisories; \
	else \
		echo "cargo deny: advisories SKIPPED, their database is not reachable from this machine"; \
	fi

.PHONY: unit-and-real-tests
unit-and-real-tests:
	$(CARGO) nextest run --workspace
	$(CARGO) test --workspace --doc

.PHONY: test-versions
test-versions: ## fetch HAProxy 2.2, 2.6, 3.0 and 3.2, which `make test` then tests with
	tests/setup/install.sh run
	tests/setup/haproxy-versions.sh

# By itself, because the official client of AWS takes some minutes to build, and as long again to be linted.
.PHONY: test-aws
test-aws: ## lints and tests of the cargo feature `aws`, against moto
	tests/setup/install.sh test
	tests/setup/get-moto.sh
	$(CARGO) clippy --workspace --all-targets --features aws -- -D warnings
	$(CARGO) nextest run --features aws --test aws_source --test discovery_contract -E 'binary(aws_source) | test(/^aws::/)'

.PHONY: bench
bench: ## the figures of the README, measured here
	tests/setup/install.sh test
	$(CARGO) bench --workspace

.PHONY: clean
clean: ## all that was built or fetched
	$(CARGO) clean
	rm -rf .cache
