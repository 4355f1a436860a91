//! What is wanted of single servers for a time, beside what the list of hosts says of them: operators' choices,
//! servers that leave, servers that are new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{AdminState, HostList, ServerName};

/// How far a server is that left discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It may finish what it has, and takes nothing new.
    Draining,
    /// It has no sessions left.
    Idle,
    /// Its time to finish is over.
    TimedOut,
}

/// What is wanted of single servers of one service for a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Servers whose state in the list is an operator's choice.
    pub chosen: BTreeSet<ServerName>,
    /// Servers out of discovery that need not go into maintenance at once.
    pub leaving: BTreeMap<ServerName, Departure>,
    /// The share of their weight, in percent, that newcomers have until they have all of it.
    pub rising: BTreeMap<ServerName, u8>,
    /// Servers that somebody had put into drain on the socket of the process before.
    pub drained_before: BTreeSet<ServerName>,
}

impl Overlay {
    /// Nothing besides the list.
    pub const NONE: Self = Self {
        chosen: BTreeSet::new(),
        leaving: BTreeMap::new(),
        rising: BTreeMap::new(),
        drained_before: BTreeSet::new(),
    };

    /// The weight of a server whose own is `full`: a server that takes traffic has 1 at the least.
    pub fn weight(&self, server: &ServerName, full: u16) -> u16 {
        match self.rising.get(server) {
            Some(percent) if full > 0 => (u32::from(full) * u32::from(*percent) / 100).max(1) as u16,
            _ => full,
        }
    }
}

/// The list in which the states that operators chose take the place of those that discovery asks for.
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
        let endpoint = Endpoint { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() };
        Arc::new(names.iter().map(|text| (name(text), Host::at(endpoint.clone()).into())).collect())
    }

    #[test]
    fn a_newcomer_has_a_share_of_its_weight_and_never_none() {
        let overlay = Overlay { rising: [(name("a"), 10)].into(), ..Overlay::NONE };
        assert_eq!([100, 5, 1, 0].map(|full| overlay.weight(&name("a"), full)), [10, 1, 1, 0]);
        assert_eq!(overlay.weight(&name("b"), 100), 100);
        assert_eq!(Overlay { rising: [(name("a"), 90)].into(), ..Overlay::NONE }.weight(&name("a"), 256), 230);
    }

    #[test]
    fn a_choice_takes_the_place_of_what_discovery_says() {
        let discovered = list(&["a", "b"]);
        let chosen = with_choices(
            &discovered,
            [(&name("a"), AdminState::Maint), (&name("gone"), AdminState::Drain)].into_iter(),
        );
        assert_eq!(chosen.values().map(|host| host.state).collect::<Vec<_>>(), [AdminState::Maint, AdminState::Ready]);
        assert!(Arc::ptr_eq(&discovered, &with_choices(&discovered, std::iter::empty())), "no list is copied in vain");
    }
}
