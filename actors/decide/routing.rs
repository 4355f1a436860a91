//! Routing by domain, where several services share a port: of HTTP requests, or of TLS connections by SNI.
//!
//! The exact domain precedes `*.`, a longer `*.` domain precedes a shorter one, and all of them precede a service for
//! any other domain; with the same domain the longest path wins. HAProxy looks the service up in a map
//! ([`frontend`](super::frontend)), which is updated at run time. Services with conditions beside domain and path have a
//! rule in the frontend instead, before the map is looked up for the same domain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config_lines::mode_of;
use crate::model::{Domain, ObservedRoutes, RouteCommand, RouteKey, Routes, ServiceDefinition, ServiceName};

/// The first line of the map's file.
const HEADER: &str = "# Written by proxymgr, which replaces this file with every change: edits are lost.\n";

/// How a shared frontend finds the service of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendKind {
    /// By the domain and the path of each HTTP request.
    Http,
    /// By the name that the client requests in TLS (SNI), which is passed through.
    Sni,
}

/// Returns the kind of frontend that services with this mode share.
pub fn kind_of(definition: &ServiceDefinition) -> FrontendKind {
    let mut modes = definition.lines().iter().filter_map(|words| mode_of(words));
    match modes.next_back() {
        Some(false) => FrontendKind::Sni,
        Some(true) | None => FrontendKind::Http,
    }
}

/// Returns the address of the service's shared frontend, if it uses one: it has domains, or is the default. One that
/// redirects to HTTPS has another one (see [`ServiceDefinition::redirect_from`]).
pub fn routed_at(definition: &ServiceDefinition) -> Option<SocketAddr> {
    definition.listen.filter(|_| definition.requests.claims_domains() && definition.frame().is_none())
}

/// Returns the address of the frontend that finds the service in its map; `None` also for one with further conditions.
pub fn mapped_at(definition: &ServiceDefinition) -> Option<SocketAddr> {
    routed_at(definition).filter(|_| definition.requests.conditions.is_empty())
}

/// Returns whether a shared frontend has a rule for the service, because of its further conditions.
pub fn has_rule(definition: &ServiceDefinition) -> bool {
    routed_at(definition).is_some() && !definition.requests.conditions.is_empty()
}

/// Returns whether the service's own section listens. One without a listener is a `backend`.
pub fn has_listener(definition: &ServiceDefinition) -> bool {
    routed_at(definition).is_none() && definition.addresses().next().is_some()
}

/// Returns the kind of its shared frontend, if it uses one.
pub fn shares(definition: &ServiceDefinition) -> Option<FrontendKind> {
    routed_at(definition).map(|_| kind_of(definition))
}

/// A service in HAProxy that claims domains, without further conditions.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The address of its frontend.
    pub listen: SocketAddr,
    /// The definition with its domains.
    pub definition: &'a ServiceDefinition,
    /// Whether its definition was removed: it keeps its domains while HAProxy has it and no other service claims them.
    pub is_leaving: bool,
}

/// Returns the keys that a service with this definition claims.
pub fn keys(listen: SocketAddr, definition: &ServiceDefinition) -> impl Iterator<Item = RouteKey> {
    let requests = &definition.requests;
    let path = requests.path_prefix.as_ref();
    std::iter::once(listen).chain(definition.redirect_from()).flat_map(move |listen| {
        let of_domain = move |domain: Option<&Domain>| RouteKey::new(listen, domain, path);
        let rest = requests.is_default.then(|| of_domain(None));
        requests.domains.iter().map(move |domain| of_domain(Some(domain))).chain(rest)
    })
}

/// The assignment of domains to services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// The service of each key.
    pub routes: Routes,
    /// The keys that a service claims but another one has, with that service.
    pub contested: BTreeMap<ServiceName, BTreeMap<RouteKey, ServiceName>>,
}

impl Routing {
    /// Returns the problem of a service whose claimed domains another service has; `None` where there is none.
    pub fn complaint(&self, service: &ServiceName) -> Option<String> {
        let contested = self.contested.get(service)?;
        let (key, holder) = contested.first_key_value()?;
        let more = match contested.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more like it)"),
        };
        Some(format!(
            "{key} on {} belongs to the service {holder}, which had it first{more}; remove it from one of the two",
            key.listen()
        ))
    }
}

/// Assigns each key to a service. A service keeps a key as long as it claims it; otherwise the first service by name
/// gets it. `awaited` are keys of services that HAProxy does not have yet: until then the previous service keeps them.
pub fn assign<'a>(claims: impl IntoIterator<Item = Claim<'a>>, awaited: &BTreeSet<RouteKey>, had: &Routes) -> Routing {
    let mut present: BTreeMap<&ServiceName, bool> = BTreeMap::new();
    let mut wanted: BTreeMap<RouteKey, BTreeSet<&ServiceName>> = BTreeMap::new();
    for claim in claims {
        present.insert(claim.service, claim.is_leaving);
        if !claim.is_leaving {
            for key in keys(claim.listen, claim.definition) {
                wanted.entry(key).or_default().insert(claim.service);
            }
        }
    }
    let mut routing = Routing::default();
    for (key, services) in wanted {
        let before = had.get(&key).and_then(|holder| services.get(holder));
        let Some(holder) = before.or(services.first()).copied() else { continue };
        for service in services.iter().filter(|service| **service != holder) {
            routing.contested.entry((*service).clone()).or_default().insert(key.clone(), holder.clone());
        }
        routing.routes.insert(key, holder.clone());
    }
    for (key, holder) in had.iter().filter(|(key, _)| !routing.routes.contains_key(*key)).collect::<Vec<_>>() {
        if present.get(holder).is_some_and(|is_leaving| *is_leaving || awaited.contains(key)) {
            routing.routes.insert(key.clone(), holder.clone());
        }
    }
    routing
}

/// One change of the map, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStep {
    /// The service; `None` where a line without a service is removed.
    pub service: Option<ServiceName>,
    /// The reason, as text.
    pub reason: String,
    /// The command.
    pub command: RouteCommand,
}

/// Returns the commands that bring the map into the desired state: additions before removals.
pub fn plan_routes(wanted: &Routes, observed: &ObservedRoutes) -> Vec<RouteStep> {
    let came = wanted.iter().filter_map(|(key, service)| {
        let (command, reason) = match observed.get(key) {
            None => (RouteCommand::Add(key.clone(), service.clone()), format!("requests for {key} go to it now")),
            Some(before) if before != service.as_str() => (
                RouteCommand::Set(key.clone(), service.clone()),
                format!("requests for {key} go to it now and no longer to {before}"),
            ),
            Some(_) => return None,
        };
        Some(RouteStep { service: Some(service.clone()), reason, command })
    });
    let gone = observed.iter().filter(|(key, _)| !wanted.contains_key(*key)).map(|(key, before)| RouteStep {
        service: ServiceName::new(before).ok(),
        reason: format!("requests for {key} go to it no longer"),
        command: RouteCommand::Delete(key.clone()),
    });
    came.chain(gone).collect()
}

/// Returns the text of the map file; empty where there are no routes, and so no file.
pub fn map_text(routes: &Routes) -> Arc<str> {
    let mut text = HEADER.to_owned();
    for (key, service) in routes {
        let _ = writeln!(text, "{} {service}", key.as_str());
    }
    text.into()
}

/// Parses a map file; lines that proxymgr did not write are ignored.
pub fn parse_map(text: &str) -> Routes {
    let line = |line: &str| {
        let (key, service) = line.split_once(' ')?;
        Some((RouteKey::observed(key), ServiceName::new(service.trim()).ok()?))
    };
    text.lines().filter(|text| !text.starts_with('#')).filter_map(line).collect()
}
