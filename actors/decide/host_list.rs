//! Conversion of the entries of a source to the servers of a section.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools;
use litemap::LiteMap;

use super::common_ends::between_common_ends;
use super::hosts_diff::HostsDiff;
use crate::model::{Endpoint, Host, HostList, SeenHost, ServerName};

/// The hosts by server name, and the problems of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assembled {
    /// The usable hosts.
    pub hosts: HostList,
    /// The last good host of each entry, for the next list.
    pub good_entries: GoodEntries,
    /// The problems of invalid entries. The last good host of each, if any, is among the hosts.
    pub problems: BTreeMap<String, String>,
}

/// The last good host of each entry of a source, by the entry's key.
pub type GoodEntries = LiteMap<Arc<str>, GoodEntry>;

/// The last good value of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoodEntry {
    host: Arc<Host>,
    /// The host's [`endpoint_name`], cached because few entries of a long list change.
    by_endpoint: ServerName,
}

impl GoodEntry {
    /// Returns the address and port of its host.
    pub fn endpoint(&self) -> &Endpoint {
        &self.host.endpoint
    }

    fn of(host: &Arc<Host>, known: Option<&Self>) -> Self {
        let known = known.filter(|known| known.host.endpoint == host.endpoint);
        let by_endpoint = known.map_or_else(|| endpoint_name(&host.endpoint), |known| known.by_endpoint.clone());
        Self { host: host.clone(), by_endpoint }
    }
}

/// Names the servers. An invalid entry keeps its last good host; two entries for one endpoint become one server; of two
/// hosts with the same name the first keeps it and the other is named after its endpoint.
pub fn assemble(seen: &[SeenHost], last_good: &GoodEntries) -> Assembled {
    let mut problems = BTreeMap::new();
    let good_entry = |entry: &SeenHost| {
        let known = last_good.get(&entry.key);
        let good = match &entry.record {
            Ok(record) => Some(GoodEntry::of(&record.host, known)),
            Err(problem) => {
                let consequence = if known.is_some() { "its last good value stays" } else { "it adds no host" };
                problems.insert(entry.key.to_string(), format!("{problem}; {consequence}"));
                known.cloned()
            }
        };
        Some((entry.key.clone(), good?))
    };
    let good_entries: GoodEntries = seen.iter().filter_map(good_entry).collect();
    // The sort is stable: of several entries for one endpoint the first stays.
    let mut entries: Vec<_> = good_entries.iter().collect();
    entries.sort_by_key(|(_, entry)| &entry.by_endpoint);
    entries.dedup_by_key(|(_, entry)| &entry.by_endpoint);
    // Hosts named after their endpoints come first, so that no other host takes such a name.
    let (unnamed, mut named): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, entry)| entry.host.name.is_none());
    let mut hosts: HostList =
        unnamed.into_iter().map(|(_, entry)| (entry.by_endpoint.clone(), entry.host.clone())).collect();
    named.sort_by_key(|(key, _)| *key);
    for (key, GoodEntry { host, by_endpoint }) in named {
        let Some(wanted) = &host.name else { continue };
        let free = [wanted, by_endpoint].into_iter().find(|name| !hosts.contains_key(*name));
        if free != Some(wanted) {
            let consequence = free.map_or_else(|| "left out".to_owned(), |name| format!("named {name}"));
            let problem = format!("another host is already named {wanted}; this one is {consequence}");
            problems.insert(key.to_string(), problem);
        }
        hosts.extend(free.map(|name| (name.clone(), host.clone())));
    }
    Assembled { hosts, good_entries, problems }
}

/// The result of a new list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The new hosts; the previous list itself where nothing changed.
    pub hosts: Arc<HostList>,
    /// The differences from the previous hosts.
    pub diff: HostsDiff,
    changes: Vec<EntryChange>,
}

/// A changed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EntryChange {
    key: Arc<str>,
    /// The previous server; `None` for a new entry.
    before: Option<ServerName>,
    /// The new value; `None` for a removed entry.
    now: Option<GoodEntry>,
}

impl Followed {
    /// Applies the changes to the last good entries.
    pub fn enter_into(self, last_good: &mut GoodEntries) {
        for EntryChange { key, now, .. } in self.changes {
            match now {
                Some(entry) => last_good.insert(key, entry),
                None => last_good.remove(&key),
            };
        }
    }
}

/// Returns the result of [`assemble`] incrementally: `before` are the hosts that it returned for the last good entries.
/// `None` where that is not possible, because an entry is invalid, a host has its own name, or two entries share an
/// endpoint.
pub fn follow(seen: &[SeenHost], last_good: &GoodEntries, before: &Arc<HostList>) -> Option<Followed> {
    if last_good.len() != before.len() {
        return None;
    }
    let changes = changed_entries(seen, last_good)?;
    let mut hosts = before.clone();
    let mut diff = HostsDiff::default();
    if !changes.is_empty() {
        let hosts = Arc::make_mut(&mut hosts);
        changes.iter().filter_map(|change| change.before.as_ref()).for_each(|name| drop(hosts.remove(name)));
        for GoodEntry { host, by_endpoint } in changes.iter().filter_map(|change| change.now.as_ref()) {
            if hosts.insert(by_endpoint.clone(), host.clone()).is_some() {
                return None;
            }
        }
    }
    let now = |change: &EntryChange| change.now.as_ref().map(|entry| entry.by_endpoint.clone());
    let touched: BTreeSet<ServerName> =
        changes.iter().flat_map(|change| change.before.clone().into_iter().chain(now(change))).collect();
    for name in touched {
        match (before.get(&name), hosts.get(&name)) {
            (None, _) => diff.added.push(name),
            (_, None) => diff.removed.push(name),
            (before, after) if before != after => diff.changed.push(name),
            _ => {}
        }
    }
    Some(Followed { hosts, diff, changes })
}

/// Returns the changed entries; `None` where an incremental update is not possible.
fn changed_entries(seen: &[SeenHost], last_good: &GoodEntries) -> Option<Vec<EntryChange>> {
    let mut seen: Vec<&SeenHost> = seen.iter().collect();
    let is_in_order = |seen: &[&SeenHost]| seen.is_sorted_by(|one, next| one.key < next.key);
    if !is_in_order(&seen) {
        seen.sort_by(|one, other| one.key.cmp(&other.key));
        if !is_in_order(&seen) {
            return None;
        }
    }
    let server_of = |known: &GoodEntry| known.host.name.is_none().then(|| known.by_endpoint.clone());
    let mut changes = Vec::new();
    let says_the_same = |(key, known): &(Arc<str>, GoodEntry), entry: &&SeenHost| {
        *key == entry.key && host_of(entry).is_some_and(|host| known.host == *host)
    };
    let known = last_good.as_slice();
    let (of_known, of_seen) = between_common_ends(known, &seen, says_the_same);
    for pair in known[of_known].iter().merge_join_by(&seen[of_seen], |(key, _), entry| key.cmp(&entry.key)) {
        let change = match pair {
            Both((_, known), entry) if known.host == *host_of(entry)? => continue,
            Both((key, known), entry) => {
                let now = GoodEntry::of(host_of(entry)?, Some(known));
                EntryChange { key: key.clone(), before: Some(server_of(known)?), now: Some(now) }
            }
            Left((key, known)) => EntryChange { key: key.clone(), before: Some(server_of(known)?), now: None },
            Right(entry) => {
                let now = GoodEntry::of(host_of(entry)?, None);
                EntryChange { key: entry.key.clone(), before: None, now: Some(now) }
            }
        };
        changes.push(change);
    }
    Some(changes)
}

/// Returns the host of a valid entry without its own name.
fn host_of(entry: &SeenHost) -> Option<&Arc<Host>> {
    entry.host().filter(|host| host.name.is_none())
}

/// Returns the server name of an endpoint: `10.0.0.1:80`, `2001:db8::1:80`, `a.example:80`, `unix::run:a.sock`. The part
/// after the last colon is the port, and no address has another name in front of two colons, so that no two endpoints
/// share a name.
pub fn endpoint_name(endpoint: &Endpoint) -> ServerName {
    let name = match endpoint {
        Endpoint::Tcp { address, port } => format!("{address}:{port}"),
        Endpoint::Unix(path) => format!("unix:{}", path.as_str().replace('/', ":")),
    };
    ServerName::new(&name).expect("an endpoint consists of the characters of a name, and of fewer than the longest one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Address;

    fn host(address: &str, port: u16) -> Host {
        Host::at(Endpoint::Tcp { address: Address::parse(address).unwrap(), port: port.try_into().unwrap() })
    }

    fn seen(key: &str, host: Result<Host, String>) -> SeenHost {
        SeenHost::new(key, host)
    }

    fn names(assembled: &Assembled) -> Vec<&str> {
        assembled.hosts.keys().map(ServerName::as_str).collect()
    }

    #[test]
    fn servers_are_named_after_their_endpoints() {
        let list = [seen("a", Ok(host("10.0.0.1", 80))), seen("b", Ok(host("2001:db8::1", 80)))];
        assert_eq!(names(&assemble(&list, &GoodEntries::new())), ["10.0.0.1:80", "2001:db8::1:80"]);
        let name = |endpoint: &str| endpoint_name(&Endpoint::parse(endpoint).unwrap()).to_string();
        assert_eq!(name("unix@/run/web/a.sock"), "unix::run:web:a.sock");
        assert_ne!(name("unix@/80"), name("unix:80"));
    }

    #[test]
    fn two_entries_for_one_endpoint_are_one_server() {
        let list = [seen("a", Ok(host("10.0.0.1", 80))), seen("b", Ok(host("10.0.0.1", 80)))];
        assert_eq!(names(&assemble(&list, &GoodEntries::new())), ["10.0.0.1:80"]);
    }

    #[test]
    fn second_host_with_the_same_name_is_renamed_and_reported() {
        let named = |address: &str| {
            let mut host = host(address, 80);
            host.name = Some(ServerName::new("web").unwrap());
            host
        };
        let assembled =
            assemble(&[seen("a", Ok(named("10.0.0.1"))), seen("b", Ok(named("10.0.0.2")))], &GoodEntries::new());
        assert_eq!(names(&assembled), ["10.0.0.2:80", "web"]);
        assert!(assembled.problems["b"].contains("already named web"), "{:?}", assembled.problems);
    }

    #[test]
    fn invalid_entry_keeps_its_last_good_host() {
        let first =
            assemble(&[seen("a", Ok(host("10.0.0.1", 80))), seen("b", Ok(host("10.0.0.2", 80)))], &GoodEntries::new());
        let second = assemble(
            &[seen("a", Err("bad JSON".into())), seen("b", Ok(host("10.0.0.2", 80))), seen("c", Err("no port".into()))],
            &first.good_entries,
        );
        assert_eq!(names(&second), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert!(second.problems["a"].contains("last good value stays"));
        assert!(second.problems["c"].contains("adds no host"));
    }

    #[test]
    fn incremental_result_equals_the_full_one() {
        let lists = [
            vec![seen("b", Ok(host("10.0.0.2", 80))), seen("a", Ok(host("10.0.0.1", 80)))],
            vec![seen("a", Ok(host("10.0.0.1", 80))), seen("b", Ok(host("10.0.0.2", 80)))],
            vec![seen("a", Ok(host("10.0.0.2", 80))), seen("b", Ok(host("10.0.0.1", 80)))],
            vec![seen("a", Ok(host("10.0.0.2", 80))), seen("c", Ok(host("10.0.0.3", 80)))],
            vec![seen("c", Ok(Host { weight: Some(7), ..host("10.0.0.3", 80) })), seen("d", Ok(host("10.0.0.4", 80)))],
            vec![seen("0", Ok(host("10.0.0.9", 80))), seen("c", Ok(host("10.0.0.3", 81)))],
        ];
        let mut before = assemble(&lists[0], &GoodEntries::new());
        for list in lists {
            let whole = assemble(&list, &before.good_entries);
            let hosts = Arc::new(before.hosts);
            let followed = follow(&list, &before.good_entries, &hosts).expect("it is simple");
            assert_eq!((&*followed.hosts, &followed.diff), (&whole.hosts, &HostsDiff::between(&hosts, &whole.hosts)));
            assert_eq!(Arc::ptr_eq(&followed.hosts, &hosts), followed.diff.is_empty() && followed.changes.is_empty());
            followed.enter_into(&mut before.good_entries);
            assert_eq!(before.good_entries, whole.good_entries);
            before.hosts = whole.hosts;
        }
    }

    #[test]
    fn complicated_lists_are_not_updated_incrementally() {
        let named = Host { name: Some(ServerName::new("web").unwrap()), ..host("10.0.0.3", 80) };
        let before = assemble(&[seen("a", Ok(host("10.0.0.1", 80)))], &GoodEntries::new());
        let hosts = Arc::new(before.hosts);
        for further in [
            seen("b", Err("bad JSON".into())),
            seen("b", Ok(named.clone())),
            seen("b", Ok(host("10.0.0.1", 80))),
            seen("a", Ok(host("10.0.0.2", 80))),
        ] {
            let list = [seen("a", Ok(host("10.0.0.1", 80))), further];
            assert_eq!(follow(&list, &before.good_entries, &hosts), None, "{list:?}");
        }
        let before = assemble(&[seen("a", Ok(named))], &GoodEntries::new());
        let hosts = Arc::new(before.hosts);
        assert_eq!(follow(&[seen("a", Ok(host("10.0.0.3", 80)))], &before.good_entries, &hosts), None);
        assert_eq!(follow(&[], &before.good_entries, &hosts), None);
    }

    #[test]
    fn an_entry_that_is_gone_is_forgotten() {
        let first = assemble(&[seen("a", Ok(host("10.0.0.1", 80)))], &GoodEntries::new());
        assert!(assemble(&[], &first.good_entries).hosts.is_empty());
    }
}
