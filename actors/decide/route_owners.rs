//! The owners of domains and paths: a newer definition never takes requests that a running service gets.
//!
//! A path below another service's domain, and a name below its `*.` domain, take requests from it. So they are only for
//! services that claim them at the same time, or whose domains the operator has granted. The service for all other
//! domains of a port (`default`) owns none.

use std::collections::BTreeMap;

use super::routing::{Claim, assign, keys, routed_at};
use crate::model::{Domain, RouteKey, Routes, ServiceDefinition, ServiceName};

/// The owner of each domain and path.
#[derive(Debug, Clone, Default)]
pub struct RouteOwners {
    routes: Routes,
    /// Whether no definition changed since the last update.
    is_current: bool,
    /// The paths of each domain of each address.
    zones: BTreeMap<Zone, BTreeMap<String, RouteKey>>,
}

/// An address, and a domain as in the key of a route.
type Zone = (String, String);

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
        let claims = definitions.filter_map(|definition| {
            let listen = routed_at(definition)?;
            Some(Claim { service: &definition.name, listen, definition, is_leaving: false })
        });
        self.routes = assign(claims, &Default::default(), &self.routes).routes;
        self.zones = BTreeMap::new();
        for key in self.routes.keys() {
            let (zone, path) = parts(key);
            self.zones.entry(zone).or_default().insert(path.to_owned(), key.clone());
        }
    }

    /// Removes from a definition the domains with which it would take requests from other services. `before` is the
    /// definition that runs, whose domains stay; `is_claimed` returns whether a service still claims a key.
    pub fn leave_out(
        &self,
        definition: &mut ServiceDefinition,
        before: Option<&ServiceDefinition>,
        is_claimed: impl Fn(&ServiceName, &RouteKey) -> bool,
    ) -> Vec<LeftOut> {
        let Some(listen) = routed_at(definition).filter(|_| !definition.domains_granted && !self.routes.is_empty())
        else {
            return Vec::new();
        };
        let had: Vec<RouteKey> =
            before.and_then(|before| Some(keys(routed_at(before)?, before).collect())).unwrap_or_default();
        let (service, path) = (definition.name.clone(), definition.path_prefix.clone());
        let loser = |domain: Option<&Domain>| {
            let key = RouteKey::new(listen, domain, path.as_ref());
            let owner = self.loser(&key, &service, &is_claimed).filter(|_| !had.contains(&key))?.clone();
            Some(LeftOut { key, owner })
        };
        let mut left_out = Vec::new();
        definition.domains.retain(|domain| match loser(Some(domain)) {
            Some(lost) => {
                left_out.push(lost);
                false
            }
            None => true,
        });
        if definition.is_default
            && let Some(lost) = loser(None)
        {
            left_out.push(lost);
            definition.is_default = false;
        }
        left_out
    }

    /// Returns a service that would lose requests to this one with this key.
    fn loser(
        &self,
        key: &RouteKey,
        service: &ServiceName,
        is_claimed: impl Fn(&ServiceName, &RouteKey) -> bool,
    ) -> Option<&ServiceName> {
        let ((listen, domain), path) = parts(key);
        let zones: Vec<&BTreeMap<String, RouteKey>> =
            searched(&domain).filter_map(|domain| self.zones.get(&(listen.clone(), domain))).collect();
        // One request for each path that the services of this domain and of those above it distinguish below the new one.
        let deeper = zones.iter().flat_map(|paths| paths.range(path.to_owned()..).map(|(deeper, _)| deeper.as_str()));
        let requests = std::iter::once(path).chain(deeper.filter(|deeper| deeper.starts_with(path)));
        let own_paths = self.zones.get(&(listen.clone(), domain));
        requests
            .filter(|request| {
                // The domain has a longer path already: the new one does not get this request.
                let found = own_paths.and_then(|paths| longest(paths, request));
                found.is_none_or(|found| parts(found).1.len() < path.len())
            })
            .filter_map(|request| zones.iter().find_map(|paths| longest(paths, request)))
            .filter_map(|found| Some((self.routes.get(found)?, found)))
            .find(|(owner, found)| *owner != service && is_claimed(owner, found))
            .map(|(owner, _)| owner)
    }
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

/// Returns the longest of these paths that is the beginning of the requested one.
fn longest<'a>(paths: &'a BTreeMap<String, RouteKey>, request: &str) -> Option<&'a RouteKey> {
    let ends = request.char_indices().rev().filter(|(_, character)| *character == '/');
    ends.map(|(at, _)| &request[..=at]).find_map(|path| paths.get(path))
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
        let asked = newer.domains.len() + usize::from(newer.is_default);
        assert_eq!(definition.domains.len() + usize::from(definition.is_default) + left_out.len(), asked);
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
        assert_eq!(newer.domains.len(), 1);
    }
}
