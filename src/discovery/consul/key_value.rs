//! Definitions from the keys below a path: the rest of the key is the service's name, the value is its definition.

use std::collections::BTreeMap;
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
use crate::discovery::http::{HttpError, HttpFailure, escaped};
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
        let segments: Vec<String> = self.prefix.split('/').map(escaped).collect();
        let mut query = vec![("recurse", String::new())];
        query.extend(self.consul.inner.datacenter.clone().map(|datacenter| ("dc", datacenter)));
        let blocking = self.consul.inner.agents.watch(None, format!("/v1/kv/{}", segments.join("/")), query);
        Box::new(SnapshotWatch::start(Keys { blocking, prefix: self.prefix.clone(), had_keys_at: None, reader }))
    }
}

struct Keys {
    blocking: Blocking,
    prefix: String,
    /// The index of the last response with keys: a store with a lower index has lost them.
    had_keys_at: Option<u64>,
    reader: Recipient<DefinitionsSeen>,
}

/// One element of the answer: <https://developer.hashicorp.com/consul/api-docs/kv>.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    value: Option<String>,
}

impl SnapshotReader for Keys {
    type Snapshot = BTreeMap<Arc<str>, RawDefinition>;

    async fn next(&mut self) -> Result<(Self::Snapshot, Instant), HttpError> {
        let (answer, seen_at) = self.blocking.next().await?;
        if answer.status == 404 && self.had_keys_at.is_some_and(|then| then <= self.blocking.index()) {
            // The last key was deleted. Consul discards the index of the deletion after some time.
            self.had_keys_at = Some(0);
            return Ok((BTreeMap::new(), seen_at));
        }
        if answer.status == 404 {
            let (prefix, servers) = (&self.prefix, self.blocking.servers());
            let text = format!(
                "there is no key {prefix} in Consul {servers}, or this token may not read it (key_prefix read); it is \
                 watched until it is created, for instance by: consul kv put {prefix}"
            );
            return Err(HttpError::new(HttpFailure::Status(404), text));
        }
        let pairs: Vec<Pair> = answer.json().await?;
        self.had_keys_at = Some(self.blocking.index());
        Ok((pairs.iter().filter_map(|pair| self.definition(pair)).collect(), seen_at))
    }

    fn start_over(&mut self) {
        self.blocking.start_over();
    }

    fn report(&self, snapshot: Result<&Self::Snapshot, String>, _seen_at: Instant) {
        self.reader.do_send(DefinitionsSeen::plain(snapshot.cloned()));
    }
}

impl Keys {
    /// The definition of a key; none for a folder, which is a key without a value whose name ends with a slash. A key
    /// in another folder is a definition, so that its invalid name is reported.
    fn definition(&self, pair: &Pair) -> Option<(Arc<str>, RawDefinition)> {
        let name = pair.key.strip_prefix(&self.prefix).filter(|name| !name.is_empty())?;
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
}
