#!/usr/bin/env bash
# Runs in the copy of the machine that systemd.sh boots. docs/upgrade.md lists what is tried.
set -Eeuo pipefail

settings=/etc/proxymgr/proxymgr.yml
drop_in=/etc/systemd/system/proxymgr.service.d
say() { echo "under_systemd.sh: $(date +%T) $*"; }
failed() {
    say "line $1 failed: $2"
    systemctl status --no-pager --lines=0 proxymgr || true
    journalctl --no-pager --lines=60 --unit=proxymgr || true
}
trap 'failed $LINENO "$BASH_COMMAND"' ERR
fails() { ! "$@" 2>/dev/null; }
is() { [ "$1" = "$2" ] || { say "\"$1\" is not \"$2\""; return 1; }; }

property() { systemctl show --property="$1" --value proxymgr; }
# The process that has bound the port; after a reload, the new one.
haproxy() { ss -Hlntp "sport = :80" | grep -o '"haproxy",pid=[0-9]*' | sort -u | cut -d= -f2; }
serves() { curl -fsS --max-time 10 -o /dev/null http://127.0.0.1/; }
until_is() {
    for _ in $(seq 600); do
        [ "$($1)" != "$2" ] || return 0
        sleep 0.1
    done
    say "\"$1\" is \"$($1)\", not \"$2\""
    return 1
}
state() { property ActiveState; }

begin_load() {
    rm -f /run/stop-load
    (
        count=0 failed=0
        while [ ! -e /run/stop-load ]; do
            count=$((count + 1))
            serves 2>>/run/load.log || failed=$((failed + 1))
        done
        echo "$count requests, $failed failed" >/run/load
    ) &
}
end_load() {
    touch /run/stop-load
    wait %%
    say "$1: $(cat /run/load)"
    grep -q ", 0 failed" /run/load || { tail /run/load.log; return 1; }
}

# One service on port 80, with a backend that always answers.
write_settings() {
    cat >$settings <<YAML
haproxy: {user: haproxy, group: haproxy, global: [chroot /var/lib/haproxy], on_stop: $1, stop_timeout: 5s}
service_config: {type: file, path: /etc/proxymgr/services}
YAML
}
install_and_start() {
    dpkg -i /try/old.deb
    systemctl disable --now haproxy 2>/dev/null
    echo '{"type": "static", "hosts": ["127.0.0.1:18474"], "port": 80}' >/etc/proxymgr/services/web.json
    write_settings leave
    systemd-run --quiet --unit=backend python3 -m http.server --bind 127.0.0.1 --directory /usr/share/doc/proxymgr 18474
    # A system call that the filter refuses ends its process here, so that none goes unnoticed.
    mkdir -p $drop_in
    printf '[Service]\nSystemCallErrorNumber=kill\n' >$drop_in/filter.conf
    systemctl daemon-reload
    for _ in $(seq 100); do curl -fs -o /dev/null http://127.0.0.1:18474/ && break; sleep 0.1; done

    systemctl enable --now proxymgr
    # `systemctl start` returns once HAProxy serves.
    serves
    is "$(state)" active
    say "started, HAProxy serves port 80 as $(ps -o user= -p "$(haproxy)")"
}

reload_and_restart_in_place() {
    local main served_by
    main=$(property MainPID) served_by=$(haproxy)
    begin_load
    echo 'log: {level: debug}' >>$settings
    systemctl reload proxymgr
    is "$(state) $(property MainPID)" "active $main"
    until_is state active

    proxymgr restart
    /etc/needrestart/restart.d/proxymgr.service
    dpkg -i --force-confold /try/new.deb | tee /run/dpkg.log
    grep -q " runs in place of .* pid $main" /run/dpkg.log
    until_is state active
    is "$(property MainPID) $(property NRestarts) $(haproxy)" "$main 0 $served_by"
    is "$(readlink /proc/"$main"/exe)" /usr/bin/proxymgr
    end_load "reload, 2 restarts in place, upgrade of the package"
}

crash_and_freeze() {
    begin_load
    kill -KILL "$(property MainPID)"
    until_is "property NRestarts" 1
    until_is state active
    end_load "crash"

    printf '[Service]\nWatchdogSec=5s\n' >$drop_in/watchdog.conf
    systemctl daemon-reload
    systemctl restart proxymgr
    begin_load
    kill -STOP "$(property MainPID)"
    until_is "property NRestarts" 1
    until_is state active
    end_load "freeze, ended by the watchdog"
    rm $drop_in/watchdog.conf
    systemctl daemon-reload
}

stop_and_restart() {
    begin_load
    systemctl restart proxymgr
    systemctl stop proxymgr
    is "$(state)" inactive
    systemctl start proxymgr
    end_load "systemctl restart, stop and start, with on_stop: leave"

    write_settings stop
    systemctl reload proxymgr
    until_is state active
    systemctl stop proxymgr
    is "$(state) $(property Result)" "inactive success"
    is "$(pgrep -c haproxy || true)" 0
    say "stopped with on_stop: stop, no HAProxy is left"
}

starts_that_fail() {
    # No one listens on this port: the services are not known, and readiness is never reached.
    systemctl start proxymgr
    local served_by
    served_by=$(haproxy)
    write_settings leave
    systemctl reload proxymgr
    until_is state active
    systemctl stop proxymgr
    echo 'service_config: {type: zookeeper, servers: 127.0.0.1:1, path: /services}' >$settings
    printf '[Service]\nTimeoutStartSec=3s\nRestart=no\n' >$drop_in/start.conf
    systemctl daemon-reload
    rm -rf /var/lib/proxymgr/*
    fails systemctl start proxymgr
    is "$(state) $(property Result)" "failed timeout"
    serves
    is "$(haproxy)" "$served_by"
    rm $drop_in/start.conf
    systemctl daemon-reload
    say "a start without readiness failed, the previous HAProxy serves"

    echo 'haproxi: {}' >$settings
    fails systemctl start proxymgr
    is "$(state) $(property Result) $(property ExecMainStatus) $(property NRestarts)" "failed exit-code 1 0"
    serves
    say "a start with a mistake in the settings failed, and is not repeated"
    write_settings stop
    systemctl reset-failed proxymgr
    systemctl start proxymgr
    serves
    systemctl stop proxymgr
}

without_root() {
    local main served_by
    cp /try/unprivileged.conf $drop_in/
    systemctl daemon-reload
    cat >$settings <<'YAML'
haproxy: {config_path: /var/lib/proxymgr/haproxy.cfg, stop_timeout: 5s}
service_config: {type: file, path: /etc/proxymgr/services}
YAML
    chown -R proxymgr:proxymgr /var/lib/proxymgr
    systemctl start proxymgr
    serves
    main=$(property MainPID) served_by=$(haproxy)
    is "$(ps -o user= -p "$main,$served_by" | sort -u)" proxymgr
    begin_load
    proxymgr restart
    until_is state active
    is "$(property MainPID) $(property NRestarts) $(haproxy)" "$main 0 $served_by"
    end_load "without root, a restart in place"
    systemctl stop proxymgr
    rm $drop_in/unprivileged.conf
    systemctl daemon-reload
}

# haproxy.run: systemd, with the unit of Debian's package.
haproxy_as_a_unit() {
    cat >$settings <<'YAML'
haproxy: {run: systemd, user: haproxy, group: haproxy}
service_config: {type: file, path: /etc/proxymgr/services}
YAML
    systemctl start proxymgr
    is "$(systemctl is-active haproxy)" active
    serves
    begin_load
    # A new listener needs a reload.
    echo '{"type": "static", "hosts": ["127.0.0.1:18474"], "port": 81}' >/etc/proxymgr/services/new.json
    answers_on_81() { curl -fs -o /dev/null http://127.0.0.1:81/ && echo yes || true; }
    until_is answers_on_81 yes
    systemctl restart proxymgr
    systemctl stop proxymgr
    is "$(systemctl is-active haproxy)" active
    end_load "haproxy.run: systemd, a reload, and a restart and stop of proxymgr"
    systemctl stop haproxy
}

remove_package() {
    write_settings stop
    systemctl start proxymgr
    dpkg -r proxymgr
    is "$(pgrep -c haproxy || true) $(pgrep -c proxymgr || true)" "0 0"
    dpkg -P proxymgr
    say "removed: proxymgr and its HAProxy have stopped"
}

say "$(systemctl --version | head -n 1)"
install_and_start
systemd-analyze verify proxymgr.service
reload_and_restart_in_place
crash_and_freeze
stop_and_restart
starts_that_fail
without_root
haproxy_as_a_unit
remove_package
journalctl --sync
is "$(journalctl --no-pager | grep -E 'SIGSYS|status=31|signal 31' || true)" ""
say "no system call was refused"
