//! Persistent ids of servers.
//!
//! An id is derived from the server's endpoint, so that all managers and all processes of HAProxy agree on it without
//! communication: hash keys stay with their servers across reloads and machines. Where two endpoints derive the same
//! id, the later server gets the next free one, and keeps it as long as it exists. Only such exceptions are saved.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools;

use super::common_ends::between_common_ends;
use super::server_order::{in_file_order, ranks_all};
use super::slots;
use super::stable_hash::StableHash;
use crate::model::{Endpoint, Host, HostList, PersistentId, ServerName, ServiceDefinition, UpdateStrategy};

/// The distance between neighbours in [`Numbering::InOrder`], where there is room for it. It leaves room to insert
/// servers between two others before a reload has to renumber them all.
const GAP: i64 = 1_024;

/// How the ids of one service's servers are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// Derived from the endpoint.
    ByEndpoint,
    /// Ascending in the order of the hosts: `balance first` prefers the lowest id.
    InOrder,
    /// Equal to the number of the slot, independent of the host in it.
    BySlot,
}

impl Numbering {
    /// Returns the numbering of a service with this strategy.
    pub fn of(definition: &ServiceDefinition, strategy: UpdateStrategy) -> Self {
        match strategy {
            UpdateStrategy::Slots => Self::BySlot,
            _ if ranks_all(definition) => Self::InOrder,
            _ => Self::ByEndpoint,
        }
    }
}

/// The ids of one service's servers. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerIds {
    /// The ids that are not derived from the servers' endpoints.
    exceptions: Arc<BTreeMap<ServerName, PersistentId>>,
}

impl ServerIds {
    /// Returns the id of a server.
    pub fn of(&self, server: &ServerName, endpoint: &Endpoint) -> PersistentId {
        self.exception(server).unwrap_or_else(|| derived(endpoint))
    }

    /// Returns the id of a server, where it is not derived from its endpoint.
    pub fn exception(&self, server: &ServerName) -> Option<PersistentId> {
        if self.exceptions.is_empty() { None } else { self.exceptions.get(server).copied() }
    }
}

/// Returns the id derived from an endpoint: the same on every machine and in every version of this program.
pub fn derived(endpoint: &Endpoint) -> PersistentId {
    let mut hash = StableHash::default();
    write!(hash, "{endpoint}").expect("hashing cannot fail");
    PersistentId::ranked(hash.finish())
}

/// Assigns ids to the servers of one service, and keeps them unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerIdRegistry {
    /// `None` before the first list.
    numbering: Option<Numbering>,
    ids: ServerIds,
    /// The servers of the last assignment.
    servers: Arc<HostList>,
    /// Removed servers that may still be in HAProxy, or come back.
    departed: BTreeMap<ServerName, PersistentId>,
    /// Every id in use, including those of departed servers.
    taken: BTreeSet<PersistentId>,
}

impl ServerIdRegistry {
    /// Restores the registry of an earlier run of the daemon from its saved ids ([`remembered`](Self::remembered)),
    /// with these hosts and this definition. A service in slots saves no ids.
    pub fn restored(
        definition: &ServiceDefinition,
        remembered: &BTreeMap<ServerName, PersistentId>,
        hosts: &HostList,
    ) -> Self {
        let numbering = Numbering::of(definition, UpdateStrategy::Dynamic);
        let ids = ServerIds { exceptions: Arc::new(remembered.clone()) };
        let departed: BTreeMap<_, _> =
            hosts.iter().map(|(server, host)| (server.clone(), ids.of(server, &host.endpoint))).collect();
        let taken = departed.values().copied().collect();
        Self { numbering: Some(numbering), ids, servers: Arc::default(), departed, taken }
    }

    /// Returns the ids.
    pub fn ids(&self) -> &ServerIds {
        &self.ids
    }

    /// Returns the ids to save for the next run of the daemon, so that no server changes its id.
    pub fn remembered(&self) -> BTreeMap<ServerName, PersistentId> {
        if self.numbering == Some(Numbering::BySlot) {
            return BTreeMap::new();
        }
        let exists = |server: &ServerName| self.servers.contains_key(server) || self.departed.contains_key(server);
        self.ids
            .exceptions
            .iter()
            .filter(|(server, _)| exists(server))
            .map(|(server, id)| (server.clone(), *id))
            .collect()
    }

    /// Assigns an id to every server of this list. Existing ids stay, unless the numbering changes or
    /// [`Numbering::InOrder`] has no room for a new server.
    pub fn assign(&mut self, servers: &Arc<HostList>, numbering: Numbering) {
        if self.numbering != Some(numbering) {
            *self = Self { numbering: Some(numbering), ..Self::default() };
        }
        if Arc::ptr_eq(&self.servers, servers) {
            return;
        }
        let before = std::mem::replace(&mut self.servers, servers.clone());
        let (of_before, of_now) =
            between_common_ends(before.as_slice(), servers.as_slice(), |(name, host), (other, now)| {
                name == other && (Arc::ptr_eq(host, now) || host.endpoint == now.endpoint)
            });
        let mut newcomers = Vec::new();
        let before = before.as_slice()[of_before].iter();
        for pair in before.merge_join_by(&servers.as_slice()[of_now], |(name, _), (other, _)| name.cmp(other)) {
            match pair {
                Left((name, host)) => {
                    self.departed.insert(name.clone(), self.ids.of(name, &host.endpoint));
                }
                Both((name, host), (_, now)) => self.set(name, &now.endpoint, self.ids.of(name, &host.endpoint)),
                Right((name, host)) => match self.departed.remove(name) {
                    Some(id) => self.set(name, &host.endpoint, id),
                    None => newcomers.push((name, &host.endpoint)),
                },
            }
        }
        match numbering {
            Numbering::InOrder => self.order(servers, &newcomers),
            Numbering::ByEndpoint => newcomers.into_iter().for_each(|(name, at)| self.take(name, at, derived(at))),
            Numbering::BySlot => newcomers.into_iter().for_each(|(name, at)| {
                self.take(
                    name,
                    at,
                    slots::number(name).map_or_else(|| derived(at), |number| PersistentId::ranked(number - 1)),
                );
            }),
        }
    }

    /// Forgets a departed server that HAProxy has deleted.
    pub fn forget(&mut self, server: &ServerName) {
        if let Some(id) = self.departed.remove(server) {
            self.taken.remove(&id);
            if self.ids.exceptions.contains_key(server) {
                Arc::make_mut(&mut self.ids.exceptions).remove(server);
            }
        }
    }

    /// Forgets the departed servers that a new process of HAProxy does not have.
    pub fn keep(&mut self, is_there: impl Fn(&ServerName) -> bool) {
        let gone: Vec<ServerName> = self.departed.keys().filter(|server| !is_there(server)).cloned().collect();
        gone.iter().for_each(|server| self.forget(server));
    }

    /// Assigns the id to a new server, or the next free one.
    fn take(&mut self, server: &ServerName, endpoint: &Endpoint, id: PersistentId) {
        let ranks = (u64::from(id.rank())..).take(PersistentId::COUNT as usize);
        let free = ranks.map(PersistentId::ranked).find(|id| !self.taken.contains(id));
        let id = free.expect("a service has far fewer servers than there are ids");
        self.taken.insert(id);
        self.set(server, endpoint, id);
    }

    /// Records the id of a server at this endpoint.
    fn set(&mut self, server: &ServerName, endpoint: &Endpoint, id: PersistentId) {
        let exception = (id != derived(endpoint)).then_some(id);
        if self.ids.exception(server) != exception {
            let exceptions = Arc::make_mut(&mut self.ids.exceptions);
            match exception {
                Some(id) => exceptions.insert(server.clone(), id),
                None => exceptions.remove(server),
            };
        }
    }

    /// Inserts the new servers between the others; where there is no room, renumbers all servers.
    fn order(&mut self, servers: &HostList, newcomers: &[(&ServerName, &Endpoint)]) {
        let is_new = |server: &ServerName| newcomers.binary_search_by(|(name, _)| (*name).cmp(server)).is_ok();
        let known =
            |(server, host): &&(ServerName, Arc<Host>)| (!is_new(server)).then(|| self.ids.of(server, &host.endpoint));
        let servers = in_file_order(servers);
        let known: Vec<Option<PersistentId>> = servers.iter().map(known).collect();
        let ids = fitted(&known, &self.taken).unwrap_or_else(|| {
            self.departed.clear();
            self.taken.clear();
            fitted(&vec![None; known.len()], &self.taken).expect("a service has far fewer servers than there are ids")
        });
        for ((server, host), id) in servers.into_iter().zip(ids) {
            self.taken.insert(id);
            self.set(server, &host.endpoint, id);
        }
    }
}

/// Returns ascending ids that keep the known ones; `None` where those do not ascend, or leave no room.
fn fitted(known: &[Option<PersistentId>], taken: &BTreeSet<PersistentId>) -> Option<Vec<PersistentId>> {
    let mut ids: Vec<PersistentId> = Vec::with_capacity(known.len());
    let rank = |id: Option<&PersistentId>| id.map_or(-1, |id| i64::from(id.rank()));
    while let Some(next) = known.get(ids.len()) {
        let low = rank(ids.last());
        if let Some(id) = next {
            if rank(Some(id)) <= low {
                return None;
            }
            ids.push(*id);
            continue;
        }
        let after = &known[ids.len()..];
        let count = after.iter().position(Option::is_some).unwrap_or(after.len());
        let high = after.get(count).and_then(Option::as_ref).map(|id| rank(Some(id)));
        let room = (high.unwrap_or(i64::from(PersistentId::COUNT)) - low) / (i64::try_from(count).ok()? + 1);
        let step = if high.is_some() { room } else { room.min(GAP) };
        for _ in 0..count {
            let last = rank(ids.last());
            let mut free = (last + step.max(1)..high.unwrap_or(i64::from(PersistentId::COUNT)))
                .filter_map(|rank| u64::try_from(rank).ok())
                .map(PersistentId::ranked)
                .filter(|id| !taken.contains(id));
            ids.push(free.next()?);
        }
    }
    Some(ids)
}
