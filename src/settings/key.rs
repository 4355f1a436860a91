//! What can be set: of which kind it is, what it is without being set, and what it is for. The keys themselves stand in
//! one table.

mod table;

use std::time::Duration;

pub use table::KEYS;

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

/// The log's levels, from the quietest.
pub const LEVELS: &[&str] = &["critical", "error", "warning", "info", "debug", "trace"];

/// The ways in which HAProxy is run.
pub const RUN_WAYS: &[&str] = &["supervise", "systemd", "binary", "command", "none"];

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
