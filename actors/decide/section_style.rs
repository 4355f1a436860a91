//! What the base configuration and HAProxy's version mean for every section.

use super::capabilities::{HASH_KEY, has_hash_key};
use super::config_lines::{mode_of, operator_lines};
use super::log_format;
use crate::model::{ProxyFrame, ProxyVersion, RunBy};

/// The option by which HTTP sections keep idle connections at a reload.
pub(super) const IDLE_CLOSE: &str = "idle-close-on-response";

/// What the base configuration and HAProxy's version mean for every section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SectionStyle {
    /// Sections are in HTTP mode unless they say otherwise.
    pub http_by_default: bool,
    /// HTTP sections get `option idle-close-on-response`, without which a reload closes idle connections that clients
    /// are about to use. HAProxy knows it from 2.4 on; the operator can decide by mentioning it.
    pub idle_close: bool,
    /// The log format of `defaults` exists in HTTP mode only: TCP sections without one of their own get `option tcplog`.
    pub http_log_by_default: bool,
    /// HAProxy binds its addresses itself, because it is not we who start it: it inherits nothing from us.
    pub own_binds: bool,
    /// Sections place their servers in consistent hashes by address and port. HAProxy can from 3.0 on; the operator can
    /// decide by mentioning `hash-key`.
    pub hash_by_address: bool,
}

impl SectionStyle {
    /// What this frame means on this HAProxy; an unknown version is taken for an old one.
    pub fn of(frame: &ProxyFrame, version: Option<ProxyVersion>) -> Self {
        let mentioned = |option: &str| frame.defaults.iter().any(|line| line.contains(option));
        let defaults = Vec::from_iter(operator_lines(&frame.defaults));
        let mode = defaults.iter().filter_map(|words| mode_of(words)).next_back();
        Self {
            http_by_default: mode == Some(true),
            idle_close: !mentioned(IDLE_CLOSE) && version >= Some(ProxyVersion { major: 2, minor: 4 }),
            http_log_by_default: log_format::is_for_http(defaults.iter().map(Vec::as_slice)),
            own_binds: frame.run_by != RunBy::Us,
            hash_by_address: !mentioned(HASH_KEY) && version.is_some_and(has_hash_key),
        }
    }
}
