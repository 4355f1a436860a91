//! Which service a request over HTTP goes to, where several share a port and are told apart by their domains.
//!
//! The exact domain comes before `*.`, the longer `*.` before the shorter, all of them before a service for any other
//! domain; among those of the same domain the longest path. HAProxy finds out by a map
//! ([`frontend`](super::frontend)), which changes while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config_lines::mode_of;
use crate::model::{Domain, ObservedRoutes, RouteCommand, RouteKey, Routes, ServiceDefinition, ServiceName};

/// The first line of the map's file.
const HEADER: &str = "# Written by proxymgr, which replaces this file with every change: edits are lost.\n";

/// Where the service's requests come in, if they do so through a frontend that it shares with others: it has domains,
/// or takes what is left, and speaks HTTP.
pub fn routed_at(definition: &ServiceDefinition) -> Option<SocketAddr> {
    let mut modes = definition.listen_options.iter().filter_map(|words| mode_of(words));
    let is_http = modes.next_back().unwrap_or(true);
    let claims = !definition.domains.is_empty() || definition.is_default;
    definition.listen.filter(|_| is_http && claims)
}

/// A service that HAProxy has, and what it wants to be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// Where its requests come in.
    pub listen: SocketAddr,
    /// Says what it wants.
    pub definition: &'a ServiceDefinition,
    /// Whether it is gone from discovery: it is asked as long as it is there and nobody else wants to be.
    pub is_leaving: bool,
}

/// What a service with this definition wants to be asked for.
pub fn keys(listen: SocketAddr, definition: &ServiceDefinition) -> impl Iterator<Item = RouteKey> {
    let path = definition.path_prefix.as_ref();
    let of_domain = move |domain: Option<&Domain>| RouteKey::new(listen, domain, path);
    let rest = definition.is_default.then(|| of_domain(None));
    definition.domains.iter().map(move |domain| of_domain(Some(domain))).chain(rest)
}

/// Who is asked for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// Who has what.
    pub routes: Routes,
    /// What services want and another has, and who it is.
    pub contested: BTreeMap<ServiceName, BTreeMap<RouteKey, ServiceName>>,
}

impl Routing {
    /// What another service has of what this one wants, in words; none where nothing.
    pub fn complaint(&self, service: &ServiceName) -> Option<String> {
        let contested = self.contested.get(service)?;
        let (key, holder) = contested.first_key_value()?;
        let more = match contested.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more like it)"),
        };
        Some(format!(
            "{key} on {} belongs to the service {holder}, which had it first{more}; take it out of one of the two",
            key.listen()
        ))
    }
}

/// Decides who is asked for what. Who had something keeps it as long as it wants it; else the first by name has it.
/// `awaited` is wanted by services that HAProxy does not have yet: until it has, whoever had that is asked for it still.
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
    /// The service that is concerned; none where a line goes that names none.
    pub service: Option<ServiceName>,
    /// Why, in words.
    pub reason: String,
    /// The command.
    pub command: RouteCommand,
}

/// The commands that make the map what it should be: what comes before what goes.
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

/// The map's file; empty where there are no routes to be found at all, and no file.
pub fn map_text(routes: &Routes) -> Arc<str> {
    let mut text = HEADER.to_owned();
    for (key, service) in routes {
        let _ = writeln!(text, "{} {service}", key.as_str());
    }
    text.into()
}

/// Reads a map's file back; what is not ours is left out.
pub fn parse_map(text: &str) -> Routes {
    let line = |line: &str| {
        let (key, service) = line.split_once(' ')?;
        Some((RouteKey::observed(key), ServiceName::new(service.trim()).ok()?))
    };
    text.lines().filter(|text| !text.starts_with('#')).filter_map(line).collect()
}
