//! The rules of services whose requests have conditions beside domain and path (`match`): named ACLs, and where each
//! service's rule stands in the shared frontend.
//!
//! Of the services with the same domain, those with conditions precede the map. Among them, the longest path comes
//! first, then the one with more headers, one with methods, one with sources, and the first by name.

use std::cmp::Reverse;
use std::fmt::Display;

use itertools::Itertools;

use super::quoting::{quoted, quoted_text};
use super::routing::has_rule;
use crate::model::{Domain, HeaderValue, ServiceDefinition};

/// The most patterns in one line: far below the bounds of HAProxy for the words and bytes of a line.
const PATTERNS_OF_LINE_MAX: usize = 20;

/// For which of its domains a rule of a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Its exact domains.
    Exact,
    /// Its domains with `*.` and this many labels.
    Below(usize),
    /// All domains that no other service has.
    Rest,
}

/// The services of one frontend that have conditions, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct MatchRules<'a>(Vec<&'a ServiceDefinition>);

impl<'a> MatchRules<'a> {
    /// Returns the rules of these services.
    pub(super) fn of(services: impl IntoIterator<Item = &'a ServiceDefinition>) -> Self {
        let conditional = services.into_iter().filter(|service| has_rule(service));
        Self(conditional.sorted_by_key(|service| precedence(service)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the lines of ACLs.
    pub(super) fn acls(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|service| acls(service)).map(|acl| acl.line)
    }

    /// Returns the name and the ACLs of each service with a rule at this step.
    pub(super) fn at(&self, step: Step) -> impl Iterator<Item = (&'a ServiceDefinition, String)> {
        let services = self.0.iter().filter(move |service| is_at(service, step));
        services.map(move |service| {
            let names = acls(service).into_iter().filter(|acl| acl.applies_at(step)).map(|acl| acl.name);
            (*service, names.dedup().join(" "))
        })
    }
}

/// Returns lines that are different for each match, for the comparison of a section with the running one: the rules are
/// in another section.
pub(super) fn description(service: &ServiceDefinition) -> Vec<String> {
    if !has_rule(service) {
        return Vec::new();
    }
    let rest = service.requests.is_default.then(|| "default".to_owned());
    acls(service).into_iter().map(|acl| acl.line).chain(rest).collect()
}

/// Returns what sorts services with conditions: the most specific one first.
fn precedence(service: &ServiceDefinition) -> impl Ord {
    let requests = &service.requests;
    let conditions = &requests.conditions;
    (
        Reverse(requests.path_prefix.as_ref().map_or(0, |path| path.as_str().len())),
        Reverse(conditions.headers.len()),
        conditions.methods.is_empty(),
        conditions.sources.is_empty(),
        service.name.clone(),
    )
}

fn is_at(service: &ServiceDefinition, step: Step) -> bool {
    let requests = &service.requests;
    match step {
        Step::Exact => requests.domains.iter().any(|domain| domain.wildcard().is_none()),
        Step::Below(labels) => {
            let mut zones = requests.domains.iter().filter_map(|domain| domain.wildcard());
            zones.any(|zone| zone.split('.').count() == labels)
        }
        Step::Rest => requests.is_default,
    }
}

/// A line of an ACL. Of several with one name, one has to hold.
struct Acl {
    name: String,
    line: String,
    /// Whether it is about the exact domain or the one with `*.`; `None` where it is about something else.
    of_exact_domain: Option<bool>,
}

impl Acl {
    fn applies_at(&self, step: Step) -> bool {
        match (self.of_exact_domain, step) {
            (None, _) => true,
            (Some(of_exact), step) => step != Step::Rest && of_exact == (step == Step::Exact),
        }
    }
}

/// Returns the ACLs of a service. Each pattern is a parsed type; texts follow `--`, so that none is read as a flag.
fn acls(service: &ServiceDefinition) -> Vec<Acl> {
    let (name, requests) = (&service.name, &service.requests);
    let conditions = &requests.conditions;
    let mut acls = Vec::new();
    let mut push = |what: &str, of_exact_domain: Option<bool>, test: &str, patterns: &[String]| {
        let name = format!("{name}:{what}");
        let lines = patterns.chunks(PATTERNS_OF_LINE_MAX).map(|patterns| {
            let line = format!("acl {name} {test} {}", patterns.join(" "));
            Acl { name: name.clone(), line, of_exact_domain }
        });
        acls.extend(lines);
    };
    let (zones, exact): (Vec<_>, Vec<_>) = requests.domains.iter().partition(|domain| domain.wildcard().is_some());
    let exact: Vec<String> = exact.into_iter().map(Domain::requested).collect();
    push("domain", Some(true), "var(txn.proxymgr_host) -m str --", &exact);
    let zones: Vec<String> = zones.into_iter().filter_map(|domain| Some(domain.wildcard()?.to_owned())).collect();
    push("zone", Some(false), "var(txn.proxymgr_zone) -m str --", &zones);
    let path = requests.path_prefix.iter().map(|path| quoted_text(&format!("{}/", path.as_str())));
    push("path", None, "var(txn.proxymgr_path),concat(/) -m beg --", &path.collect::<Vec<_>>());
    for (number, (header, value)) in conditions.headers.iter().enumerate() {
        let (test, pattern) = match value {
            Some(value) => ("-m str --", quoted(HeaderValue::word(value)).into_owned()),
            None => ("-m", "found".to_owned()),
        };
        push(&format!("header{}", number + 1), None, &format!("req.fhdr({header}) {test}"), &[pattern]);
    }
    push("method", None, "method", &texts(&conditions.methods));
    push("source", None, "src", &texts(&conditions.sources));
    acls
}

fn texts(values: impl IntoIterator<Item = impl Display>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}
