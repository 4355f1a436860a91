#!/usr/bin/env bash
# Unpacks Consul 1.8.7, the last version in Debian (bullseye), into .cache/consul/, without installing it. A copy that
# is already there and runs is kept. debian-suite.sh describes where the package comes from.
set -euo pipefail

say() { printf 'get-consul: %s\n' "$*"; }
fail() { printf 'get-consul: %s\n' "$*" >&2; exit 1; }

suite=bullseye
dest=$(cd "$(dirname "$0")/../.." && pwd)/.cache/consul
program=$dest/root/usr/bin/consul

if "$program" version >/dev/null 2>&1; then
    say "present ($program)"
    exit 0
fi
mkdir -p "$dest"
# shellcheck source=tests/setup/debian-suite.sh
. "$(dirname "$0")/debian-suite.sh"
open_suite
download_and_unpack consul
close_suite
say "$program is $("$program" version | sed -n 1p)" || fail "the unpacked program does not run"
