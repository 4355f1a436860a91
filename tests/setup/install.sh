#!/usr/bin/env bash
# Installs the missing requirements of a make target.
#
#   tests/setup/install.sh run     for `make run`:  a C linker, HAProxy
#   tests/setup/install.sh test    for `make test`: the same, ZooKeeper, a Java runtime,
#                                  supervisord, openssl, Chromium, Knot and dnsmasq (DNS), nginx, Redis, etcd, rustfmt, clippy,
#                                  cargo-nextest, cargo-deny, and in .cache/ promtool (19 MB to fetch, of Debian's
#                                  prometheus) and Consul (20 MB)
#
#   tests/setup/install.sh sbom    for `make sbom`: cargo-cyclonedx
#   tests/setup/install.sh deb     for `make deb`:  cargo-deb
#   tests/setup/install.sh systemd for `make test-systemd`: systemd-nspawn, HAProxy
#   tests/setup/install.sh site    for `make docs-site`: mdbook
#
# It lists the packages before it installs them. The services of these packages (haproxy, knot, nginx, redis,
# supervisor, etcd) are neither started nor enabled, because the tests start their own.
set -euo pipefail

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian keeps haproxy in /usr/sbin, which is not on every user's PATH.
PATH=$PATH:/usr/sbin:/sbin

# Prints the missing packages of a set. A program counts as present however it was installed.
missing_packages() {
    have cc || echo gcc libc6-dev
    have haproxy || echo haproxy
    [ "$1" != systemd ] || have systemd-nspawn || echo systemd-container
    [ "$1" = test ] || return 0
    # Only the server's jars, because the tests start every server themselves: the package
    # `zookeeper` would add a system user and a full desktop Java.
    [ -e /usr/share/java/zookeeper.jar ] || echo libzookeeper-java
    have java || echo default-jre-headless
    have supervisord || echo supervisor
    have openssl || echo openssl
    # The status page is tested in a real browser.
    have chromium || echo chromium
    have chromedriver || echo chromium-driver
    have knotd || echo knot
    have dnsmasq || echo dnsmasq-base
    have nginx || echo nginx
    have redis-server || echo redis-server
    have etcd || echo etcd-server
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "this needs root, and sudo is missing; run as root: $*"
    fi
}

# Debian asks policy-rc.d whether a freshly installed service may start; 101 means no.
# An existing policy is kept.
policy=/usr/sbin/policy-rc.d
policy_is_ours=no
forbid_service_start() {
    [ ! -e "$policy" ] || return 0
    policy_is_ours=yes
    trap allow_service_start EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}
allow_service_start() {
    [ "$policy_is_ours" = no ] || as_root rm -f "$policy"
    policy_is_ours=no
}

# The service of an installed package would start at the next boot.
leave_services_off() {
    local package service
    have systemctl || return 0
    for package in "$@"; do
        case $package in
        haproxy | knot | nginx | redis-server | supervisor) service=$package ;;
        etcd-server) service=etcd ;;
        *) continue ;;
        esac
        if as_root systemctl disable --quiet "$service" 2>/dev/null; then
            say "the system's $service service is disabled; to use it: systemctl enable --now $service"
        fi
    done
}

install_packages() {
    [ $# -gt 0 ] || { say "all packages are installed"; return 0; }
    have apt-get || fail "missing: $*; this machine has no apt-get: install them manually"
    say "missing packages: $*"
    say "reading the package lists (apt-get update)"
    as_root apt-get -qq update
    local planned
    planned=$(LC_ALL=C apt-get -s -qq --no-install-recommends install "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p' | sort | tr '\n' ' ')
    say "will install, with dependencies: ${planned% }"
    forbid_service_start
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@"
    allow_service_start
    leave_services_off "$@"
}

# Installs a cargo subcommand, unless it is installed, with a target directory other than the project's.
install_cargo_tool() {
    local tool=$1
    shift
    cargo "$tool" --version >/dev/null 2>&1 && return 0
    say "will build and install cargo-$tool (some minutes, once)"
    env -u CARGO_TARGET_DIR cargo install "cargo-$tool" "$@"
}

install_cargo_tools() {
    have cargo || fail "cargo is missing: install a Rust toolchain first (https://rustup.rs)"
    local component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        [ "$component" != fmt ] || component=rustfmt
        have rustup || fail "missing: cargo $component; install it with your Rust toolchain"
        say "will add the toolchain component $component"
        rustup component add "$component"
    done
    install_cargo_tool nextest --locked
    # Without optimisation it builds in half the time, and it runs only for a second.
    install_cargo_tool deny --locked --debug --version 0.20.2
}

# Unpacks promtool, the only program of the package prometheus that the tests need. The package itself, with its user
# and service, is not installed.
fetch_promtool() {
    local cache
    cache=$(cd "$(dirname "$0")/../.." && pwd)/.cache/promtool
    have promtool || [ -x "$cache/promtool" ] && return 0
    have apt-get || fail "missing: promtool; this machine has no apt-get: put Prometheus' promtool into PATH"
    say "will unpack promtool, which checks the metrics, into .cache/promtool"
    mkdir -p "$cache/debs"
    (
        cd "$cache/debs"
        # Downloaded as the current user, because apt's own user must not write here.
        download() { apt-get -qq -o APT::Sandbox::User= download prometheus; }
        download 2>/dev/null || { as_root apt-get -qq update && download; }
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 -C "$cache" ./usr/bin/promtool
    ) || fail "cannot fetch promtool"
    rm -rf "$cache/debs"
}

set_name=${1:-}
case $set_name in
run | test | systemd) ;;
sbom)
    have cargo || fail "cargo is missing: install a Rust toolchain first (https://rustup.rs)"
    install_cargo_tool cyclonedx --locked --debug --version 0.5.9
    exit 0
    ;;
deb)
    have cargo || fail "cargo is missing: install a Rust toolchain first (https://rustup.rs)"
    install_cargo_tool deb --locked --debug --version 3.8.0
    exit 0
    ;;
site)
    have cargo || fail "cargo is missing: install a Rust toolchain first (https://rustup.rs)"
    # Without optimisation and without its server it builds in a fraction of the time.
    have mdbook || { say "will build and install mdbook (some minutes, once)"
        env -u CARGO_TARGET_DIR cargo install mdbook --locked --debug --no-default-features --features search --version 0.5.4; }
    exit 0
    ;;
*) fail "usage: $0 run|test|sbom|deb|systemd|site" ;;
esac

missing=$(missing_packages "$set_name")
# shellcheck disable=SC2086 # one word per package
install_packages $missing
if [ "$set_name" = test ]; then
    install_cargo_tools
    fetch_promtool
    have consul || "$(dirname "$0")/get-consul.sh" ||
        fail "the tests need Consul: put it into PATH, or name a Debian mirror with bullseye in DEBIAN_MIRRORS"
fi
