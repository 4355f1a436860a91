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

# The same commit gives the same binary and the same package in any directory: no path of this machine and no time is in them.
cargo_home := $(or $(CARGO_HOME),$(HOME)/.cargo)
paths := $(CURDIR)=/proxymgr $(abspath $(target))=/target $(abspath $(cargo_home))=/cargo
ifndef SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
endif
export SOURCE_DATE_EPOCH

.PHONY: build
build: ## build the release binary; FEATURES=aws adds AWS
	RUSTFLAGS="$${RUSTFLAGS:-} $(addprefix --remap-path-prefix=,$(paths))" \
		$(CARGO) build --release --locked $(if $(FEATURES),--features $(FEATURES))

# Pages link to files outside of docs/, which are copied beside it.
site := $(target)/site
.PHONY: docs-site
docs-site: ## build the documentation as HTML: target/site/docs/index.html
	tests/setup/install.sh site
	rm -rf $(site)
	mkdir -p $(site)
	mdbook build docs --dest-dir $(abspath $(site)/docs) 2>&1 | tee $(target)/docs-site.log
	! grep -qE 'WARN|ERROR' $(target)/docs-site.log
	mkdir -p $(site)/src/status/api
	cp -r config $(site)/
	cp src/status/api/openapi.json $(site)/src/status/api/

# The binary is not built here, so that `sudo make install` needs no compiler.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINARY ?= $(target)/release/proxymgr
UNITDIR ?= $(PREFIX)/lib/systemd/system
place = $(DESTDIR)$(PREFIX)
.PHONY: install
install: ## install what `make build` has built: binary, manual pages, completions, unit, settings (DESTDIR, PREFIX)
	test -x $(BINARY) || { echo "$(BINARY) is missing: run make build first" >&2; exit 1; }
	install -D -m 755 $(BINARY) $(place)/bin/proxymgr
	rm -rf $(target)/man
	$(BINARY) man $(target)/man
	install -d $(place)/share/man/man1 $(place)/share/man/man5
	install -m 644 $(target)/man/*.1 $(place)/share/man/man1/
	install -m 644 $(target)/man/*.5 $(place)/share/man/man5/
	install -d $(place)/share/bash-completion/completions $(place)/share/zsh/site-functions $(place)/share/fish/vendor_completions.d
	$(BINARY) completions bash > $(place)/share/bash-completion/completions/proxymgr
	$(BINARY) completions zsh > $(place)/share/zsh/site-functions/_proxymgr
	$(BINARY) completions fish > $(place)/share/fish/vendor_completions.d/proxymgr.fish
	install -d $(DESTDIR)$(UNITDIR)
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|; s|^# proxymgr under systemd:.*|# proxymgr under systemd: systemctl enable --now proxymgr|' \
		config/systemd/proxymgr.service > $(DESTDIR)$(UNITDIR)/proxymgr.service
	install -d $(DESTDIR)$(SYSCONFDIR)/proxymgr
	test -e $(DESTDIR)$(SYSCONFDIR)/proxymgr/proxymgr.yml || \
		install -m 640 config/proxymgr.yml $(DESTDIR)$(SYSCONFDIR)/proxymgr/proxymgr.yml

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
	$(MAKE) --no-print-directory format lint docs docs-site licences unit-and-real-tests

.PHONY: format
format:
	$(CARGO) fmt --all --check

.PHONY: lint
lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: reference
reference: ## generate config/proxymgr.yml and the reference pages of docs/ from the code
	UPDATE_REFERENCE=1 $(CARGO) nextest run -p proxymgr --lib reference::tests

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

DEB_REVISION ?= 1
deb = $(target)/proxymgr-$(DEB_REVISION).deb
.PHONY: deb
deb: ## build a Debian package of what `make build` has built: target/proxymgr-1.deb
	tests/setup/install.sh deb
	rm -rf target/package
	$(MAKE) --no-print-directory install DESTDIR=target/package PREFIX=/usr
	strip target/package/usr/bin/proxymgr
	$(CARGO) deb --no-build --no-strip --deb-revision $(DEB_REVISION) --output $(deb)

# Two builds of the last commit, which take twice the time of `make build`.
.PHONY: test-reproducible
test-reproducible: ## build binary and package in two directories, and compare them
	tests/setup/install.sh deb
	tests/packages/reproducible.sh

# With the debug binary: the packages are the same but for their binary.
.PHONY: two-debs
two-debs:
	$(CARGO) build
	for revision in 1 2; do $(MAKE) --no-print-directory deb BINARY=$(target)/debug/proxymgr DEB_REVISION=$$revision; done

.PHONY: test-deb
test-deb: two-debs ## install, upgrade and remove the Debian package in a copy of this machine; needs root
	tests/packages/debian.sh $(target)/proxymgr-1.deb $(target)/proxymgr-2.deb

.PHONY: test-systemd
test-systemd: two-debs ## the package and its unit under a real systemd, in a copy of this machine; needs root
	tests/setup/install.sh systemd
	tests/packages/systemd.sh $(target)/proxymgr-1.deb $(target)/proxymgr-2.deb

# The short run of 20 s is a part of `make test`.
SECONDS_OF_CHAOS = $(or $(SECONDS),600)
.PHONY: chaos
chaos: ## random faults on real processes under load, for SECONDS (600) with SEED
	tests/setup/install.sh test
	CHAOS_SECONDS=$(SECONDS_OF_CHAOS) CHAOS_SEED=$(or $(SEED),$(shell date +%s)) $(CARGO) test --test chaos -- --nocapture

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
fuzz_targets := listen_line server_options check_output runtime_answers source_answers
.PHONY: fuzz
fuzz: ## fuzz the grammar, and what HAProxy and the sources send, for FUZZ_SECONDS (600) per target; needs a nightly compiler
	command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	$(CARGO) +nightly run --manifest-path fuzz/Cargo.toml --bin write_seeds .cache/fuzz
	mkdir -p $(addprefix .cache/fuzz/,$(fuzz_targets))
	for name in $(fuzz_targets); do \
		$(CARGO) +nightly fuzz run --features daemon $$name .cache/fuzz/$$name $$(ls -d fuzz/seeds/$$name 2>/dev/null) -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 \
			-artifact_prefix=.cache/fuzz/$$name- || exit 1; \
	done

.PHONY: clean
clean: ## remove everything that was built or fetched
	$(CARGO) clean
	rm -rf .cache
