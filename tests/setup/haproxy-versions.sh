#!/usr/bin/env bash
# Fetches every HAProxy version of the tests into .cache/haproxy/VERSION/haproxy, except the
# installed one. A copy that is already there and runs is kept.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache/haproxy
PATH=$PATH:/usr/sbin

# Prints the branch of a HAProxy ("2.6"), or nothing if it does not run.
branch() { "$1" -v 2>/dev/null | sed -nE '1s/^HA-?Proxy version ([0-9]+\.[0-9]+).*/\1/p' || true; }

installed=$(branch haproxy)
failed=
while read -r version suite; do
    program=$cache/$version/haproxy
    if [ "$version" = "$installed" ]; then
        echo "haproxy $version: installed ($(command -v haproxy))"
    elif [ "$(branch "$program")" = "$version" ]; then
        echo "haproxy $version: present ($program)"
    elif ! "$here/get-haproxy.sh" "$suite" "$cache/$version"; then
        failed="$failed $version(from $suite)"
    elif [ "$(branch "$program")" != "$version" ]; then
        echo "haproxy $version: $suite now has $("$program" -v | sed -n 1p)" >&2
        failed="$failed $version(from $suite)"
    fi
done <<'VERSIONS'
2.2 bullseye
2.6 bookworm
3.0 trixie
3.2 sid
3.4 experimental
VERSIONS

[ -z "$failed" ] || { echo "could not be fetched:$failed; see the messages above" >&2; exit 1; }
