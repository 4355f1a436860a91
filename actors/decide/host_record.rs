//! Parsers for host records: JSON of a znode, the name of a znode, a line of a file.
//!
//! Every text is parsed into the types of the model, and every mistake is reported with its key. Texts of the source are
//! not repeated: the author of a definition may name a file, znode or key that contains a secret. An unknown key has no
//! effect and is reported.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::definition_keys::HOST_KEYS;
use super::json_value::{described, is_free_key, port_from, string_from, strings_from, whole_number};
use super::option_policy::OptionPolicy;
use super::text::{is_blank, json_from, text_from};
use crate::limits::{HOST_OPTION_WORDS_MAX, NAME_LENGTH_MAX};
use crate::model::{
    Address, AdminState, DefinitionKey, Endpoint, Host, HostLabels, HostRecord, InvalidName, ServerName, SocketPath,
    Word,
};

/// The keys that a line may have after its address, `key=value` each.
const LINE_KEYS: [&str; 7] = ["weight", "backup", "priority", "name", "cookie", "state", "tags"];

/// Reads `{"address": "10.0.0.1", "port": 8080, ...}`, or `{"address": "unix@/run/a.sock", ...}`.
///
/// # Errors
/// Every mistake, with its key.
pub fn from_json_value(value: &Value, policy: &OptionPolicy) -> Result<HostRecord, String> {
    let Value::Object(keys) = value else {
        return Err(format!("a host is a JSON object with \"address\" and \"port\", not {}", described(value)));
    };
    let mut mistakes = Vec::new();
    if let Some(path) = keys.get("address").and_then(Value::as_str).and_then(SocketPath::in_address) {
        if keys.get("port").is_some_and(|port| !port.is_null()) {
            mistakes.push("\"port\": a unix socket has none".to_owned());
        }
        let endpoint = path.map(Endpoint::Unix);
        let endpoint = endpoint.map_err(|reason| mistakes.push(format!("\"address\": {reason}"))).ok();
        return finish(endpoint, keys, policy, mistakes);
    }
    let address = match keys.get("address") {
        None | Some(Value::Null) => Err("the key \"address\" is missing".to_owned()),
        Some(Value::String(text)) => host_address(text).map_err(|reason| format!("\"address\": {reason}")),
        Some(other) => Err(format!("\"address\": {} is not a string", described(other))),
    };
    let port = match keys.get("port") {
        None | Some(Value::Null) => Err("the key \"port\" is missing".to_owned()),
        Some(value) => port_of(value).map_err(|reason| format!("\"port\": {reason}")),
    };
    let endpoint = match (address, port) {
        (Ok(address), Ok(port)) => Some(Endpoint::Tcp { address, port }),
        (address, port) => {
            mistakes.extend(address.err().into_iter().chain(port.err()));
            None
        }
    };
    finish(endpoint, keys, policy, mistakes)
}

/// Reads a host whose znode's *name* contains its address: `host`, `host:port`, `[v6]` or `[v6]:port` (the layout of
/// Campanja's services). The port is that of the name, else that of the data, else the definition's `remote_port`. The
/// data may be empty or a JSON object with the further keys of a host.
///
/// # Errors
/// Every mistake, with its key.
pub fn from_child(
    name: &str,
    data: &[u8],
    remote_port: Option<NonZeroU16>,
    policy: &OptionPolicy,
) -> Result<HostRecord, String> {
    let text = text_from(data).map_err(|error| format!("its data: {error}"))?;
    let keys = if is_blank(text) {
        Map::new()
    } else {
        match json_from(text).map_err(|error| format!("its data: {error}"))? {
            Value::Object(keys) => keys,
            other => return Err(format!("the data is neither empty nor a JSON object: {}", described(&other))),
        }
    };
    let (address, port) = split_endpoint(name)?;
    let port = match (port, keys.get("port")) {
        (Some(port), _) => Some(port),
        (None, None | Some(Value::Null)) => remote_port,
        (None, Some(value)) => Some(port_of(value).map_err(|reason| format!("\"port\": {reason}"))?),
    };
    let port = port.ok_or_else(|| {
        "no port: neither the name nor the data has one, and the definition no \"remote_port\"".to_owned()
    })?;
    finish(Some(Endpoint::Tcp { address, port }), &keys, policy, Vec::new())
}

/// Reads a line of a file: `host:port`, IPv6 as `[::1]:80`, or `unix@/run/a.sock`, then any of `weight=10 backup=true name=a cookie=b
/// state=drain`. Returns `None` for a blank line and a comment.
///
/// # Errors
/// Every mistake, with its key.
pub fn from_line(line: &str, policy: &OptionPolicy) -> Result<Option<HostRecord>, String> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(first) = words.next() else { return Ok(None) };
    let endpoint = line_endpoint(first)?;
    let mut keys = Map::new();
    let mut mistakes = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((key, _)) if is_free_key(key) => {}
            Some((key, value)) if LINE_KEYS.contains(&key) => {
                if keys.insert(key.to_owned(), Value::String(value.to_owned())).is_some() {
                    mistakes.push(format!("{key:?} is given twice"));
                }
            }
            _ => mistakes.push(format!("a word after the address is none of {}=", LINE_KEYS.join("=, "))),
        }
    }
    finish(Some(endpoint), &keys, policy, mistakes).map(Some)
}

/// Reads the first word of a line.
fn line_endpoint(text: &str) -> Result<Endpoint, String> {
    if let Some(path) = SocketPath::in_address(text) {
        return path.map(Endpoint::Unix).map_err(|reason| reason.to_string());
    }
    let (address, port) = split_endpoint(text)?;
    let port = port.ok_or_else(|| "it has no port; write host:port".to_owned())?;
    Ok(Endpoint::Tcp { address, port })
}

/// Returns the endpoint at the beginning of a line of a file, which may be invalid otherwise.
pub fn endpoint_in_line(line: &str) -> Option<Endpoint> {
    line_endpoint(line.split_whitespace().next()?).ok()
}

/// Completes a host with all keys beyond the endpoint, or returns all mistakes in one text.
fn finish(
    endpoint: Option<Endpoint>,
    keys: &Map<String, Value>,
    policy: &OptionPolicy,
    mut mistakes: Vec<String>,
) -> Result<HostRecord, String> {
    let name = optional(keys, "name", &mut mistakes, |value| {
        ServerName::new(text_of(value)?).map_err(|error| match error {
            InvalidName::Empty => error.to_string(),
            _ => format!("it is not a name of at most {NAME_LENGTH_MAX} letters, digits, '.', ':', '_' and '-'"),
        })
    });
    let weight = optional(keys, "weight", &mut mistakes, |value| {
        let weight = whole_number(value).filter(|weight| *weight <= 256).and_then(|weight| u16::try_from(weight).ok());
        weight.ok_or_else(|| format!("{} is not a whole number from 0 to 256", described(value)))
    });
    let backup = optional(keys, "backup", &mut mistakes, |value| match value {
        Value::Bool(backup) => Ok(*backup),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(format!("{} is neither true nor false", described(other))),
    });
    let priority = optional(keys, "priority", &mut mistakes, |value| {
        let priority = whole_number(value).and_then(|priority| u16::try_from(priority).ok());
        priority.ok_or_else(|| format!("{} is not a whole number from 0 to 65535", described(value)))
    });
    let cookie = optional(keys, "cookie", &mut mistakes, cookie_from);
    let state = optional(keys, "state", &mut mistakes, |value| match value.as_str() {
        Some("ready") => Ok(AdminState::Ready),
        Some("drain") => Ok(AdminState::Drain),
        Some("maint") => Ok(AdminState::Maint),
        _ => Err(format!("{} is none of ready, drain, maint", described(value))),
    });
    let options = optional(keys, "options", &mut mistakes, |value| {
        let words = policy.server_options(
            &strings_from(value)
                .map_err(|_| format!("{} is neither a list of strings nor a string", described(value)))?,
        )?;
        if words.len() > HOST_OPTION_WORDS_MAX {
            return Err(format!("they have {} words; at most {HOST_OPTION_WORDS_MAX} are allowed", words.len()));
        }
        Ok(words)
    });
    let labels = labels(keys, &mut mistakes);
    match endpoint {
        Some(endpoint) if mistakes.is_empty() => {
            let host = Host {
                endpoint,
                name,
                weight,
                backup: backup.unwrap_or_default(),
                priority,
                cookie,
                state: state.unwrap_or_default(),
                options: options.unwrap_or_default(),
                labels,
            };
            let unknown = keys.keys().filter(|key| !DefinitionKey::is_in(key, HOST_KEYS) && !is_free_key(key));
            Ok(HostRecord { unknown_keys: unknown.map(|key| key.as_str().into()).collect(), ..host.into() })
        }
        _ => Err(mistakes.join("; ")),
    }
}

/// Reads `tags` and `meta`; `None` where there are none.
fn labels(keys: &Map<String, Value>, mistakes: &mut Vec<String>) -> Option<Arc<HostLabels>> {
    let tags = optional(keys, "tags", mistakes, |value| match value {
        Value::String(text) => Ok(text.split(',').map(|tag| tag.trim().to_owned()).collect()),
        other => strings_from(other).map_err(|_| format!("{} is not a list of strings", described(other))),
    });
    let meta = optional(keys, "meta", mistakes, |value| match value {
        Value::Object(pairs) => {
            let pairs = pairs.iter().filter_map(|(key, value)| Some((key.clone(), label_from(value)?)));
            Ok(pairs.collect::<Vec<_>>())
        }
        other => Err(format!("{} is not an object", described(other))),
    });
    let (tags, meta) = (tags.iter().flatten(), meta.iter().flatten());
    let meta = meta.map(|(key, value)| (key.as_str(), value.as_str()));
    let labels = HostLabels::of_host(tags.map(String::as_str), meta);
    (!labels.is_empty()).then(|| Arc::new(labels))
}

/// Returns a value of meta data as text; `None` for a list, an object and null.
fn label_from(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}

/// Returns the value of a key that may be absent or null; a mistake in it is recorded with the key.
fn optional<T>(
    keys: &Map<String, Value>,
    key: &str,
    mistakes: &mut Vec<String>,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Option<T> {
    let value = keys.get(key).filter(|value| !value.is_null())?;
    read(value).map_err(|reason| mistakes.push(format!("{key:?}: {reason}"))).ok()
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`. An IPv6 address without brackets is refused, because its last
/// part could be a port.
fn split_endpoint(text: &str) -> Result<(Address, Option<NonZeroU16>), String> {
    if is_url(text) {
        return Err("it is a URL, not a host and port; write host:port".to_owned());
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| "an address has no closing bracket".to_owned())?;
        host.parse::<Ipv6Addr>().map_err(|_| "the text in brackets is not an IPv6 address".to_owned())?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("the text after the bracket is not a port; write [address]:port".to_owned()),
        }
    } else if text.matches(':').count() > 1 {
        return Err(match text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'%')) {
            true => "it has more than one colon; write an IPv6 address in brackets: [2001:db8::1]:80".to_owned(),
            false => "it has more than one colon; write host:port".to_owned(),
        });
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let address = host_address(host)?;
    let port = port.map(|port| port_of(&Value::String(port.to_owned()))).transpose();
    Ok((address, port.map_err(|reason| format!("the port: {reason}"))?))
}

/// Returns whether a text is a URL.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// Reads a port.
fn port_of(value: &Value) -> Result<NonZeroU16, String> {
    port_from(value).map_err(|_| format!("{} is not a port, a whole number from 1 to 65535", described(value)))
}

/// Reads a string.
fn text_of(value: &Value) -> Result<&str, String> {
    string_from(value).map_err(|_| format!("{} is not a string", described(value)))
}

/// Parses the address of a host. Refuses 0.0.0.0, which HAProxy treats as the address that the client connected to.
fn host_address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("an address is empty".to_owned());
    }
    if is_url(text) {
        return Err("it is a URL, not an address; write its host here, and its port in \"port\"".to_owned());
    }
    let address =
        Address::parse(text).map_err(|_| "the address is neither an IP address nor a host name".to_owned())?;
    if let Address::Ip(ip) = &address {
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let canonical = ip.to_canonical();
        if canonical.is_unspecified() || canonical.is_multicast() || broadcast {
            return Err(format!("{ip} is not the address of a single host"));
        }
    }
    Ok(address)
}

/// Parses a value that a cookie may have (RFC 6265, `cookie-octet`).
fn cookie_from(value: &Value) -> Result<Word, String> {
    let text = text_of(value)?;
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | ',' | ';' | '\\');
    if text.len() > NAME_LENGTH_MAX {
        return Err(format!("it is {} bytes long; at most {NAME_LENGTH_MAX} are allowed", text.len()));
    }
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("it contains {c:?}, which a cookie's value may not")),
        None => Word::new(text).map_err(|_| "the value is empty".to_owned()),
    }
}
