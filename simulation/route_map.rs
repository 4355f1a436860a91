//! The map of domains of one simulated HAProxy, as the Runtime API of its version shows it.

use std::collections::BTreeMap;

use proxymgr_actors::decide::routing::parse_map;
use proxymgr_actors::model::{ObservedRoutes, ProxyVersion, RouteCommand, RouteKey, ServiceName};
use proxymgr_actors::port::Answer;

/// A map in memory. Like HAProxy, `add map` adds an existing key a second time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMap {
    entries: BTreeMap<RouteKey, Vec<ServiceName>>,
    version: ProxyVersion,
}

/// From this version on (3.3 was not tried), `del map` deletes only the oldest entry of a key.
const DELETES_ONE_ENTRY: ProxyVersion = ProxyVersion { major: 3, minor: 4 };

impl RouteMap {
    /// Reads the map from the text of its file.
    pub fn load(text: &str, version: ProxyVersion) -> Self {
        let entries = parse_map(text).into_iter().map(|(key, service)| (key, vec![service])).collect();
        Self { entries, version }
    }

    /// Executes the command, and answers like HAProxy.
    pub fn run(&mut self, command: &RouteCommand) -> Answer {
        let refusal = match command {
            RouteCommand::Add(key, service) => {
                self.entries.entry(key.clone()).or_default().push(service.clone());
                ""
            }
            RouteCommand::Set(key, service) => match self.entries.get_mut(key) {
                Some(services) => {
                    services.fill(service.clone());
                    ""
                }
                None => "entry not found.",
            },
            RouteCommand::Delete(key) => match self.entries.get_mut(key) {
                Some(services) if self.version >= DELETES_ONE_ENTRY && services.len() > 1 => {
                    services.remove(0);
                    ""
                }
                Some(_) => {
                    self.entries.remove(key);
                    ""
                }
                None => "Key not found.",
            },
        };
        Answer { accepted: refusal.is_empty(), text: refusal.to_owned() }
    }

    /// Returns the map as HAProxy shows it: all values of a key, each once.
    pub fn show(&self) -> ObservedRoutes {
        let shown = |services: &Vec<ServiceName>| {
            let mut values: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
            values.sort_unstable();
            values.dedup();
            values.join(" ")
        };
        self.entries.iter().map(|(key, services)| (key.clone(), shown(services))).collect()
    }
}
