#!/usr/bin/env bash
# Tries the package under a real systemd, which boots a copy of this machine: systemd-nspawn on an overlay of its root, with a
# network of its own. Nothing is changed on the machine. Needs root and systemd-container.
#
#   tests/packages/systemd.sh OLD.deb NEW.deb
set -euo pipefail

inside=$(dirname "$(realpath "$0")")/under_systemd.sh
old=$(realpath "$1") new=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch"/{upper,work,root,try}
overlay="lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work"
if ! unshare --mount mount -t overlay overlay -o "$overlay" "$scratch/root"; then
    echo "systemd.sh: SKIPPED, this machine permits no overlay of its root"
    exit 0
fi
cp "$old" "$scratch/try/old.deb"
cp "$new" "$scratch/try/new.deb"
cp "$inside" "$(dirname "$inside")/../../config/systemd/unprivileged.conf" "$scratch/try/"

# The exit status of this unit is the one of the container.
cat >"$scratch/try/try.service" <<'UNIT'
[Unit]
After=multi-user.target
Wants=multi-user.target
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
TimeoutStartSec=10min
StandardOutput=file:/try/log
StandardError=inherit
ExecStart=/try/under_systemd.sh
UNIT

# pidfd_getfd, by which the sockets of an adopted HAProxy are copied, is not among the system calls that containers may use.
export scratch overlay
status=0
timeout --kill-after=10 900 unshare --mount bash -euo pipefail -c '
    mount -t tmpfs tmpfs /run
    mount -t overlay overlay -o "$overlay" "$scratch/root"
    # A machine of its own, without the services of this one. Without an id, it would enable all services at its first boot.
    tr -d - </proc/sys/kernel/random/uuid >"$scratch/root/etc/machine-id"
    rm -rf "$scratch"/root/etc/systemd/system/*.wants
    exec systemd-nspawn --quiet --directory="$scratch/root" --boot --private-network --register=no --keep-unit --console=pipe \
        --system-call-filter=pidfd_getfd \
        --bind="$scratch/try:/try" --bind-ro="$scratch/try/try.service:/etc/systemd/system/try.service" \
        systemd.unit=try.service
' >"$scratch/console" 2>&1 || status=$?
cat "$scratch/try/log" || cat "$scratch/console"
exit "$status"
