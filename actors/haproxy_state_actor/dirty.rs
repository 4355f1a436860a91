//! Where the desired and the actual state may differ: whole services, or single servers where nothing else changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::decide::scope::Scope;
use crate::model::{ServerName, ServiceName};

/// The services that are to be planned, and how much of each.
#[derive(Debug, Default)]
pub struct Dirty(BTreeMap<ServiceName, Scope>);

impl Dirty {
    /// The whole service may differ.
    pub fn insert(&mut self, service: ServiceName) {
        self.insert_scope(service, Scope::Whole);
    }

    /// These servers of a service may differ, and nothing else of it that is not noted already.
    pub fn insert_servers(&mut self, service: ServiceName, servers: impl IntoIterator<Item = ServerName>) {
        self.insert_scope(service, Scope::Servers(servers.into_iter().collect()));
    }

    fn insert_scope(&mut self, service: ServiceName, scope: Scope) {
        match self.0.entry(service) {
            Entry::Vacant(clean) => drop(clean.insert(scope)),
            Entry::Occupied(mut dirty) => dirty.get_mut().widen(scope),
        }
    }

    /// Takes out the first service, and what of it is to be planned.
    pub fn pop_first(&mut self) -> Option<(ServiceName, Scope)> {
        self.0.pop_first()
    }

    /// Nothing may differ any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether nothing may differ.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<ServiceName> for Dirty {
    fn extend<T: IntoIterator<Item = ServiceName>>(&mut self, services: T) {
        services.into_iter().for_each(|service| self.insert(service));
    }
}

impl FromIterator<ServiceName> for Dirty {
    fn from_iter<T: IntoIterator<Item = ServiceName>>(services: T) -> Self {
        let mut dirty = Self::default();
        dirty.extend(services);
        dirty
    }
}
