#!/usr/bin/env bash
# Installs, upgrades, removes and purges the package, with the machine's own dpkg but on a copy of the machine: an overlay
# in a mount namespace, which is discarded. Nothing is changed on the machine. Needs root.
#
#   tests/packages/debian.sh OLD.deb NEW.deb
set -euo pipefail

old=$(realpath "$1") new=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch"/{upper,work,root}
overlay="lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work"
if ! unshare --mount mount -t overlay overlay -o "$overlay" "$scratch/root"; then
    echo "debian.sh: SKIPPED, this machine permits no overlay of its root"
    exit 0
fi
cp "$old" "$scratch/old.deb"
cp "$new" "$scratch/new.deb"

inside() {
    set -euo pipefail
    check() { "$@" || { echo "debian.sh: line ${BASH_LINENO[0]}: $* failed" >&2; exit 1; }; }
    is() { [ "$1" = "$2" ] || { echo "debian.sh: line ${BASH_LINENO[0]}: \"$1\" is not \"$2\"" >&2; exit 1; }; }
    version() { dpkg-query -W -f '${Version}' proxymgr; }
    settings=/etc/proxymgr/proxymgr.yml

    dpkg -i /package/old.deb
    is "$(version)" 0.1.0-1
    check proxymgr --version
    check getent passwd proxymgr
    check test -d /etc/proxymgr/services
    is "$(stat -c '%U:%G %a' $settings)" "root:proxymgr 640"
    check test -e /usr/lib/systemd/system/proxymgr.service -o -e /lib/systemd/system/proxymgr.service
    check test -e /usr/share/man/man1/proxymgr.1.gz
    check test -e /usr/share/man/man5/proxymgr.yml.5.gz
    check test -e /usr/share/man/man5/proxymgr-service.5.gz
    check test -e /usr/share/bash-completion/completions/proxymgr

    # Settings that were edited survive an upgrade, and a running daemon is restarted in place, under load.
    mkdir -p /var/lib/proxymgr /run/haproxy
    port=18473
    python3 -m http.server --bind 127.0.0.1 --directory /usr/share/doc/proxymgr 18474 >/dev/null 2>&1 &
    backend=$!
    printf '{"type": "static", "hosts": ["127.0.0.1:18474"], "port": %s, "bind": "127.0.0.1"}' $port \
        >/etc/proxymgr/services/web.json
    {
        echo '# edited'
        echo 'haproxy: {config_path: /var/lib/proxymgr/haproxy.cfg}'
        echo 'service_config: {type: file, path: /etc/proxymgr/services}'
        echo 'status: {listen: none}'
        echo '# edited'
    } >$settings
    proxymgr run -c $settings 2>/tmp/proxymgr.log &
    daemon=$!
    serves() { curl -fsS --max-time 5 -o /dev/null "http://127.0.0.1:$port/"; }
    for _ in $(seq 100); do serves 2>/dev/null && break; sleep 0.1; done
    check serves
    haproxy_of() { pgrep -P "$1" haproxy; }
    served_by=$(haproxy_of $daemon)
    (
        count=0 failed=0
        while [ ! -e /tmp/stop ]; do
            count=$((count + 1))
            serves 2>>/tmp/load.log || failed=$((failed + 1))
        done
        echo "$count requests, $failed failed" >/tmp/load
    ) &
    load=$!
    dpkg -i --force-confold /package/new.deb | tee /tmp/dpkg.log
    touch /tmp/stop
    wait $load
    check grep -q " runs in place of .* pid $daemon" /tmp/dpkg.log
    is "$(haproxy_of $daemon)" "$served_by"
    check grep -q ", 0 failed" /tmp/load
    echo "debian.sh: upgrade under load: $(cat /tmp/load)"
    kill $daemon $backend
    wait $daemon
    rm /etc/proxymgr/services/web.json
    is "$(version)" 0.1.0-2
    is "$(tail -n 1 $settings)" "# edited"
    is "$(stat -c '%U:%G %a' $settings)" "root:proxymgr 640"

    # A removal leaves settings and state, a purge neither.
    dpkg -r proxymgr
    check test ! -e /usr/bin/proxymgr
    check test -e $settings
    check test -d /var/lib/proxymgr
    dpkg -P proxymgr
    check test ! -e /etc/proxymgr
    check test ! -e /var/lib/proxymgr
    check test ! -e /usr/share/man/man1/proxymgr.1.gz
    echo "debian.sh: installed, upgraded, removed and purged"
}

export scratch overlay
export -f inside
unshare --mount --pid --fork bash -euo pipefail -c '
    mount -t overlay overlay -o "$overlay" "$scratch/root"
    root=$scratch/root
    mkdir -p "$root/package"
    mv "$scratch/old.deb" "$scratch/new.deb" "$root/package/"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    # The status of the machine itself does not matter: no systemd runs inside.
    mount -t tmpfs tmpfs "$root/run"
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" bash -c inside
'
