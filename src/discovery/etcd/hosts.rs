//! Hosts from the keys below a prefix: `{"address": "10.0.0.1", "port": 80}` and the records of other tools, as in
//! ZooKeeper, or `10.0.0.1:80`, as in a file. A key is removed when its lease expires, and its host with it.

use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::host_registration::{RegistrationRules, from_registration};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::text::{NO_DATA, is_blank, text_from};
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, HostRecord, SourceSpec};
use tokio::time::Instant;

use super::Etcd;
use super::cluster::Cluster;
use super::prefix::{Entries, KeyDecoder, Prefix};
use crate::discovery::settings::{required, servers};
use crate::discovery::snapshot_watch::SnapshotWatch;

/// The keys of a definition that this kind of source reads.
pub(in crate::discovery) const KEYS: &[DefinitionKey] = &[
    key(
        "prefix",
        "prefix of keys",
        "Each key below it has a host as its value: JSON, or `host:port`. A key whose lease expires removes its host. Required.",
    ),
    key("server", "URL, ...", "Another cluster, which gets no password. Default: `etcd.servers`."),
];

/// Watches the prefix that the definition names.
pub(in crate::discovery) fn open(
    spec: &SourceSpec,
    etcd: &Etcd,
    options: &Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
) -> Result<SnapshotWatch, String> {
    let prefix: String = required(spec, "prefix", "the prefix of the keys of the hosts, like \"/services/web/\"")?;
    if prefix.trim_matches('/').is_empty() {
        return Err(format!("\"prefix\" is {prefix:?}, which would make every key a host"));
    }
    // So that /services/web does not include /services/web2.
    let prefix = format!("{}/", prefix.trim_end_matches('/'));
    let cluster = etcd.cluster(servers(spec, "http://etcd:2379")?);
    let decoder = HostKeys { prefix: prefix.clone(), options: options.clone(), watcher };
    Ok(SnapshotWatch::start(Prefix::new(cluster, prefix, decoder)))
}

#[derive(Clone)]
struct HostKeys {
    prefix: String,
    options: Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
}

/// The host in the value of a key; none if it is not a host of this service.
pub(super) fn host(value: &[u8], options: &OptionPolicy) -> Result<Option<HostRecord>, String> {
    let text = text_from(value)?;
    if is_blank(text) {
        return Err(format!("{NO_DATA}; expected host:port, or a JSON object"));
    }
    if text.trim_start().starts_with('{') {
        return from_registration(text.as_bytes(), &RegistrationRules::default(), options);
    }
    let host = host_record::from_line(text.trim(), options)?;
    host.map(Some).ok_or_else(|| "it has only a comment; expected host:port, or a JSON object".to_owned())
}

impl KeyDecoder for HostKeys {
    /// None if the key is not a host of this service.
    type Entry = Result<Option<HostRecord>, String>;

    fn entry(&self, name: &str, value: &[u8]) -> Self::Entry {
        host(value, &self.options).map_err(|error| format!("etcd key {}{name}: {error}", self.prefix))
    }

    fn absent(&self, _cluster: &Cluster) -> Option<String> {
        None
    }

    fn report(&self, snapshot: Result<&Entries<Self::Entry>, String>, seen_at: Instant, missed: bool) {
        let seen_host = |(key, entry): (&Arc<str>, &Self::Entry)| {
            entry.clone().transpose().map(|record| SeenHost { key: key.clone(), record })
        };
        let result = snapshot.map(|entries| entries.iter().filter_map(seen_host).collect());
        self.watcher.do_send(HostsSeen { result, seen_at, missed });
    }
}
