//! The effect of the base configuration and of HAProxy's version on every section.

use super::balance_work::Balance;
use super::base::BaseLayout;
use super::capabilities::{HASH_KEY, has_dynamic_backends, has_hash_key, keeps_counters};
use super::config_lines::mode_of;
use super::log_format;
use crate::model::{ProxyVersion, ServiceDefinition};

/// The option that makes HTTP sections keep idle connections across a reload.
pub(super) const IDLE_CLOSE: &str = "idle-close-on-response";

/// The effect of the base configuration and of HAProxy's version on every section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SectionStyle {
    /// Whether sections are in HTTP mode by default.
    pub http_by_default: bool,
    /// Whether HTTP sections get `option idle-close-on-response`, without which a reload closes idle connections that
    /// clients are about to use. Available since HAProxy 2.4; omitted where the operator's own lines contain it.
    pub idle_close: bool,
    /// Whether the log format of `defaults` exists in HTTP mode only: TCP sections without their own get `option
    /// tcplog`.
    pub http_log_by_default: bool,
    /// Whether HAProxy binds its addresses itself, because the daemon does not start it and it inherits no sockets.
    pub own_binds: bool,
    /// Whether stick tables survive reloads by the local peer.
    pub keeps_tables: bool,
    /// Whether servers are placed in consistent hashes by address and port. Available since HAProxy 3.0; omitted where
    /// the operator's own lines contain `hash-key`.
    pub hash_by_address: bool,
    /// Whether servers have the option `hash-key`.
    pub hash_keys: bool,
    /// Whether sections and servers have [ids](super::guid) by which their counters survive a reload. Available since
    /// HAProxy 3.0; omitted where the daemon does not write the file.
    pub guids: bool,
    /// How sections balance by default.
    pub balance: Balance,
    /// Which backends derive from a set of lines.
    pub line_sets: LineSetSupport,
}

/// Which backends derive from a [set of lines](super::line_sets), and so can come and go at run time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineSetSupport {
    /// None: HAProxy cannot add backends at run time, or the file is not written by the daemon.
    #[default]
    None,
    /// Those that name their `defaults` section, because the last one is within conditionals.
    OfNamedDefaults,
    /// All of them.
    All,
}

impl SectionStyle {
    /// Returns the style of the section of a service, which may have `defaults` of its own.
    pub fn for_lines(self, definition: &ServiceDefinition) -> Self {
        if definition.named_defaults().is_none() {
            return self;
        }
        let lines = definition.lines();
        let of_defaults = &lines[..lines.len().saturating_sub(definition.listen_options.len())];
        Self {
            http_by_default: of_defaults.iter().filter_map(|words| mode_of(words)).next_back() == Some(true),
            http_log_by_default: log_format::is_for_http(of_defaults.iter().map(Vec::as_slice)),
            ..self
        }
    }

    /// Returns the style for this base configuration and version; an unknown version is treated as an old one.
    pub fn of(base: &BaseLayout, version: Option<ProxyVersion>) -> Self {
        let mode = base.defaults.iter().filter_map(|words| mode_of(words)).next_back();
        Self {
            http_by_default: mode == Some(true),
            idle_close: !base.mentions(IDLE_CLOSE) && version >= Some(ProxyVersion { major: 2, minor: 4 }),
            http_log_by_default: log_format::is_for_http(base.defaults.iter().map(Vec::as_slice)),
            own_binds: base.own_binds,
            keeps_tables: base.local_peer.is_some(),
            hash_by_address: !base.mentions(HASH_KEY) && version.is_some_and(has_hash_key),
            hash_keys: version.is_some_and(has_hash_key),
            guids: base.is_written && version.is_some_and(keeps_counters),
            balance: Balance::default().after(&base.defaults),
            line_sets: match base.defaults_root {
                _ if !version.is_some_and(has_dynamic_backends) => LineSetSupport::None,
                Some(_) => LineSetSupport::All,
                None => LineSetSupport::OfNamedDefaults,
            },
        }
    }
}
