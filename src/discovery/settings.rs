//! The keys of a source in a definition. An error contains the key and its value.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;

use proxymgr_actors::decide::host_networks::HostNetworks;
use proxymgr_actors::model::{Address, DefinitionKey, SourceKind, SourceSpec};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::KINDS;
use super::http::Servers;

/// A type of values, described for the author of a definition.
pub(super) trait Described: DeserializeOwned {
    /// The valid values: `it must be ...`.
    const VALID: &'static str;
}

impl Described for String {
    const VALID: &'static str = "a string";
}

impl Described for PathBuf {
    const VALID: &'static str = "a path, as a string";
}

impl Described for bool {
    const VALID: &'static str = "true or false";
}

impl Described for NonZeroU16 {
    const VALID: &'static str = "a port, a whole number from 1 to 65535";
}

impl Described for u64 {
    const VALID: &'static str = "a whole number from 0";
}

impl Described for usize {
    const VALID: &'static str = "a whole number from 0";
}

impl Described for Vec<String> {
    const VALID: &'static str = "a list of strings";
}

impl Described for Vec<Value> {
    const VALID: &'static str = "a list";
}

impl Described for Vec<Map<String, Value>> {
    const VALID: &'static str = "a list of objects";
}

impl Described for BTreeMap<String, String> {
    const VALID: &'static str = "an object whose values are strings";
}

/// The value of a key, which the kind of source must declare among its keys.
fn value<'a>(spec: &'a SourceSpec, key: &str) -> Option<&'a Value> {
    let declares = |kind: &SourceKind| kind.name == spec.kind && DefinitionKey::is_in(key, kind.keys);
    debug_assert!(KINDS.iter().any(declares), "sources of type {} do not declare the key {key}", spec.kind);
    spec.settings.get(key)
}

/// The value of an optional key. Null is as good as absent.
pub(super) fn optional<T: Described>(spec: &SourceSpec, key: &str) -> Result<Option<T>, String> {
    let Some(value) = value(spec, key).filter(|value| !value.is_null()) else { return Ok(None) };
    let parsed = serde_json::from_value(value.clone());
    parsed.map(Some).map_err(|_| format!("{key:?} is {value}; it must be {}", T::VALID))
}

/// The value of a required key. `what` describes it in the error.
pub(super) fn required<T: Described>(spec: &SourceSpec, key: &str, what: &str) -> Result<T, String> {
    optional(spec, key)?.ok_or_else(|| format!("{key:?} is missing: {what}"))
}

/// One text or a list of texts; empty without the key.
pub(super) fn texts(spec: &SourceSpec, key: &str) -> Result<Vec<String>, String> {
    match value(spec, key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(_) => Ok(optional(spec, key)?.unwrap_or_default()),
    }
}

/// The URLs of the optional key `server`.
pub(super) fn servers(spec: &SourceSpec, example: &str) -> Result<Option<Servers>, String> {
    let texts = texts(spec, "server")?;
    if texts.is_empty() {
        return Ok(None);
    }
    let servers = Servers::parse(texts.iter().map(String::as_str));
    servers.map(Some).map_err(|error| format!("\"server\": {error}; for example {example:?}"))
}

/// Checks the servers that a definition names, in whatever form its kind of source has them. An invalid one is reported
/// by the kind itself.
pub(super) fn check_servers(spec: &SourceSpec, networks: &HostNetworks) -> Result<(), String> {
    for key in ["server", "servers", "masters"] {
        let texts: Vec<&str> = match spec.settings.get(key) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        for server in texts.into_iter().flat_map(|text| text.split(',')) {
            if let Some((address, port)) = endpoint_of(server.trim()) {
                networks.check_reach(&address, port).map_err(|problem| format!("{key:?}: {problem}"))?;
            }
        }
    }
    Ok(())
}

/// The address and port in `host:port`, `host:port/chroot` or `http://host:port/path`. A port that is not given is taken
/// for 1, which no listener of this daemon has.
fn endpoint_of(text: &str) -> Option<(Address, NonZeroU16)> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split('/').next()?;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, NonZeroU16::MIN),
    };
    Some((Address::parse(host).ok()?, port))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use serde_json::json;

    use super::*;

    #[test]
    fn errors_contain_the_key_and_its_value() {
        let settings = json!({"path": ["/x"], "remote_port": 70000}).as_object().unwrap().clone();
        let spec = SourceSpec::new("campanjazk", settings);
        let path = required::<String>(&spec, "path", "the znode").unwrap_err();
        assert_eq!(path, "\"path\" is [\"/x\"]; it must be a string");
        let port = optional::<NonZeroU16>(&spec, "remote_port").unwrap_err();
        assert_eq!(port, "\"remote_port\" is 70000; it must be a port, a whole number from 1 to 65535");
        assert_eq!(
            required::<String>(&spec, "server", "the ensemble").unwrap_err(),
            "\"server\" is missing: the ensemble"
        );
    }

    #[test]
    fn servers_of_definitions_are_checked() {
        let networks = HostNetworks::default().without_listener("ours", "127.0.0.1:8470".parse().unwrap(), &[]);
        let check = |settings: Value| {
            let settings = settings.as_object().unwrap().clone();
            check_servers(&SourceSpec::new("consul", settings), &networks)
        };
        for refused in [
            json!({"server": "http://169.254.169.254/latest"}),
            json!({"server": "zk1:2181,127.0.0.1:8470/chroot"}),
            json!({"server": ["http://a:1", "https://[::ffff:127.0.0.1]:8470"]}),
            json!({"servers": ["0.0.0.0:53"]}),
            json!({"masters": ["http://localhost:8470"]}),
        ] {
            assert!(check(refused.clone()).is_err(), "{refused}");
        }
        for accepted in
            [json!({"server": "zk1,zk2:2181/x"}), json!({"servers": ["127.0.0.1:53"]}), json!({"server": 5})]
        {
            assert_eq!(check(accepted.clone()), Ok(()), "{accepted}");
        }
    }
}
