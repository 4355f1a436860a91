//! SmartStack's synapse: its `synapse.conf.json`.
//!
//! A service with a port of its own becomes a definition with `port` and `listen_options`. Without a port, or with lines
//! that definitions may not have, its section is in the base configuration, like `extra_sections` and
//! `shared_frontend`.

mod discovery;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proxymgr_actors::decide::base::MARKER;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::text::json_from;
use serde_json::{Map, Value};

use super::yaml_text::YamlText;
use super::{BASE_FILE, BaseFile, Imported, SERVICES};

type Object = Map<String, Value>;

/// The bind address of synapse's frontends.
const LOCALHOST: &str = "localhost";

/// Lines of `global` that concern a process which proxymgr starts itself, with a socket of its own.
const OF_THE_PROCESS: [&str; 4] = ["daemon", "master-worker", "nbproc", "stats"];

/// Keys of the section `haproxy`, and what proxymgr does instead.
const REPLACED: [(&str, &str); 9] = [
    ("reload_command", "proxymgr starts and reloads HAProxy itself; haproxy.run: command has commands"),
    ("do_writes", "proxymgr always writes the file"),
    ("do_reloads", "proxymgr reloads only where a change cannot be made at run time"),
    ("do_socket", "changes are made at run time wherever HAProxy can"),
    ("do_checks", "each candidate is checked"),
    ("restart_interval", "haproxy.reload_interval"),
    ("restart_jitter", "a reload loses no checks: the new process starts with the state of the servers"),
    ("state_file_path", "the last good hosts are kept in state_dir"),
    ("state_file_ttl", "the last good hosts are kept in state_dir"),
];

/// Converts the text of a `synapse.conf.json`, for this directory of settings.
///
/// # Errors
/// The text is not JSON, or lacks its services.
pub fn from_synapse(text: &str, directory: &Path) -> Result<Imported, String> {
    let Value::Object(conf) = json_from(text)? else {
        return Err("a synapse.conf.json is an object with \"services\" and \"haproxy\"".to_owned());
    };
    let none = Object::new();
    let haproxy = conf.get("haproxy").and_then(Value::as_object).unwrap_or(&none);
    let mut base = Base::of(haproxy);
    let mut imported = Imported::default();
    for (name, service) in services(&conf)? {
        let own = service.get("haproxy").and_then(Value::as_object).unwrap_or(service);
        if own.get("disabled") == Some(&Value::Bool(true)) {
            imported.notes.push(format!("{name} is disabled and was not imported"));
            continue;
        }
        let service = Service::read(&name, service, own, haproxy);
        base.shared_frontend.extend(lines(own.get("shared_frontend")));
        let definition = service.definition(&mut base, &mut imported.notes);
        imported.services.insert(format!("{}.yml", service.backend), definition);
    }
    for key in conf.keys().filter(|key| !["services", "haproxy", "synapse"].contains(&key.as_str())) {
        imported.notes.push(format!("{key} has no equivalent; see `outputs` of the settings"));
    }
    let base_text = base.text();
    imported.settings = settings(haproxy, &base, base_text.is_some(), directory);
    imported.base.extend(base_text.map(|text| BaseFile { name: BASE_FILE.to_owned(), text }));
    Ok(imported)
}

/// Returns the services with their names: a map, or a list in files of old versions.
fn services(conf: &Object) -> Result<Vec<(String, &Object)>, String> {
    let named = |(name, service): (&String, &'_ Value)| match service {
        Value::Object(_) => Ok(name.clone()),
        _ => Err(format!("services.{name} is not an object")),
    };
    let found = match conf.get("services") {
        Some(Value::Object(services)) => {
            let names = services.iter().map(named).collect::<Result<Vec<String>, String>>()?;
            names.into_iter().zip(services.values().filter_map(Value::as_object)).collect()
        }
        Some(Value::Array(services)) => {
            let with_name = services.iter().enumerate().map(|(index, service)| {
                let service = service.as_object();
                let name = service.and_then(|service| service.get("name")?.as_str().map(str::to_owned));
                name.zip(service).ok_or_else(|| format!("services[{index}] is not an object with a \"name\""))
            });
            with_name.collect::<Result<Vec<_>, String>>()?
        }
        _ => return Err("\"services\" is missing; it maps the names of services to objects".to_owned()),
    };
    Ok(found)
}

/// Returns lines that are a list, or one text.
fn lines(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(line)) => line.lines().map(|line| line.trim().to_owned()).collect(),
        Some(Value::Array(lines)) => {
            lines.iter().filter_map(Value::as_str).map(|line| line.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// What belongs in the base configuration, if anything needs one.
struct Base {
    global: Vec<String>,
    defaults: Vec<String>,
    shared_frontend: Vec<String>,
    /// The header of each section, and its lines.
    sections: Vec<(String, Vec<String>)>,
}

impl Base {
    fn of(haproxy: &Object) -> Self {
        let of_proxy = |line: &String| {
            let first = line.split_whitespace().next().unwrap_or_default();
            !line.is_empty() && !line.starts_with('#') && !OF_THE_PROCESS.contains(&first)
        };
        let extra = haproxy.get("extra_sections").and_then(Value::as_object);
        let extra = extra.into_iter().flatten().map(|(header, value)| (header.clone(), lines(Some(value))));
        Self {
            global: lines(haproxy.get("global")).into_iter().filter(of_proxy).collect(),
            defaults: lines(haproxy.get("defaults")).into_iter().filter(|line| !line.starts_with('#')).collect(),
            shared_frontend: lines(haproxy.get("shared_frontend")),
            sections: extra.collect(),
        }
    }

    /// Returns the text; `None` where the settings have room for all of it.
    fn text(&self) -> Option<String> {
        if self.sections.is_empty() && self.shared_frontend.is_empty() {
            return None;
        }
        let shared = ("frontend shared-frontend".to_owned(), self.shared_frontend.clone());
        let first = [("global".to_owned(), self.global.clone()), ("defaults".to_owned(), self.defaults.clone())];
        let shared = (!self.shared_frontend.is_empty()).then_some(shared);
        let sections = first.into_iter().chain(self.sections.iter().cloned()).chain(shared);
        let section = |(header, lines): (String, Vec<String>)| {
            let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
            format!("{header}\n{lines}")
        };
        Some(Vec::from_iter(sections.map(section)).join("\n"))
    }
}

/// One service.
struct Service<'a> {
    name: &'a str,
    /// The name of its backend, and of the definition.
    backend: String,
    discovery: discovery::Discovery<'a>,
    listen: Option<(String, u16)>,
    lines: Vec<String>,
    server_options: Vec<String>,
}

impl<'a> Service<'a> {
    fn read(name: &'a str, service: &'a Object, own: &'a Object, haproxy: &Object) -> Self {
        let text = |from: &Object, key: &str| from.get(key).and_then(Value::as_str).map(str::to_owned);
        let port = own.get("port").or_else(|| own.get("local_port")).and_then(Value::as_u64);
        let bind = text(own, "bind_address").or_else(|| text(haproxy, "bind_address"));
        let bind = match bind.as_deref() {
            None | Some(LOCALHOST) => "127.0.0.1".to_owned(),
            Some(other) => other.to_owned(),
        };
        let mut seen = BTreeSet::new();
        // A line of both the frontend and the backend, such as `mode http`, is needed once.
        let all = ["listen", "frontend", "backend"].into_iter().flat_map(|key| lines(own.get(key)));
        Self {
            name,
            backend: text(own, "backend_name").unwrap_or_else(|| name.to_owned()),
            discovery: discovery::Discovery { service, own },
            listen: port.and_then(|port| Some((bind, u16::try_from(port).ok()?))),
            lines: all.filter(|line| !line.is_empty() && seen.insert(line.clone())).collect(),
            server_options: lines(own.get("server_options")),
        }
    }

    /// Returns the text of the definition; a section that a definition cannot express goes into the base.
    fn definition(&self, base: &mut Base, notes: &mut Vec<String>) -> String {
        let mut yaml =
            YamlText::with_header(&[&format!("Converted from the service {} of a synapse.conf.json.", self.name)]);
        self.discovery.write(&mut yaml, notes, self.name);
        let refused = OptionPolicy::default().listen_options(&self.backend, &self.lines).err().unwrap_or_default();
        match &self.listen {
            Some((bind, port)) if refused.is_empty() => {
                yaml.key("port", *port);
                if bind != "0.0.0.0" && bind != "*" {
                    yaml.key("bind", bind.as_str());
                }
                if !self.lines.is_empty() {
                    yaml.list("listen_options", &self.lines);
                }
            }
            listen => {
                for refusal in refused {
                    notes.push(format!("{} is a section of {BASE_FILE}: {}", self.name, refusal.reason));
                }
                let keyword = if listen.is_some() { "listen" } else { "backend" };
                let bind = listen.iter().map(|(bind, port)| format!("bind {bind}:{port}"));
                let lines = bind.chain(self.lines.iter().cloned()).chain([format!("# {MARKER}")]);
                base.sections.push((format!("{keyword} {}", self.backend), lines.collect()));
            }
        }
        if !self.server_options.is_empty() {
            yaml.list("server_options", &self.server_options);
        }
        yaml.finish()
    }
}

fn settings(haproxy: &Object, base: &Base, has_base: bool, directory: &Path) -> String {
    let mut yaml =
        YamlText::with_header(&["Converted from a synapse.conf.json. Check it with `proxymgr check -c FILE`."]);
    yaml.section("haproxy", |settings| {
        let known: BTreeMap<&str, &str> =
            BTreeMap::from([("config_file_path", "config_path"), ("socket_file_path", "socket_path")]);
        for (theirs, ours) in &known {
            if let Some(path) = haproxy.get(*theirs).and_then(Value::as_str) {
                settings.key(ours, path);
            }
        }
        if has_base {
            settings.key("base_config", directory.join(BASE_FILE).to_string_lossy());
        } else {
            settings.list("global", &base.global);
            settings.list("defaults", &base.defaults);
        }
        for (key, value) in haproxy {
            if let Some((_, why)) = REPLACED.iter().find(|(replaced, _)| replaced == key) {
                settings.comment(&format!("{key} = {value}: {why}"));
            }
        }
    });
    yaml.blank();
    yaml.section("service_config", |services| {
        services.key("type", "file");
        services.key("path", directory.join(SERVICES).to_string_lossy());
    });
    yaml.finish()
}

#[cfg(test)]
mod tests;
