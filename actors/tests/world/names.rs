//! Servers as HAProxy reads them from its file, and host names that resolve or do not.

use std::collections::BTreeSet;
use std::sync::Arc;

use proxymgr_actors::model::{Address, ObservedServer, ServerName};
use proxymgr_actors::port::{NameResolver, PortFuture};
use tokio::time::Instant;

use super::{World, observed};

impl NameResolver for World {
    fn resolves(&self, name: Arc<str>) -> PortFuture<bool> {
        let resolves = self.with(|things| {
            things.lookups.push((Instant::now(), name.to_string()));
            things.names.contains(&*name)
        });
        Box::pin(async move { resolves })
    }
}

pub fn server(line: &str, names: &BTreeSet<String>) -> (ServerName, ObservedServer) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = words[2].rsplit_once(':').unwrap();
    let weight = words.windows(2).find(|pair| pair[0] == "weight").map_or(1, |pair| pair[1].parse().unwrap());
    let admin_state = if words.contains(&"disabled") { 5 } else { 0 };
    let mut server = observed(address, port.parse().unwrap(), admin_state, weight);
    if let Ok(Address::Name(name)) = Address::parse(address) {
        let resolves = names.contains(&*name);
        server.address = if resolves { "10.0.0.99" } else { "-" }.into();
        server.admin_state |= if resolves { 0 } else { 0x20 };
        server.fqdn = Some(name);
    }
    (ServerName::new(words[1]).unwrap(), server)
}
