# Unpacks packages of any Debian suite without installing them. Other scripts source this file, and set `suite`, `dest`
# (the target directory) and the functions `say` and `fail` (messages).
#
# It needs no root, installs nothing, and does not change the machine's apt sources: apt runs with its own sources list,
# package lists, cache and (empty) dpkg status under .cache/apt/. Packages are verified with Debian's archive keyring.
# They come from the Debian mirror in the machine's sources; without one (for example on Ubuntu), DEBIAN_MIRRORS names
# mirrors, separated by blanks.
# shellcheck shell=bash

cache=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.cache/apt
apt_home=$cache/$suite

# ---- mirrors and keys ---------------------------------------------------------------------------

# Prints the first Debian archive in the machine's sources (no security or third-party archive).
machines_mirror() {
    {
        # one-line form: deb [options] URI suite component...
        sed -nE 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
        # deb822 form: URIs: URI...
        sed -nE 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p' /etc/apt/sources.list.d/*.sources
    } 2>/dev/null | grep -E '/debian/?$' | sed -n 1p
}

# Prints the machine's mirror, and those in DEBIAN_MIRRORS (for Ubuntu, or for a suite that has moved to the archive).
mirrors() {
    { machines_mirror || true; printf '%s\n' ${DEBIAN_MIRRORS:-}; } | sed -e 's:/$::' -e '/^$/d' | awk '!seen[$0]++'
}

# Prints the path of Debian's keyring: the installed one, or (on Ubuntu) that of its package, unpacked.
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

# ---- a separate apt -----------------------------------------------------------------------------

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
        command -v "$program" >/dev/null || fail "$program is missing: this works only on Debian and its derivatives"
    done
    keyring=$(find_keyring)
    write_apt_configuration
    read_package_lists
}

# The lists are large, and are fetched again the next time.
close_suite() { rm -rf "$apt_home"; }

# Unpacks these packages, without their dependencies, into DEST/root.
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
