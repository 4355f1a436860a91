//! Text that all parts of haproxy.cfg share.

use std::fmt::{Display, Write};
use std::os::fd::RawFd;

use super::section_style::SectionStyle;
use crate::model::{Descriptors, ListenAddress};

/// The line that ends the base configuration; proxymgr writes all sections after it.
pub(super) const END_OF_BASE: &str = "# The services, one section each.";

/// The indentation of every line within a section.
pub(super) const INDENT: &str = "    ";

/// The line before the servers of a service in a section of the base configuration, or beside servers that the base
/// names.
pub(super) const SERVERS_BEGIN: &str = "    # proxymgr: the servers of the service begin";

/// The line after them.
pub(super) const SERVERS_END: &str = "    # proxymgr: the servers of the service end";

/// The line in place of them where no service has the section's name.
pub(super) const SERVERS_BEGIN_WITHOUT: &str = "    # proxymgr: no service has this name";

/// Adds the `bind` line for an address: for a socket that HAProxy inherits, or for one that it opens itself.
pub(super) fn push_bind(
    text: &mut String,
    address: &ListenAddress,
    descriptors: &Descriptors,
    options: &str,
    style: SectionStyle,
) {
    match descriptors.get(address).copied().flatten() {
        Some(descriptor) => drop(writeln!(text, "{INDENT}bind fd@{descriptor}{options}")),
        None if style.own_binds => drop(writeln!(text, "{INDENT}bind {address}{options}")),
        None => {}
    }
}

/// Returns the comment at the start of a section.
pub(super) fn clients_connect_to(address: impl Display) -> String {
    format!("{INDENT}# clients connect to {address}")
}

/// The text between the address and the `bind` options in [`clients_connect_to`].
pub(super) const WITH_OPTIONS: &str = " with";

/// Returns the text of the addresses in a comment of [`clients_connect_to`]; `None` for other lines.
pub(super) fn connected_to(line: &str) -> Option<&str> {
    let shown = line.trim_start().strip_prefix("# clients connect to ")?;
    Some(shown.split(WITH_OPTIONS).next().unwrap_or(shown))
}

/// The descriptor of the Runtime API socket that a HAProxy started by this daemon inherits. It is constant, so that
/// `global` stays the same, and low, because HAProxy refuses descriptors above its limit from `maxconn`.
pub const STATS_DESCRIPTOR: RawFd = 3;

/// Returns the line of a Runtime API socket that HAProxy inherits. With `exposes`, the next process can request there
/// the listening sockets that this one opened itself.
pub(super) fn inherited_socket_line(exposes: bool) -> String {
    let expose = if exposes { " expose-fd listeners" } else { "" };
    format!("stats socket fd@{STATS_DESCRIPTOR} level admin{expose}")
}
