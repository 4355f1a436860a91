//! The desired state of each host and process.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::model::AdminState;

use crate::tampering::NARROW;
use crate::things::Things;

impl Things {
    /// Returns the services that would be removed if the definitions were shown now, if the guard blocks that.
    pub(crate) fn blocked(&self) -> BTreeSet<String> {
        let is_defined = |name: &String| self.services.get(name).is_some_and(|service| service.defined);
        self.oracle.blocked(is_defined)
    }

    /// Returns the desired state of a host, from operators or discovery; `None` if it is gone.
    pub(crate) fn state(&self, service: &str, host: u8) -> Option<AdminState> {
        let shown = self.services.get(service)?.hosts.get(host)?;
        Some(self.oracle.choices.state(service, host).unwrap_or(shown.state))
    }

    /// Returns the hosts that should take traffic, with their weights.
    pub(crate) fn wanted(&self, service: &str) -> BTreeMap<u8, u16> {
        let hosts = self.services.get(service).into_iter().flat_map(|known| known.hosts.iter());
        let ready = hosts.filter(|(host, _)| self.state(service, *host) == Some(AdminState::Ready));
        ready.map(|(host, shown)| (host, shown.weight)).collect()
    }

    /// Returns the weights as far as the manager decides on them: with agents, the agents decide.
    pub(super) fn weighed(&self, hosts: BTreeMap<u8, u16>) -> BTreeMap<u8, u16> {
        if self.agents.exist { hosts.into_keys().map(|host| (host, 1)).collect() } else { hosts }
    }

    /// Returns whether a process drains for too long, or is one of too many that drain.
    pub(crate) fn is_beyond_limits(&self, pid: u32) -> bool {
        let Some(since) = self.drains.get(&pid).filter(|_| self.takes_time) else { return false };
        // Of processes that began to drain together, any may count as the oldest.
        let others = self.drains.iter().filter(|(other, at)| **other != pid && *at >= since).count();
        others >= NARROW.count_max || NARROW.age_max.is_some_and(|age_max| since.elapsed() >= age_max)
    }
}
