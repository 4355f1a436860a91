//! Slots: servers that HAProxy has in reserve under names of their own, for versions that cannot add any at run time.
//!
//! The table says which server of discovery has which slot. What it makes of a list of hosts, [`SlotTable::servers`],
//! is a list like any other, so that plan, file and observation know of no second way: a host in a slot is a server
//! that moved there, and a free slot one in maintenance.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Address, AdminState, Endpoint, Host, HostList, ServerName, SlotRules};

/// What slots are called, before their number.
const PREFIX: &str = "slot";

/// Which server has which slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Option<Tenant>>", into = "Vec<Option<Tenant>>")]
pub struct SlotTable {
    /// The first is `slot1`.
    slots: Vec<Slot>,
    /// Where each server is, or last was.
    places: BTreeMap<ServerName, usize>,
    /// Counts the slots that became free.
    freed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    name: ServerName,
    /// None where it was never used.
    tenant: Option<Tenant>,
}

/// Who has a slot, or had it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The server, as discovery and operators call it.
    server: ServerName,
    /// As it was last seen.
    host: Arc<Host>,
    /// That it is gone, and before whom: the lower, the longer ago. None while it has the slot.
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

    /// Before whom its tenant left; none where it was never used.
    fn left(&self) -> Option<u64> {
        self.tenant.as_ref()?.left
    }

    fn is_free(&self) -> bool {
        self.tenant.as_ref().is_none_or(Tenant::has_left)
    }

    /// Whether the host needs no other options than the slot has: they cannot be set at run time.
    fn suits(&self, host: &Host) -> bool {
        match &self.tenant {
            Some(Tenant { host: last, .. }) => {
                (last.backup, &last.cookie, &last.options) == (host.backup, &host.cookie, &host.options)
            }
            None => !host.backup && host.cookie.is_none() && host.options.is_empty(),
        }
    }

    /// What HAProxy has of the slot while it is free. It keeps the address it had, so that its host may come back
    /// without further ado; but never a host name, for a server with one takes no other address at run time.
    fn free_host(&self) -> Host {
        match &self.tenant {
            Some(Tenant { host, .. }) if matches!(host.endpoint.address, Address::Ip(_)) => {
                Host { state: AdminState::Maint, ..Host::clone(host) }
            }
            _ => Host { state: AdminState::Maint, ..Host::at(placeholder()) },
        }
    }
}

/// The address of a slot that was never used. Nobody connects to it: the slot is in maintenance.
fn placeholder() -> Endpoint {
    Endpoint { address: Address::Ip(Ipv4Addr::LOCALHOST.into()), port: NonZeroU16::MIN }
}

impl SlotTable {
    /// Takes in a list of hosts. Who is gone leaves a free slot, who returns gets the slot it had, who is new gets the
    /// one that has been free for longest among those that suit it; slots that still finish what they have
    /// (`is_leaving`) are not given away. Where too few are free, there are more.
    pub fn place(&mut self, hosts: &HostList, rules: SlotRules, is_leaving: impl Fn(&ServerName) -> bool) {
        let freed_before = self.freed;
        for tenant in self.slots.iter_mut().filter_map(|slot| slot.tenant.as_mut()) {
            match hosts.get(&tenant.server) {
                Some(host) if !tenant.has_left() => tenant.host.clone_from(host),
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
            // One that does not suit waits for a reload, and with it a server that is to go now would.
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

    /// Gives up slots that are free and many more than needed. Only for a process that has yet to start.
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

    /// The servers that HAProxy should have: those of the list in their slots, and the free slots in maintenance.
    pub fn servers(&self, hosts: &HostList) -> HostList {
        let server = |slot: &Slot| {
            let tenant = slot.tenant.as_ref().filter(|tenant| !tenant.has_left());
            let host = tenant.and_then(|tenant| hosts.get(&tenant.server)).cloned();
            (slot.name.clone(), host.unwrap_or_else(|| Arc::new(slot.free_host())))
        };
        self.slots.iter().map(server).collect()
    }

    /// Whether this is a slot that stands for no host.
    pub fn is_free(&self, slot: &ServerName) -> bool {
        self.slot(slot).is_some_and(Slot::is_free)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many stand for no host.
    pub fn free(&self) -> usize {
        self.len() - self.used()
    }

    fn used(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_free()).count()
    }

    /// Who has this slot, or had it last.
    pub fn server_in(&self, slot: &ServerName) -> Option<&ServerName> {
        Some(&self.slot(slot)?.tenant.as_ref()?.server)
    }

    /// What HAProxy calls this server: by the slot that it has, or had last.
    pub fn in_haproxy<'a>(&'a self, server: &'a ServerName) -> &'a ServerName {
        self.places.get(server).map_or(server, |index| &self.slots[*index].name)
    }

    /// What discovery, operators and people call the server of this name in HAProxy.
    pub fn known_as<'a>(&'a self, server: &'a ServerName) -> &'a ServerName {
        self.server_in(server).unwrap_or(server)
    }

    /// The servers that have a slot, each with it.
    pub fn taken(&self) -> BTreeMap<ServerName, ServerName> {
        let taken = self.places.iter().filter(|(_, index)| !self.slots[**index].is_free());
        taken.map(|(server, index)| (server.clone(), self.slots[*index].name.clone())).collect()
    }

    fn slot(&self, name: &ServerName) -> Option<&Slot> {
        let index = usize::try_from(number(name)?).ok()?.checked_sub(1)?;
        self.slots.get(index).filter(|slot| slot.name == *name)
    }
}

/// The number in the name of a slot, counted from 1; none where it is no slot's name.
pub(super) fn number(name: &ServerName) -> Option<u64> {
    name.as_str().strip_prefix(PREFIX)?.parse().ok()
}

impl From<Vec<Option<Tenant>>> for SlotTable {
    /// A saved table. Of a server that has two slots in it, by whatever mishap, the first counts.
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
