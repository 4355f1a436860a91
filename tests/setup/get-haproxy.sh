#!/usr/bin/env bash
# Unpacks the HAProxy of a Debian suite, with the libraries it was built against, beside whatever
# the machine has installed.
#
#   tests/setup/get-haproxy.sh SUITE DEST      bullseye 2.2   bookworm 2.6   trixie 3.0   sid 3.2
#
# Leaves an executable DEST/haproxy. Needs no root, installs nothing, and leaves the machine's apt
# sources alone: apt runs with a sources list, package lists, a cache and a (blank) dpkg status of
# its own under .cache/apt/. Packages are verified against Debian's archive keyring. They come from the Debian mirror of
# the machine's own sources; where that has none (on Ubuntu, say), DEBIAN_MIRRORS names some, separated by blanks.
set -euo pipefail

say() { printf 'get-haproxy: %s\n' "$*"; }
fail() { printf 'get-haproxy: %s\n' "$*" >&2; exit 1; }

[ $# -eq 2 ] || fail "usage: $0 SUITE DEST"
suite=$1
mkdir -p "$2"
dest=$(cd "$2" && pwd)
cache=$(cd "$(dirname "$0")/../.." && pwd)/.cache/apt
apt_home=$cache/$suite

# ---- where from -------------------------------------------------------------------------------

# The first Debian archive named in the machine's own sources (not a security or a foreign one).
machines_mirror() {
    {
        # one-line form: deb [options] URI suite component...
        sed -nE 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
        # deb822 form: URIs: URI...
        sed -nE 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p' /etc/apt/sources.list.d/*.sources
    } 2>/dev/null | grep -E '/debian/?$' | sed -n 1p
}

# The machine's own mirror, and those that the caller names (on Ubuntu, or for a suite that has moved to the archive).
mirrors() {
    { machines_mirror || true; printf '%s\n' ${DEBIAN_MIRRORS:-}; } | sed -e 's:/$::' -e '/^$/d' | awk '!seen[$0]++'
}

# Debian's keys: the machine's, or (on Ubuntu) those in the package of that name, unpacked.
find_keyring() {
    local name=usr/share/keyrings/debian-archive-keyring.gpg root
    for root in / "$cache/keyring/"; do
        [ ! -r "$root$name" ] || { echo "$root$name"; return 0; }
    done
    mkdir -p "$cache/keyring"
    (cd "$cache/keyring" && apt-get -qq download debian-archive-keyring && dpkg-deb -x debian-archive-keyring_*.deb .) >&2 ||
        fail "cannot verify Debian's packages: please install the package debian-archive-keyring"
    echo "$cache/keyring/$name"
}

# ---- an apt of our own ------------------------------------------------------------------------

write_apt_configuration() {
    mkdir -p "$apt_home/state/lists/partial" "$apt_home/cache/archives/partial"
    : >"$apt_home/status" # nothing is installed
    cat >"$apt_home/apt.conf" <<CONFIGURATION
Dir::State "$apt_home/state";
Dir::State::status "$apt_home/status";
Dir::Cache "$apt_home/cache";
Dir::Etc::SourceList "$apt_home/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Architecture "$(dpkg --print-architecture)";
APT::Get::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONFIGURATION
}

private_apt() { LC_ALL=C apt-get -qq -c "$apt_home/apt.conf" "$@"; }

read_package_lists() {
    local mirror
    [ -n "$(mirrors)" ] || fail "the machine's apt sources name no Debian mirror: set DEBIAN_MIRRORS"
    for mirror in $(mirrors); do
        # An archived suite is valid for ever, whatever date its Release file once promised.
        echo "deb [signed-by=$keyring check-valid-until=no] $mirror $suite main" >"$apt_home/sources.list"
        say "reading the package list of $suite from $mirror"
        if private_apt update --error-on=any >"$apt_home/update.log" 2>&1; then
            return 0
        fi
        sed 's/^/get-haproxy:   /' "$apt_home/update.log" >&2
    done
    fail "no mirror has the suite $suite in a form that $keyring can verify"
}

# Onto a machine with nothing installed, apt itself names the whole closure; a process needs the
# libraries of it and no more.
needed_packages() {
    private_apt -s install haproxy | sed -nE 's/^Inst ([^ ]+) .*/\1/p' |
        grep -E '^(haproxy|lib.*|zlib.*)$' | grep -vE '^(libc-bin|libpam.*|lib.*-perl|lib.*-base)$'
}

download_and_unpack() {
    local packages deb
    packages=$(needed_packages) || fail "cannot work out what haproxy of $suite needs"
    rm -rf "$dest/root" "$dest/debs"
    mkdir -p "$dest/root" "$dest/debs"
    say "unpacking from $suite: $(echo $packages)"
    # shellcheck disable=SC2086 # one word per package
    (cd "$dest/debs" && private_apt download $packages) || fail "cannot download haproxy of $suite"
    for deb in "$dest"/debs/*.deb; do
        dpkg-deb -x "$deb" "$dest/root"
    done
    # Documentation and character sets: half of the size, and of no use to a proxy.
    rm -rf "$dest/debs" "$dest/root/usr/share"
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
    [ -n "$loader" ] || fail "the packages of $suite brought no dynamic loader"
    modules=$(cd "$dest" && find root -type d -name ossl-modules | sed -n 1p)
    {
        printf '%s\n' '#!/bin/sh' "# HAProxy of Debian $suite, written by tests/setup/get-haproxy.sh"
        printf '%s\n' 'case $0 in /*) here=${0%/*} ;; */*) here=$PWD/${0%/*} ;; *) here=$(dirname "$(command -v "$0")") ;; esac'
        [ -z "$modules" ] || printf '%s\n' "export OPENSSL_MODULES=\"\$here/$modules\""
        if "$dest/$loader" --help 2>&1 | grep -q -e --argv0; then
            printf '%s\n' "exec \"\$here/$loader\" --argv0 \"\$here/haproxy\" --library-path \"$(library_path)\" \"\$here/root/usr/sbin/haproxy\" \"\$@\""
        else
            # bullseye's loader cannot set argv[0]: the machine's libc, and of the suite's
            # libraries only those that a newer machine no longer has.
            mkdir -p "$dest/lib"
            (cd "$dest/lib" && find ../root -name 'lib*.so*' | grep -E '/lib(ssl|crypto|lua|pcre)[^/]*$' | xargs -r ln -sf -t .)
            printf '%s\n' "LD_LIBRARY_PATH=\"\$here/lib\" exec \"\$here/root/usr/sbin/haproxy\" \"\$@\""
        fi
    } >"$dest/haproxy"
    chmod +x "$dest/haproxy"
}

for program in apt-get dpkg dpkg-deb; do
    command -v "$program" >/dev/null || fail "$program is not here: this works on Debian and its descendants"
done
keyring=$(find_keyring)
write_apt_configuration
read_package_lists
download_and_unpack
write_wrapper
version=$("$dest/haproxy" -v 2>&1 | sed -n 1p) || fail "what was unpacked does not run: $version"
rm -rf "$apt_home" # the lists are large, and read anew the next time
say "$dest/haproxy is $version"
