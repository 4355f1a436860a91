//! Text that all parts of haproxy.cfg share.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::section_style::SectionStyle;

/// The line that ends the base configuration; proxymgr writes all sections after it.
pub(super) const END_OF_BASE: &str = "# The services, one section each.";

/// The indentation of every line within a section.
pub(super) const INDENT: &str = "    ";

/// Adds the `bind` line of a section: for a socket that HAProxy inherits, or for one that it opens itself.
pub(super) fn push_bind(text: &mut String, descriptor: Option<RawFd>, listen: Option<SocketAddr>, style: SectionStyle) {
    match (descriptor, listen) {
        (Some(descriptor), _) => drop(writeln!(text, "{INDENT}bind fd@{descriptor}")),
        (None, Some(address)) if style.own_binds => drop(writeln!(text, "{INDENT}bind {address}")),
        (None, _) => {}
    }
}

/// Returns the comment at the start of a section.
pub(super) fn clients_connect_to(address: impl Display) -> String {
    format!("{INDENT}# clients connect to {address}")
}

/// The descriptor of the Runtime API socket that a HAProxy started by this daemon inherits. It is constant, so that
/// `global` stays the same, and low, because HAProxy refuses descriptors above its limit from `maxconn`.
pub const STATS_DESCRIPTOR: RawFd = 3;

/// Returns the line of a Runtime API socket that HAProxy inherits.
pub(super) fn inherited_socket_line() -> String {
    format!("stats socket fd@{STATS_DESCRIPTOR} level admin")
}
