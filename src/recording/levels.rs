//! Between levels and the differences that stand in the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::model::{RawDefinition, SeenHost};

use super::format::{Entry, What};

/// What every source said last.
#[derive(Debug, Default)]
pub struct Levels {
    definitions: Level<RawDefinition>,
    hosts: BTreeMap<String, Level<Entry>>,
}

/// A level as it is told to an actor, or why there is none.
pub type Told<T> = Result<T, String>;

#[derive(Debug)]
struct Level<T> {
    entries: BTreeMap<String, T>,
    /// Whether the source was last heard to be readable.
    readable: bool,
    /// The error that was told last.
    error: Option<String>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), readable: false, error: None }
    }
}

impl<T: PartialEq + Clone> Level<T> {
    /// Takes a level in. Returns what is different; none where nothing is.
    fn shown(&mut self, entries: BTreeMap<String, T>) -> Option<(BTreeMap<String, T>, Vec<String>)> {
        let set: BTreeMap<String, T> = entries
            .iter()
            .filter(|(key, entry)| self.entries.get(*key) != Some(entry))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        let gone: Vec<String> = self.entries.keys().filter(|key| !entries.contains_key(*key)).cloned().collect();
        let is_news = !std::mem::replace(&mut self.readable, true) || !set.is_empty() || !gone.is_empty();
        self.entries = entries;
        self.error = None;
        is_news.then_some((set, gone))
    }

    /// Takes a failure in. Returns whether it is news.
    fn lost(&mut self, error: &str) -> bool {
        self.readable = false;
        self.error.replace(error.to_owned()).as_deref() != Some(error)
    }

    fn apply(&mut self, set: BTreeMap<String, T>, gone: &[String]) {
        gone.iter().for_each(|key| drop(self.entries.remove(key)));
        self.entries.extend(set);
    }
}

impl Levels {
    /// The definitions are these now, or cannot be read. Returns the line that says so; none where it is no news.
    pub fn definitions(&mut self, told: Told<BTreeMap<String, RawDefinition>>) -> Option<What> {
        match told {
            Ok(level) => {
                let (set, gone) = self.definitions.shown(level)?;
                gone.iter().for_each(|name| drop(self.hosts.remove(name)));
                Some(What::Definitions { set, gone })
            }
            Err(error) => self.definitions.lost(&error).then_some(What::DefinitionsLost { error }),
        }
    }

    /// The hosts of a service are these now, or cannot be read. Returns the line that says so; none where it is no news.
    pub fn hosts(&mut self, service: &str, told: Told<BTreeMap<String, Entry>>) -> Option<What> {
        let level = self.hosts.entry(service.to_owned()).or_default();
        let service = service.to_owned();
        match told {
            Ok(entries) => level.shown(entries).map(|(set, gone)| What::Hosts { service, set, gone }),
            Err(error) => level.lost(&error).then_some(What::HostsLost { service, error }),
        }
    }

    /// Adds a difference of the definitions. Returns the level after it.
    pub fn add_definitions(
        &mut self,
        set: BTreeMap<String, RawDefinition>,
        gone: &[String],
    ) -> BTreeMap<Arc<str>, RawDefinition> {
        self.definitions.apply(set, gone);
        gone.iter().for_each(|name| drop(self.hosts.remove(name)));
        self.definitions.entries.iter().map(|(name, raw)| (name.as_str().into(), raw.clone())).collect()
    }

    /// Adds a difference of a service's hosts. Returns the level after it.
    pub fn add_hosts(&mut self, service: &str, set: BTreeMap<String, Entry>, gone: &[String]) -> Vec<SeenHost> {
        let level = self.hosts.entry(service.to_owned()).or_default();
        level.apply(set, gone);
        level.entries.iter().map(|(key, entry)| entry.seen(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(keys: &[&str]) -> BTreeMap<String, Entry> {
        keys.iter().map(|key| ((*key).to_owned(), Entry::Problem(format!("{key} is bad")))).collect()
    }

    #[test]
    fn differences_add_up_to_the_levels_they_were_made_of() {
        let (mut written, mut read) = (Levels::default(), Levels::default());
        for level in [&["a", "b"][..], &["b"], &["b", "c"], &[]] {
            let Some(What::Hosts { set, gone, .. }) = written.hosts("web", Ok(entries(level))) else {
                panic!("{level:?} is news")
            };
            let keys: Vec<String> =
                read.add_hosts("web", set, &gone).iter().map(|entry| entry.key.to_string()).collect();
            assert_eq!(keys, level);
        }
    }

    #[test]
    fn what_is_no_news_is_not_written() {
        let mut levels = Levels::default();
        assert!(levels.hosts("web", Ok(entries(&["a"]))).is_some());
        assert_eq!(levels.hosts("web", Ok(entries(&["a"]))), None);
        assert!(levels.hosts("web", Err("away".into())).is_some());
        assert_eq!(levels.hosts("web", Err("away".into())), None);
        assert!(levels.hosts("web", Ok(entries(&["a"]))).is_some(), "that it can be read again is news");
    }

    #[test]
    fn a_service_that_is_gone_has_no_hosts_when_it_comes_back() {
        let raw = RawDefinition::new("{}", "here");
        let definitions = BTreeMap::from([("web".to_owned(), raw)]);
        let mut levels = Levels::default();
        levels.definitions(Ok(definitions.clone()));
        levels.hosts("web", Ok(entries(&["a"])));
        levels.definitions(Ok(BTreeMap::new()));
        levels.definitions(Ok(definitions));
        let Some(What::Hosts { set, .. }) = levels.hosts("web", Ok(entries(&["a"]))) else { panic!("it is news") };
        assert_eq!(set, entries(&["a"]));
    }
}
