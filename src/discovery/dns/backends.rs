//! The names to look up, as a definition lists them.

use std::fmt;
use std::net::IpAddr;

use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::model::{Address, HostRecord, SourceSpec};
use serde_json::{Map, Value};

use super::name_servers::RecordKind;
use crate::discovery::settings::{optional, required};

const EXAMPLE: &str =
    "the names to look up, like [{\"name\": \"a.example\", \"port\": 80}, {\"srv\": \"_http._tcp.a.example\"}]";

/// One entry of `backends`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Backend {
    /// What to look up.
    pub(super) question: Question,
    /// The families of addresses.
    pub(super) families: Vec<RecordKind>,
    /// The entry and the families as text, to identify the backend.
    pub(super) text: String,
    /// The keys of its hosts, except the address.
    keys: Map<String, Value>,
}

/// What to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// The addresses of a name.
    Name(String),
    /// The name is an address; there is no look-up.
    Address(IpAddr),
    /// The hosts of a service, each with its port.
    Service(String),
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) | Self::Service(name) => f.write_str(name),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

impl Backend {
    /// A host of this backend, with the `port` of a service.
    pub(super) fn host(&self, ip: IpAddr, port: Option<u16>, policy: &OptionPolicy) -> Result<HostRecord, String> {
        let mut keys = self.keys.clone();
        keys.insert("address".to_owned(), ip.to_string().into());
        if let Some(port) = port {
            keys.insert("port".to_owned(), port.into());
        }
        host_record::from_json_value(&Value::Object(keys), policy)
    }
}

/// Reads the entries of `backends`.
pub(super) fn read(spec: &SourceSpec, policy: &OptionPolicy) -> Result<Vec<Backend>, String> {
    let entries: Vec<Map<String, Value>> = required(spec, "backends", EXAMPLE)?;
    if entries.is_empty() {
        return Err(format!("\"backends\" is empty: {EXAMPLE}"));
    }
    let families = match optional::<String>(spec, "family")?.as_deref() {
        None | Some("any") => vec![RecordKind::A, RecordKind::Aaaa],
        Some("ipv4") => vec![RecordKind::A],
        Some("ipv6") => vec![RecordKind::Aaaa],
        Some(other) => return Err(format!("\"family\" is {other:?}; it must be ipv4, ipv6 or any")),
    };
    let read = |(at, entry)| backend(entry, &families, policy).map_err(|error| format!("\"backends\"[{at}]: {error}"));
    entries.into_iter().enumerate().map(read).collect()
}

fn backend(mut keys: Map<String, Value>, families: &[RecordKind], policy: &OptionPolicy) -> Result<Backend, String> {
    let text = format!("{} {families:?}", Value::Object(keys.clone()));
    let question = match (keys.remove("name"), keys.remove("srv")) {
        (Some(name), None) => match address("name", &name)? {
            Address::Ip(ip) => Question::Address(ip),
            Address::Name(name) => Question::Name(name.to_string()),
        },
        (None, Some(name)) => match address("srv", &name)? {
            Address::Name(name) => Question::Service(name.to_string()),
            Address::Ip(_) => return Err(format!("\"srv\": {name} is an address, not the name of a service")),
        },
        _ => return Err("it needs either \"name\" and \"port\", or \"srv\"".to_owned()),
    };
    let is_service = matches!(question, Question::Service(_));
    if let Some(key) = ["port", "weight", "backup"].iter().find(|key| is_service && keys.contains_key(**key)) {
        return Err(format!("{key:?} is not allowed with \"srv\": DNS provides it"));
    }
    let backend = Backend { question, families: families.to_vec(), text, keys };
    // Other errors do not depend on the address.
    let any_address = IpAddr::from([192, 0, 2, 1]);
    backend.host(any_address, is_service.then_some(1), policy)?;
    Ok(backend)
}

fn address(key: &str, value: &Value) -> Result<Address, String> {
    let text = value.as_str().ok_or_else(|| format!("{key:?}: {value} is not a string"))?;
    Address::parse(text).map_err(|error| format!("{key:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(settings: &Value) -> Result<Vec<Backend>, String> {
        let settings = settings.as_object().unwrap().clone();
        read(&SourceSpec::new("dns", settings), &OptionPolicy::default())
    }

    #[test]
    fn names_addresses_and_services_are_distinguished() {
        let backends = read_json(&json!({"backends": [
            {"name": "a.example", "port": 80},
            {"name": "10.0.0.1", "port": "81", "weight": 5},
            {"srv": "_http._tcp.a.example"},
        ]}));
        let questions = Vec::from_iter(backends.unwrap().into_iter().map(|backend| backend.question));
        let (name, service) = ("a.example".to_owned(), "_http._tcp.a.example".to_owned());
        let address = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(questions, [Question::Name(name), Question::Address(address), Question::Service(service)]);
    }

    #[test]
    fn keys_of_an_entry_apply_to_all_addresses() {
        let backends = read_json(&json!({"backends": [{"name": "a", "port": 80, "backup": true}]})).unwrap();
        let record = backends[0].host(IpAddr::from([10, 0, 0, 9]), None, &OptionPolicy::default()).unwrap();
        let host = &record.host;
        assert_eq!((host.endpoint.to_string(), host.backup), ("10.0.0.9:80".to_owned(), true));
        assert!(backends[0].host(IpAddr::from([0, 0, 0, 0]), None, &OptionPolicy::default()).is_err());
    }

    #[test]
    fn errors_contain_entry_and_key() {
        for (settings, reason) in [
            (json!({}), "\"backends\" is missing: the names to look up"),
            (json!({"backends": []}), "\"backends\" is empty"),
            (json!({"backends": ["a:80"]}), "\"backends\" is [\"a:80\"]"),
            (json!({"backends": [{"port": 80}]}), "\"backends\"[0]: it needs either \"name\" and \"port\", or \"srv\""),
            (json!({"backends": [{"name": "a", "srv": "b"}]}), "\"backends\"[0]: it needs either"),
            (json!({"backends": [{"name": "a"}]}), "\"backends\"[0]: the key \"port\" is missing"),
            (json!({"backends": [{"name": "a b", "port": 80}]}), "\"backends\"[0]: \"name\": \"a b\" is neither"),
            (json!({"backends": [{"srv": "10.0.0.1"}]}), "\"backends\"[0]: \"srv\": \"10.0.0.1\" is an address"),
            (json!({"backends": [{"srv": "a", "port": 80}]}), "\"backends\"[0]: \"port\" is not allowed with \"srv\""),
            (json!({"backends": [{"name": "a", "port": 80}], "family": "v6"}), "\"family\" is \"v6\""),
        ] {
            let error = read_json(&settings).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
