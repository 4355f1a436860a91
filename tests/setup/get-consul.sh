#!/usr/bin/env bash
# Unpacks Consul 1.8.7, the last that Debian has (bullseye), into .cache/consul/ beside whatever the machine has
# installed. What is there already and runs is left as it is. debian-suite.sh says where the package comes from.
set -euo pipefail

say() { printf 'get-consul: %s\n' "$*"; }
fail() { printf 'get-consul: %s\n' "$*" >&2; exit 1; }

suite=bullseye
dest=$(cd "$(dirname "$0")/../.." && pwd)/.cache/consul
program=$dest/root/usr/bin/consul

if "$program" version >/dev/null 2>&1; then
    say "here already ($program)"
    exit 0
fi
mkdir -p "$dest"
# shellcheck source=tests/setup/debian-suite.sh
. "$(dirname "$0")/debian-suite.sh"
open_suite
download_and_unpack consul
close_suite
say "$program is $("$program" version | sed -n 1p)" || fail "what was unpacked does not run"
