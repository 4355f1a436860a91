//! Conversion between snapshots and the differences in the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::model::{RawDefinition, SeenHost};

use super::format::{Entry, What};

/// The last snapshot of every source.
#[derive(Debug, Default)]
pub struct Snapshots {
    definitions: Snapshot<RawDefinition>,
    hosts: BTreeMap<String, Snapshot<Entry>>,
}

/// A snapshot, or why it cannot be read.
pub type Reported<T> = Result<T, String>;

#[derive(Debug)]
struct Snapshot<T> {
    entries: BTreeMap<String, T>,
    /// Whether the last report was a snapshot.
    readable: bool,
    /// The last error.
    error: Option<String>,
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), readable: false, error: None }
    }
}

impl<T: PartialEq + Clone> Snapshot<T> {
    /// Stores a snapshot. Returns the difference, if there is any.
    fn store(&mut self, entries: BTreeMap<String, T>) -> Option<(BTreeMap<String, T>, Vec<String>)> {
        let set: BTreeMap<String, T> = entries
            .iter()
            .filter(|(key, entry)| self.entries.get(*key) != Some(entry))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        let gone: Vec<String> = self.entries.keys().filter(|key| !entries.contains_key(*key)).cloned().collect();
        let has_changed = !std::mem::replace(&mut self.readable, true) || !set.is_empty() || !gone.is_empty();
        self.entries = entries;
        self.error = None;
        has_changed.then_some((set, gone))
    }

    /// Stores an error. Returns whether it is a new one.
    fn store_error(&mut self, error: &str) -> bool {
        self.readable = false;
        self.error.replace(error.to_owned()).as_deref() != Some(error)
    }

    fn apply(&mut self, set: BTreeMap<String, T>, gone: &[String]) {
        gone.iter().for_each(|key| drop(self.entries.remove(key)));
        self.entries.extend(set);
    }
}

impl Snapshots {
    /// Stores a report about the definitions. Returns its line, if anything changed.
    pub fn definitions(&mut self, reported: Reported<BTreeMap<String, RawDefinition>>) -> Option<What> {
        match reported {
            Ok(snapshot) => {
                let (set, gone) = self.definitions.store(snapshot)?;
                gone.iter().for_each(|name| drop(self.hosts.remove(name)));
                Some(What::Definitions { set, gone })
            }
            Err(error) => self.definitions.store_error(&error).then_some(What::DefinitionsLost { error }),
        }
    }

    /// Stores a report about the hosts of a service. Returns its line, if anything changed.
    pub fn hosts(&mut self, service: &str, reported: Reported<BTreeMap<String, Entry>>) -> Option<What> {
        let snapshot = self.hosts.entry(service.to_owned()).or_default();
        let service = service.to_owned();
        match reported {
            Ok(entries) => snapshot.store(entries).map(|(set, gone)| What::Hosts { service, set, gone }),
            Err(error) => snapshot.store_error(&error).then_some(What::HostsLost { service, error }),
        }
    }

    /// Applies a difference of the definitions. Returns the snapshot after it.
    pub fn add_definitions(
        &mut self,
        set: BTreeMap<String, RawDefinition>,
        gone: &[String],
    ) -> BTreeMap<Arc<str>, RawDefinition> {
        self.definitions.apply(set, gone);
        gone.iter().for_each(|name| drop(self.hosts.remove(name)));
        self.definitions.entries.iter().map(|(name, raw)| (name.as_str().into(), raw.clone())).collect()
    }

    /// Applies a difference of a service's hosts. Returns the snapshot after it.
    pub fn add_hosts(&mut self, service: &str, set: BTreeMap<String, Entry>, gone: &[String]) -> Vec<SeenHost> {
        let snapshot = self.hosts.entry(service.to_owned()).or_default();
        snapshot.apply(set, gone);
        snapshot.entries.iter().map(|(key, entry)| entry.seen(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(keys: &[&str]) -> BTreeMap<String, Entry> {
        keys.iter().map(|key| ((*key).to_owned(), Entry::Problem(format!("{key} is bad")))).collect()
    }

    #[test]
    fn differences_reproduce_the_snapshots() {
        let (mut written, mut read) = (Snapshots::default(), Snapshots::default());
        for keys_now in [&["a", "b"][..], &["b"], &["b", "c"], &[]] {
            let Some(What::Hosts { set, gone, .. }) = written.hosts("web", Ok(entries(keys_now))) else {
                panic!("{keys_now:?} is a change")
            };
            let keys: Vec<String> =
                read.add_hosts("web", set, &gone).iter().map(|entry| entry.key.to_string()).collect();
            assert_eq!(keys, keys_now);
        }
    }

    #[test]
    fn unchanged_reports_have_no_line() {
        let mut snapshots = Snapshots::default();
        assert!(snapshots.hosts("web", Ok(entries(&["a"]))).is_some());
        assert_eq!(snapshots.hosts("web", Ok(entries(&["a"]))), None);
        assert!(snapshots.hosts("web", Err("away".into())).is_some());
        assert_eq!(snapshots.hosts("web", Err("away".into())), None);
        assert!(snapshots.hosts("web", Ok(entries(&["a"]))).is_some(), "it is readable again");
    }

    #[test]
    fn removed_service_returns_without_hosts() {
        let raw = RawDefinition::new("{}", "here");
        let definitions = BTreeMap::from([("web".to_owned(), raw)]);
        let mut snapshots = Snapshots::default();
        snapshots.definitions(Ok(definitions.clone()));
        snapshots.hosts("web", Ok(entries(&["a"])));
        snapshots.definitions(Ok(BTreeMap::new()));
        snapshots.definitions(Ok(definitions));
        let Some(What::Hosts { set, .. }) = snapshots.hosts("web", Ok(entries(&["a"]))) else {
            panic!("it is a change")
        };
        assert_eq!(set, entries(&["a"]));
    }
}
