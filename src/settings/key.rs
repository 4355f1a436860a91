//! The one table of keys: what can be set, of which kind it is, what it is without being set, and what it is for.

use std::time::Duration;

/// One thing that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its place in the file, joined by dots: `haproxy.reload_interval`.
    pub path: &'static str,
    /// What its value must look like.
    pub kind: Kind,
    /// What it is when nobody sets it.
    pub default: Unset,
    /// Whether SIGHUP puts a change in force, or only a restart.
    pub takes_effect: TakesEffect,
    /// What it is for, in one line.
    pub doc: &'static str,
}

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text of one line.
    Text,
    /// A text that is never shown.
    Secret,
    /// A path on this machine.
    Path,
    /// `2s`, `500ms`, `1m`, within bounds.
    Duration {
        /// The shortest that makes sense.
        min: Duration,
        /// The longest that makes sense.
        max: Duration,
    },
    /// A whole number, within bounds.
    Number {
        /// The smallest that makes sense.
        min: u64,
        /// The largest that makes sense.
        max: u64,
    },
    /// A share, from 0 to 1.
    Share,
    /// A list of lines of text.
    Lines,
    /// `host:port`, several of them separated by commas or as a list.
    Servers,
    /// `http://host:port` or `https://host:port`, several of them separated by commas or as a list.
    Urls,
    /// A whole number within bounds.
    Count {
        /// The least that makes sense.
        min: u32,
        /// The most that makes sense.
        max: u32,
    },
    /// `address:port`, or `none`.
    Listen,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A level for each component named.
    Levels,
    /// A list of maps, each with keys of its own.
    Entries,
}

/// What a key is when nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// This text, read as if it had been written.
    Text(&'static str),
    /// An empty list or map.
    Empty,
    /// Nothing, or something that follows from other keys; told in words.
    Otherwise(&'static str),
}

/// When a changed value is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesEffect {
    /// After SIGHUP.
    OnReload,
    /// After a restart of the daemon.
    OnRestart,
}

use TakesEffect::{OnReload, OnRestart};
use Unset::{Empty, Otherwise, Text};

/// The log's levels, from the quietest.
pub const LEVELS: &[&str] = &["critical", "error", "warning", "info", "debug", "trace"];

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
pub const KEYS: &[Key] = &[
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
    key("haproxy.global", Kind::Lines, Empty, OnReload, "Lines of the global section, one an entry."),
    key("haproxy.defaults", Kind::Lines, Empty, OnReload, "Lines of the defaults section, one an entry."),
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
        "A list with fewer hosts is held back, where a service does not say it itself; 0 lets services run empty.",
    ),
    key(
        "guards.max_removal",
        Kind::Share,
        Text("1"),
        OnReload,
        "A list that takes away a larger share of the hosts at once is held back, where a service does not say it itself.",
    ),
    key(
        "guards.max_services_removal",
        Kind::Share,
        Text("0.5"),
        OnReload,
        "Definitions that take away a larger share of the services at once are held back; one service may always go.",
    ),
    key(
        "service_config.type",
        Kind::Choice(&["zookeeper", "consul", "consul_catalog", "etcd", "file"]),
        Text("zookeeper"),
        OnRestart,
        "Where services are defined: in znodes, in keys of Consul or etcd, in tags of Consul services, or in files.",
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
    key(
        "consul.servers",
        Kind::Urls,
        Text("http://127.0.0.1:8500"),
        OnRestart,
        "The Consul agents: URLs, separated by commas; the next one is asked where one fails.",
    ),
    key(
        "consul.token",
        Kind::Secret,
        Otherwise("no token"),
        OnRestart,
        "The token for these agents; better set as PROXYMGR_CONSUL__TOKEN, or in a file. Never shown.",
    ),
    key(
        "consul.token_file",
        Kind::Path,
        Otherwise("no token"),
        OnRestart,
        "A file with the token instead, read again when it is refused.",
    ),
    key(
        "consul.datacenter",
        Kind::Text,
        Otherwise("that of the agent"),
        OnRestart,
        "The datacenter asked for, unless a service names one.",
    ),
    key(
        "consul.connections",
        Kind::Count { min: 1, max: 100_000 },
        Otherwise("150"),
        OnRestart,
        "How many requests wait at the agents at once; where more services are watched, they take turns.",
    ),
    key(
        "consul.tls.ca",
        Kind::Path,
        Otherwise("the authorities of this machine"),
        OnRestart,
        "PEM file with the authorities that may sign the agents' certificates, for URLs that begin with https.",
    ),
    key(
        "consul.tls.certificate",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with proxymgr's own certificate, where the agents ask for one; needs consul.tls.key.",
    ),
    key(
        "consul.tls.key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of consul.tls.certificate.",
    ),
    key(
        "etcd.servers",
        Kind::Urls,
        Text("http://127.0.0.1:2379"),
        OnRestart,
        "The members of the etcd cluster: URLs, separated by commas; the next one is asked where one fails.",
    ),
    key(
        "etcd.auth",
        Kind::Secret,
        Otherwise("no authentication"),
        OnRestart,
        "user:password for these members; better set as PROXYMGR_ETCD__AUTH. Never shown.",
    ),
    key(
        "etcd.tls.ca",
        Kind::Path,
        Otherwise("the authorities of this machine"),
        OnRestart,
        "PEM file with the authorities that may sign the members' certificates, for URLs that begin with https.",
    ),
    key(
        "etcd.tls.certificate",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with proxymgr's own certificate, where the members ask for one; needs etcd.tls.key.",
    ),
    key(
        "etcd.tls.key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of etcd.tls.certificate.",
    ),
    key(
        "dns.servers",
        Kind::Servers,
        Otherwise("those of /etc/resolv.conf"),
        OnRestart,
        "The DNS servers that are asked, by their addresses: address, or address:port.",
    ),
    key(
        "dns.interval",
        duration(1_000, HOUR),
        Text("5s"),
        OnRestart,
        "The least time between two looks at a name, however short a time its answer lives.",
    ),
    key(
        "dns.interval_max",
        duration(1_000, DAY),
        Text("1m"),
        OnRestart,
        "The longest time between two looks at a name, however long its answer lives.",
    ),
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

/// Spellings of other versions, and the key that each stands for.
pub const ALIASES: &[(&str, &str)] = &[
    ("haproxy.stats_socket", "haproxy.socket_path"),
    ("haproxy.binary", "haproxy.path"),
    ("service_config.server", "service_config.servers"),
];

/// The key at this path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The key that sets `path`: the key itself, or a map that `path` is an entry of.
pub fn governing(path: &str) -> Option<&'static Key> {
    let within = |key: &&Key| {
        matches!(key.kind, Kind::Levels)
            && path.strip_prefix(key.path).is_some_and(|rest| rest.starts_with('.') && !rest[1..].contains('.'))
    };
    find(path).or_else(|| KEYS.iter().find(within))
}

/// Whether keys stand below this path.
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key most like a path that is none; none where nothing is like it.
pub fn nearest(path: &str) -> Option<&'static str> {
    const ALIKE: f64 = 0.8;
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_lowercase();
    let lower = path.to_lowercase();
    KEYS.iter()
        .map(|key| {
            let whole = strsim::jaro_winkler(&lower, key.path);
            // A key in the wrong section, or in none, is found by its last part alone.
            let part = strsim::jaro_winkler(&last(path), &last(key.path)) * 0.99;
            (whole.max(part), key.path)
        })
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, path)| path)
}

/// Whether a name without sections was meant for a key: `haproxy_socket_path`, written with one underscore for two.
pub fn is_flattened(name: &str) -> bool {
    const MEANT: f64 = 0.95;
    KEYS.iter().any(|key| strsim::jaro_winkler(name, &key.path.replace('.', "_")) >= MEANT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_finds_the_one_that_was_meant() {
        for (typed, meant) in [
            ("haproxy.socketpath", "haproxy.socket_path"),
            ("haproxy.sock_path", "haproxy.socket_path"),
            ("socket_path", "haproxy.socket_path"),
            ("haproxy.Global", "haproxy.global"),
            ("haproxy.default", "haproxy.defaults"),
            ("service_config.typ", "service_config.type"),
            ("statedir", "state_dir"),
            ("log.lvl", "log.level"),
        ] {
            assert_eq!(nearest(typed), Some(meant), "for {typed}");
        }
        assert_eq!(nearest("qqqq"), None);
    }

    #[test]
    fn an_entry_of_a_map_belongs_to_the_map() {
        assert_eq!(governing("log.levels.haproxy").map(|key| key.path), Some("log.levels"));
        assert!(governing("log.levels.a.b").is_none());
        assert!(governing("log.level.haproxy").is_none());
    }

    #[test]
    fn aliases_lead_to_keys_and_are_none_themselves() {
        for (alias, path) in ALIASES {
            assert!(find(path).is_some(), "{alias} leads to {path}, which is no key");
            assert!(find(alias).is_none(), "{alias} is a key of its own");
        }
    }
}
