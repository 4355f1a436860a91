//! The owners of domains and paths: a newer definition never takes requests that a running service gets.
//!
//! A path below another service's domain, and a name below its `*.` domain, take requests from it. So they are only for
//! services that claim them at the same time, or whose domains the operator has granted. The service for all other
//! domains of a port (`default`) owns none. A service with further conditions (`match`) takes requests from every other
//! one that has them, whatever their path is; conditions do not divide a domain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::routing::{Claim, assign, keys, mapped_at, routed_at};
use crate::model::{Domain, RouteKey, Routes, ServiceDefinition, ServiceName};

/// The owner of each domain and path.
#[derive(Debug, Clone, Default)]
pub struct RouteOwners {
    routes: Routes,
    /// Whether no definition changed since the last update.
    is_current: bool,
    /// The paths of each domain of each address.
    zones: BTreeMap<Zone, Paths>,
}

/// An address, and a domain as in the key of a route.
type Zone = (String, String);

/// The owners of each path of a zone.
type Paths = BTreeMap<String, Owners>;

/// The services that get the requests of one key.
#[derive(Debug, Clone)]
struct Owners {
    key: RouteKey,
    /// The service that the map has.
    mapped: Option<ServiceName>,
    /// The services that get those of the requests that meet their conditions.
    conditional: BTreeSet<ServiceName>,
}

impl RouteOwners {
    /// Records that definitions changed.
    pub fn changed(&mut self) {
        self.is_current = false;
    }

    /// Updates the owners to these definitions, where some changed. A service keeps what it claims still.
    pub fn update<'a>(&mut self, definitions: impl Iterator<Item = &'a ServiceDefinition>) {
        if std::mem::replace(&mut self.is_current, true) {
            return;
        }
        let (mapped, routed): (Vec<_>, Vec<_>) = definitions
            .filter_map(|definition| Some((routed_at(definition)?, definition)))
            .partition(|(_, definition)| mapped_at(definition).is_some());
        let claims = mapped.into_iter().map(|(listen, definition)| Claim {
            service: &definition.name,
            listen,
            definition,
            is_leaving: false,
        });
        self.routes = assign(claims, &Default::default(), &self.routes).routes;
        self.zones = BTreeMap::new();
        for (key, owner) in &self.routes {
            owners(&mut self.zones, key).mapped = Some(owner.clone());
        }
        for (listen, definition) in routed {
            for key in keys(listen, definition) {
                owners(&mut self.zones, &key).conditional.insert(definition.name.clone());
            }
        }
    }

    /// Removes from a definition the domains with which it would take requests from other services. `before` is the
    /// definition that runs, whose domains stay while its conditions are the same; `is_claimed` returns whether a service
    /// still claims a key.
    pub fn leave_out(
        &self,
        definition: &mut ServiceDefinition,
        before: Option<&ServiceDefinition>,
        is_claimed: impl Fn(&ServiceName, &RouteKey) -> bool,
    ) -> Vec<LeftOut> {
        let Some(listen) = routed_at(definition).filter(|_| !definition.domains_granted && !self.zones.is_empty())
        else {
            return Vec::new();
        };
        let before = before.filter(|before| before.requests.conditions == definition.requests.conditions);
        let had: Vec<RouteKey> =
            before.and_then(|before| Some(keys(routed_at(before)?, before).collect())).unwrap_or_default();
        let has_conditions = !definition.requests.conditions.is_empty();
        let listens: Vec<SocketAddr> = std::iter::once(listen).chain(definition.redirect_from()).collect();
        let (service, requests) = (definition.name.clone(), &mut definition.requests);
        let path = requests.path_prefix.clone();
        let loser = |domain: Option<&Domain>| {
            let keys = listens.iter().map(|listen| RouteKey::new(*listen, domain, path.as_ref()));
            keys.filter(|key| !had.contains(key)).find_map(|key| {
                let owner = self.loser(&key, has_conditions, &service, &is_claimed)?.clone();
                Some(LeftOut { key, owner })
            })
        };
        let mut left_out = Vec::new();
        requests.domains.retain(|domain| match loser(Some(domain)) {
            Some(lost) => {
                left_out.push(lost);
                false
            }
            None => true,
        });
        if requests.is_default
            && let Some(lost) = loser(None)
        {
            left_out.push(lost);
            requests.is_default = false;
        }
        left_out
    }

    /// Returns a service that would lose requests to this one with this key.
    fn loser(
        &self,
        key: &RouteKey,
        has_conditions: bool,
        service: &ServiceName,
        is_claimed: impl Fn(&ServiceName, &RouteKey) -> bool,
    ) -> Option<&ServiceName> {
        let ((listen, domain), path) = parts(key);
        let own_paths = self.zones.get(&(listen.clone(), domain.clone()));
        let zones: Vec<&Paths> =
            searched(&domain).filter_map(|domain| self.zones.get(&(listen.clone(), domain))).collect();
        // One request for each path that the services of this domain and of those above it distinguish below the new one.
        let deeper = zones.iter().flat_map(|paths| paths.range(path.to_owned()..).map(|(deeper, _)| deeper.as_str()));
        let requests = std::iter::once(path).chain(deeper.filter(|deeper| deeper.starts_with(path)));
        let is_taken = |request: &&str| {
            // The domain has a longer path already: the new one gets the request only by its conditions.
            let found = own_paths.and_then(|paths| mapped(paths, request));
            has_conditions || found.is_none_or(|found| parts(&found.key).1.len() < path.len())
        };
        let is_other = |owner: &&ServiceName, owners: &Owners| *owner != service && is_claimed(owner, &owners.key);
        requests.filter(is_taken).find_map(|request| {
            zones.iter().find_map(|paths| {
                // Without conditions, it does not precede services of the same domain that have some.
                let precedes = has_conditions || own_paths.is_none_or(|own| !std::ptr::eq(own, *paths));
                let conditional = matching(paths, request)
                    .filter(|_| precedes)
                    .find_map(|owners| owners.conditional.iter().find(|owner| is_other(owner, owners)));
                let found = mapped(paths, request);
                match (conditional, found) {
                    (Some(owner), _) => Some(Some(owner)),
                    // The lookup ends here: no later zone gets the request.
                    (None, Some(owners)) => Some(owners.mapped.as_ref().filter(|owner| is_other(owner, owners))),
                    (None, None) => None,
                }
            })?
        })
    }
}

/// Returns the owners of a key, to be completed.
fn owners<'a>(zones: &'a mut BTreeMap<Zone, Paths>, key: &RouteKey) -> &'a mut Owners {
    let (zone, path) = parts(key);
    let none = || Owners { key: key.clone(), mapped: None, conditional: BTreeSet::new() };
    zones.entry(zone).or_default().entry(path.to_owned()).or_insert_with(none)
}

/// A domain that is left out of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The key.
    pub key: RouteKey,
    /// The service that gets its requests.
    pub owner: ServiceName,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, owner } = self;
        write!(
            f,
            "requests for {key} on {} belong to the service {owner}, which had them first; the operator can grant the \
             domain (grants)",
            key.listen()
        )
    }
}

/// Returns the paths that are a beginning of the requested one, the longest first.
fn matching<'a>(paths: &'a Paths, request: &str) -> impl Iterator<Item = &'a Owners> {
    let ends = request.char_indices().rev().filter(|(_, character)| *character == '/');
    ends.filter_map(|(at, _)| paths.get(&request[..=at]))
}

/// Returns the longest of these paths that is the beginning of the requested one, and that the map has.
fn mapped<'a>(paths: &'a Paths, request: &str) -> Option<&'a Owners> {
    matching(paths, request).find(|owners| owners.mapped.is_some())
}

/// Splits a key into its address and domain, and its path, which begins and ends with a slash.
fn parts(key: &RouteKey) -> (Zone, &str) {
    let (listen, asked) = key.as_str().split_once('/').unwrap_or_default();
    let (domain, path) = asked.split_at(asked.find('/').unwrap_or(asked.len()));
    ((listen.to_owned(), domain.to_owned()), path)
}

/// Returns the domains whose services get the requests for a domain, the first one first.
fn searched(domain: &str) -> impl Iterator<Item = String> {
    let labels = |name: &str| name.split_once('.').map(|(_, parent)| parent.to_owned());
    let name = domain.strip_prefix("*.").unwrap_or(domain);
    let parents = std::iter::successors(labels(name), move |name| labels(name));
    std::iter::once(domain.to_owned()).chain(parents.map(|parent| format!("*.{parent}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition;
    use crate::model::RawDefinition;

    fn define(name: &str, keys: &str) -> ServiceDefinition {
        let raw = RawDefinition::new(format!(r#"{{"type": "static", "port": 80, {keys}}}"#), "a test");
        service_definition::parse(name, &raw, &OptionPolicy::default()).unwrap().definition
    }

    fn with_path(name: &str, domain: &str, path: &str) -> ServiceDefinition {
        define(name, &format!(r#""domains": ["{domain}"], "path_prefix": "{path}""#))
    }

    /// Returns the owners that a newer definition would take requests from.
    fn losers(running: &[&ServiceDefinition], newer: &ServiceDefinition) -> Vec<String> {
        let mut owners = RouteOwners::default();
        owners.update(running.iter().copied());
        let before = running.iter().find(|running| running.name == newer.name).copied();
        let mut definition = newer.clone();
        let left_out = owners.leave_out(&mut definition, before, |_, _| true);
        let count = |definition: &ServiceDefinition| {
            definition.requests.domains.len() + usize::from(definition.requests.is_default)
        };
        assert_eq!(count(&definition) + left_out.len(), count(newer));
        left_out.iter().map(|left_out| left_out.owner.to_string()).collect()
    }

    #[test]
    fn requests_of_a_running_service_are_not_taken() {
        let exact = with_path("site", "a.example", "/");
        let wild = with_path("site", "*.a.example", "/");
        let deep = with_path("site", "*.a.example", "/api/v1");
        for (running, domain, path) in [
            (&exact, "a.example", "/api"),
            (&wild, "x.a.example", "/"),
            (&wild, "x.a.example", "/api"),
            (&wild, "*.x.a.example", "/"),
            (&wild, "*.a.example", "/api"),
            (&deep, "x.a.example", "/"),
            (&deep, "x.a.example", "/api"),
            (&deep, "x.a.example", "/api/v1/deeper"),
        ] {
            let newer = with_path("api", domain, path);
            assert_eq!(losers(&[running], &newer), ["site"], "{newer:?}");
            let granted = ServiceDefinition { domains_granted: true, ..newer };
            assert_eq!(losers(&[running], &granted), Vec::<String>::new());
        }
    }

    #[test]
    fn other_requests_are_free() {
        let exact = with_path("site", "a.example", "/api");
        let wild = with_path("site", "*.a.example", "/api");
        let any = define("site", r#""default": true"#);
        for (running, domain, path) in [
            // A shorter path does not take requests from a longer one, nor a parent domain from a lower one.
            (&exact, "a.example", "/"),
            (&exact, "a.example", "/apiary"),
            (&exact, "*.example", "/"),
            (&exact, "b.example", "/"),
            (&wild, "a.example", "/"),
            (&wild, "x.a.example", "/other"),
            (&wild, "*.a.example", "/"),
            (&any, "a.example", "/"),
        ] {
            assert_eq!(losers(&[running], &with_path("api", domain, path)), Vec::<String>::new(), "{domain}{path}");
        }
        let other_port =
            ServiceDefinition { listen: "0.0.0.0:81".parse().ok(), ..with_path("api", "a.example", "/api/v1") };
        assert_eq!(losers(&[&exact], &other_port), Vec::<String>::new());
    }

    #[test]
    fn longer_path_of_the_default_is_owned() {
        let any = define("site", r#""default": true"#);
        assert_eq!(losers(&[&any], &define("api", r#""default": true, "path_prefix": "/api""#)), ["site"]);
    }

    #[test]
    fn own_and_running_domains_stay() {
        let (site, api) = (with_path("site", "a.example", "/"), with_path("api", "a.example", "/api"));
        assert_eq!(losers(&[&site, &api], &api), Vec::<String>::new());
        let (own, wild) = (with_path("api", "x.a.example", "/"), with_path("site", "*.a.example", "/"));
        let both = define("api", r#""domains": ["x.a.example", "y.a.example"]"#);
        assert_eq!(losers(&[&own, &wild], &both), ["site"], "only the new one is left out");
        let deeper = with_path("api", "x.a.example", "/api");
        assert_eq!(losers(&[&own, &wild], &deeper), Vec::<String>::new(), "its own requests");
        let site_with_longer_path = with_path("other", "x.a.example", "/api");
        let running = [&wild, &site_with_longer_path];
        let newer = with_path("api", "x.a.example", "/api/v1");
        assert_eq!(losers(&running, &newer), ["other"]);
    }

    #[test]
    fn owner_that_gave_up_a_domain_does_not_count() {
        let mut owners = RouteOwners::default();
        owners.update([&with_path("site", "a.example", "/")].into_iter());
        let mut newer = with_path("api", "a.example", "/api");
        assert_eq!(owners.leave_out(&mut newer, None, |_, _| false), Vec::new());
        assert_eq!(newer.requests.domains.len(), 1);
    }

    /// Defines a service whose requests have a header.
    fn with_header(name: &str, domain: &str, path: &str) -> ServiceDefinition {
        let of = format!(r#""domains": ["{domain}"], "path_prefix": "{path}", "headers": {{"x": "1"}}"#);
        define(name, &format!(r#""match": {{{of}}}"#))
    }

    #[test]
    fn conditions_take_no_requests_of_a_running_service() {
        let exact = with_path("site", "a.example", "/");
        let deep = with_path("site", "a.example", "/api/v1");
        let wild = with_path("site", "*.a.example", "/");
        let any = define("site", r#""default": true"#);
        let conditional = with_header("site", "a.example", "/api");
        let conditional_wild = with_header("site", "*.a.example", "/api");
        for (running, newer) in [
            (&exact, with_header("new", "a.example", "/")),
            (&exact, with_header("new", "a.example", "/api")),
            // Conditions precede longer paths.
            (&deep, with_header("new", "a.example", "/")),
            (&wild, with_header("new", "x.a.example", "/")),
            (&wild, with_header("new", "*.a.example", "/")),
            (&any, define("new", r#""default": true, "match": {"methods": ["GET"]}"#)),
            // Also from one with other conditions.
            (&conditional, with_header("new", "a.example", "/")),
            (&conditional, with_header("new", "a.example", "/api/v1")),
            (&conditional, define("new", r#""domains": ["a.example"], "match": {"methods": ["GET"]}"#)),
            (&conditional_wild, with_path("new", "x.a.example", "/")),
            (&conditional_wild, with_header("new", "x.a.example", "/api")),
            (&conditional_wild, with_path("new", "*.x.a.example", "/api/v1")),
        ] {
            assert_eq!(losers(&[running], &newer), ["site"], "{running:?} {newer:?}");
            let granted = ServiceDefinition { domains_granted: true, ..newer };
            assert_eq!(losers(&[running], &granted), Vec::<String>::new());
        }
    }

    #[test]
    fn requests_that_nobody_loses_are_free() {
        let exact = with_path("site", "a.example", "/api");
        let conditional = with_header("site", "a.example", "/api");
        let conditional_wild = with_header("site", "*.a.example", "/api");
        for (running, newer) in [
            (&exact, with_header("new", "*.example", "/")),
            (&exact, with_header("new", "a.example", "/other")),
            (&exact, define("new", r#""default": true, "match": {"headers": {"x": "1"}}"#)),
            // Its conditions keep their precedence.
            (&conditional, with_path("new", "a.example", "/")),
            (&conditional, with_path("new", "a.example", "/api/v1")),
            (&conditional, with_path("new", "*.example", "/api")),
            (&conditional_wild, with_path("new", "x.a.example", "/other")),
        ] {
            assert_eq!(losers(&[running], &newer), Vec::<String>::new(), "{running:?} {newer:?}");
        }
        let own = with_path("new", "x.a.example", "/");
        let deeper = with_path("new-api", "x.a.example", "/api");
        assert_eq!(losers(&[&own, &conditional_wild], &deeper), ["new"], "its requests did not reach the wildcard");
    }

    #[test]
    fn changed_conditions_are_claimed_anew() {
        let (site, canary) = (with_path("site", "a.example", "/"), with_header("canary", "a.example", "/"));
        let running = [&site, &canary];
        assert_eq!(losers(&running, &canary), Vec::<String>::new(), "both appeared at the same time");
        let everything = define("canary", r#""domains": ["a.example"], "match": {"methods": ["GET", "POST"]}"#);
        assert_eq!(losers(&running, &everything), ["site"]);
        let plain = with_path("canary", "b.example", "/");
        let newer = with_header("canary", "b.example", "/");
        assert_eq!(losers(&[&site, &plain], &newer), Vec::<String>::new(), "its own requests");
    }

    #[test]
    fn redirect_takes_no_requests_either() {
        let plain = with_path("site", "*.a.example", "/");
        let keys =
            r#""port": 443, "domains": ["x.a.example"], "tls": {"certificates": ["x"]}, "redirect_to_https": true"#;
        let raw = RawDefinition::new(format!(r#"{{"type": "static", {keys}}}"#), "a test");
        let newer = service_definition::parse("new", &raw, &OptionPolicy::default()).unwrap().definition;
        assert_eq!(losers(&[&plain], &newer), ["site"]);
    }
}
