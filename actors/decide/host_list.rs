//! From the entries of a source to the servers of a section.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Endpoint, Host, HostList, SeenHost, ServerName};

/// The hosts by the names of their servers, and what is wrong with which entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assembled {
    /// The usable hosts.
    pub hosts: HostList,
    /// The last good host of each entry, for the next time.
    pub good_entries: BTreeMap<Arc<str>, Host>,
    /// Entries that are wrong, and how. Their last good host, if there was one, is among the hosts.
    pub problems: BTreeMap<String, String>,
}

/// Names the servers. An entry that cannot be read keeps the host it last had; two entries for one endpoint are one
/// server; of two hosts that want one name the first keeps it and the other is named after its endpoint.
pub fn assemble(seen: &[SeenHost], last_good: &BTreeMap<Arc<str>, Host>) -> Assembled {
    let mut assembled = Assembled::default();
    for entry in seen {
        match &entry.host {
            Ok(host) => {
                assembled.good_entries.insert(entry.key.clone(), host.clone());
            }
            Err(problem) => {
                let kept = last_good.get(&entry.key);
                if let Some(host) = kept {
                    assembled.good_entries.insert(entry.key.clone(), host.clone());
                }
                let consequence = if kept.is_some() { "its last good value stays" } else { "it is left out" };
                assembled.problems.insert(entry.key.to_string(), format!("{problem}; {consequence}"));
            }
        }
    }
    let mut endpoints = BTreeSet::new();
    let hosts: Vec<_> = assembled.good_entries.iter().filter(|(_, host)| endpoints.insert(&host.endpoint)).collect();
    // Those named after their endpoints first: nobody else may take such a name from them.
    for (_, host) in hosts.iter().filter(|(_, host)| host.name.is_none()) {
        assembled.hosts.insert(endpoint_name(&host.endpoint), (*host).clone());
    }
    for (key, host) in hosts {
        let Some(wanted) = &host.name else { continue };
        let by_endpoint = endpoint_name(&host.endpoint);
        let free = [wanted, &by_endpoint].into_iter().find(|name| !assembled.hosts.contains_key(*name)).cloned();
        if free.as_ref() != Some(wanted) {
            let consequence = free.as_ref().map_or_else(|| "left out".to_owned(), |name| format!("named {name}"));
            let problem = format!("another host is already named {wanted}; this one is {consequence}");
            assembled.problems.insert(key.to_string(), problem);
        }
        assembled.hosts.extend(free.map(|name| (name, host.clone())));
    }
    assembled
}

/// `10.0.0.1:80`, `2001:db8::1:80`, `a.example:80`. What follows the last colon is always the port, so that no two
/// endpoints share a name.
pub fn endpoint_name(endpoint: &Endpoint) -> ServerName {
    ServerName::new(&format!("{}:{}", endpoint.address, endpoint.port))
        .expect("an address and a port consist of the characters of a name, and of fewer than the longest one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Address;

    fn host(address: &str, port: u16) -> Host {
        Host::at(Endpoint { address: Address::parse(address).unwrap(), port: port.try_into().unwrap() })
    }

    fn seen(key: &str, host: Result<Host, String>) -> SeenHost {
        SeenHost { key: key.into(), host }
    }

    fn names(assembled: &Assembled) -> Vec<&str> {
        assembled.hosts.keys().map(ServerName::as_str).collect()
    }

    #[test]
    fn servers_are_named_after_their_endpoints() {
        let list = [seen("a", Ok(host("10.0.0.1", 80))), seen("b", Ok(host("2001:db8::1", 80)))];
        assert_eq!(names(&assemble(&list, &BTreeMap::new())), ["10.0.0.1:80", "2001:db8::1:80"]);
    }

    #[test]
    fn two_entries_for_one_endpoint_are_one_server() {
        let list = [seen("a", Ok(host("10.0.0.1", 80))), seen("b", Ok(host("10.0.0.1", 80)))];
        assert_eq!(names(&assemble(&list, &BTreeMap::new())), ["10.0.0.1:80"]);
    }

    #[test]
    fn of_two_hosts_with_one_name_the_second_is_named_after_its_endpoint_and_reported() {
        let named = |address: &str| {
            let mut host = host(address, 80);
            host.name = Some(ServerName::new("web").unwrap());
            host
        };
        let assembled =
            assemble(&[seen("a", Ok(named("10.0.0.1"))), seen("b", Ok(named("10.0.0.2")))], &BTreeMap::new());
        assert_eq!(names(&assembled), ["10.0.0.2:80", "web"]);
        assert!(assembled.problems["b"].contains("already named web"), "{:?}", assembled.problems);
    }

    #[test]
    fn an_unreadable_entry_keeps_its_last_good_host_and_harms_no_other() {
        let first =
            assemble(&[seen("a", Ok(host("10.0.0.1", 80))), seen("b", Ok(host("10.0.0.2", 80)))], &BTreeMap::new());
        let second = assemble(
            &[seen("a", Err("bad JSON".into())), seen("b", Ok(host("10.0.0.2", 80))), seen("c", Err("no port".into()))],
            &first.good_entries,
        );
        assert_eq!(names(&second), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert!(second.problems["a"].contains("last good value stays"));
        assert!(second.problems["c"].contains("left out"));
    }

    #[test]
    fn an_entry_that_is_gone_is_forgotten() {
        let first = assemble(&[seen("a", Ok(host("10.0.0.1", 80)))], &BTreeMap::new());
        assert!(assemble(&[], &first.good_entries).hosts.is_empty());
    }
}
