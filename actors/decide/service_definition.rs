//! Parser for a service's definition: converts the JSON of a znode or file to a [`ServiceDefinition`], or returns every
//! mistake.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Map, Value};

use super::bind_options;
use super::definition_keys::SERVICE_KEYS;
use super::duration;
use super::frontend::NAME_PREFIXES;
use super::grants::{self, Grant, Request};
use super::json_value::{port_from, shown, strings_from, whole_number};
use super::option_policy::{OptionPolicy, RefusedLine};
use super::own_places::OwnPlaces;
use super::request_match::{self, Match};
use super::routing::{self, FrontendKind};
use super::server_options::contains;
use super::service_tls;
use super::text::json_from;
use super::update_strategy::{choice_from, slots_from};
use crate::limits::{BINDS_MAX, DOMAINS_MAX, SOURCE_KIND_BYTES_MAX, WILDCARD_LABELS_MAX};
use crate::model::{
    DefinitionKey, Domain, HTTP_PORT, HostLabels, InvalidListenAddress, InvalidSocketPath, ListenAddress, MaxRemoval,
    PathPrefix, RawDefinition, Removal, Requests, SectionSettings, ServiceDefinition, ServiceLifeCycle, ServiceName,
    ServiceUpdate, SourceSpec, Word,
};

/// A valid definition, with warnings for its author.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedDefinition {
    /// The definition.
    pub definition: ServiceDefinition,
    /// Valid settings that probably do not have the intended effect.
    pub warnings: Vec<String>,
}

/// Returns whether a key belongs to the service itself; the others belong to the source of its hosts.
pub fn is_own_key(key: &str) -> bool {
    DefinitionKey::is_in(key, SERVICE_KEYS)
}

/// Reads a definition.
///
/// # Errors
/// Every mistake at once, each with its key and value.
pub fn parse(name: &str, raw: &RawDefinition, policy: &OptionPolicy) -> Result<ParsedDefinition, Vec<String>> {
    if let Some(problem) = &raw.problem {
        return Err(vec![problem.to_string()]);
    }
    let keys = match json_from(&raw.text) {
        Ok(Value::Object(keys)) => keys,
        Ok(other) => return Err(vec![format!("a service is a JSON object, not {}", shown(&other))]),
        Err(error) => return Err(vec![error]),
    };
    let mut reader = Reader { keys, labels: HostLabels::default(), mistakes: Vec::new() };
    let section = name;
    let grant = policy.grants.of(name);
    let policy = &*policy.of_service(name);
    let name = service_name(name).map_err(|error| reader.mistakes.push(format!("the service's name: {error}"))).ok();
    let kind = reader.source_kind();
    let listen = reader.listen_address();
    let binds = reader.take("binds", |value| binds(value, &policy.own)).unwrap_or_default();
    let bind_options = reader.take("bind_options", |value| bind_options::parse(&strings_from(value)?));
    let bind_options = bind_options.unwrap_or_default();
    let listen_options = reader.listen_options(section, policy);
    let server_options =
        reader.take("server_options", |value| policy.server_options(&strings_from(value)?)).unwrap_or_default();
    let requests = reader.requests();
    let removal = reader.removal(policy.removal);
    let life_cycle = reader.life_cycle();
    let update = ServiceUpdate { choice: reader.take("update", choice_from), slots: reader.take("slots", slots_from) };
    let tls = reader.take("tls", service_tls::parse);
    let defaults = reader.take("defaults", defaults_name);
    let redirects = reader.take("redirect_to_https", flag).unwrap_or_default();
    let redirect = listen.filter(|_| redirects).map(|listen| SocketAddr::new(listen.ip(), HTTP_PORT));
    let own = listen.into_iter().chain(redirect).map(ListenAddress::from);
    let addresses: Vec<ListenAddress> = own.chain(binds.clone()).collect();
    let request = Request {
        source: kind.as_deref(),
        binds: &addresses,
        certificates: tls.as_ref().map_or(&[], |tls| &tls.certificates),
        domains: &requests.domains,
        is_default: requests.is_default,
        slots: update.slots,
    };
    reader.mistakes.extend(grants::refusals(grant, request));
    if requests.claims_domains() {
        let shared = [("binds", !binds.is_empty()), ("bind_options", !bind_options.is_empty())];
        for (key, _) in shared.iter().filter(|(_, is_set)| *is_set) {
            let why = "its \"port\" is shared with others by \"domains\" or \"default\"";
            reader.mistakes.push(format!("{key:?}: a service cannot have it where {why}"));
        }
    }
    let mut warnings = Vec::new();
    if addresses.is_empty() && !bind_options.is_empty() {
        warnings.push("\"bind_options\" has no effect without \"port\" or \"binds\"".to_owned());
    }
    if listen.is_none() && !requests.domains.is_empty() {
        warnings.push("\"domains\" has no effect without \"port\"".to_owned());
    }
    if requests.path_prefix.is_some() && !requests.claims_domains() {
        warnings.push("\"path_prefix\" has no effect without \"domains\" or \"default\"".to_owned());
    }
    if life_cycle.ramp_up.is_some_and(|time| !time.is_zero()) && !contains(&server_options, "weight") {
        let advice = "give every server more, such as \"server_options\": [\"weight 100\"]";
        warnings
            .push(format!("\"ramp_up\" has no effect on a server without a weight, because its weight is 1; {advice}"));
    }
    if let Some(kind) = &kind {
        read_as_the_predecessor(kind, listen, &mut reader.keys);
    }
    match (name, kind) {
        (Some(name), Some(kind)) if reader.mistakes.is_empty() => {
            let definition = ServiceDefinition {
                name,
                origin: raw.origin.clone(),
                listen,
                section: SectionSettings { defaults, binds, bind_options, tls, redirects_to_https: redirects },
                listen_options,
                server_options,
                requests,
                domains_granted: grant.is_some_and(Grant::grants_domains),
                source: SourceSpec { kind, settings: reader.keys, labels: reader.labels },
                removal,
                life_cycle,
                update,
                in_base: None,
            };
            let mut mistakes = listener_mistakes(&definition);
            mistakes.extend(policy.effect_on_others(&definition).map(|reason| format!("\"listen_options\": {reason}")));
            match mistakes.is_empty() {
                true => Ok(ParsedDefinition { definition, warnings }),
                false => Err(mistakes),
            }
        }
        _ => Err(reader.mistakes),
    }
}

/// Returns the mistakes of keys about listeners that do not go together.
fn listener_mistakes(definition: &ServiceDefinition) -> Vec<String> {
    let mut mistakes = Vec::new();
    let by_sni = routing::shares(definition) == Some(FrontendKind::Sni);
    if by_sni && definition.section.tls.is_some() {
        let why = "a service in TCP mode with \"domains\" gets the connections as they are, chosen by SNI";
        mistakes.push(format!("\"tls\": {why}; remove it, or use mode http"));
    }
    let Requests { path_prefix, conditions, .. } = &definition.requests;
    if by_sni && path_prefix.is_some() {
        mistakes.push("\"path_prefix\": a service in TCP mode has no paths".to_owned());
    }
    if by_sni && !(conditions.headers.is_empty() && conditions.methods.is_empty()) {
        mistakes
            .push("\"match\": a service in TCP mode has no headers and methods, only domains and sources".to_owned());
    }
    let shares_port = definition.requests.claims_domains() && definition.listen.is_some();
    if !conditions.is_empty() && !shares_port {
        let why = "choose between services that share a port; they need \"port\", and \"domains\" or \"default\"";
        mistakes.push(format!("\"match\": headers, methods and sources {why}"));
    }
    if definition.section.tls.is_some() && definition.addresses().next().is_none() {
        mistakes.push("\"tls\": there is no \"port\" that it is for".to_owned());
    }
    if definition.section.redirects_to_https {
        match (&definition.section.tls, definition.listen) {
            (Some(_), Some(listen)) if listen.port() == HTTP_PORT => {
                mistakes.push(format!(
                    "\"redirect_to_https\": \"port\" is {HTTP_PORT}, which requests are redirected from"
                ));
            }
            (Some(_), Some(_)) if routing::kind_of(definition) == FrontendKind::Http => {}
            _ => mistakes.push(
                "\"redirect_to_https\": it needs \"tls\", \"port\" and mode http; it also listens on port 80"
                    .to_owned(),
            ),
        }
    }
    mistakes
}

/// Parses the name of a `defaults` section.
fn defaults_name(value: &Value) -> Result<ServiceName, String> {
    let text = value.as_str().ok_or_else(|| format!("{} is not a string", shown(value)))?;
    ServiceName::new(text).map_err(|error| error.to_string())
}

/// Parses `true` or `false`.
fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{} is neither true nor false", shown(value)))
}

/// Completes the keys of the source as proxymgr's predecessor, a Ruby program of the same name, reads them: hosts of
/// type `campanjazk` have the port of the service, and the path of type `file` is in the key `file`.
fn read_as_the_predecessor(kind: &str, listen: Option<SocketAddr>, keys: &mut Map<String, Value>) {
    let lacks = |keys: &Map<String, Value>, key: &str| keys.get(key).is_none_or(Value::is_null);
    match (kind, listen) {
        ("campanjazk", Some(listen)) if lacks(keys, "remote_port") => {
            keys.insert("remote_port".to_owned(), listen.port().into());
        }
        ("file", _) if lacks(keys, "path") => {
            if let Some(path) = keys.remove("file") {
                keys.insert("path".to_owned(), path);
            }
        }
        _ => {}
    }
}

/// Takes the service's own keys out of the object; the rest belongs to the source.
struct Reader {
    keys: Map<String, Value>,
    /// The labels of its hosts.
    labels: HostLabels,
    mistakes: Vec<String>,
}

impl Reader {
    /// Returns the value of a key that may be absent or null; a mistake in it is recorded with the key.
    fn take<T>(&mut self, key: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let value = self.keys.remove(key).filter(|value| !value.is_null())?;
        read(&value).map_err(|reason| self.mistakes.push(format!("{key:?}: {reason}"))).ok()
    }

    fn source_kind(&mut self) -> Option<String> {
        if self.keys.get("type").is_none_or(Value::is_null) {
            self.mistakes.push(
                "the key \"type\" is missing; it is the type of the hosts' source (zookeeper, file, ...)".to_owned(),
            );
            return None;
        }
        self.take("type", |value| match value.as_str() {
            Some(kind) if !kind.is_empty() && kind.len() <= SOURCE_KIND_BYTES_MAX => Ok(kind.to_owned()),
            _ => Err(format!("{} is not the name of a kind of source", shown(value))),
        })
    }

    fn listen_address(&mut self) -> Option<SocketAddr> {
        let ip = self.take("bind", bind_address).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let port = self.take("port", port_from)?;
        Some(SocketAddr::new(ip, port.get()))
    }

    fn listen_options(&mut self, service: &str, policy: &OptionPolicy) -> Vec<Vec<Word>> {
        let lines = self.take("listen_options", strings_from).unwrap_or_default();
        policy.listen_options(service, &lines).unwrap_or_else(|refused| {
            self.mistakes.extend(refused.into_iter().map(|RefusedLine { at, reason }| {
                match at.and_then(|at| lines.get(at)) {
                    Some(line) => format!("\"listen_options\": {}: {reason}", shown(&Value::String(line.clone()))),
                    None => format!("\"listen_options\": {reason}"),
                }
            }));
            Vec::new()
        })
    }

    fn requests(&mut self) -> Requests {
        let Match { conditions, labels, mistakes } = request_match::take(&mut self.keys);
        self.mistakes.extend(mistakes);
        self.labels = labels;
        Requests {
            domains: self.take("domains", domains).unwrap_or_default(),
            path_prefix: self.take("path_prefix", path_prefix).flatten(),
            is_default: self.take("default", flag).unwrap_or_default(),
            conditions,
        }
    }

    fn life_cycle(&mut self) -> ServiceLifeCycle {
        let mut duration = |key| {
            self.take(key, |value| {
                let text = value
                    .as_str()
                    .ok_or_else(|| format!("{} is not a duration in quotes, such as \"30s\"", shown(value)))?;
                duration::parse(text)
            })
        };
        ServiceLifeCycle { drain_timeout: duration("drain_timeout"), ramp_up: duration("ramp_up") }
    }

    fn removal(&mut self, default: Removal) -> Removal {
        let min_hosts = self.take("min_hosts", |value| {
            let number = whole_number(value).and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| format!("{} is not a whole number from 0", shown(value)))
        });
        let max_removal = self.take("max_removal", |value| {
            let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| format!("{} is not a share from 0 to 1", shown(value)))
        });
        Removal {
            min_hosts: min_hosts.unwrap_or(default.min_hosts),
            max_removal: max_removal.map_or(default.max_removal, MaxRemoval::Share),
            window: default.window,
        }
    }
}

/// Parses a name that follows HAProxy's rules and does not collide with shared frontends.
fn service_name(text: &str) -> Result<ServiceName, String> {
    if let Some(prefix) = NAME_PREFIXES.iter().find(|prefix| text.starts_with(**prefix)) {
        return Err(format!("{text:?} begins with {prefix:?}, which is reserved for shared frontends; choose another"));
    }
    if let Some((folder, _)) = text.rsplit_once('/') {
        let place = "a service is directly below the path of the definitions";
        return Err(format!("{text:?} is in the folder {:?}, and folders are not read; {place}", format!("{folder}/")));
    }
    ServiceName::new(text).map_err(|error| error.to_string())
}

/// Parses a path prefix; the root matches all paths.
fn path_prefix(value: &Value) -> Result<Option<PathPrefix>, String> {
    let text = value.as_str().ok_or_else(|| format!("{} is not a string", shown(value)))?;
    if text == "/" {
        return Ok(None);
    }
    PathPrefix::parse(text).map(Some).map_err(|error| error.to_string())
}

/// Parses the domains of a service, each once, in the given order.
fn domains(value: &Value) -> Result<Vec<Domain>, String> {
    let texts = strings_from(value)?;
    if texts.len() > DOMAINS_MAX {
        return Err(format!("{} domains are more than the {DOMAINS_MAX} allowed", texts.len()));
    }
    let mut domains = Vec::new();
    for text in texts {
        let domain = Domain::parse(&text).map_err(|error| error.to_string())?;
        if domain.wildcard().is_some_and(|below| below.split('.').count() > WILDCARD_LABELS_MAX) {
            return Err(format!("{text:?} has more than the {WILDCARD_LABELS_MAX} labels allowed after \"*.\""));
        }
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    Ok(domains)
}

/// Parses the further addresses of a service, each once.
fn binds(value: &Value, own: &OwnPlaces) -> Result<Vec<ListenAddress>, String> {
    let texts = strings_from(value)?;
    if texts.len() > BINDS_MAX {
        return Err(format!("{} addresses are more than the {BINDS_MAX} allowed", texts.len()));
    }
    let mut binds = Vec::new();
    for text in texts {
        let address: ListenAddress = text.parse().map_err(|error: InvalidListenAddress| error.to_string())?;
        if let ListenAddress::Unix(path) = &address {
            // Another spelling would be another address, and replace the socket of the service that has it.
            if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
                return Err(format!("{text:?}: {}", InvalidSocketPath::Spelling));
            }
            if let Some(what) = own.at_socket(path) {
                return Err(format!("{text:?} is {what}"));
            }
        }
        if !binds.contains(&address) {
            binds.push(address);
        }
    }
    Ok(binds)
}

/// Parses an IP address of this machine, with or without brackets; `*` is every IPv4 address.
fn bind_address(value: &Value) -> Result<IpAddr, String> {
    let text = value.as_str().ok_or_else(|| format!("{} is not a string", shown(value)))?;
    if text == "*" {
        return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        let with_port = text.parse::<SocketAddr>().is_ok() || text.starts_with("*:") || text.starts_with(':');
        let advice = if with_port { "; give the port in \"port\"" } else { "" };
        format!("{} is not an IP address{advice}", shown(value))
    })
}
