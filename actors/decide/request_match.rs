//! Parser for `match` in a service's definition: the requests that it gets, and the hosts of its source that serve them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::json_value::{shown, strings_from};
use super::nearest::nearest;
use crate::limits::{HOST_LABELS_MAX, MATCH_HEADERS_MAX, MATCH_METHODS_MAX, MATCH_SOURCES_MAX};
use crate::model::host_labels::is_label;
use crate::model::requests::carries_credentials;
use crate::model::{Conditions, HeaderName, HeaderValue, HostLabels, Method, SourceNetwork};

/// The key of a definition.
const KEY: &str = "match";

/// The keys within it that a definition can also have beside it, with the same meaning.
const BESIDE: [&str; 2] = ["domains", "path_prefix"];

/// All keys within it.
const KEYS: [&str; 7] = ["domains", "path_prefix", "headers", "methods", "sources", "tags", "meta"];

/// The value of a header that only has to be present, beside `true`.
const ANY_VALUE: &str = "*";

/// Moves the domains and the path of `match` to the place beside it, where they mean the same. Returns a mistake for each
/// that is there already.
pub(super) fn unite(definition: &mut Map<String, Value>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for key in BESIDE {
        let within = definition.get_mut(KEY).and_then(Value::as_object_mut).and_then(|keys| keys.remove(key));
        let Some(value) = within.filter(|value| !value.is_null()) else { continue };
        if definition.get(key).is_some_and(|value| !value.is_null()) {
            mistakes.push(format!("{KEY:?}: {key:?} is also a key beside it; write it once"));
        }
        definition.insert(key.to_owned(), value);
    }
    mistakes
}

/// The content of `match` beside domains and path.
#[derive(Debug, Default)]
pub(super) struct Match {
    /// The further conditions of its requests.
    pub(super) conditions: Conditions,
    /// The labels of its hosts.
    pub(super) labels: HostLabels,
    /// Every mistake.
    pub(super) mistakes: Vec<String>,
}

/// Takes `match` out of the keys of a definition. Its domains and path are put where they can also stand.
pub(super) fn take(definition: &mut Map<String, Value>) -> Match {
    let mut found = Match { mistakes: unite(definition), ..Match::default() };
    let Match { conditions, labels, mistakes } = &mut found;
    let keys = match definition.remove(KEY) {
        None | Some(Value::Null) => return found,
        Some(Value::Object(keys)) => keys,
        Some(other) => {
            mistakes.push(format!("{KEY:?}: {} is not an object", shown(&other)));
            return found;
        }
    };
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_null()) {
        let read = match key.as_str() {
            "headers" => headers(value).map(|headers| conditions.headers = headers),
            "methods" => set(value, MATCH_METHODS_MAX, Method::parse).map(|methods| conditions.methods = methods),
            "sources" => {
                set(value, MATCH_SOURCES_MAX, SourceNetwork::parse).map(|sources| conditions.sources = sources)
            }
            "tags" => set(value, HOST_LABELS_MAX, tag).map(|tags| labels.tags = tags),
            "meta" => meta(value).map(|meta| labels.meta = meta),
            _ => Err(unknown(key)),
        };
        mistakes.extend(read.err().map(|reason| format!("{KEY:?}: {key:?}: {reason}")));
    }
    found
}

fn tag(text: &str) -> Result<Arc<str>, String> {
    is_label(text).then(|| text.into()).ok_or_else(|| format!("{text:?} cannot be a tag"))
}

/// Parses `{"zone": "a"}`.
fn meta(value: &Value) -> Result<BTreeMap<Arc<str>, Arc<str>>, String> {
    let pair = |(key, value): (&String, &Value)| {
        let text = value.as_str().filter(|text| is_label(text))?;
        Some((key.as_str().into(), text.into()))
    };
    let pairs = value.as_object().filter(|pairs| (1..=HOST_LABELS_MAX).contains(&pairs.len()));
    let pairs = pairs.and_then(|pairs| pairs.iter().map(pair).collect());
    pairs.ok_or_else(|| {
        format!("{} is not an object of 1 to {HOST_LABELS_MAX} texts, such as {{\"zone\": \"a\"}}", shown(value))
    })
}

fn unknown(key: &str) -> String {
    match nearest(key, KEYS) {
        Some(meant) => format!("the key is not known; did you mean {meant:?}?"),
        None => format!("the key is none of {}", KEYS.join(", ")),
    }
}

/// Parses `{"X-Canary": "1", "X-Debug": true}`.
fn headers(value: &Value) -> Result<BTreeMap<HeaderName, Option<HeaderValue>>, String> {
    let Value::Object(keys) = value else {
        return Err(format!("{} is not an object, such as {{\"X-Canary\": \"1\"}}", shown(value)));
    };
    if keys.is_empty() || keys.len() > MATCH_HEADERS_MAX {
        return Err(format!("{} headers, and 1 to {MATCH_HEADERS_MAX} are allowed", keys.len()));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in keys {
        let parsed = HeaderName::parse(name).map_err(|error| error.to_string())?;
        let value = match value {
            Value::Bool(true) => None,
            Value::String(text) if text == ANY_VALUE => None,
            Value::String(_) if carries_credentials(name) => {
                return Err(format!(
                    "{name:?}: its value is a credential, which status would show; only true is allowed"
                ));
            }
            Value::String(text) => Some(HeaderValue::parse(text).map_err(|error| format!("{name:?}: {error}"))?),
            other => return Err(format!("{name:?}: {} is neither a value in quotes nor true", shown(other))),
        };
        if headers.insert(parsed, value).is_some() {
            return Err(format!("{name:?} is there twice; case does not matter in names of headers"));
        }
    }
    Ok(headers)
}

/// Parses one text or a list of them.
fn set<T: Ord, E: ToString>(
    value: &Value,
    most: usize,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<BTreeSet<T>, String> {
    let texts = strings_from(value)?;
    if texts.is_empty() || texts.len() > most {
        return Err(format!("{} values, and 1 to {most} are allowed", texts.len()));
    }
    texts.iter().map(|text| parse(text).map_err(|error| error.to_string())).collect()
}
