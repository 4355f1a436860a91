//! Definitions from the tags of services: a service that bears the chosen tag is served, under its own name.
//!
//! With the tag `proxymgr`, a tag `proxymgr.port=8080` is the key `port` of its definition, and so on for every key
//! that a definition may have. `listen_options`, `server_options` and `domains` are lists: each tag adds one entry, in
//! the order of the alphabet. The hosts are the instances that bear the chosen tag. Instances may have different tags;
//! where they disagree about a key, the definition is refused and the last good one stays.
//!
//! One query for the names of all services and their tags tells everything.

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
use crate::discovery::followed::{Followed, OpenFollowed};
use crate::discovery::http::HttpError;

/// The keys of which a definition has several.
const LISTS: [&str; 3] = ["listen_options", "server_options", "domains"];

/// The services of Consul's catalog that bear a tag.
pub struct ConsulCatalogDefinitions {
    consul: Consul,
    tag: String,
}

impl ConsulCatalogDefinitions {
    /// The services that bear `tag`.
    pub fn new(consul: Consul, tag: &str) -> Self {
        Self { consul, tag: tag.to_owned() }
    }
}

impl DefinitionSource for ConsulCatalogDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let query = self.consul.inner.datacenter.clone().map(|datacenter| ("dc", datacenter)).into_iter().collect();
        let blocking = self.consul.inner.agents.watch(None, "/v1/catalog/services".to_owned(), query);
        Box::new(OpenFollowed::start(Tagged { blocking, tag: self.tag.clone(), reader }))
    }
}

struct Tagged {
    blocking: Blocking,
    tag: String,
    reader: Recipient<DefinitionsSeen>,
}

impl Followed for Tagged {
    type Level = BTreeMap<Arc<str>, RawDefinition>;

    async fn next(&mut self) -> Result<(Self::Level, Instant), HttpError> {
        let (answer, seen_at) = self.blocking.next().await?;
        let services: BTreeMap<String, Vec<String>> = answer.success()?.json().await?;
        let marked = services.into_iter().filter(|(_, tags)| tags.contains(&self.tag));
        Ok((marked.map(|(service, tags)| definition(&service, tags, &self.tag)).collect(), seen_at))
    }

    fn start_over(&mut self) {
        self.blocking.start_over();
    }

    fn report(&self, level: Result<&Self::Level, String>, _seen_at: Instant) {
        self.reader.do_send(DefinitionsSeen::plain(level.cloned()));
    }
}

fn definition(service: &str, mut tags: Vec<String>, chosen: &str) -> (Arc<str>, RawDefinition) {
    // Consul puts together the tags of all instances, in no order.
    tags.sort_unstable();
    let origin = format!("tags of Consul service {service}");
    let definition = match keys(service, &tags, chosen) {
        Ok(keys) => RawDefinition::new(Value::Object(keys).to_string(), origin),
        // No text is a problem of this definition alone, and the origin tells which.
        Err(reason) => RawDefinition::new("", format!("{origin} ({reason})")),
    };
    (service.into(), definition)
}

fn keys(service: &str, tags: &[String], chosen: &str) -> Result<Map<String, Value>, String> {
    let mut keys = Map::new();
    let ours = tags.iter().filter_map(|tag| tag.strip_prefix(chosen)?.strip_prefix('.'));
    for tag in ours {
        let Some((key, text)) = tag.split_once('=') else {
            return Err(format!("the tag {chosen}.{tag} has no value: {chosen}.key=value"));
        };
        if LISTS.contains(&key) {
            let entries = keys.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            entries.as_array_mut().into_iter().for_each(|entries| entries.push(Value::from(text)));
        } else if matches!(key, "type" | "service" | "tags" | "server") {
            return Err(format!("the tag {chosen}.{tag} is of no use: the hosts are the instances that bear {chosen}"));
        } else if let Some(other) = keys.insert(key.to_owned(), scalar(text)) {
            return Err(format!("its instances disagree: {chosen}.{key} is {other} and {text}"));
        }
    }
    keys.insert("type".into(), "consul".into());
    keys.insert("service".into(), service.into());
    keys.insert("tags".into(), vec![chosen].into());
    Ok(keys)
}

/// A number, `true` or `false`; else text.
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
    fn tags_are_the_keys_of_a_definition_in_whatever_order_they_come() {
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
    fn tags_that_say_nothing_clear_are_refused_with_the_reason() {
        for (tags, reason) in [
            (vec!["proxymgr.port=80", "proxymgr.port=81"], "its instances disagree: proxymgr.port is 80 and 81"),
            (vec!["proxymgr.port"], "proxymgr.port has no value"),
            (vec!["proxymgr.type=file"], "proxymgr.type=file is of no use"),
        ] {
            let raw = read(&tags);
            assert_eq!(&*raw.text, "");
            assert!(raw.origin.contains(reason), "{}", raw.origin);
        }
    }
}
