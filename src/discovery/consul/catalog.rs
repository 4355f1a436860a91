//! Definitions from the tags of Consul services: every service with the chosen tag is defined, under its own name.
//!
//! With the tag `proxymgr`, a tag `proxymgr.port=8080` is the key `port` of its definition, and so on for every key
//! of a definition. `listen_options`, `server_options` and `domains` are lists: each tag adds one entry, sorted
//! alphabetically. The hosts are the instances with the chosen tag. If instances have different values for a key, the
//! definition is refused and the last good one stays.
//!
//! A definition vanishes with the last instance of its service, so the service stays for a long grace period.
//!
//! One query returns the names and tags of all services.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Consul;
use super::blocking::Blocking;
use crate::discovery::http::{FullResponse, HttpError};
use crate::discovery::snapshot_watch::{SnapshotReader, SnapshotWatch};

/// The keys whose values are lists.
const LISTS: [&str; 3] = ["listen_options", "server_options", "domains"];

/// The definitions from the services in Consul's catalog with one tag.
pub struct ConsulCatalogDefinitions {
    consul: Consul,
    tag: String,
}

impl ConsulCatalogDefinitions {
    /// The definitions from the services with `tag`.
    pub fn new(consul: Consul, tag: &str) -> Self {
        Self { consul, tag: tag.to_owned() }
    }
}

impl DefinitionSource for ConsulCatalogDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let query = self.consul.inner.datacenter.clone().map(|datacenter| ("dc", datacenter)).into_iter().collect();
        let blocking = self.consul.inner.agents.watch(
            None,
            "/v1/catalog/services".to_owned(),
            query,
            "service:read for all services",
        );
        Box::new(SnapshotWatch::start(Tagged { blocking, tag: self.tag.clone(), reader }))
    }

    fn are_derived(&self) -> bool {
        true
    }
}

struct Tagged {
    blocking: Blocking,
    tag: String,
    reader: Recipient<DefinitionsSeen>,
}

impl SnapshotReader for Tagged {
    type Snapshot = BTreeMap<Arc<str>, RawDefinition>;

    async fn next(&mut self) -> Result<(Self::Snapshot, Instant), HttpError> {
        let decode = async |answer: FullResponse| answer.success()?.json::<BTreeMap<String, Vec<String>>>().await;
        let (services, seen_at) = self.blocking.next(decode).await?;
        let marked = services.into_iter().filter(|(_, tags)| tags.contains(&self.tag));
        Ok((marked.map(|(service, tags)| definition(&service, tags, &self.tag)).collect(), seen_at))
    }

    fn start_over(&mut self) {
        self.blocking.start_over();
    }

    fn another(&self) -> Option<Self> {
        let (tag, reader) = (self.tag.clone(), self.reader.clone());
        Some(Self { blocking: self.blocking.another(), tag, reader })
    }

    fn report(&self, snapshot: Result<&Self::Snapshot, String>, _seen_at: Instant, missed: bool) {
        self.reader.do_send(DefinitionsSeen { missed, ..DefinitionsSeen::plain(snapshot.cloned()) });
    }
}

pub(super) fn definition(service: &str, mut tags: Vec<String>, chosen: &str) -> (Arc<str>, RawDefinition) {
    // Consul merges the tags of all instances, in no particular order.
    tags.sort_unstable();
    let origin = format!("tags of Consul service {service}");
    let definition = match keys(service, &tags, chosen) {
        Ok(keys) => RawDefinition::new(Value::Object(keys).to_string(), origin),
        Err(reason) => {
            // It repeats a tag, which may have control characters.
            let plain = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
            RawDefinition::unreadable(plain.collect::<String>(), origin)
        }
    };
    (service.into(), definition)
}

fn keys(service: &str, tags: &[String], chosen: &str) -> Result<Map<String, Value>, String> {
    let mut keys = Map::new();
    let ours = tags.iter().filter_map(|tag| tag.strip_prefix(chosen)?.strip_prefix('.'));
    for tag in ours {
        let Some((key, text)) = tag.split_once('=') else {
            return Err(format!("the tag {chosen}.{tag} has no value; expected {chosen}.key=value"));
        };
        if LISTS.contains(&key) {
            let entries = keys.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            entries.as_array_mut().into_iter().for_each(|entries| entries.push(Value::from(text)));
        } else if matches!(key, "type" | "service" | "tags" | "server") {
            return Err(format!(
                "the tag {chosen}.{tag} is not allowed: the hosts are the instances with the tag {chosen}"
            ));
        } else if let Some(other) = keys.insert(key.to_owned(), scalar(text)) {
            return Err(format!("its instances have different values for {chosen}.{key}: {other} and {text}"));
        }
    }
    keys.insert("type".into(), "consul".into());
    keys.insert("service".into(), service.into());
    keys.insert("tags".into(), vec![chosen].into());
    Ok(keys)
}

/// A number or boolean if the text is one, else a string.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::decide::option_policy::OptionPolicy;
    use proxymgr_actors::decide::service_definition;
    use serde_json::json;

    use super::*;

    fn read(tags: &[&str]) -> RawDefinition {
        definition("web", tags.iter().map(|tag| (*tag).to_owned()).collect(), "proxymgr").1
    }

    #[test]
    fn tags_are_keys_in_any_order() {
        let tags = [
            "v2",
            "proxymgr.port=8080",
            "proxymgr.listen_options=mode http",
            "proxymgr",
            "proxymgr.listen_options=balance leastconn",
            "proxymgr.max_removal=0.5",
        ];
        let mut reversed = tags;
        reversed.reverse();
        let raw = read(&tags);
        assert_eq!(raw, read(&reversed));
        let expected = json!({
            "type": "consul", "service": "web", "tags": ["proxymgr"], "port": 8080, "max_removal": 0.5,
            "listen_options": ["balance leastconn", "mode http"],
        });
        assert_eq!(serde_json::from_str::<Value>(&raw.text).unwrap(), expected);
        let parsed = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap();
        assert_eq!(parsed.warnings, Vec::<String>::new());
        assert_eq!(parsed.definition.listen.unwrap().port(), 8080);
    }

    #[test]
    fn ambiguous_tags_are_refused() {
        for (tags, reason) in [
            (vec!["proxymgr.port=80", "proxymgr.port=81"], "proxymgr.port: 80 and 81"),
            (vec!["proxymgr.port"], "proxymgr.port has no value"),
            (vec!["proxymgr.type=file"], "proxymgr.type=file"),
            (vec!["proxymgr.a\u{8}\nb"], "proxymgr.a  b has no value"),
        ] {
            let raw = read(&tags);
            assert!(raw.problem.as_ref().is_some_and(|problem| problem.contains(reason)), "{raw:?}");
        }
    }
}
