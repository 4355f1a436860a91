//! The order of backups: HAProxy uses the first usable one, and appends servers that are added at run time.

use std::sync::Arc;

use super::wanted::WantedService;
use crate::decide::applied_service::AppliedService;
use crate::decide::server_order::{rank, rank_of};
use crate::model::{Host, ObservedServers, ServerName, ServiceDefinition, Word};

/// The backups of a service that HAProxy has and keeps; empty where their order does not matter.
pub(super) struct Backups<'a> {
    /// Each with its position in the list of hosts and in HAProxy.
    places: Vec<Place<'a>>,
}

struct Place<'a> {
    server: &'a ServerName,
    wanted: u32,
    loaded: u32,
}

impl<'a> Backups<'a> {
    pub(super) fn of(wanted: WantedService<'a>, loaded: &AppliedService, observed: &ObservedServers) -> Self {
        let backups = wanted.hosts.iter().filter(|(_, host)| host.backup);
        let mut present =
            backups.filter(|(name, _)| observed.contains_key(*name) && !wanted.is_free_slot(name)).peekable();
        if present.peek().is_none() || uses_all(wanted.definition) {
            return Self { places: Vec::new() };
        }
        let place = |(server, host): (&'a ServerName, &Arc<Host>)| {
            let loaded = rank_of(loaded.servers.get(server)?.priority);
            Some(Place { server, wanted: rank(host), loaded })
        };
        Self { places: present.filter_map(place).collect() }
    }

    /// Returns a backup in HAProxy that must come after this new host.
    pub(super) fn after(&self, host: &Host) -> Option<&'a ServerName> {
        let later = self.places.iter().find(|place| host.backup && rank(host) < place.wanted);
        later.map(|place| place.server)
    }

    /// Returns the backup that should be first, and the one that HAProxy uses before it.
    pub(super) fn misplaced(&self) -> Option<(&'a ServerName, &'a ServerName)> {
        let wanted = self.places.iter().min_by_key(|place| place.wanted)?;
        let first = self.places.iter().min_by_key(|place| place.loaded)?;
        (wanted.wanted < first.wanted).then_some((wanted.server, first.server))
    }
}

/// Returns whether the section uses all its backups at the same time.
fn uses_all(definition: &ServiceDefinition) -> bool {
    let choice = |line: &Vec<Word>| match *Vec::from_iter(line.iter().map(Word::as_str)) {
        ["option", "allbackups"] => Some(true),
        ["no", "option", "allbackups"] => Some(false),
        _ => None,
    };
    definition.lines().iter().rev().find_map(choice) == Some(true)
}
