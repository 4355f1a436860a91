//! The operator's grants (`grants`): what services may use, by the prefix of their names.
//!
//! The grant with the longest prefix of the service's name holds alone. A key that it does not mention is as without
//! grants.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{CertificateName, Domain, ListenAddress, ServiceDefinition, SlotRules};

/// All grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Those with longer prefixes first.
    grants: Arc<[Grant]>,
}

/// What the services whose names begin with a prefix may use. `None` is as without grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The prefix; the empty one is that of every service.
    pub prefix: String,
    /// The domains. Services that have some may also take them from others (see [`super::routing`]).
    pub domains: Option<Vec<GrantedDomain>>,
    /// The ports.
    pub ports: Option<Vec<RangeInclusive<u16>>>,
    /// The listening addresses.
    pub binds: Option<Vec<IpAddr>>,
    /// The beginnings of the paths of unix sockets; none without grants.
    pub unix_sockets: Option<Vec<String>>,
    /// The certificates.
    pub certificates: Option<Vec<CertificateName>>,
    /// The kinds of sources of hosts.
    pub sources: Option<Vec<String>>,
    /// Options in addition to those that every service may use.
    pub options: Vec<String>,
    /// The most slots of one service.
    pub slots: Option<usize>,
    /// The hosts.
    pub hosts: HostGrant,
}

/// The hosts that a service may have. `None` is as without grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostGrant {
    /// The networks of hosts, in place of `discovery.host_networks`.
    pub networks: Option<Vec<IpNet>>,
    /// The beginnings of the paths of their unix sockets; none without grants.
    pub unix_sockets: Option<Vec<String>>,
    /// The most hosts of one service, in place of `quotas.hosts_per_service`.
    pub count: Option<usize>,
}

/// Domains that a grant names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantedDomain {
    /// `*`: every domain, and the default of a port.
    Any,
    /// This domain; with `*.`, also every name and every wildcard below it.
    Of(Domain),
}

impl GrantedDomain {
    /// Parses `www.example.org`, `*.example.org` or `*`.
    ///
    /// # Errors
    /// Why the text is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::Any),
            text => Domain::parse(text).map(Self::Of).map_err(|error| error.to_string()),
        }
    }

    fn covers(&self, domain: &Domain) -> bool {
        let Self::Of(granted) = self else { return true };
        let is_below = |zone| domain.as_str().strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
        granted == domain || granted.wildcard().is_some_and(is_below)
    }
}

/// The keys of a definition that a grant can limit.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The kind of the source of hosts; `None` where it is not known.
    pub source: Option<&'a str>,
    /// The listening addresses.
    pub binds: &'a [ListenAddress],
    /// The certificates.
    pub certificates: &'a [CertificateName],
    /// The domains.
    pub domains: &'a [Domain],
    /// Whether it asks for all other domains of its port.
    pub is_default: bool,
    /// The slots.
    pub slots: Option<SlotRules>,
}

impl<'a> Request<'a> {
    /// Returns the request of a definition that listens on these addresses.
    pub fn of(definition: &'a ServiceDefinition, binds: &'a [ListenAddress]) -> Self {
        Self {
            source: Some(&definition.source.kind),
            binds,
            certificates: definition.certificates(),
            domains: &definition.requests.domains,
            is_default: definition.requests.is_default,
            slots: definition.update.slots,
        }
    }
}

impl Grants {
    /// Creates grants from those of different prefixes.
    pub fn new(mut grants: Vec<Grant>) -> Self {
        grants.sort_by_key(|grant| std::cmp::Reverse(grant.prefix.len()));
        Self { grants: grants.into() }
    }

    /// Returns the grant of the service with this name.
    pub fn of(&self, service: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| service.starts_with(&grant.prefix))
    }

    /// Returns the kinds of sources that grants name.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.grants.iter().flat_map(|grant| grant.sources.iter().flatten()).map(String::as_str)
    }

    /// Returns whether services may have unix sockets as hosts.
    pub fn allow_host_sockets(&self) -> bool {
        self.grants.iter().any(|grant| grant.hosts.unix_sockets.as_ref().is_some_and(|paths| !paths.is_empty()))
    }

    /// Returns the hosts that the service with this name may have.
    pub fn hosts_of(&self, service: &str) -> HostGrant {
        self.of(service).map(|grant| grant.hosts.clone()).unwrap_or_default()
    }
}

/// Returns why a service with this grant, or without one, may not have what it requests: each key and value.
pub fn refusals(grant: Option<&Grant>, request: Request<'_>) -> Vec<String> {
    match grant {
        Some(grant) => grant.refusals(request),
        None => unix_paths(request.binds)
            .map(|path| format!("\"binds\": \"unix@{path}\" needs a grant of \"unix_sockets\" (grants)"))
            .collect(),
    }
}

fn unix_paths(binds: &[ListenAddress]) -> impl Iterator<Item = &str> {
    binds.iter().filter_map(|address| match address {
        ListenAddress::Unix(path) => Some(&**path),
        ListenAddress::Ip(_) => None,
    })
}

impl Grant {
    /// Returns why the grant does not cover a request: each key and value.
    pub fn refusals(&self, request: Request<'_>) -> Vec<String> {
        let Request { source, binds, certificates, domains, is_default, slots } = request;
        let mut refused = Vec::new();
        let mut refuse =
            |what: String| refused.push(format!("{what} is not granted to services {:?} (grants)", self.shown()));
        if let (Some(granted), Some(kind)) = (&self.sources, source)
            && !granted.iter().any(|granted| granted == kind)
        {
            refuse(format!("\"type\": {kind:?}"));
        }
        for listen in binds.iter().filter_map(ListenAddress::ip) {
            if let Some(granted) = &self.ports
                && !granted.iter().any(|ports| ports.contains(&listen.port()))
            {
                refuse(format!("\"port\": {}", listen.port()));
            }
            if let Some(granted) = &self.binds
                && !granted.iter().any(|ip| ip.to_canonical() == listen.ip().to_canonical())
            {
                refuse(format!("\"bind\": {}", listen.ip()));
            }
        }
        for path in unix_paths(binds) {
            let is_granted = self.unix_sockets.iter().flatten().any(|granted| path.starts_with(granted.as_str()));
            if !is_granted || path.split('/').any(|part| part == "..") {
                refuse(format!("\"binds\": \"unix@{path}\""));
            }
        }
        if let Some(granted) = &self.certificates {
            let others = certificates.iter().filter(|certificate| !granted.contains(certificate));
            others.for_each(|certificate| refuse(format!("\"tls\": certificate \"{certificate}\"")));
        }
        if let Some(granted) = &self.domains {
            let is_granted = |domain: &&Domain| !granted.iter().any(|granted| granted.covers(domain));
            domains.iter().filter(is_granted).for_each(|domain| refuse(format!("\"domains\": \"{domain}\"")));
            if is_default && !granted.contains(&GrantedDomain::Any) {
                refuse("\"default\": true".to_owned());
            }
        }
        if let (Some(most), Some(slots)) = (self.slots, slots.map(SlotRules::counted))
            && slots > most
        {
            refused.push(format!(
                "\"slots\": {slots} are more than the {most} granted to services {:?} (grants)",
                self.shown()
            ));
        }
        refused
    }

    /// Returns whether the operator has named the domains of these services.
    pub fn grants_domains(&self) -> bool {
        self.domains.is_some()
    }

    fn shown(&self) -> String {
        format!("{}*", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::{annotation, service_definition};
    use crate::model::{Annotation, RawDefinition};

    fn domains(texts: &[&str]) -> Option<Vec<GrantedDomain>> {
        Some(texts.iter().map(|text| GrantedDomain::parse(text).unwrap()).collect())
    }

    fn policy(grants: Vec<Grant>) -> OptionPolicy {
        OptionPolicy { grants: Grants::new(grants), ..OptionPolicy::default() }
    }

    fn of(prefix: &str) -> Grant {
        Grant { prefix: prefix.to_owned(), ..Grant::default() }
    }

    /// Returns the mistakes of a definition with these keys.
    fn mistakes(policy: &OptionPolicy, name: &str, keys: &str) -> Vec<String> {
        let raw = RawDefinition::new(format!(r#"{{"type": "static", {keys}}}"#), "a test");
        service_definition::parse(name, &raw, policy).err().unwrap_or_default()
    }

    #[test]
    fn longest_prefix_holds_alone() {
        let ports = |port| Some(vec![port..=port]);
        let policy = policy(vec![
            Grant { ports: ports(80), ..of("") },
            Grant { ports: ports(81), domains: domains(&["a.example"]), ..of("web-") },
            Grant { ports: ports(82), ..of("web-api-") },
        ]);
        for (name, port) in [("db", 80), ("web", 80), ("web-x", 81), ("web-api-x", 82)] {
            for tried in 80..=82 {
                let mistakes = mistakes(&policy, name, &format!(r#""port": {tried}"#));
                assert_eq!(mistakes.is_empty(), tried == port, "{name} {tried}: {mistakes:?}");
            }
        }
        assert_eq!(mistakes(&policy, "web-api-x", r#""port": 82, "domains": ["b.example"]"#), Vec::<String>::new());
    }

    #[test]
    fn keys_outside_the_grant_are_refused() {
        let grant = Grant {
            domains: domains(&["www.example.org", "*.a.example"]),
            ports: Some(vec![80..=80, 8000..=8999]),
            binds: Some(vec!["10.0.0.1".parse().unwrap()]),
            sources: Some(vec!["static".to_owned()]),
            slots: Some(20),
            ..of("web-")
        };
        let policy = policy(vec![grant]);
        for keys in [
            r#""port": 80, "bind": "10.0.0.1""#,
            r#""port": 8000, "bind": "10.0.0.1", "slots": 20"#,
            r#""domains": ["www.example.org", "x.a.example", "x.y.a.example", "*.a.example", "*.b.a.example"]"#,
            r#""listen_options": ["mode http"]"#,
        ] {
            assert_eq!(mistakes(&policy, "web-x", keys), Vec::<String>::new(), "{keys}");
        }
        for (keys, value) in [
            (r#""port": 81, "bind": "10.0.0.1""#, "\"port\": 81"),
            (r#""port": 80"#, "\"bind\": 0.0.0.0"),
            (r#""port": 80, "bind": "10.0.0.2""#, "\"bind\": 10.0.0.2"),
            (r#""domains": ["a.example"]"#, "a.example"),
            (r#""domains": ["xa.example"]"#, "xa.example"),
            (r#""domains": ["*.example"]"#, "*.example"),
            (r#""domains": ["*.www.example.org"]"#, "*.www.example.org"),
            (r#""default": true"#, "\"default\": true"),
            (r#""slots": 21"#, "\"slots\": 21"),
            (r#""slots": {"base": 1, "grow_by": 5000, "min_free": 1}"#, "\"slots\": 5000"),
            (r#""slots": {"base": 1, "min_free": 21}"#, "\"slots\": 21"),
            (r#""type": "dns""#, "\"type\": \"dns\""),
        ] {
            let mistakes = mistakes(&policy, "web-x", keys);
            let [mistake] = &*mistakes else { panic!("{keys}: {mistakes:?}") };
            assert!(mistake.contains(value) && mistake.contains("\"web-*\""), "{mistake}");
        }
        assert_eq!(mistakes(&policy, "db", r#""port": 81, "domains": ["any.example"]"#), Vec::<String>::new());
    }

    #[test]
    fn any_domain_includes_the_default() {
        let policy = policy(vec![Grant { domains: domains(&["*"]), ..of("") }]);
        assert_eq!(mistakes(&policy, "web", r#""domains": ["a.example"], "default": true"#), Vec::<String>::new());
    }

    #[test]
    fn options_are_granted_to_the_prefix_only() {
        let policy = policy(vec![Grant { options: vec!["ca-file".to_owned(), "dispatch".to_owned()], ..of("web-") }]);
        let keys = r#""listen_options": ["dispatch 10.0.0.1:80"], "server_options": ["ca-file /etc/ca.pem"]"#;
        assert_eq!(mistakes(&policy, "web-x", keys), Vec::<String>::new());
        assert_eq!(mistakes(&policy, "web", keys).len(), 2);
    }

    #[test]
    fn annotations_are_judged_by_the_same_grant() {
        let policy = policy(vec![Grant { domains: domains(&["a.example"]), ..of("") }]);
        let annotation = Annotation::new(r#"{"domains": ["b.example"]}"#, "znode /annotations/web");
        let raw = RawDefinition {
            annotation: Some(annotation),
            ..RawDefinition::new(r#"{"type": "static", "domains": ["a.example"]}"#, "a test")
        };
        let parsed = annotation::parse("web", &raw, &policy).unwrap();
        assert_eq!(parsed.definition.requests.domains.len(), 1);
        assert!(parsed.warnings.iter().any(|warning| warning.contains("b.example")), "{:?}", parsed.warnings);
    }

    #[test]
    fn saved_definition_is_judged_by_the_grant() {
        let raw = RawDefinition::new(r#"{"type": "static", "port": 80}"#, "a test");
        let definition = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
        let granting = |port: u16| policy(vec![Grant { ports: Some(vec![port..=port]), ..of("web") }]);
        assert_eq!(granting(80).judge_definition(&definition), Ok(()));
        assert!(granting(81).judge_definition(&definition).is_err());
    }
}
