//! Which server has which persistent id.
//!
//! An id is derived from the server's endpoint, so that all managers and all processes of HAProxy agree on it without
//! talking to each other: keys stay with their servers across reloads and machines. Two endpoints may derive the same
//! id; then the later server takes the next free one, and keeps it for as long as it exists. Only such exceptions are
//! kept and saved.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::sync::Arc;

use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools;

use super::common_ends::between_common_ends;
use super::server_order::{in_file_order, ranks_all};
use super::slots;
use crate::model::{Endpoint, Host, HostList, PersistentId, ServerName, ServiceDefinition, UpdateStrategy};

/// The distance between neighbours in [`Numbering::InOrder`], where there is room for it: so many servers can come
/// between two others, one after the other in the middle, before a reload has to renumber them all.
const GAP: i64 = 1_024;

/// How the ids of one service's servers are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// Derived from the endpoint.
    ByEndpoint,
    /// Ascending in the order of the hosts: `balance first` prefers the lowest id.
    InOrder,
    /// By the number of the slot, whoever is in it.
    BySlot,
}

impl Numbering {
    /// The numbering of a service that is updated in this way.
    pub fn of(definition: &ServiceDefinition, strategy: UpdateStrategy) -> Self {
        match strategy {
            UpdateStrategy::Slots => Self::BySlot,
            _ if ranks_all(definition) => Self::InOrder,
            _ => Self::ByEndpoint,
        }
    }
}

/// The ids of one service's servers, for whoever writes them down. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerIds {
    /// The ids that are not the ones derived from the servers' endpoints.
    exceptions: Arc<BTreeMap<ServerName, PersistentId>>,
}

impl ServerIds {
    /// The id of a server.
    pub fn of(&self, server: &ServerName, endpoint: &Endpoint) -> PersistentId {
        self.exception(server).unwrap_or_else(|| derived(endpoint))
    }

    /// The id of a server, where it is not the one derived from its endpoint.
    pub fn exception(&self, server: &ServerName) -> Option<PersistentId> {
        if self.exceptions.is_empty() { None } else { self.exceptions.get(server).copied() }
    }
}

/// The id that an endpoint derives: the same on every machine and in every version of this program.
pub fn derived(endpoint: &Endpoint) -> PersistentId {
    let mut hash = StableHash::default();
    write!(hash, "{endpoint}").expect("hashing cannot fail");
    PersistentId::ranked(hash.finish())
}

/// FNV-1a of 64 bits, with the finalizer of MurmurHash3 for texts as short and as similar as addresses are. The standard
/// library's hashers may change from release to release.
struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

impl Write for StableHash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

/// Gives ids to the servers of one service, and keeps them unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerIdRegistry {
    /// None before the first list.
    numbering: Option<Numbering>,
    ids: ServerIds,
    /// The servers that the ids were last given to.
    servers: Arc<HostList>,
    /// Servers that are gone, but may still be in HAProxy, or come back.
    departed: BTreeMap<ServerName, PersistentId>,
    /// Every id in use, those of departed servers included.
    taken: BTreeSet<PersistentId>,
}

impl ServerIdRegistry {
    /// The registry as an earlier run of the daemon left it: what it [`remembered`](Self::remembered) of these hosts,
    /// by this definition. A service in slots leaves nothing to remember.
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

    /// The ids.
    pub fn ids(&self) -> &ServerIds {
        &self.ids
    }

    /// What the next run of the daemon has to know, so that no server changes its id.
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

    /// Gives every server of this list an id. Those that have one keep it, unless the numbering changes or
    /// [`Numbering::InOrder`] finds no room for a newcomer.
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

    /// Forgets a departed server: HAProxy has deleted it.
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

    /// Gives the newcomer the id, or the next one that is free.
    fn take(&mut self, server: &ServerName, endpoint: &Endpoint, id: PersistentId) {
        let ranks = (u64::from(id.rank())..).take(PersistentId::COUNT as usize);
        let free = ranks.map(PersistentId::ranked).find(|id| !self.taken.contains(id));
        let id = free.expect("a service has far fewer servers than there are ids");
        self.taken.insert(id);
        self.set(server, endpoint, id);
    }

    /// Notes the id of a server that is at this endpoint.
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

    /// Fits the newcomers in between the others; where there is no room, numbers all servers anew.
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

/// Ascending ids that leave the known ones as they are; none where those do not ascend, or leave no room.
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
