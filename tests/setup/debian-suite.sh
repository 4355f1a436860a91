# Packages of any Debian suite, unpacked beside whatever the machine has installed. Sourced by what unpacks them, with
# `suite`, `dest` (where to) and `say` and `fail` (how to talk) set.
#
# Needs no root, installs nothing, and leaves the machine's apt sources alone: apt runs with a sources list, package
# lists, a cache and a (blank) dpkg status of its own under .cache/apt/. Packages are verified against Debian's archive
# keyring. They come from the Debian mirror of the machine's own sources; where that has none (on Ubuntu, say),
# DEBIAN_MIRRORS names some, separated by blanks.
# shellcheck shell=bash

cache=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.cache/apt
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
APT::Default-Release "$suite";
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

# experimental has only the packages that differ from sid.
suite_and_its_base() {
    case $suite in
    experimental) echo sid experimental ;;
    *) echo "$suite" ;;
    esac
}

read_package_lists() {
    local mirror name
    [ -n "$(mirrors)" ] || fail "the machine's apt sources name no Debian mirror: set DEBIAN_MIRRORS"
    for mirror in $(mirrors); do
        # An archived suite is valid for ever, whatever date its Release file once promised.
        for name in $(suite_and_its_base); do
            echo "deb [signed-by=$keyring check-valid-until=no] $mirror $name main"
        done >"$apt_home/sources.list"
        say "reading the package list of $suite from $mirror"
        if private_apt update --error-on=any >"$apt_home/update.log" 2>&1; then
            return 0
        fi
        sed 's/^/  /' "$apt_home/update.log" >&2
    done
    fail "no mirror has the suite $suite in a form that $keyring can verify"
}

# Makes packages of the suite available to download_and_unpack.
open_suite() {
    local program
    for program in apt-get dpkg dpkg-deb; do
        command -v "$program" >/dev/null || fail "$program is not here: this works on Debian and its descendants"
    done
    keyring=$(find_keyring)
    write_apt_configuration
    read_package_lists
}

# The lists are large, and read anew the next time.
close_suite() { rm -rf "$apt_home"; }

# Unpacks these packages, and no others, into DEST/root.
download_and_unpack() {
    local deb
    rm -rf "$dest/root" "$dest/debs"
    mkdir -p "$dest/root" "$dest/debs"
    say "unpacking from $suite: $*"
    (cd "$dest/debs" && private_apt download "$@") || fail "cannot download $* of $suite"
    for deb in "$dest"/debs/*.deb; do
        dpkg-deb -x "$deb" "$dest/root"
    done
    rm -rf "$dest/debs" "$dest/root/usr/share"
}
