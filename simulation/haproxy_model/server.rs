//! State of one server, and how it is shown.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use proxymgr_actors::model::{AgentState, ObservedServer};

use super::server_options::ServerOptions;
use super::{ANY_MAINTENANCE, FORCED_DRAIN, Server};

impl Server {
    pub(super) fn new(
        address: Option<IpAddr>,
        port: Option<NonZeroU16>,
        fqdn: Option<Arc<str>>,
        admin: u16,
        options: &ServerOptions,
    ) -> Self {
        Self {
            address,
            port,
            next: None,
            fqdn,
            admin,
            weight: options.weight,
            initial_weight: options.weight,
            checked: options.check,
            up: true,
            referenced: false,
            has_connections: false,
            id: options.id.unwrap_or(0),
            place: options.id.unwrap_or(0),
            agent: if options.agent_check { AgentState::Enabled } else { AgentState::None },
            agent_is_up: true,
        }
    }

    /// Sets the administrative state. A server that leaves maintenance counts as up until a check fails, unless its agent
    /// is enabled and counts as down.
    pub(super) fn change_admin(&mut self, admin: u16) {
        if self.admin & ANY_MAINTENANCE != 0 && admin & ANY_MAINTENANCE == 0 {
            self.up = self.agent != AgentState::Enabled || self.agent_is_up;
        }
        self.admin = admin;
    }

    pub(super) fn settle(&mut self) {
        if let Some((address, port)) = self.next.take() {
            self.address = Some(address);
            self.port = Some(port);
        }
    }

    pub(super) fn takes_traffic(&self) -> bool {
        self.admin & (ANY_MAINTENANCE | FORCED_DRAIN) == 0
    }

    pub(super) fn observed(&self) -> ObservedServer {
        let stopped = self.admin & ANY_MAINTENANCE != 0 || !self.up;
        ObservedServer {
            address: self.address,
            port: self.port,
            fqdn: self.fqdn.clone(),
            admin_state: self.admin,
            operational_state: if stopped { 0 } else { 2 },
            weight: self.weight,
            id: Some(self.id),
            agent: self.agent,
        }
    }
}

/// Formats an address like C's `inet_ntop`: unlike Rust, it ends an IPv4-compatible one in dots.
pub(super) fn ip_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(v6) if is_ipv4_compatible(v6) => {
            let [.., a, b, c, d] = v6.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        ip => ip.to_string(),
    }
}

fn is_ipv4_compatible(v6: Ipv6Addr) -> bool {
    let segments = v6.segments();
    segments[..6].iter().all(|segment| *segment == 0) && segments[6] != 0
}

/// Returns the id that HAProxy assigns to a server without one.
pub(super) fn lowest_free(taken: &BTreeSet<u32>) -> u32 {
    (1..).find(|id| !taken.contains(id)).expect("a section has far fewer servers than there are ids")
}
