//! The TLS of a port that services share by domains: a newer definition does not change it for those that run.
//!
//! One `bind` line serves all of them, so it has TLS if one of them has, with the protocols (ALPN) and the oldest version
//! of [`tls_words`](crate::decide::tls_words). A port without TLS would refuse all its clients once one service had TLS there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::decide::routing::{FrontendKind, routed_at, shares};
use crate::model::{ServiceDefinition, ServiceName, ServiceTls, TlsVersion, Word};

/// A service at a shared address.
#[derive(Debug, Clone, Copy)]
struct Sharer<'a> {
    name: &'a ServiceName,
    /// Its TLS in the candidate.
    now: Option<&'a ServiceTls>,
    /// Its TLS in the section that HAProxy last accepted; `None` where it was not at this address.
    before: Option<Option<&'a ServiceTls>>,
}

/// What the services of an address get together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Common<'a> {
    has_tls: bool,
    alpn: &'a [Word],
    min_version: Option<TlsVersion>,
}

impl<'a> Common<'a> {
    /// Returns what these services get. They are in the order of their names.
    fn of(services: impl Iterator<Item = Option<&'a ServiceTls>>) -> Self {
        let mut common = Self { has_tls: false, alpn: &[], min_version: None };
        for tls in services.flatten() {
            common.has_tls = true;
            common.min_version = common.min_version.max(tls.min_version);
            if common.alpn.is_empty() {
                common.alpn = &tls.alpn;
            }
        }
        common
    }

    /// Returns what is different here.
    fn difference(&self, other: &Self) -> &'static str {
        if self.has_tls != other.has_tls {
            "TLS"
        } else if self.alpn != other.alpn {
            "\"alpn\""
        } else {
            "\"min_version\""
        }
    }
}

/// A service whose definition would change the TLS of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsRival {
    /// The service.
    pub(super) name: ServiceName,
    /// The address.
    pub(super) address: SocketAddr,
    /// Why its definition is not applied.
    pub(super) reason: String,
}

/// Returns a service whose definition would change the TLS of others at its address; `None` where there is none. `services`
/// are the definitions in the candidate, each with the one that HAProxy last accepted.
pub(super) fn rival<'a>(
    services: impl Iterator<Item = (&'a ServiceDefinition, Option<&'a ServiceDefinition>)>,
) -> Option<TlsRival> {
    let mut shared: BTreeMap<SocketAddr, Vec<Sharer<'a>>> = BTreeMap::new();
    for (definition, before) in services {
        for (address, now) in listeners(definition) {
            let before = before.and_then(|before| listeners(before).find(|(listen, _)| *listen == address));
            let before = before.map(|(_, tls)| tls);
            shared.entry(address).or_default().push(Sharer { name: &definition.name, now, before });
        }
    }
    shared.into_iter().find_map(|(address, mut sharers)| {
        sharers.sort_by_key(|sharer| sharer.name);
        let (name, first, what) = rival_at(&sharers)?;
        let reason = format!(
            "its \"tls\" would change {what} of port {} for {first} and the other services that share it; use another port, \
             or change their definitions at the same time",
            address.port()
        );
        Some(TlsRival { name: name.clone(), address, reason })
    })
}

/// Returns the addresses at which a service shares a frontend for HTTP, each with its TLS there.
fn listeners(definition: &ServiceDefinition) -> impl Iterator<Item = (SocketAddr, Option<&ServiceTls>)> {
    let listen = routed_at(definition).filter(|_| shares(definition) == Some(FrontendKind::Http));
    let redirect = listen.and_then(|_| definition.redirect_from());
    let own = listen.map(|listen| (listen, definition.section.tls.as_ref()));
    own.into_iter().chain(redirect.map(|listen| (listen, None)))
}

/// Returns the service that would change the TLS of others, the first of these others, and what would change.
fn rival_at<'a>(sharers: &[Sharer<'a>]) -> Option<(&'a ServiceName, &'a ServiceName, &'static str)> {
    if sharers.iter().all(|sharer| sharer.before.is_none()) {
        return rival_at_start(sharers);
    }
    let all = Common::of(sharers.iter().map(|sharer| sharer.now));
    let changed = sharers.iter().filter(|sharer| sharer.before != Some(sharer.now));
    changed.clone().find_map(|sharer| {
        let others = || sharers.iter().filter(|other| other.name != sharer.name);
        let first = others().find(|other| other.before.is_some())?;
        let without = Common::of(others().map(|other| other.now));
        // Where it has no TLS any more, the others get what their own definitions say.
        (sharer.now.is_some() && without != all).then(|| (sharer.name, first.name, without.difference(&all)))
    })
}

/// The same where none of them runs: services with TLS are refused where those without are more.
fn rival_at_start<'a>(sharers: &[Sharer<'a>]) -> Option<(&'a ServiceName, &'a ServiceName, &'static str)> {
    let with_tls = || sharers.iter().filter(|sharer| sharer.now.is_some());
    let without_tls = || sharers.iter().filter(|sharer| sharer.now.is_none());
    match with_tls().count() < without_tls().count() {
        true => Some((with_tls().next()?.name, without_tls().next()?.name, "TLS")),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition::parse;
    use crate::model::RawDefinition;

    const PLAIN: &str = "";
    const TLS: &str = r#", "tls": {"certificates": ["a"]}"#;
    const TLS_1_3: &str = r#", "tls": {"certificates": ["a"], "min_version": "TLSv1.3"}"#;
    const ONLY_H1: &str = r#", "tls": {"certificates": ["a"], "alpn": ["http/1.1"]}"#;
    const REDIRECT: &str = r#", "tls": {"certificates": ["a"]}, "redirect_to_https": true"#;

    fn define(name: &str, port: u16, keys: &str) -> ServiceDefinition {
        let text = format!(r#"{{"type": "static", "port": {port}, "domains": ["{name}.example"]{keys}}}"#);
        parse(name, &RawDefinition::new(text, "a test"), &OptionPolicy::default()).unwrap().definition
    }

    /// The port of a service and its further keys.
    type At<'a> = (u16, &'a str);

    /// Returns the service that gives way. Each one is there now, and was there before.
    fn loser(services: &[(&str, At<'_>, Option<At<'_>>)]) -> Option<String> {
        let definitions: Vec<_> = services
            .iter()
            .map(|(name, now, before)| {
                (define(name, now.0, now.1), before.map(|(port, keys)| define(name, port, keys)))
            })
            .collect();
        rival(definitions.iter().map(|(now, before)| (now, before.as_ref()))).map(|rival| rival.name.to_string())
    }

    #[test]
    fn newer_service_does_not_change_tls_of_others() {
        for (port, others, newer) in [
            (80, PLAIN, TLS),
            (443, TLS, TLS_1_3),
            (443, TLS, ONLY_H1),
            (443, TLS_1_3, r#", "tls": {"certificates": ["a"], "min_version": "TLSv1.3", "alpn": ["h2"]}"#),
        ] {
            let web = ("web", (port, others), Some((port, others)));
            assert_eq!(loser(&[("a", (port, newer), None), web]).as_deref(), Some("a"), "{newer}");
            let changed = ("a", (port, newer), Some((port, others)));
            assert_eq!(loser(&[changed, web]).as_deref(), Some("a"), "{newer}");
            let from_other_port = ("a", (port, newer), Some((8443, newer)));
            assert_eq!(loser(&[from_other_port, web]).as_deref(), Some("a"), "{newer}");
        }
        let redirects = ("web", (443, REDIRECT), Some((443, REDIRECT)));
        assert_eq!(loser(&[("a", (80, TLS), None), redirects]).as_deref(), Some("a"), "port 80 redirects");
    }

    #[test]
    fn services_share_what_does_not_change() {
        let tls = ("web", (443, TLS), Some((443, TLS)));
        for newer in [TLS, PLAIN, REDIRECT, r#", "tls": {"certificates": ["b"]}"#] {
            assert_eq!(loser(&[("a", (443, newer), None), tls]), None, "{newer}");
        }
        let runs = |name, keys| (name, (443, keys), Some((443, keys)));
        assert_eq!(loser(&[runs("a", TLS_1_3), runs("web", TLS), runs("z", ONLY_H1)]), None, "all run already");
        assert_eq!(loser(&[("a", (8443, TLS_1_3), None), tls]), None, "another port");
        assert_eq!(loser(&[("a", (443, TLS_1_3), Some((443, TLS)))]), None, "it is alone");
    }

    #[test]
    fn services_change_their_tls_together() {
        let both = |to, from| [("a", (443, to), Some((443, from))), ("web", (443, to), Some((443, from)))];
        for (to, from) in [(TLS_1_3, TLS), (ONLY_H1, TLS), (TLS, PLAIN), (PLAIN, TLS)] {
            assert_eq!(loser(&both(to, from)), None, "{from} -> {to}");
        }
    }

    #[test]
    fn larger_number_decides_at_the_start() {
        let new = |name, keys| (name, (80, keys), None);
        assert_eq!(loser(&[new("a", TLS), new("b", PLAIN), new("c", PLAIN)]).as_deref(), Some("a"));
        assert_eq!(loser(&[new("a", TLS), new("b", PLAIN), new("c", TLS)]), None);
    }
}
