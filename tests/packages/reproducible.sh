#!/usr/bin/env bash
# Builds binary and package of the last commit in two directories, and compares them.
set -euo pipefail

repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset CARGO_TARGET_DIR

first=$scratch/first second=$scratch/a-longer/name-than/the-first
# Both at once: the repository may get a commit meanwhile.
git clone --quiet "$repository" "$first"
git clone --quiet "$first" "$second"
for directory in "$first" "$second"; do
    make --no-print-directory -C "$directory" build deb
    # Cargo's own files are no longer needed, and take gigabytes.
    mkdir "$directory/built"
    mv "$directory/target/release/proxymgr" "$directory/target/proxymgr-1.deb" "$directory/built/"
    rm -rf "$directory/target"
    sha256sum "$directory"/built/*
done

for name in proxymgr proxymgr-1.deb; do
    cmp "$first/built/$name" "$second/built/$name"
done
# The directory, and where cargo has the sources of dependencies.
for path in "$scratch" "${CARGO_HOME:-$HOME/.cargo}"; do
    if grep --text --only-matching "$path[[:graph:]]*" "$first/built/proxymgr"; then
        echo "reproducible.sh: the binary names $path" >&2
        exit 1
    fi
done
echo "reproducible.sh: both builds of $(git -C "$first" rev-parse --short HEAD) are the same, and name no directory of this machine"
