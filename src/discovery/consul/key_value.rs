//! Definitions from the keys below a path: the rest of the key is the service's name, the value is its definition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::Recipient;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proxymgr_actors::decide::text::text_from;
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde::Deserialize;
use tokio::time::Instant;

use super::Consul;
use super::blocking::Blocking;
use crate::discovery::http::{FullResponse, HttpError, HttpFailure, escaped};
use crate::discovery::snapshot_watch::{SnapshotReader, SnapshotWatch};

/// The definitions below one path of Consul's key/value store.
pub struct ConsulKeyDefinitions {
    consul: Consul,
    prefix: String,
}

impl ConsulKeyDefinitions {
    /// The definitions below `path`. Slashes at its ends are optional.
    pub fn new(consul: Consul, path: &str) -> Result<Self, String> {
        match path.trim_matches('/') {
            "" => Err("the path must name a folder of keys, such as service_config".to_owned()),
            path => Ok(Self { consul, prefix: format!("{path}/") }),
        }
    }
}

impl DefinitionSource for ConsulKeyDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let mut query = vec![("recurse", String::new())];
        query.extend(self.consul.inner.datacenter.clone().map(|datacenter| ("dc", datacenter)));
        let blocking = self.consul.inner.agents.watch(None, path_of(&self.prefix), query, PERMISSIONS);
        let keys = Keys { blocking, prefix: self.prefix.clone(), had_keys_at: None, names: BTreeSet::new(), reader };
        Box::new(SnapshotWatch::start(keys))
    }
}

/// The permission of a token that may read all definitions.
const PERMISSIONS: &str = "key_prefix read for all definitions";

/// How many keys that left the list are checked for whether they were deleted: a change of permissions hides many.
const CHECKED_KEYS_MAX: usize = 4;

/// The path of a key in Consul's API.
fn path_of(key: &str) -> String {
    let segments: Vec<String> = key.split('/').map(escaped).collect();
    format!("/v1/kv/{}", segments.join("/"))
}

struct Keys {
    blocking: Blocking,
    prefix: String,
    /// The index of the last response with keys: a store with a lower index has lost them.
    had_keys_at: Option<u64>,
    /// The names in that response.
    names: BTreeSet<String>,
    reader: Recipient<DefinitionsSeen>,
}

/// One element of the answer: <https://developer.hashicorp.com/consul/api-docs/kv>.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Pair {
    key: String,
    value: Option<String>,
}

impl SnapshotReader for Keys {
    type Snapshot = BTreeMap<Arc<str>, RawDefinition>;

    async fn next(&mut self) -> Result<(Self::Snapshot, Instant), HttpError> {
        let decode = async |answer: FullResponse| match answer.status {
            404 => Ok(None),
            _ => answer.json::<Vec<Pair>>().await.map(Some),
        };
        let (pairs, seen_at) = self.blocking.next(decode).await?;
        let index = self.blocking.index();
        let were_deleted = self.had_keys_at.is_some_and(|then| then <= index);
        let Some(pairs) = pairs.or_else(|| were_deleted.then(Vec::new)) else {
            let (prefix, servers) = (&self.prefix, self.blocking.servers());
            let text = format!(
                "there is no key {prefix} in Consul {servers}, or this token may not read it (key_prefix read); it is \
                 watched until it is created, for instance by: consul kv put {prefix}"
            );
            return Err(HttpError::new(HttpFailure::Status(404), text));
        };
        let names: BTreeSet<String> = pairs.iter().map(|pair| pair.key.clone()).collect();
        if let Err(error) = self.check_deleted(&names).await {
            self.blocking.start_over();
            return Err(error);
        }
        // Consul discards the index of the deletion of the last key after some time.
        self.had_keys_at = Some(if names.is_empty() { 0 } else { index });
        self.names = names;
        Ok((pairs.iter().filter_map(|pair| definition(&self.prefix, pair)).collect(), seen_at))
    }

    fn start_over(&mut self) {
        self.blocking.start_over();
    }

    fn another(&self) -> Option<Self> {
        let (prefix, reader) = (self.prefix.clone(), self.reader.clone());
        Some(Self { blocking: self.blocking.another(), prefix, had_keys_at: None, names: BTreeSet::new(), reader })
    }

    fn report(&self, snapshot: Result<&Self::Snapshot, String>, _seen_at: Instant, missed: bool) {
        self.reader.do_send(DefinitionsSeen { missed, ..DefinitionsSeen::plain(snapshot.cloned()) });
    }
}

impl Keys {
    /// An error if keys left the list because the token may no longer read them.
    async fn check_deleted(&self, names: &BTreeSet<String>) -> Result<(), HttpError> {
        for key in self.names.difference(names).take(CHECKED_KEYS_MAX) {
            self.blocking.check_access(path_of(key)).await?;
        }
        Ok(())
    }
}

/// The definition of a key; none for a folder, which is a key without a value whose name ends with a slash. A key in
/// another folder is a definition, so that its invalid name is reported.
pub(super) fn definition(prefix: &str, pair: &Pair) -> Option<(Arc<str>, RawDefinition)> {
    let name = pair.key.strip_prefix(prefix).filter(|name| !name.is_empty())?;
    if name.ends_with('/') && pair.value.as_deref().unwrap_or_default().is_empty() {
        return None;
    }
    let origin = format!("Consul key {}", pair.key);
    let bytes = BASE64_STANDARD.decode(pair.value.as_deref().unwrap_or_default());
    let bytes = bytes.map_err(|_| "Consul sent a value that is not base64".to_owned());
    let definition = match bytes.and_then(|bytes| text_from(&bytes).map(str::to_owned)) {
        Ok(text) => RawDefinition::new(text, origin),
        Err(error) => RawDefinition::unreadable(error, origin),
    };
    Some((name.into(), definition))
}
