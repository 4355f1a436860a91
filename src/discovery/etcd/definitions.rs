//! Definitions from the keys below a prefix: what follows it is the service's name, the value is its definition.

use actix::Recipient;
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use tokio::time::Instant;

use super::Etcd;
use super::cluster::Cluster;
use super::prefix::{Entries, Meaning, Prefix};
use crate::discovery::followed::OpenFollowed;

/// The services below one prefix.
pub struct EtcdDefinitions {
    etcd: Etcd,
    prefix: String,
}

impl EtcdDefinitions {
    /// The services below `path`, with or without a slash at its end.
    pub fn new(etcd: Etcd, path: &str) -> Result<Self, String> {
        if path.trim_matches('/').is_empty() {
            return Err("the path must be the beginning of keys, such as /service_config".to_owned());
        }
        Ok(Self { etcd, prefix: format!("{}/", path.trim_end_matches('/')) })
    }
}

impl DefinitionSource for EtcdDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let meaning = DefinitionKeys { prefix: self.prefix.clone(), reader };
        Box::new(OpenFollowed::start(Prefix::new(self.etcd.cluster(None), self.prefix.clone(), meaning)))
    }
}

struct DefinitionKeys {
    prefix: String,
    reader: Recipient<DefinitionsSeen>,
}

impl Meaning for DefinitionKeys {
    type Entry = RawDefinition;

    fn entry(&self, name: &str, value: &[u8]) -> RawDefinition {
        let origin = format!("etcd key {}{name}", self.prefix);
        match str::from_utf8(value) {
            Ok(text) => RawDefinition::new(text, origin),
            // No text is a problem of this definition alone, and the origin tells which.
            Err(error) => RawDefinition::new("", format!("{origin} ({error})")),
        }
    }

    fn absent(&self, cluster: &Cluster) -> Option<String> {
        let (prefix, servers) = (&self.prefix, cluster.servers());
        Some(format!(
            "there is no key that begins with {prefix} in etcd {servers}; it is watched until one is created, for \
             instance by: etcdctl put {prefix} \"\""
        ))
    }

    fn report(&self, level: Result<&Entries<RawDefinition>, String>, _seen_at: Instant) {
        self.reader.do_send(DefinitionsSeen::plain(level.cloned()));
    }
}
