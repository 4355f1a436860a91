//! Where the desired and the observed state may differ, and what else has to be looked at.
//!
//! Services that discovery or an operator just changed go before those that are only looked through again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use crate::decide::proxy_plan::Step;
use crate::decide::scope::Scope;
use crate::model::{ServerName, ServiceName};

/// What the reconciler has to look at.
#[derive(Debug, Default)]
pub struct WorkQueue {
    /// Services that were just changed, and how much of each may differ.
    urgent: BTreeMap<ServiceName, Scope>,
    /// Services that are looked through again.
    review: BTreeMap<ServiceName, Scope>,
    /// Services that an observation found different from what was applied.
    drifted: BTreeSet<ServiceName>,
    /// Services with servers that drain, whose sessions have to be read.
    pub drains: BTreeSet<ServiceName>,
    /// Services whose servers are to be observed soon.
    pub observe: BTreeSet<ServiceName>,
    /// Whether everything is to be observed.
    pub observe_all: bool,
    /// Whether the files on disk are to be compared with what was written.
    pub compare_files: bool,
    /// Whether the assignment of domains is to be decided again.
    pub routes: bool,
    /// Whether servers that have waited in maintenance long enough are to be deleted.
    pub sweep: bool,
}

impl WorkQueue {
    /// This service was just changed.
    pub fn changed(&mut self, service: ServiceName) {
        self.changed_scope(service, Scope::Whole);
    }

    /// These servers of a service were just changed, and nothing else of it that is not queued already.
    pub fn changed_servers(&mut self, service: ServiceName, servers: impl IntoIterator<Item = ServerName>) {
        self.changed_scope(service, Scope::Servers(servers.into_iter().collect()));
    }

    fn changed_scope(&mut self, service: ServiceName, scope: Scope) {
        let reviewed = self.review.remove(&service);
        insert(&mut self.urgent, service.clone(), scope);
        if let Some(scope) = reviewed {
            insert(&mut self.urgent, service, scope);
        }
    }

    /// These services are looked through when nothing else is to be done.
    pub fn review(&mut self, services: impl IntoIterator<Item = ServiceName>) {
        for service in services {
            let queue = if self.urgent.contains_key(&service) { &mut self.urgent } else { &mut self.review };
            insert(queue, service, Scope::Whole);
        }
    }

    /// These servers of a service are looked at again.
    pub fn review_servers(&mut self, service: ServiceName, servers: impl IntoIterator<Item = ServerName>) {
        let queue = if self.urgent.contains_key(&service) { &mut self.urgent } else { &mut self.review };
        insert(queue, service, Scope::Servers(servers.into_iter().collect()));
    }

    /// The servers of these steps are looked at again, if there are any.
    pub fn review_servers_of(&mut self, service: &ServiceName, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.review_servers(service.clone(), steps.into_iter().map(|step| step.server));
        }
    }

    /// Takes out the next service, and what of it may differ.
    pub fn pop(&mut self) -> Option<(ServiceName, Scope)> {
        self.urgent.pop_first().or_else(|| self.review.pop_first())
    }

    /// Whether no service is queued.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.review.is_empty()
    }

    /// An observation found these services different from what was applied.
    pub fn drift_found(&mut self, services: impl IntoIterator<Item = ServiceName>) {
        self.drifted.extend(services);
    }

    /// Whether this service drifted since it was last planned. The question is answered once.
    pub fn take_drift(&mut self, service: &ServiceName) -> bool {
        self.drifted.remove(service)
    }

    /// Drift that was found in another process is of no interest any more.
    pub fn forget_drift(&mut self) {
        self.drifted.clear();
    }

    /// Takes out the first of these services whose sessions are to be read, at most `max`.
    pub fn pop_drains(&mut self, max: usize, has_section: impl Fn(&ServiceName) -> bool) -> Vec<ServiceName> {
        let mut services = Vec::new();
        while services.len() < max
            && let Some(service) = self.drains.pop_first()
        {
            if has_section(&service) {
                services.push(service);
            }
        }
        services
    }
}

fn insert(queue: &mut BTreeMap<ServiceName, Scope>, service: ServiceName, scope: Scope) {
    match queue.entry(service) {
        Entry::Vacant(free) => drop(free.insert(scope)),
        Entry::Occupied(mut queued) => queued.get_mut().widen(scope),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    fn server(name: &str) -> ServerName {
        ServerName::new(name).unwrap()
    }

    #[test]
    fn changed_service_precedes_reviewed_ones() {
        let mut work = WorkQueue::default();
        work.review([service("a"), service("b")]);
        work.changed_servers(service("b"), [server("s")]);
        assert_eq!(work.pop(), Some((service("b"), Scope::Whole)), "a review of the whole is not lost");
        assert_eq!(work.pop(), Some((service("a"), Scope::Whole)));
        assert!(work.is_empty());
    }

    #[test]
    fn changed_servers_are_merged() {
        let mut work = WorkQueue::default();
        work.changed_servers(service("a"), [server("s")]);
        work.changed_servers(service("a"), [server("t")]);
        work.review_servers(service("a"), [server("u")]);
        let scope = Scope::Servers([server("s"), server("t"), server("u")].into());
        assert_eq!(work.pop(), Some((service("a"), scope)));
        assert_eq!(work.pop(), None);
    }

    #[test]
    fn drift_is_reported_once() {
        let mut work = WorkQueue::default();
        work.drift_found([service("a")]);
        assert!(work.take_drift(&service("a")));
        assert!(!work.take_drift(&service("a")));
    }

    #[test]
    fn drains_without_section_are_skipped() {
        let mut work = WorkQueue::default();
        work.drains.extend(["a", "b", "c"].map(service));
        assert_eq!(work.pop_drains(1, |name| name.as_str() != "a"), [service("b")]);
        assert_eq!(work.pop_drains(9, |_| true), [service("c")]);
    }
}
