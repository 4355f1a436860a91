//! Host registrations that other tools write into ZooKeeper.
//!
//! | format | written by | example |
//! | --- | --- | --- |
//! | `proxymgr` | proxymgr, its predecessor | `{"address": "10.0.0.1", "port": 8080}` |
//! | `nerve` | SmartStack | `{"host": "10.0.0.1", "port": 8080, "name": "i-1", "weight": 10, "haproxy_server_options": "check"}` |
//! | `curator` | Curator's service discovery | `{"name": "web", "id": "6e2c", "address": "10.0.0.1", "port": 8080, "sslPort": null, "serviceType": "DYNAMIC", "enabled": true}` |
//! | `serverset` | Finagle, Aurora | `{"serviceEndpoint": {"host": "10.0.0.1", "port": 8080}, "additionalEndpoints": {}, "status": "ALIVE", "shard": 0}` |
//!
//! Each is converted to the keys of a host and then read like one. Unknown keys are only reported in proxymgr's own
//! format, because other tools register more keys.

use serde_json::{Map, Value};

use super::host_record::from_json_value;
use super::json_value::{described, whole_number};
use super::option_policy::OptionPolicy;
use super::text::{json_from, text_from};
use crate::model::HostRecord;

/// The format of a registration, by the tool that writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationFormat {
    /// Keys of a host, as proxymgr knows them.
    Proxymgr,
    /// SmartStack nerve.
    Nerve,
    /// Curator service discovery.
    Curator,
    /// Finagle serversets.
    Serverset,
}

/// The names of the formats, as in a definition's `format`.
const FORMATS: [(&str, RegistrationFormat); 4] = [
    ("proxymgr", RegistrationFormat::Proxymgr),
    ("nerve", RegistrationFormat::Nerve),
    ("curator", RegistrationFormat::Curator),
    ("serverset", RegistrationFormat::Serverset),
];

impl RegistrationFormat {
    /// Returns the format with this name.
    ///
    /// # Errors
    /// The message, with the valid names.
    pub fn named(name: &str) -> Result<Self, String> {
        let known = FORMATS.iter().find(|(known, _)| *known == name);
        known.map(|(_, format)| *format).ok_or_else(|| {
            let names = Vec::from_iter(FORMATS.iter().map(|(name, _)| *name));
            format!("{name:?} is none of {}", names.join(", "))
        })
    }

    /// Detects the format from typical keys.
    fn recognised(keys: &Map<String, Value>) -> Self {
        let has = |key| keys.contains_key(key);
        if has("serviceEndpoint") {
            Self::Serverset
        } else if has("serviceType") || has("registrationTimeUTC") {
            Self::Curator
        } else if has("host") && !has("address") {
            Self::Nerve
        } else {
            Self::Proxymgr
        }
    }
}

/// How the registrations of one service are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationRules {
    /// Their format; `None` where it is detected from the keys of each.
    pub format: Option<RegistrationFormat>,
    /// For serversets: the name of the `additionalEndpoints` entry to use; `None` for the `serviceEndpoint`.
    pub endpoint: Option<String>,
    /// For serversets: the shard whose members are hosts; `None` for all.
    pub shard: Option<u64>,
}

/// Reads a registration. Returns `None` for a member of another shard, and for the weights that Finagle stores next to
/// the members of a serverset.
///
/// # Errors
/// Every mistake, with its key.
pub fn from_registration(
    data: &[u8],
    rules: &RegistrationRules,
    policy: &OptionPolicy,
) -> Result<Option<HostRecord>, String> {
    let value = json_from(text_from(data)?)?;
    let Value::Object(keys) = &value else { return from_json_value(&value, policy).map(Some) };
    if keys.len() == 1 && keys.contains_key("vector") {
        return Ok(None);
    }
    let keys = match rules.format.unwrap_or_else(|| RegistrationFormat::recognised(keys)) {
        RegistrationFormat::Proxymgr => return from_json_value(&value, policy).map(Some),
        RegistrationFormat::Nerve => nerve(keys),
        RegistrationFormat::Curator => curator(keys)?,
        RegistrationFormat::Serverset => {
            if rules.shard.is_some_and(|wanted| keys.get("shard").and_then(whole_number) != Some(wanted)) {
                return Ok(None);
            }
            serverset(keys, rules.endpoint.as_deref())?
        }
    };
    from_json_value(&Value::Object(keys), policy).map(Some)
}

/// Copies a key, if it is present, under proxymgr's name for it.
fn rename(from: &Map<String, Value>, key: &str, to: &mut Map<String, Value>, name: &str) {
    to.extend(from.get(key).map(|value| (name.to_owned(), value.clone())));
}

/// Copies meta data. Another tool may have something else under its key, which must not make its host unusable.
fn copy_meta(from: &Map<String, Value>, key: &str, to: &mut Map<String, Value>) {
    if from.get(key).is_some_and(Value::is_object) {
        rename(from, key, to, "meta");
    }
}

/// Converts a nerve registration. Its `name` is that of the machine, which several registrations may share; so the
/// server is named after its endpoint.
fn nerve(from: &Map<String, Value>) -> Map<String, Value> {
    let mut keys = Map::new();
    for (key, name) in
        [("host", "address"), ("port", "port"), ("weight", "weight"), ("haproxy_server_options", "options")]
    {
        rename(from, key, &mut keys, name);
    }
    copy_meta(from, "labels", &mut keys);
    keys
}

/// The statuses that Spring Cloud (in the payload of a Curator registration) and Eureka give an instance. Both send
/// requests only to an instance that is `UP`.
const INSTANCE_STATUSES: [(&str, &str); 5] =
    [("UP", "ready"), ("STARTING", "maint"), ("DOWN", "maint"), ("OUT_OF_SERVICE", "maint"), ("UNKNOWN", "maint")];

/// Returns the state of an instance by its `instance_status`; `None` where it has none.
fn instance_state(payload: &Map<String, Value>) -> Result<Option<&'static str>, String> {
    let status = payload.get("metadata").and_then(|metadata| metadata.get("instance_status"));
    let Some(status) = status.filter(|status| !status.is_null()) else { return Ok(None) };
    let known = |text: &str| INSTANCE_STATUSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    match status.as_str().and_then(known) {
        Some((_, state)) => Ok(Some(state)),
        None => {
            let names = INSTANCE_STATUSES.map(|(name, _)| name).join(", ");
            Err(format!("\"instance_status\": {} is none of {names}", described(status)))
        }
    }
}

/// Converts a Curator registration. Its `name` is that of the service. A disabled instance goes into maintenance, and
/// so does one that Spring Cloud marks as not `UP`.
fn curator(from: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut keys = Map::new();
    rename(from, "address", &mut keys, "address");
    let has_port = from.get("port").is_some_and(|port| !port.is_null());
    rename(from, if has_port { "port" } else { "sslPort" }, &mut keys, "port");
    let payload = from.get("payload").and_then(Value::as_object);
    let status = payload.map_or(Ok(None), instance_state)?;
    let is_disabled = from.get("enabled") == Some(&Value::Bool(false));
    if let Some(payload) = payload {
        copy_meta(payload, "metadata", &mut keys);
    }
    if let Some(state) = if is_disabled { Some("maint") } else { status } {
        keys.insert("state".to_owned(), state.into());
    }
    Ok(keys)
}

fn serverset(from: &Map<String, Value>, endpoint: Option<&str>) -> Result<Map<String, Value>, String> {
    let place = match endpoint {
        None => from.get("serviceEndpoint").ok_or_else(|| "the key \"serviceEndpoint\" is missing".to_owned())?,
        Some(name) => {
            let others = from.get("additionalEndpoints").and_then(Value::as_object);
            others
                .and_then(|others| others.get(name))
                .ok_or_else(|| format!("it has no endpoint {name:?} among its \"additionalEndpoints\""))?
        }
    };
    let Value::Object(place) = place else {
        return Err(format!("an endpoint is an object with \"host\" and \"port\", not {}", described(place)));
    };
    let mut keys = Map::new();
    rename(place, "host", &mut keys, "address");
    rename(place, "port", &mut keys, "port");
    let status = from.get("status").unwrap_or(&Value::Null);
    let state = match status.as_str() {
        // A member in state WARNING still serves.
        Some("ALIVE" | "WARNING") => "ready",
        // It finishes its sessions and must get no new ones.
        Some("STOPPING") => "drain",
        Some("STARTING" | "STOPPED" | "DEAD") => "maint",
        // The key is optional.
        None if status.is_null() => "ready",
        _ => return Err(format!("\"status\": {} is not a status of a serverset's member", described(status))),
    };
    copy_meta(from, "metadata", &mut keys);
    keys.insert("state".to_owned(), state.into());
    Ok(keys)
}
