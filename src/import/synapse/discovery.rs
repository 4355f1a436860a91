//! `discovery` and `default_servers` of one service.

use serde_json::{Map, Value, json};

use crate::import::yaml_text::YamlText;

/// Keys of every method that need no equivalent, because sources are watched or kept anyway.
const NEEDLESS: [&str; 4] = ["method", "check_interval", "use_previous_backends", "retry_policy"];

/// Where synapse finds the hosts of a service.
pub(super) struct Discovery<'a> {
    /// The service.
    pub(super) service: &'a Map<String, Value>,
    /// Its `haproxy` section.
    pub(super) own: &'a Map<String, Value>,
}

impl Discovery<'_> {
    /// Writes the keys of the source, and reports what has no equivalent.
    pub(super) fn write(&self, yaml: &mut YamlText, notes: &mut Vec<String>, name: &str) {
        let none = Map::new();
        let discovery = self.service.get("discovery").and_then(Value::as_object).unwrap_or(&none);
        let text = |key: &str| discovery.get(key).and_then(Value::as_str);
        let method = text("method").unwrap_or("base");
        let port = self.own.get("server_port_override").filter(|port| !port.is_null());
        let mut used = NEEDLESS.to_vec();
        match method {
            "zookeeper" | "zookeeper_dns" => {
                used.extend(["hosts", "path", "decode"]);
                yaml.key("type", "zookeeper");
                yaml.key("server", texts(discovery.get("hosts")).join(","));
                yaml.key("path", text("path").unwrap_or_default());
                let decode = discovery.get("decode").and_then(Value::as_object).unwrap_or(&none);
                let is_serverset = decode.get("method").is_some_and(|method| method == "serverset");
                yaml.key("format", if is_serverset { "serverset" } else { "nerve" });
                if let Some(endpoint) = decode.get("endpoint_name").filter(|_| is_serverset) {
                    yaml.key("endpoint", endpoint.clone());
                }
                if let Some(port) = port {
                    notes.push(format!("{name}: server_port_override {port}: the ports come from ZooKeeper"));
                }
            }
            "dns" => {
                yaml.key("type", "dns");
                used.push("nameserver");
                if let Some(server) = text("nameserver") {
                    yaml.key("servers", vec![server]);
                }
                let backends = self
                    .default_servers()
                    .map(|server| json!({"name": server.get("host"), "port": port.or_else(|| server.get("port"))}));
                yaml.entries("backends", &Vec::from_iter(backends.map(|backend| (backend, None))));
            }
            "marathon" => {
                used.extend(["marathon_api_url", "application_name", "port_index"]);
                yaml.key("type", "marathon");
                yaml.key("app", text("application_name").unwrap_or_default());
                if let Some(index) = discovery.get("port_index") {
                    yaml.key("port_index", index.clone());
                }
                if let Some(url) = text("marathon_api_url") {
                    notes.push(format!("{name}: set marathon.servers: {url} in the settings"));
                }
            }
            "base" | "stub" => self.write_static(yaml, port),
            other => {
                used.extend(discovery.keys().map(String::as_str));
                let advice = match other {
                    "ec2tag" | "awstag" => "; type aws lists the instances of Auto Scaling groups",
                    _ => "",
                };
                notes.push(format!(
                    "{name}: discovery by {other} has no equivalent{advice}; the definition has the default servers"
                ));
                yaml.comment(&format!("synapse discovered them: {}", Value::Object(discovery.clone())));
                self.write_static(yaml, port);
            }
        }
        used.push("label_filters");
        write_label_filters(discovery.get("label_filters"), yaml, notes, name);
        let is_static = !["zookeeper", "zookeeper_dns", "marathon"].contains(&method);
        if !is_static && self.default_servers().next().is_some() {
            notes
                .push(format!("{name}: default_servers are not used: while a source has no hosts, the last ones stay"));
        }
        for key in discovery.keys().filter(|key| !used.contains(&key.as_str())) {
            notes.push(format!("{name}: discovery.{key} has no equivalent"));
        }
    }

    fn write_static(&self, yaml: &mut YamlText, port: Option<&Value>) {
        yaml.key("type", "static");
        let host = |server: &Map<String, Value>| {
            let host = server.get("host").filter(|host| *host != "localhost").cloned();
            let host = host.unwrap_or_else(|| "127.0.0.1".into());
            json!({"name": server.get("name"), "address": host, "port": port.or_else(|| server.get("port"))})
        };
        yaml.entries("hosts", &Vec::from_iter(self.default_servers().map(|server| (host(server), None))));
    }

    fn default_servers(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.service.get("default_servers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    }
}

/// Writes the labels that hosts must have. Other conditions than `equals` have no equivalent.
fn write_label_filters(filters: Option<&Value>, yaml: &mut YamlText, notes: &mut Vec<String>, name: &str) {
    let mut meta = Map::new();
    for filter in filters.and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| filter.get(key).and_then(Value::as_str);
        match (text("label"), filter.get("value"), text("condition").unwrap_or("equals")) {
            (Some(label), Some(value @ Value::String(_)), "equals") => {
                drop(meta.insert(label.to_owned(), value.clone()))
            }
            _ => {
                notes.push(format!("{name}: discovery.label_filters: {filter} has no equivalent: it selects no hosts"))
            }
        }
    }
    if !meta.is_empty() {
        yaml.key("match", json!({"meta": meta}));
    }
}

/// Returns texts that are a list, or one text.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text],
        _ => Vec::new(),
    }
}
