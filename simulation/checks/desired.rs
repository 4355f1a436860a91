//! What the actors should do with each host and process now.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::model::AdminState;

use crate::tampering::NARROW;
use crate::things::Things;

impl Things {
    /// The services that would be removed at once if the definitions were shown now, where the guard blocks that.
    pub(crate) fn blocked(&self) -> BTreeSet<String> {
        let is_defined = |name: &String| self.services.get(name).is_some_and(|service| service.defined);
        self.oracle.blocked(is_defined)
    }

    /// The state that a host ought to have: an operator's choice, or what discovery says; none where it is gone.
    pub(crate) fn state(&self, service: &str, host: u8) -> Option<AdminState> {
        let shown = self.services.get(service)?.hosts.get(host)?;
        Some(self.oracle.choices.state(service, host).unwrap_or(shown.state))
    }

    /// The hosts that ought to take traffic, with their weights.
    pub(crate) fn wanted(&self, service: &str) -> BTreeMap<u8, u16> {
        let hosts = self.services.get(service).into_iter().flat_map(|known| known.hosts.iter());
        let ready = hosts.filter(|(host, _)| self.state(service, *host) == Some(AdminState::Ready));
        ready.map(|(host, shown)| (host, shown.weight)).collect()
    }

    /// The weights as far as the manager decides on them: where there are agents, they do.
    pub(super) fn weighed(&self, hosts: BTreeMap<u8, u16>) -> BTreeMap<u8, u16> {
        if self.agents.exist { hosts.into_keys().map(|host| (host, 1)).collect() } else { hosts }
    }

    /// Whether a process has been finishing what it has for too long, or is one of too many that do.
    pub(crate) fn is_beyond_limits(&self, pid: u32) -> bool {
        let Some(since) = self.drains.get(&pid).filter(|_| self.takes_time) else { return false };
        // Of those that began together any may be taken for the oldest.
        let others = self.drains.iter().filter(|(other, at)| **other != pid && *at >= since).count();
        others >= NARROW.count_max || NARROW.age_max.is_some_and(|age_max| since.elapsed() >= age_max)
    }
}
