//! The one table of keys; those of the sources have a file of their own.

mod sources;

use std::time::Duration;

use proxymgr_actors::model::UpdateChoice;

use super::TakesEffect::{OnReload, OnRestart};
use super::Unset::{Empty, Otherwise, Text};
use super::{Key, Kind, LEVELS, RUN_WAYS, TakesEffect, Unset};
use sources::SOURCES;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

const fn duration(min_ms: u64, max: Duration) -> Kind {
    Kind::Duration { min: Duration::from_millis(min_ms), max }
}

const fn key(path: &'static str, kind: Kind, default: Unset, takes_effect: TakesEffect, doc: &'static str) -> Key {
    Key { path, kind, default, takes_effect, doc }
}

/// Every key there is, in the order in which config/proxymgr.yml explains them.
pub const KEYS: &[Key] = &{
    let mut keys = [BEFORE_SOURCES[0]; BEFORE_SOURCES.len() + SOURCES.len() + AFTER_SOURCES.len()];
    keys.split_at_mut(BEFORE_SOURCES.len()).0.copy_from_slice(BEFORE_SOURCES);
    let after = keys.split_at_mut(BEFORE_SOURCES.len()).1;
    after.split_at_mut(SOURCES.len()).0.copy_from_slice(SOURCES);
    after.split_at_mut(SOURCES.len()).1.copy_from_slice(AFTER_SOURCES);
    keys
};

/// What stands before the keys of the sources.
const BEFORE_SOURCES: &[Key] = &[
    key(
        "haproxy.path",
        Kind::Path,
        Text("haproxy"),
        OnRestart,
        "The HAProxy binary; a bare name is looked up in PATH.",
    ),
    key(
        "haproxy.config_path",
        Kind::Path,
        Text("/etc/haproxy/haproxy.cfg"),
        OnRestart,
        "The configuration file that proxymgr writes and HAProxy reads. It belongs to proxymgr alone.",
    ),
    key(
        "haproxy.socket_path",
        Kind::Path,
        Otherwise("haproxy.sock in the directory of haproxy.config_path"),
        OnRestart,
        "Where HAProxy opens its Runtime API socket, with mode 600.",
    ),
    key(
        "haproxy.run",
        Kind::Choice(RUN_WAYS),
        Text("supervise"),
        OnRestart,
        "Who runs HAProxy, and how they are told.",
    ),
    key("haproxy.unit", Kind::Text, Text("haproxy.service"), OnRestart, "The unit, with run: systemd."),
    key("haproxy.pid_file", Kind::Path, Otherwise("beside config_path"), OnRestart, "The pid file, with run: binary."),
    key("haproxy.start_command", Kind::Lines, Empty, OnRestart, "Starts HAProxy, with run: command."),
    key("haproxy.check_command", Kind::Lines, Empty, OnRestart, "Checks a candidate, with run: command."),
    key("haproxy.reload_command", Kind::Lines, Empty, OnRestart, "Reloads HAProxy, with run: command."),
    key("haproxy.command_shell", Kind::Switch, Text("false"), OnRestart, "Whether a shell runs these commands."),
    key(
        "haproxy.command_timeout",
        duration(100, HOUR),
        Text("30s"),
        OnRestart,
        "How long each may take, systemctl too.",
    ),
    key("haproxy.targets", Kind::Lines, Empty, OnRestart, "Further HAProxies, by where their Runtime APIs are."),
    key("haproxy.global", Kind::Lines, Empty, OnReload, "Lines of the global section, one an entry."),
    key("haproxy.defaults", Kind::Lines, Empty, OnReload, "Lines of the defaults section, one an entry."),
    key(
        "haproxy.state_file",
        Kind::Switch,
        Text("true"),
        OnReload,
        "Whether a reload carries over the health of servers, in a file beside haproxy.config_path.",
    ),
    key(
        "haproxy.reload_interval",
        duration(0, HOUR),
        Text("1s"),
        OnReload,
        "The least time between two reloads; the first goes at once, those that follow are put together.",
    ),
    key(
        "haproxy.stop_timeout",
        duration(0, DAY),
        Text("30s"),
        OnReload,
        "How long HAProxy may finish open connections once proxymgr was told to stop; then it is ended.",
    ),
    key(
        "haproxy.observe_interval",
        duration(1_000, DAY),
        Text("30s"),
        OnReload,
        "How often the servers that HAProxy has are compared with those it should have.",
    ),
    key(
        "haproxy.drain_timeout",
        duration(0, DAY),
        Text("0s"),
        OnReload,
        "How long a server whose host left discovery may finish its sessions before it goes into maintenance; 0s: at once.",
    ),
    key(
        "haproxy.ramp_up",
        duration(0, DAY),
        Text("0s"),
        OnReload,
        "How long the weight of a new server takes to rise to its own, in ten steps; 0s: it has all of it at once.",
    ),
    key(
        "haproxy.update",
        Kind::Choice(&UpdateChoice::NAMES),
        Text("auto"),
        OnReload,
        "How changes of hosts reach the running HAProxy, where a service does not say it itself.",
    ),
    key(
        "haproxy.max_old_processes",
        Kind::Number { min: 1, max: 1_000 },
        Text("20"),
        OnReload,
        "How many HAProxy processes may finish their connections after reloads; beyond it the oldest is ended.",
    ),
    key(
        "haproxy.old_process_timeout",
        duration(0, WEEK),
        Text("0s"),
        OnReload,
        "How long such a process may take to finish before it is ended; 0s: as long as it needs.",
    ),
    key(
        "haproxy.extra_options",
        Kind::Lines,
        Empty,
        OnReload,
        "First words of listen and server options that services may use besides those known to be harmless.",
    ),
    key(
        "guards.min_hosts",
        Kind::Number { min: 0, max: 100_000 },
        Text("1"),
        OnReload,
        "A list that shrinks below so many hosts is blocked, where a service does not say it itself; 0 lets services run without hosts.",
    ),
    key(
        "guards.max_removal",
        Kind::Share,
        Text("1"),
        OnReload,
        "A list that leaves a larger share of the hosts missing, of the most in service within guards.window, is blocked, where a service does not say it itself.",
    ),
    key(
        "guards.max_services_removal",
        Kind::Share,
        Text("0.5"),
        OnReload,
        "Definitions that leave a larger share of the services missing, of the most within guards.window, are blocked; one service may always go.",
    ),
    key(
        "guards.window",
        duration(1, DAY),
        Text("30s"),
        OnReload,
        "How far back the guards look: hosts that leave one by one within it count as if they left at once.",
    ),
    key(
        "service_config.type",
        Kind::Choice(&["zookeeper", "consul", "consul_catalog", "etcd", "marathon", "file"]),
        Text("zookeeper"),
        OnRestart,
        "Where services are defined: in znodes, in keys of Consul or etcd, in tags of Consul services, in apps of Marathon, or in files.",
    ),
    key(
        "service_config.servers",
        Kind::Servers,
        Text("localhost:2181"),
        OnRestart,
        "The ZooKeeper ensemble, for type zookeeper: host:port, separated by commas.",
    ),
    key(
        "service_config.path",
        Kind::Path,
        Otherwise("/service_config for types zookeeper, consul and etcd; type file has none and needs it"),
        OnRestart,
        "The znode, the beginning of the keys, or the directory, that has one entry for each service.",
    ),
    key(
        "service_config.tag",
        Kind::Text,
        Text("proxymgr"),
        OnRestart,
        "For type consul_catalog: services with this tag are served, and tags like proxymgr.port=80 define them.",
    ),
    key(
        "zookeeper.session_timeout",
        duration(1_000, Duration::from_secs(300)),
        Text("6s"),
        OnRestart,
        "How long ZooKeeper keeps a session without a sign of life; a frozen member is left within it.",
    ),
    key(
        "zookeeper.auth",
        Kind::Secret,
        Otherwise("no authentication"),
        OnRestart,
        "user:password for ZooKeeper's digest scheme; better set as PROXYMGR_ZOOKEEPER__AUTH. Never shown.",
    ),
    key(
        "zookeeper.tls.ca",
        Kind::Path,
        Otherwise("no TLS"),
        OnRestart,
        "PEM file with the authorities that may sign the ensemble's certificates; setting it turns TLS on.",
    ),
    key(
        "zookeeper.tls.certificate",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with proxymgr's own certificate, where the ensemble asks for one; needs zookeeper.tls.key.",
    ),
    key(
        "zookeeper.tls.key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of zookeeper.tls.certificate.",
    ),
];

/// What stands after them.
const AFTER_SOURCES: &[Key] = &[
    key(
        "status.listen",
        Kind::Listen,
        Text("127.0.0.1:8470"),
        OnRestart,
        "Where health, readiness, status and the API are served; none turns it off.",
    ),
    key(
        "status.hosts",
        Kind::Lines,
        Empty,
        OnRestart,
        "Further names by which requests may ask for the status listener (their Host header).",
    ),
    key(
        "status.token",
        Kind::Secret,
        Otherwise("nobody may change anything"),
        OnRestart,
        "What whoever gives orders over HTTP must send; better in status.token_file. Never shown.",
    ),
    key(
        "status.token_file",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "A file whose first line is the token, instead of status.token; SIGHUP reads it again.",
    ),
    key(
        "status.reads",
        Kind::Choice(&["open", "token"]),
        Text("open"),
        OnRestart,
        "Whether reading needs the token, too; /healthz and /readyz never do.",
    ),
    key(
        "status.tls_cert",
        Kind::Path,
        Otherwise("no TLS"),
        OnRestart,
        "PEM file with the certificate of the status listener, the leaf first; turns TLS on. SIGHUP reads it again.",
    ),
    key(
        "status.tls_key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of status.tls_cert.",
    ),
    key(
        "metrics.per_service",
        Kind::Switch,
        Text("true"),
        OnRestart,
        "Whether /metrics has series of each service, beside the sums of all.",
    ),
    key(
        "outputs",
        Kind::Entries,
        Empty,
        OnRestart,
        "What else is kept in step besides HAProxy: any proxy by a template, Hipache's lists in Redis, standard output.",
    ),
    key(
        "state_dir",
        Kind::Path,
        Text("/var/lib/proxymgr"),
        OnRestart,
        "Where the last good hosts of every service are kept across restarts.",
    ),
    key(
        "record",
        Kind::Path,
        Otherwise("nothing is recorded"),
        OnRestart,
        "A file that what discovery says is appended to, for proxymgr replay; no credentials get into it.",
    ),
    key("log.level", Kind::Choice(LEVELS), Text("info"), OnReload, "What is logged."),
    key(
        "log.format",
        Kind::Choice(&["text", "json"]),
        Text("text"),
        OnRestart,
        "One line of text, or one JSON object, for each record; on standard error.",
    ),
    key("log.levels", Kind::Levels, Empty, OnReload, "Levels of single components, such as {haproxy: debug}."),
];
