//! Temporary deviations of single servers from the list of hosts: overrides, servers that leave, and new servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{AdminState, HostList, ServerName};

/// The progress of a server that left discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It is draining: it finishes its sessions and gets no new ones.
    Draining,
    /// It has no sessions left.
    Idle,
    /// Its `drain_timeout` is over.
    TimedOut,
}

/// The temporary deviations of the servers of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Servers with an override.
    pub chosen: BTreeSet<ServerName>,
    /// Servers removed from discovery that need not go into maintenance at once.
    pub leaving: BTreeMap<ServerName, Departure>,
    /// The current share of their weight, in percent, of new servers that ramp up.
    pub rising: BTreeMap<ServerName, u8>,
    /// Servers that were set to drain on the socket of the previous process.
    pub drained_before: BTreeSet<ServerName>,
}

impl Overlay {
    /// No deviations.
    pub const NONE: Self = Self {
        chosen: BTreeSet::new(),
        leaving: BTreeMap::new(),
        rising: BTreeMap::new(),
        drained_before: BTreeSet::new(),
    };

    /// Returns the current weight of a server whose full weight is `full`: at least 1 for a server that takes traffic.
    pub fn weight(&self, server: &ServerName, full: u16) -> u16 {
        match self.rising.get(server) {
            Some(percent) if full > 0 => (u32::from(full) * u32::from(*percent) / 100).max(1) as u16,
            _ => full,
        }
    }
}

/// Returns the list with the states of overrides instead of those from discovery.
pub fn with_choices<'a>(
    discovered: &Arc<HostList>,
    choices: impl Iterator<Item = (&'a ServerName, AdminState)>,
) -> Arc<HostList> {
    let mut hosts = discovered.clone();
    for (server, state) in choices {
        if hosts.get(server).is_some_and(|host| host.state != state)
            && let Some(host) = Arc::make_mut(&mut hosts).get_mut(server)
        {
            Arc::make_mut(host).state = state;
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Endpoint, Host};

    fn name(text: &str) -> ServerName {
        ServerName::new(text).unwrap()
    }

    fn list(names: &[&str]) -> Arc<HostList> {
        let endpoint = Endpoint::Tcp { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() };
        Arc::new(names.iter().map(|text| (name(text), Host::at(endpoint.clone()).into())).collect())
    }

    #[test]
    fn new_server_gets_a_share_of_its_weight() {
        let overlay = Overlay { rising: [(name("a"), 10)].into(), ..Overlay::NONE };
        assert_eq!([100, 5, 1, 0].map(|full| overlay.weight(&name("a"), full)), [10, 1, 1, 0]);
        assert_eq!(overlay.weight(&name("b"), 100), 100);
        assert_eq!(Overlay { rising: [(name("a"), 90)].into(), ..Overlay::NONE }.weight(&name("a"), 256), 230);
    }

    #[test]
    fn override_replaces_the_state_from_discovery() {
        let discovered = list(&["a", "b"]);
        let chosen = with_choices(
            &discovered,
            [(&name("a"), AdminState::Maint), (&name("gone"), AdminState::Drain)].into_iter(),
        );
        assert_eq!(chosen.values().map(|host| host.state).collect::<Vec<_>>(), [AdminState::Maint, AdminState::Ready]);
        assert!(Arc::ptr_eq(&discovered, &with_choices(&discovered, std::iter::empty())), "no list is copied in vain");
    }
}
