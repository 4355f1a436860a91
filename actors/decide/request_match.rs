//! Parser for `match` in a service's definition: the requests that it gets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::json_value::{shown, strings_from};
use super::nearest::nearest;
use crate::limits::{MATCH_HEADERS_MAX, MATCH_METHODS_MAX, MATCH_SOURCES_MAX};
use crate::model::requests::carries_credentials;
use crate::model::{Conditions, HeaderName, HeaderValue, InvalidCondition, Method, SourceNetwork};

/// The key of a definition.
const KEY: &str = "match";

/// The keys within it that a definition can also have beside it, with the same meaning.
const BESIDE: [&str; 2] = ["domains", "path_prefix"];

/// All keys within it.
const KEYS: [&str; 5] = ["domains", "path_prefix", "headers", "methods", "sources"];

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

/// Takes `match` out of the keys of a definition. Its domains and path are put where they can also stand. Returns its
/// other conditions, and every mistake.
pub(super) fn take(definition: &mut Map<String, Value>) -> (Conditions, Vec<String>) {
    let mut mistakes = unite(definition);
    let mut conditions = Conditions::default();
    let keys = match definition.remove(KEY) {
        None | Some(Value::Null) => return (conditions, mistakes),
        Some(Value::Object(keys)) => keys,
        Some(other) => return (conditions, vec![format!("{KEY:?}: {} is not an object", shown(&other))]),
    };
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_null()) {
        let read = match key.as_str() {
            "headers" => headers(value).map(|headers| conditions.headers = headers),
            "methods" => set(value, MATCH_METHODS_MAX, Method::parse).map(|methods| conditions.methods = methods),
            "sources" => {
                set(value, MATCH_SOURCES_MAX, SourceNetwork::parse).map(|sources| conditions.sources = sources)
            }
            _ => Err(unknown(key)),
        };
        mistakes.extend(read.err().map(|reason| format!("{KEY:?}: {key:?}: {reason}")));
    }
    (conditions, mistakes)
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
fn set<T: Ord>(
    value: &Value,
    most: usize,
    parse: impl Fn(&str) -> Result<T, InvalidCondition>,
) -> Result<BTreeSet<T>, String> {
    let texts = strings_from(value)?;
    if texts.is_empty() || texts.len() > most {
        return Err(format!("{} values, and 1 to {most} are allowed", texts.len()));
    }
    texts.iter().map(|text| parse(text).map_err(|error| error.to_string())).collect()
}
