#!/usr/bin/env bash
# Installs moto, which simulates AWS, into a separate Python environment in .cache/moto. An installation that is already
# there and runs is kept. Only the tests of the cargo feature `aws` need it.
set -euo pipefail

say() { printf 'get-moto: %s\n' "$*"; }
fail() { printf 'get-moto: %s\n' "$*" >&2; exit 1; }

version=5.2.5
dest=$(cd "$(dirname "$0")/../.." && pwd)/.cache/moto

if "$dest/bin/pip" show moto 2>/dev/null | grep -qx "Version: $version" && [ -x "$dest/bin/moto_server" ]; then
    say "present ($dest, $version)"
    exit 0
fi
python3 -m venv --help >/dev/null 2>&1 || fail "this needs Python 3 with venv; on Debian: apt-get install python3-venv"
say "will install moto $version and its dependencies into .cache/moto (about 60 Python packages)"
rm -rf "$dest"
python3 -m venv "$dest"
"$dest/bin/pip" install --quiet --disable-pip-version-check "moto[server,autoscaling,ec2]==$version"
say "installed: $dest/bin/moto_server"
