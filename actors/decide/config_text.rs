//! What all parts of haproxy.cfg are written with.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::section_style::SectionStyle;

/// Ends the frame; all sections after it are ours.
pub(super) const END_OF_FRAME: &str = "# The services, one section each.";

/// What every line within a section begins with.
pub(super) const INDENT: &str = "    ";

/// Where a section listens: on a socket that HAProxy inherits, or on one that it opens itself.
pub(super) fn push_bind(text: &mut String, descriptor: Option<RawFd>, listen: Option<SocketAddr>, style: SectionStyle) {
    match (descriptor, listen) {
        (Some(descriptor), _) => drop(writeln!(text, "{INDENT}bind fd@{descriptor}")),
        (None, Some(address)) if style.own_binds => drop(writeln!(text, "{INDENT}bind {address}")),
        (None, _) => {}
    }
}

/// The comment that a section begins with.
pub(super) fn clients_connect_to(address: impl Display) -> String {
    format!("{INDENT}# clients connect to {address}")
}

/// The descriptor under which a HAProxy that this daemon starts inherits its Runtime API socket. It is the same at every
/// launch, so that `global` stays the same; a low number, because HAProxy refuses those above what `maxconn` asks for.
pub const STATS_DESCRIPTOR: RawFd = 3;

/// The line of a Runtime API socket that HAProxy inherits.
pub(super) fn inherited_socket_line() -> String {
    format!("stats socket fd@{STATS_DESCRIPTOR} level admin")
}
