#!/usr/bin/env bash
# Unpacks the HAProxy of a Debian suite, with the libraries that it was built with, without
# installing them.
#
#   tests/setup/get-haproxy.sh SUITE DEST      bullseye 2.2   bookworm 2.6   trixie 3.0   sid 3.2   experimental 3.4
#
# The result is the executable DEST/haproxy. debian-suite.sh describes where the packages come from.
set -euo pipefail

say() { printf 'get-haproxy: %s\n' "$*"; }
fail() { printf 'get-haproxy: %s\n' "$*" >&2; exit 1; }

[ $# -eq 2 ] || fail "usage: $0 SUITE DEST"
suite=$1
mkdir -p "$2"
dest=$(cd "$2" && pwd)

# shellcheck source=tests/setup/debian-suite.sh
. "$(dirname "$0")/debian-suite.sh"

# ---- HAProxy and its libraries ------------------------------------------------------------------

# With an empty dpkg status, apt lists all dependencies; of these a process needs only the
# libraries.
needed_packages() {
    private_apt -s install haproxy | sed -nE 's/^Inst ([^ ]+) .*/\1/p' |
        grep -E '^(haproxy|lib.*|zlib.*)$' | grep -vE '^(libc-bin|libpam.*|lib.*-perl|lib.*-base)$'
}

unpack_haproxy() {
    local packages
    packages=$(needed_packages) || fail "cannot list the dependencies of haproxy in $suite"
    # shellcheck disable=SC2086 # one word per package
    download_and_unpack $packages
    # Character sets take much space, and a proxy does not use them.
    find "$dest/root" -depth -type d -name gconv -exec rm -rf {} +
}

# ---- a program that finds its libraries -------------------------------------------------------

# Library directories below DEST/root, relative to DEST, as the shell text `$here/a:$here/b`.
library_path() {
    (cd "$dest" && find root -name '*.so*' \( -type f -o -type l \) -printf '%h\n') | sort -u |
        grep -vE '/(engines[^/]*|ossl-modules)$' | sed 's:^:$here/:' | paste -sd:
}

# The suite's binary runs under the suite's own loader, so that the machine's libc may be older or
# newer. HAProxy starts itself again by argv[0] in master-worker mode: that must be the wrapper.
write_wrapper() {
    local loader modules
    loader=$(cd "$dest" && find root \( -name 'ld-linux*.so*' -o -name 'ld-2*.so' \) | sort | sed -n 1p)
    [ -n "$loader" ] || fail "the packages of $suite contain no dynamic loader"
    modules=$(cd "$dest" && find root -type d -name ossl-modules | sed -n 1p)
    {
        printf '%s\n' '#!/bin/sh' "# HAProxy of Debian $suite, written by tests/setup/get-haproxy.sh"
        printf '%s\n' 'case $0 in /*) here=${0%/*} ;; */*) here=$PWD/${0%/*} ;; *) here=$(dirname "$(command -v "$0")") ;; esac'
        [ -z "$modules" ] || printf '%s\n' "export OPENSSL_MODULES=\"\$here/$modules\""
        if "$dest/$loader" --help 2>&1 | grep -q -e --argv0; then
            printf '%s\n' "exec \"\$here/$loader\" --argv0 \"\$here/haproxy\" --library-path \"$(library_path)\" \"\$here/root/usr/sbin/haproxy\" \"\$@\""
        else
            # bullseye's loader cannot set argv[0]: use the machine's libc, and only those
            # libraries of the suite that a newer machine lacks.
            mkdir -p "$dest/lib"
            (cd "$dest/lib" && find ../root -name 'lib*.so*' | grep -E '/lib(ssl|crypto|lua|pcre)[^/]*$' | xargs -r ln -sf -t .)
            printf '%s\n' "LD_LIBRARY_PATH=\"\$here/lib\" exec \"\$here/root/usr/sbin/haproxy\" \"\$@\""
        fi
    } >"$dest/haproxy"
    chmod +x "$dest/haproxy"
}

open_suite
unpack_haproxy
write_wrapper
version=$("$dest/haproxy" -v 2>&1 | sed -n 1p) || fail "the unpacked program does not run: $version"
close_suite
say "$dest/haproxy is $version"
