//! Responses of etcd's JSON API: <https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/>. Numbers of 64 bits are
//! strings, bytes are base64, and fields that are zero, empty or false are omitted.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// The header of every response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Header {
    /// Revisions of clusters with different ids are unrelated.
    #[serde(default)]
    pub(super) cluster_id: String,
    /// The revision of the store at the time of the response.
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: i64,
}

/// The keys of a range.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
}

/// A key and its value.
#[derive(Debug, Default, Deserialize)]
pub(super) struct KeyValue {
    #[serde(deserialize_with = "bytes")]
    pub(super) key: Vec<u8>,
    #[serde(default, deserialize_with = "bytes")]
    pub(super) value: Vec<u8>,
    #[serde(default, deserialize_with = "number")]
    pub(super) mod_revision: i64,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
pub(super) struct WatchLine {
    pub(super) result: Option<WatchAnswer>,
    /// In place of a result, the reason why the watch ends.
    pub(super) error: Option<Value>,
}

/// The result of a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchAnswer {
    pub(super) header: Header,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) cancel_reason: String,
    /// Not zero if the start revision was compacted.
    #[serde(deserialize_with = "number")]
    pub(super) compact_revision: i64,
    pub(super) events: Vec<Event>,
}

/// A change of a key.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    /// `DELETE`, or empty for a put.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) kv: KeyValue,
}

/// The response to a login.
#[derive(Deserialize)]
pub(super) struct Authenticated {
    pub(super) token: String,
}

/// The range of all keys with `prefix`.
pub(super) fn range_of(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 255, so that the last byte can always be incremented.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({"key": BASE64_STANDARD.encode(prefix), "range_end": BASE64_STANDARD.encode(end)})
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| serde::de::Error::custom(format!("{value} is not a number")))
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(&text).map_err(|error| serde::de::Error::custom(format!("{text:?} is not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_watch_are_parsed() {
        let line = r#"{"result":{"header":{"cluster_id":"14841639068965178418","member_id":"1","revision":"4","raft_term":"2"},
            "events":[{"type":"DELETE","kv":{"key":"L3MvYg==","mod_revision":"4"}},{"kv":{"key":"L3MvYQ==","value":"eA==","mod_revision":"5"}}]}}"#;
        let answer = serde_json::from_str::<WatchLine>(line).unwrap().result.unwrap();
        assert_eq!(answer.header.revision, 4);
        assert!(!answer.created && !answer.canceled && answer.compact_revision == 0);
        let [gone, put] = &answer.events[..] else { panic!("{answer:?}") };
        assert_eq!((gone.kind.as_str(), &gone.kv.key[..]), ("DELETE", &b"/s/b"[..]));
        assert_eq!((put.kind.as_str(), &put.kv.value[..], put.kv.mod_revision), ("", &b"x"[..], 5));
        let canceled = r#"{"result":{"header":{"cluster_id":"1"},"canceled":true,"compact_revision":"4"}}"#;
        let answer = serde_json::from_str::<WatchLine>(canceled).unwrap().result.unwrap();
        assert!(answer.canceled && answer.compact_revision == 4);
    }

    #[test]
    fn range_contains_all_keys_with_the_prefix() {
        let range = range_of("/s/");
        assert_eq!(range["key"], "L3Mv");
        assert_eq!(BASE64_STANDARD.decode(range["range_end"].as_str().unwrap()).unwrap(), b"/s0");
    }
}
