//! Conversion of a proxym service, from a file or from Marathon's labels, to a definition.
//!
//! `{"Id": "web", "ApplicationProtocol": "http", "TransportProtocol": "tcp", "Port": 8080, "ServicePort": 80,
//! "Domains": ["example.org"], "ProxyPath": "/api", "Config": "option forwardfor", "Hosts": [{"Ip": "10.0.0.1",
//! "Port": 31001}]}`

use serde_json::{Map, Value, json};

use super::json_value::shown;

/// A definition that contains its own name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedDefinition {
    /// The service's name.
    pub name: String,
    /// The keys of its definition.
    pub keys: Value,
}

/// The properties of a proxied port, without its hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxymPort {
    /// The port for clients; 0 for none.
    pub listen: u64,
    /// `http`, `tcp`, `udp`, or nothing, which is `tcp`. proxym takes `http` for a transport protocol, too.
    pub protocols: Vec<String>,
    /// Its domains.
    pub domains: Vec<String>,
    /// The path prefix of its requests. An empty one, or `/`, matches all.
    pub path: String,
    /// Lines for its section.
    pub config: String,
}

impl ProxymPort {
    /// Returns the keys of a definition, without those of the source of hosts.
    ///
    /// # Errors
    /// HAProxy does not carry this protocol.
    pub fn keys(&self) -> Result<Map<String, Value>, String> {
        let protocols = Vec::from_iter(self.protocols.iter().map(|protocol| protocol.to_ascii_lowercase()));
        if let Some(unknown) = protocols.iter().find(|protocol| !["", "tcp", "http"].contains(&protocol.as_str())) {
            return Err(format!("HAProxy does not carry the protocol {}, only tcp and http", shown(&json!(unknown))));
        }
        let lines = self.config.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut lines = Vec::from_iter(lines.map(str::to_owned));
        let is_http = protocols.iter().any(|protocol| protocol == "http");
        if !lines.iter().any(|line| line.split_whitespace().next() == Some("mode")) {
            lines.insert(0, if is_http { "mode http" } else { "mode tcp" }.to_owned());
        }
        let mut keys = Map::new();
        keys.insert("listen_options".to_owned(), json!(lines));
        if self.listen != 0 {
            keys.insert("port".to_owned(), self.listen.into());
        }
        if !self.domains.is_empty() {
            keys.insert("domains".to_owned(), json!(self.domains));
        }
        if !["", "/"].contains(&self.path.as_str()) {
            keys.insert("path_prefix".to_owned(), json!(self.path));
        }
        Ok(keys)
    }
}

/// Reads a service, if it is a proxym service: it has an `Id` and `Hosts`.
pub fn read(value: &Value) -> Option<Result<NamedDefinition, String>> {
    let keys = value.as_object().filter(|keys| keys.contains_key("Id") && keys.contains_key("Hosts"))?;
    Some(definition(keys))
}

fn definition(service: &Map<String, Value>) -> Result<NamedDefinition, String> {
    let name = text(service, "Id")?;
    let listen = match port(service, "ServicePort")? {
        0 => port(service, "Port")?,
        listen => listen,
    };
    let protocols = vec![text(service, "ApplicationProtocol")?, text(service, "TransportProtocol")?];
    let domains = list(service, "Domains")?.iter().map(|domain| match domain {
        Value::String(domain) => Ok(domain.clone()),
        other => Err(format!("\"Domains\": {} is not a string", shown(other))),
    });
    let domains = domains.collect::<Result<_, _>>()?;
    let (path, config) = (text(service, "ProxyPath")?, text(service, "Config")?);
    let port = ProxymPort { listen, protocols, domains, path, config };
    let mut keys = port.keys()?;
    let hosts = list(service, "Hosts")?.iter().map(|host| match host {
        Value::Object(host) => Ok(json!({"address": host.get("Ip"), "port": host.get("Port")})),
        other => Err(format!("\"Hosts\": {} is not an object with \"Ip\" and \"Port\"", shown(other))),
    });
    keys.insert("type".to_owned(), "static".into());
    keys.insert("hosts".to_owned(), Value::Array(hosts.collect::<Result<_, _>>()?));
    Ok(NamedDefinition { name, keys: Value::Object(keys) })
}

fn text(service: &Map<String, Value>, key: &str) -> Result<String, String> {
    match service.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{key:?}: {} is not a string", shown(other))),
    }
}

fn port(service: &Map<String, Value>, key: &str) -> Result<u64, String> {
    match service.get(key) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_u64().ok_or_else(|| format!("{key:?}: {} is not a port", shown(value))),
    }
}

fn list<'s>(service: &'s Map<String, Value>, key: &str) -> Result<&'s [Value], String> {
    match service.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(other) => Err(format!("{key:?}: {} is not a list", shown(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the example of proxym's own documentation.
    fn example() -> Value {
        json!({
            "ApplicationProtocol": "http", "Config": "option forwardfor", "Domains": ["example.org"],
            "Hosts": [{"Ip": "1.2.3.4", "Port": 56789}], "Id": "file_example", "Port": 1234, "TransportProtocol": "tcp",
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut service = example();
        service[key] = value;
        service
    }

    #[test]
    fn proxyms_own_example_is_a_definition() {
        let definition = read(&example()).unwrap().unwrap();
        assert_eq!(definition.name, "file_example");
        let expected = json!({
            "type": "static", "hosts": [{"address": "1.2.3.4", "port": 56789}], "port": 1234,
            "listen_options": ["mode http", "option forwardfor"], "domains": ["example.org"],
        });
        assert_eq!(definition.keys, expected);
    }

    #[test]
    fn service_port_precedes_port_and_explicit_mode_stays() {
        let keys = |service: &Value| read(service).unwrap().unwrap().keys;
        assert_eq!(keys(&with("ServicePort", json!(80)))["port"], 80);
        let lines = keys(&with("Config", json!("mode tcp\n\n  option tcplog\n")));
        assert_eq!(lines["listen_options"], json!(["mode tcp", "option tcplog"]));
        assert_eq!(keys(&with("ApplicationProtocol", json!(null)))["listen_options"][0], "mode tcp");
        assert!(keys(&with("Hosts", json!(null)))["hosts"].as_array().unwrap().is_empty());
    }

    #[test]
    fn proxy_path_becomes_path_prefix_except_for_root() {
        let path = |path: &str| read(&with("ProxyPath", json!(path))).unwrap().unwrap().keys["path_prefix"].clone();
        assert_eq!([path("/api/"), path("/"), path("")], [json!("/api/"), json!(null), json!(null)]);
    }

    #[test]
    fn mistakes_are_reported_with_their_key() {
        for (service, reason) in [
            (with("TransportProtocol", json!("udp")), "does not carry the protocol \"udp\""),
            (with("Id", json!(7)), "\"Id\": 7 is not a string"),
            (with("Port", json!("x")), "\"Port\": \"x\" is not a port"),
            (with("Hosts", json!(["a"])), "\"Hosts\": \"a\" is not an object"),
            (with("Domains", json!([1])), "\"Domains\": 1 is not a string"),
            (with("ProxyPath", json!(1)), "\"ProxyPath\": 1 is not a string"),
        ] {
            let error = read(&service).unwrap().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(read(&json!({"type": "static", "hosts": []})), None);
    }
}
