//! Services as templates and printed output see them, with plain names and values.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use proxymgr_actors::decide::haproxy_config::{SectionStyle, server_line};
use proxymgr_actors::decide::quoting::joined;
use proxymgr_actors::model::{Conditions, Host, ServerName, ServiceDefinition};
use proxymgr_actors::port::PublishedService;
use serde::Serialize;

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// The IP address that clients connect to; `None` if the service has no port.
    pub address: Option<String>,
    /// The port that clients connect to; `None` if the service has none.
    pub port: Option<u16>,
    /// `http` or `tcp`, by its options; `None` if they do not set it.
    pub mode: Option<String>,
    /// The domains it answers to.
    pub domains: Vec<String>,
    /// The prefix of its paths, without a trailing slash; `None` if it serves every path.
    pub path_prefix: Option<String>,
    /// Whether it serves every domain of its port that no other service has.
    pub default: bool,
    /// Conditions of its requests beside domain and path: `headers` (each with its value, or nothing where any will do),
    /// `methods`, `sources`. Empty for most services.
    pub conditions: Conditions,
    /// The lines of its section, quoted for HAProxy.
    pub options: Vec<String>,
    /// The options of its servers, quoted for HAProxy.
    pub server_options: String,
    /// Where its hosts come from: the definition's `type`.
    pub source: String,
    /// Whether its hosts are known; if not, nothing should be removed.
    pub known: bool,
    /// Its hosts, by name.
    pub hosts: Vec<HostView>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostView {
    /// The name of its server.
    pub name: String,
    /// Its address and port as one text, an IPv6 address in brackets; `unix@` with the path for a unix socket.
    pub endpoint: String,
    /// Its IP address or host name, without brackets; `unix@` with the path for a unix socket.
    pub address: String,
    /// Its port; `None` for a unix socket.
    pub port: Option<u16>,
    /// Its weight; `None` if the host sets none.
    pub weight: Option<u16>,
    /// Whether it takes traffic only when no other host can.
    pub backup: bool,
    /// `ready`, `drain` or `maint`.
    pub state: &'static str,
    /// The value of its persistence cookie.
    pub cookie: Option<String>,
    /// Its own options, quoted for HAProxy.
    pub options: String,
    /// Its whole `server` line, as HAProxy reads it.
    pub line: String,
    /// Its tags, without control characters. Like its meta data they may be any text: quote them.
    pub tags: Vec<String>,
    /// Its meta data.
    pub meta: BTreeMap<String, String>,
}

/// A domain on one port, which services share by their paths.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DomainView<'a> {
    /// The domain; `*.` before it means all domains below it.
    pub name: &'a str,
    /// The port that clients connect to; `None` if its services have none.
    pub port: Option<u16>,
    /// The services of the domain, one for each path. If several claim the same path, the first by name. Services with
    /// further conditions are not among them: a template that does not know conditions would send them every request.
    pub services: Vec<&'a ServiceView>,
}

impl<'a> DomainView<'a> {
    /// Returns every domain of these services, which are sorted by name.
    pub fn all(services: &'a [ServiceView]) -> Vec<Self> {
        let mut domains: BTreeMap<_, BTreeMap<Option<&str>, &ServiceView>> = BTreeMap::new();
        for service in services.iter().filter(|service| service.conditions.is_empty()) {
            for domain in &service.domains {
                let paths = domains.entry((domain.as_str(), service.port)).or_default();
                paths.entry(service.path_prefix.as_deref()).or_insert(service);
            }
        }
        let view =
            |((name, port), paths): (_, BTreeMap<_, _>)| Self { name, port, services: paths.into_values().collect() };
        domains.into_iter().map(view).collect()
    }
}

impl ServiceView {
    /// Returns the view of a published service.
    pub fn of(service: &PublishedService) -> Self {
        let definition = &service.definition;
        let mode = definition.last_line("mode");
        Self {
            name: definition.name.to_string(),
            address: definition.listen.map(|listen| listen.ip().to_string()),
            port: definition.listen.map(|listen| listen.port()),
            mode: mode.and_then(|line| Some(line.get(1)?.as_str().to_owned())),
            domains: definition.requests.domains.iter().map(ToString::to_string).collect(),
            path_prefix: definition.requests.path_prefix.as_ref().map(|path| path.as_str().to_owned()),
            default: definition.requests.is_default,
            conditions: definition.requests.conditions.clone(),
            options: definition.listen_options.iter().map(joined).collect(),
            server_options: joined(&definition.server_options),
            source: definition.source.kind.clone(),
            known: service.hosts.is_some(),
            hosts: service
                .hosts
                .iter()
                .flat_map(|hosts| hosts.iter())
                .map(|(name, host)| HostView::of(definition, name, host))
                .collect(),
        }
    }
}

impl HostView {
    fn of(definition: &ServiceDefinition, name: &ServerName, host: &Host) -> Self {
        let labels = host.labels.as_deref();
        let meta = labels.iter().flat_map(|labels| &labels.meta);
        Self {
            name: name.to_string(),
            endpoint: host.endpoint.to_string(),
            address: host.endpoint.address(),
            port: host.endpoint.port().map(NonZeroU16::get),
            weight: host.weight,
            backup: host.backup,
            state: host.state.as_str(),
            cookie: host.cookie.as_ref().map(|cookie| cookie.as_str().to_owned()),
            options: joined(&host.options),
            line: server_line(definition, name, host, None, SectionStyle::default()).trim().to_owned(),
            tags: labels.iter().flat_map(|labels| &labels.tags).map(ToString::to_string).collect(),
            meta: meta.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Conditions, ServiceView};

    /// Returns a service with a domain and a path.
    pub fn service(name: &str) -> ServiceView {
        ServiceView {
            name: name.to_owned(),
            address: None,
            port: Some(80),
            mode: Some("http".to_owned()),
            domains: vec!["a.example".to_owned()],
            path_prefix: Some("/api".to_owned()),
            default: true,
            conditions: Conditions::default(),
            options: vec!["mode http".to_owned()],
            server_options: String::new(),
            source: "static".to_owned(),
            known: true,
            hosts: Vec::new(),
        }
    }
}
