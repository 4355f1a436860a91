//! The queue of services whose desired and observed state may differ, and other work to do.
//!
//! Services that discovery or an operator just changed precede those that are only reviewed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use crate::decide::proxy_plan::Step;
use crate::decide::scope::Scope;
use crate::model::{ServerName, ServiceName};

/// The work of the reconciler.
#[derive(Debug, Default)]
pub struct WorkQueue {
    /// Services that just changed, and the scope of each change.
    urgent: BTreeMap<ServiceName, Scope>,
    /// The service that was taken out last.
    last: Option<ServiceName>,
    /// Services to review, and the scope of each review.
    review: BTreeMap<ServiceName, Scope>,
    /// Services whose observed state differs from the applied one.
    drifted: BTreeSet<ServiceName>,
    /// Services whose backends come or go at run time.
    pub backends: BTreeSet<ServiceName>,
    /// Services with draining servers, whose sessions have to be read.
    pub drains: BTreeSet<ServiceName>,
    /// Services whose servers are to be observed soon.
    pub observe: BTreeSet<ServiceName>,
    /// Services of a new process, whose servers are to be observed after those.
    pub observe_later: BTreeSet<ServiceName>,
    /// Whether everything is to be observed.
    pub observe_all: bool,
    /// Whether the files on disk are to be compared with the last written texts.
    pub compare_files: bool,
    /// Whether the domains are to be assigned again.
    pub routes: bool,
    /// Whether servers that have waited in maintenance long enough are to be deleted.
    pub sweep: bool,
    /// Whether servers of backends that leave the process are to be taken out of use, or deleted.
    pub departures: bool,
}

impl WorkQueue {
    /// Queues a service that just changed.
    pub fn changed(&mut self, service: ServiceName) {
        self.changed_scope(service, Scope::Whole);
    }

    /// Queues servers of a service that just changed; the rest of the service did not.
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

    /// Queues services for review, after all changed ones.
    pub fn review(&mut self, services: impl IntoIterator<Item = ServiceName>) {
        for service in services {
            let queue = if self.urgent.contains_key(&service) { &mut self.urgent } else { &mut self.review };
            insert(queue, service, Scope::Whole);
        }
    }

    /// Queues servers of a service for review.
    pub fn review_servers(&mut self, service: ServiceName, servers: impl IntoIterator<Item = ServerName>) {
        let queue = if self.urgent.contains_key(&service) { &mut self.urgent } else { &mut self.review };
        insert(queue, service, Scope::Servers(servers.into_iter().collect()));
    }

    /// Queues the servers of these steps for review, if there are any.
    pub fn review_servers_of(&mut self, service: &ServiceName, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.review_servers(service.clone(), steps.into_iter().map(|step| step.server));
        }
    }

    /// Takes out the next service, and the scope that may differ. Services take turns, so that none waits for another that
    /// changes all the time.
    pub fn pop(&mut self) -> Option<(ServiceName, Scope)> {
        let last = self.last.as_ref();
        let next = take_after(&mut self.urgent, last).or_else(|| take_after(&mut self.review, last))?;
        self.last = Some(next.0.clone());
        Some(next)
    }

    /// Returns whether no service is queued.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.review.is_empty()
    }

    /// Records services whose observed state differs from the applied one.
    pub fn drift_found(&mut self, services: impl IntoIterator<Item = ServiceName>) {
        self.drifted.extend(services);
    }

    /// Returns whether this service drifted since it was last planned, and clears the mark.
    pub fn take_drift(&mut self, service: &ServiceName) -> bool {
        self.drifted.remove(service)
    }

    /// Forgets drift that was found in the previous process.
    pub fn forget_drift(&mut self) {
        self.drifted.clear();
    }

    /// Takes out the next services to observe, at most `max`.
    pub fn pop_observed(&mut self, max: usize) -> Vec<ServiceName> {
        let next = || {
            let Some(service) = self.observe.pop_first() else { return self.observe_later.pop_first() };
            self.observe_later.remove(&service);
            Some(service)
        };
        std::iter::from_fn(next).take(max).collect()
    }

    /// Returns whether servers are to be observed.
    pub fn is_observing(&self) -> bool {
        self.observe_all || !self.observe.is_empty() || !self.observe_later.is_empty()
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

/// Takes out the first service after this one, or else the first of all.
fn take_after(queue: &mut BTreeMap<ServiceName, Scope>, last: Option<&ServiceName>) -> Option<(ServiceName, Scope)> {
    let after = last.map_or(Bound::Unbounded, Bound::Excluded);
    match queue.range::<ServiceName, _>((after, Bound::Unbounded)).next().map(|(name, _)| name.clone()) {
        Some(name) => queue.remove_entry(&name),
        None => queue.pop_first(),
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
    fn services_take_turns() {
        let mut work = WorkQueue::default();
        let mut taken = Vec::new();
        for _ in 0..4 {
            work.changed(service("a"));
            work.changed(service("b"));
            taken.push(work.pop().unwrap().0);
        }
        assert_eq!(taken, ["a", "b", "a", "b"].map(service));
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
    fn services_of_a_new_process_are_observed_last_and_once() {
        let mut work = WorkQueue::default();
        work.observe_later.extend(["a", "b", "c"].map(service));
        work.observe.insert(service("b"));
        assert!(work.is_observing());
        assert_eq!(work.pop_observed(2), [service("b"), service("a")]);
        assert_eq!(work.pop_observed(2), [service("c")]);
        assert!(!work.is_observing());
    }

    #[test]
    fn drains_without_section_are_skipped() {
        let mut work = WorkQueue::default();
        work.drains.extend(["a", "b", "c"].map(service));
        assert_eq!(work.pop_drains(1, |name| name.as_str() != "a"), [service("b")]);
        assert_eq!(work.pop_drains(9, |_| true), [service("c")]);
    }

    #[test]
    fn queue_is_empty_without_changed_and_reviewed_services() {
        let mut work = WorkQueue::default();
        assert!(work.is_empty());
        work.review([service("a")]);
        assert!(!work.is_empty());
        work.changed(service("b"));
        work.pop();
        assert!(!work.is_empty(), "a review waits");
        work.pop();
        work.changed(service("b"));
        assert!(!work.is_empty());
    }

    #[test]
    fn review_of_a_changed_service_keeps_its_place() {
        let mut work = WorkQueue::default();
        work.changed_servers(service("b"), [server("s")]);
        work.review([service("a"), service("b")]);
        assert_eq!(work.pop(), Some((service("b"), Scope::Whole)));
        assert_eq!(work.pop(), Some((service("a"), Scope::Whole)));
        assert_eq!(work.pop(), None);
    }

    #[test]
    fn drift_of_the_previous_process_is_forgotten() {
        let mut work = WorkQueue::default();
        work.drift_found([service("a")]);
        work.forget_drift();
        assert!(!work.take_drift(&service("a")));
    }
}
