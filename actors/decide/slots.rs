//! Slots: spare servers with their own names in HAProxy, for versions that cannot add servers at run time.
//!
//! The table maps servers of discovery to slots. It converts a list of hosts to a list of slots
//! ([`SlotTable::servers`]), so that plan, file and observation need no special case: a host in a slot is a server that
//! changed its address, and a free slot is a server in maintenance.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Address, AdminState, Endpoint, Host, HostList, ServerName, SlotRules};

/// The prefix of slot names, before the number.
const PREFIX: &str = "slot";

/// The assignment of servers to slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Option<Tenant>>", into = "Vec<Option<Tenant>>")]
pub struct SlotTable {
    /// The slots; the first is `slot1`.
    slots: Vec<Slot>,
    /// The current or last slot of each server.
    places: BTreeMap<ServerName, usize>,
    /// The number of slots that became free so far.
    freed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    name: ServerName,
    /// `None` where it was never used.
    tenant: Option<Tenant>,
}

/// The current or last server of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The server's name in discovery.
    server: ServerName,
    /// Its last known host.
    host: Arc<Host>,
    /// The sequence number of its departure: the lower, the longer ago. `None` while it has the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl Tenant {
    fn has_left(&self) -> bool {
        self.left.is_some()
    }
}

impl Slot {
    fn numbered(index: usize) -> Self {
        let name = ServerName::new(&format!("{PREFIX}{}", index + 1)).expect("letters and digits make a name");
        Self { name, tenant: None }
    }

    /// Returns the sequence number of its tenant's departure; `None` where it was never used.
    fn left(&self) -> Option<u64> {
        self.tenant.as_ref()?.left
    }

    fn is_free(&self) -> bool {
        self.tenant.as_ref().is_none_or(Tenant::has_left)
    }

    /// Returns whether the slot has the options of the host, which cannot be set at run time.
    fn suits(&self, host: &Host) -> bool {
        match &self.tenant {
            Some(Tenant { host: last, .. }) => {
                (last.backup, &last.cookie, &last.options) == (host.backup, &host.cookie, &host.options)
            }
            None => !host.backup && host.cookie.is_none() && host.options.is_empty(),
        }
    }

    /// Returns the host of the slot while it is free. It keeps the last address, so that its host can come back without
    /// an address change; but never a host name or a unix socket, because the address of such a server cannot be set at run time.
    fn free_host(&self) -> Host {
        match &self.tenant {
            Some(Tenant { host, .. }) if host.endpoint.ip().is_some() => {
                Host { state: AdminState::Maint, ..Host::clone(host) }
            }
            _ => Host { state: AdminState::Maint, ..Host::at(placeholder()) },
        }
    }
}

/// Returns the address of a slot that was never used. It gets no connections, because the slot is in maintenance.
fn placeholder() -> Endpoint {
    Endpoint::Tcp { address: Address::Ip(Ipv4Addr::LOCALHOST.into()), port: NonZeroU16::MIN }
}

impl SlotTable {
    /// Assigns slots to a list of hosts. A removed host frees its slot, a returning one gets its last slot, and a new
    /// one gets the slot that has been free for longest among those with its options. Slots that are still draining
    /// (`is_leaving`) are not reused. Slots are added where too few are free.
    pub fn place(&mut self, hosts: &HostList, rules: SlotRules, is_leaving: impl Fn(&ServerName) -> bool) {
        let freed_before = self.freed;
        for tenant in self.slots.iter_mut().filter_map(|slot| slot.tenant.as_mut()) {
            match hosts.get(&tenant.server) {
                Some(host) => tenant.host.clone_from(host),
                None if !tenant.has_left() => {
                    self.freed += 1;
                    tenant.left = Some(self.freed);
                }
                _ => {}
            }
        }
        let has_none = |(server, _): &(&ServerName, &Arc<Host>)| {
            self.places.get(*server).is_none_or(|index| self.slots[*index].is_free())
        };
        let newcomers: Vec<(&ServerName, &Arc<Host>)> = hosts.iter().filter(has_none).collect();
        let (returning, new): (Vec<_>, Vec<_>) =
            newcomers.into_iter().partition(|(server, _)| self.places.contains_key(*server));
        for (server, host) in returning {
            self.occupy(self.places[server], server, host);
        }
        if !new.is_empty() {
            self.place_new(&new, freed_before, is_leaving);
        }
        self.grow(rules);
    }

    fn place_new(
        &mut self,
        new: &[(&ServerName, &Arc<Host>)],
        freed_before: u64,
        is_leaving: impl Fn(&ServerName) -> bool,
    ) {
        let can_be_taken = |slot: &Slot| match &slot.tenant {
            Some(tenant) => tenant.has_left() && !is_leaving(&tenant.server),
            None => true,
        };
        let free = self.slots.iter().enumerate().filter(|(_, slot)| can_be_taken(slot));
        let mut free: Vec<(Option<u64>, usize)> = free.map(|(index, slot)| (slot.left(), index)).collect();
        free.sort_unstable();
        let mut free: VecDeque<usize> = free.into_iter().map(|(_, index)| index).collect();
        for (server, host) in new {
            let suiting = free.iter().position(|index| self.slots[*index].suits(host));
            // A slot with other options needs a reload; one freed just now would delay the removal of its server until
            // then.
            let other = || free.iter().position(|index| self.slots[*index].left() <= Some(freed_before));
            let chosen = suiting.or_else(other).and_then(|at| free.remove(at));
            let index = chosen.unwrap_or_else(|| {
                self.slots.push(Slot::numbered(self.slots.len()));
                self.slots.len() - 1
            });
            self.occupy(index, server, host);
        }
    }

    fn occupy(&mut self, index: usize, server: &ServerName, host: &Arc<Host>) {
        let tenant = Tenant { server: server.clone(), host: host.clone(), left: None };
        if let Some(before) = self.slots[index].tenant.replace(tenant) {
            self.places.remove(&before.server);
        }
        self.places.insert(server.clone(), index);
    }

    fn grow(&mut self, rules: SlotRules) {
        let mut wanted = self.slots.len().max(rules.base);
        while wanted - self.used() < rules.min_free {
            wanted += rules.grow_by;
        }
        while self.slots.len() < wanted {
            self.slots.push(Slot::numbered(self.slots.len()));
        }
    }

    /// Removes surplus free slots. Only valid for a process that has not started yet.
    pub fn shrink(&mut self, rules: SlotRules) {
        let last_used = self.slots.iter().rposition(|slot| !slot.is_free()).map_or(0, |index| index + 1);
        let used = self.used();
        let mut enough = rules.base;
        while enough < last_used || enough - used < 2 * rules.min_free {
            enough += rules.grow_by;
        }
        self.slots.truncate(enough);
        self.places.retain(|_, index| *index < enough);
    }

    /// Returns the desired servers: those of the list in their slots, and the free slots in maintenance.
    pub fn servers(&self, hosts: &HostList) -> HostList {
        let server = |slot: &Slot| {
            let tenant = slot.tenant.as_ref().filter(|tenant| !tenant.has_left());
            let host = tenant.and_then(|tenant| hosts.get(&tenant.server)).cloned();
            (slot.name.clone(), host.unwrap_or_else(|| Arc::new(slot.free_host())))
        };
        self.slots.iter().map(server).collect()
    }

    /// Returns whether this is a slot without a host.
    pub fn is_free(&self, slot: &ServerName) -> bool {
        self.slot(slot).is_some_and(Slot::is_free)
    }

    /// Returns the number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the number of free slots.
    pub fn free(&self) -> usize {
        self.len() - self.used()
    }

    fn used(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_free()).count()
    }

    /// Returns the current or last server of this slot.
    pub fn server_in(&self, slot: &ServerName) -> Option<&ServerName> {
        Some(&self.slot(slot)?.tenant.as_ref()?.server)
    }

    /// Returns the server's name in HAProxy: that of its current or last slot.
    pub fn in_haproxy<'a>(&'a self, server: &'a ServerName) -> &'a ServerName {
        self.places.get(server).map_or(server, |index| &self.slots[*index].name)
    }

    /// Returns the name in discovery of the server with this name in HAProxy.
    pub fn known_as<'a>(&'a self, server: &'a ServerName) -> &'a ServerName {
        self.server_in(server).unwrap_or(server)
    }

    /// Returns the servers that have a slot, each with its slot.
    pub fn taken(&self) -> BTreeMap<ServerName, ServerName> {
        let taken = self.places.iter().filter(|(_, index)| !self.slots[**index].is_free());
        taken.map(|(server, index)| (server.clone(), self.slots[*index].name.clone())).collect()
    }

    fn slot(&self, name: &ServerName) -> Option<&Slot> {
        let index = usize::try_from(number(name)?).ok()?.checked_sub(1)?;
        self.slots.get(index).filter(|slot| slot.name == *name)
    }
}

/// Returns the number in the name of a slot, counted from 1; `None` where it is not the name of a slot.
pub(super) fn number(name: &ServerName) -> Option<u64> {
    name.as_str().strip_prefix(PREFIX)?.parse().ok()
}

impl From<Vec<Option<Tenant>>> for SlotTable {
    /// Restores a saved table. If a server has two slots in it, the first counts.
    fn from(tenants: Vec<Option<Tenant>>) -> Self {
        let mut table = Self::default();
        for (index, tenant) in tenants.into_iter().enumerate() {
            let tenant = tenant.filter(|tenant| !table.places.contains_key(&tenant.server));
            if let Some(tenant) = &tenant {
                table.places.insert(tenant.server.clone(), index);
                table.freed = table.freed.max(tenant.left.unwrap_or(0));
            }
            table.slots.push(Slot { tenant, ..Slot::numbered(index) });
        }
        table
    }
}

impl From<SlotTable> for Vec<Option<Tenant>> {
    fn from(table: SlotTable) -> Self {
        table.slots.into_iter().map(|slot| slot.tenant).collect()
    }
}
