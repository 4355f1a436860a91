//! Definitions from the keys below a prefix: the rest of the key is the service's name, the value is its definition.

use actix::Recipient;
use proxymgr_actors::decide::text::text_from;
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use tokio::time::Instant;

use super::Etcd;
use super::cluster::Cluster;
use super::prefix::{Entries, KeyDecoder, Prefix};
use crate::discovery::snapshot_watch::SnapshotWatch;

/// The definitions below one prefix.
pub struct EtcdDefinitions {
    etcd: Etcd,
    prefix: String,
}

impl EtcdDefinitions {
    /// The definitions below `path`. A slash at its end is optional.
    pub fn new(etcd: Etcd, path: &str) -> Result<Self, String> {
        if path.trim_matches('/').is_empty() {
            return Err("the path must be a prefix of keys, such as /service_config".to_owned());
        }
        Ok(Self { etcd, prefix: format!("{}/", path.trim_end_matches('/')) })
    }
}

impl DefinitionSource for EtcdDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let decoder = DefinitionKeys { prefix: self.prefix.clone(), reader };
        Box::new(SnapshotWatch::start(Prefix::new(self.etcd.cluster(None), self.prefix.clone(), decoder)))
    }
}

#[derive(Clone)]
struct DefinitionKeys {
    prefix: String,
    reader: Recipient<DefinitionsSeen>,
}

impl KeyDecoder for DefinitionKeys {
    type Entry = RawDefinition;

    fn entry(&self, name: &str, value: &[u8]) -> RawDefinition {
        let origin = format!("etcd key {}{name}", self.prefix);
        match text_from(value) {
            Ok(text) => RawDefinition::new(text, origin),
            Err(error) => RawDefinition::unreadable(error, origin),
        }
    }

    fn absent(&self, cluster: &Cluster) -> Option<String> {
        let (prefix, servers) = (&self.prefix, cluster.servers());
        Some(format!(
            "there is no key that begins with {prefix} in etcd {servers}; waiting until one is created, for \
             example with: etcdctl put {prefix} \"\""
        ))
    }

    fn report(&self, snapshot: Result<&Entries<RawDefinition>, String>, _seen_at: Instant, missed: bool) {
        self.reader.do_send(DefinitionsSeen { missed, ..DefinitionsSeen::plain(snapshot.cloned()) });
    }
}
