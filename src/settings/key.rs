//! The description of a setting. All settings are in one table, from which config/proxymgr.yml and docs/settings.md are
//! generated.

mod table;

use std::time::Duration;

pub use table::{KEYS, SECTIONS};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The path in the file, joined by dots: `haproxy.reload_interval`.
    pub path: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Its value if it is not set.
    pub default: Unset,
    /// When a changed value takes effect.
    pub takes_effect: TakesEffect,
    /// Its purpose, in one line.
    pub doc: &'static str,
    /// More about it, in paragraphs separated by `\n`. Lines that begin with two spaces or a dash are lists.
    pub details: &'static str,
    /// An example, for a setting without a fixed default.
    pub example: Option<&'static str>,
}

/// A setting without details and example.
const fn key(path: &'static str, kind: Kind, default: Unset, takes_effect: TakesEffect, doc: &'static str) -> Key {
    Key { path, kind, default, takes_effect, doc, details: "", example: None }
}

impl Key {
    const fn details(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    const fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }
}

/// The description of a section of settings.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The path in the file, joined by dots.
    pub path: &'static str,
    /// Paragraphs, separated by `\n`.
    pub doc: &'static str,
}

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text of one line.
    Text,
    /// A text that is never shown.
    Secret,
    /// A path on this machine.
    Path,
    /// A duration with a unit, such as `2s`, `500ms` or `1m`.
    Duration {
        /// The shortest allowed.
        min: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// A whole number.
    Number {
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// A share, from 0 to 1.
    Share,
    /// A list of lines of text.
    Lines,
    /// `host:port`, one or more, separated by commas or as a list.
    Servers,
    /// `http://host:port` or `https://host:port`, one or more, separated by commas or as a list.
    Urls,
    /// A whole number.
    Count {
        /// The smallest allowed.
        min: u32,
        /// The largest allowed.
        max: u32,
    },
    /// `address:port`, or `none`.
    Listen,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A map from components to log levels.
    Levels,
    /// A list of maps, each with keys of its own.
    Entries,
}

/// The value of a setting that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// This text, parsed as if it were in the file.
    Text(&'static str),
    /// An empty list or map.
    Empty,
    /// No fixed value; described in words.
    Otherwise(&'static str),
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesEffect {
    /// After SIGHUP.
    OnReload,
    /// After a restart of the daemon.
    OnRestart,
}

/// The log levels, from the least verbose.
pub const LEVELS: &[&str] = &["critical", "error", "warning", "info", "debug", "trace"];

/// What happens to HAProxy when the daemon stops.
pub const ON_STOP: &[&str] = &["stop", "leave"];

/// How HAProxy can be run.
pub const RUN_WAYS: &[&str] = &["supervise", "systemd", "binary", "command", "none"];

/// Spellings of other versions, and the current key of each.
pub const ALIASES: &[(&str, &str)] = &[
    ("haproxy.stats_socket", "haproxy.socket_path"),
    ("haproxy.binary", "haproxy.path"),
    ("service_config.server", "service_config.servers"),
];

/// The key at this path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The key that `path` belongs to: the key itself, or a map that `path` is an entry of.
pub fn governing(path: &str) -> Option<&'static Key> {
    let within = |key: &&Key| {
        matches!(key.kind, Kind::Levels)
            && path.strip_prefix(key.path).is_some_and(|rest| rest.starts_with('.') && !rest[1..].contains('.'))
    };
    find(path).or_else(|| KEYS.iter().find(within))
}

/// Whether the path is a section.
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key most similar to an unknown path; none if no key is similar.
pub fn nearest(path: &str) -> Option<&'static str> {
    const SIMILAR: f64 = 0.8;
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_lowercase();
    let lower = path.to_lowercase();
    KEYS.iter()
        .map(|key| {
            let whole = strsim::jaro_winkler(&lower, key.path);
            // A key in the wrong section, or in none, is found by its last part.
            let part = strsim::jaro_winkler(&last(path), &last(key.path)) * 0.99;
            (whole.max(part), key.path)
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, path)| path)
}

/// Whether a name is probably a key with one underscore in place of two: `haproxy_socket_path`.
pub fn is_flattened(name: &str) -> bool {
    const PROBABLE: f64 = 0.95;
    KEYS.iter().any(|key| strsim::jaro_winkler(name, &key.path.replace('.', "_")) >= PROBABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_keys_find_the_nearest_key() {
        for (typed, nearest_key) in [
            ("haproxy.socketpath", "haproxy.socket_path"),
            ("haproxy.sock_path", "haproxy.socket_path"),
            ("socket_path", "haproxy.socket_path"),
            ("haproxy.Global", "haproxy.global"),
            ("haproxy.default", "haproxy.defaults"),
            ("service_config.typ", "service_config.type"),
            ("statedir", "state_dir"),
            ("log.lvl", "log.level"),
        ] {
            assert_eq!(nearest(typed), Some(nearest_key), "{typed}");
        }
        assert_eq!(nearest("qqqq"), None);
    }

    #[test]
    fn map_entries_belong_to_the_map() {
        assert_eq!(governing("log.levels.haproxy").map(|key| key.path), Some("log.levels"));
        assert!(governing("log.levels.a.b").is_none());
        assert!(governing("log.level.haproxy").is_none());
    }

    #[test]
    fn aliases_stand_for_keys() {
        for (alias, path) in ALIASES {
            assert!(find(path).is_some(), "{alias}: {path} is not a key");
            assert!(find(alias).is_none(), "{alias} is itself a key");
        }
    }
}
