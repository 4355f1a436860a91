//! The order of a service's servers, where it matters: of several backups HAProxy uses the first in its file, and under
//! `balance first` the server with the lowest id.
//!
//! The rank of a host is its `priority`; where no host of a list has one and the source is ordered, it is the position
//! in the source. Hosts without a rank come last, sorted by name.

use std::sync::Arc;

use crate::model::{Host, HostList, SeenHost, ServerName, ServiceDefinition, SourceKind};

/// Returns the rank of a host among those of its service: the lowest comes first.
pub fn rank(host: &Host) -> u32 {
    rank_of(host.priority)
}

pub(super) fn rank_of(priority: Option<u16>) -> u32 {
    priority.map_or(u32::MAX, u32::from)
}

/// Returns the hosts in the order of the file: by rank, then by name.
pub fn in_file_order(hosts: &HostList) -> Vec<&(ServerName, Arc<Host>)> {
    let mut ordered = Vec::from_iter(hosts.as_slice());
    // The sort is stable, and the list is sorted by name.
    ordered.sort_by_key(|(_, host)| rank(host));
    ordered
}

/// Returns whether some host has a rank, so that the order of the file is not that of the names.
pub fn has_places(hosts: &HostList) -> bool {
    hosts.values().any(|host| host.priority.is_some())
}

/// Returns whether the section uses `balance first`, which needs a rank for every host; otherwise only backups need
/// one.
pub fn ranks_all(definition: &ServiceDefinition) -> bool {
    definition.last_line("balance").and_then(|line| line.get(1)).is_some_and(|word| word.as_str() == "first")
}

/// Sets the position in the source as the rank of each host, where the source is ordered.
pub fn place(seen: &mut [SeenHost], definition: &ServiceDefinition, kinds: &[SourceKind]) {
    if kinds.iter().any(|kind| kind.name == definition.source.kind && kind.is_ordered) {
        give_positions(seen, ranks_all(definition));
    }
}

/// Sets the positions of hosts in an ordered source as their ranks, unless one of them has its own. Covers all hosts,
/// or only the backups, whose positions are counted without other hosts, so that those may come and go.
fn give_positions(seen: &mut [SeenHost], to_all: bool) {
    let mut hosts = seen.iter_mut().filter_map(|entry| Some(&mut entry.record.as_mut().ok()?.host));
    let mut ranked = Vec::new();
    for host in hosts.by_ref() {
        if host.priority.is_some() {
            return;
        }
        if to_all || host.backup {
            ranked.push(host);
        }
    }
    // A single host needs no rank.
    if ranked.len() > 1 {
        for (position, host) in (0..=u16::MAX).zip(ranked) {
            Arc::make_mut(host).priority = Some(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition;
    use crate::model::{Address, Endpoint, RawDefinition};

    fn host(last: u8, backup: bool, priority: Option<u16>) -> Host {
        let address = Address::parse(&format!("10.0.0.{last}")).unwrap();
        Host { backup, priority, ..Host::at(Endpoint::Tcp { address, port: 80.try_into().unwrap() }) }
    }

    fn positions(hosts: Vec<Host>, to_all: bool) -> Vec<Option<u16>> {
        let mut seen = Vec::from_iter(hosts.into_iter().map(|host| SeenHost::new("a", Ok(host))));
        seen.push(SeenHost::new("bad", Err("no port".to_owned())));
        give_positions(&mut seen, to_all);
        seen.iter().filter_map(|entry| entry.host().map(|host| host.priority)).collect()
    }

    #[test]
    fn only_backups_get_positions_unless_all_are_ranked() {
        let list = || vec![host(9, true, None), host(1, false, None), host(3, true, None)];
        assert_eq!(positions(list(), false), [Some(0), None, Some(1)]);
        assert_eq!(positions(list(), true), [Some(0), Some(1), Some(2)]);
        assert_eq!(positions(vec![host(9, true, None), host(1, false, None)], false), [None, None]);
    }

    #[test]
    fn own_priority_takes_the_place_of_positions() {
        assert_eq!(positions(vec![host(9, true, None), host(1, true, Some(7))], true), [None, Some(7)]);
    }

    #[test]
    fn file_order_is_by_place_then_by_name() {
        let named = |name: &str, priority| (ServerName::new(name).unwrap(), Arc::new(host(1, true, priority)));
        let hosts: HostList =
            [named("d", None), named("c", Some(2)), named("b", Some(5)), named("a", None)].into_iter().collect();
        let names = Vec::from_iter(in_file_order(&hosts).into_iter().map(|(name, _)| name.as_str()));
        assert_eq!(names, ["c", "b", "a", "d"]);
    }

    #[test]
    fn balance_first_ranks_all() {
        for (lines, expected) in [("balance first", true), ("balance roundrobin", false), ("option redispatch", false)]
        {
            let text = serde_json::json!({"type": "static", "listen_options": lines}).to_string();
            let raw = RawDefinition::new(text, "a test");
            let definition = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
            assert_eq!(ranks_all(&definition), expected, "{lines}");
        }
    }

    #[test]
    fn only_ordered_sources_give_positions() {
        let kinds = [
            SourceKind { name: "static", keys: &[], is_ordered: true },
            SourceKind { name: "zookeeper", keys: &[], is_ordered: false },
        ];
        for (kind, expected) in [("static", [Some(0), Some(1)]), ("zookeeper", [None, None]), ("file", [None, None])] {
            let text = serde_json::json!({"type": kind}).to_string();
            let raw = RawDefinition::new(text, "a test");
            let definition = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
            let mut seen = [9, 1].map(|last| SeenHost::new("a", Ok(host(last, true, None))));
            place(&mut seen, &definition, &kinds);
            assert_eq!(seen.map(|entry| entry.host().unwrap().priority), expected, "{kind}");
        }
    }
}
