//! Top of the page: the headline, the problems, the blocked changes.

use std::collections::BTreeMap;

use proxymgr_actors::model::BlockedChange;
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ServiceConfigState, ServiceState, WatcherState};
use serde::Serialize;

use super::service_row::ServiceRow;
use crate::status::concern;
use crate::status::evidence::Evidence;
use crate::status::format::counted;
use crate::status::known::{Known, KnownService};
use crate::status::natural_order;
use crate::status::report::StatusReport;
use crate::status::severity::Severity;

/// Problems listed; the rest is counted, and found in the list of services.
const CONCERNS_MAX: usize = 10;

/// Services named with a problem that concerns several.
const CONCERN_SERVICES_MAX: usize = 5;

/// The state of the daemon in one sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Headline {
    /// How urgently it needs attention.
    pub severity: Severity,
    /// The sentence; if `since_unix_ms` is set, without its end.
    pub sentence: String,
    /// Start of the oldest problem, in milliseconds since 1970; none without problems.
    pub since_unix_ms: Option<u64>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Concern {
    /// The service it concerns, if it is on the page.
    pub service: Option<String>,
    /// The first of several services that it concerns.
    pub services: Vec<String>,
    /// The number of services that it concerns; 0 if it concerns all.
    pub count: usize,
    /// What is wrong, without the name of the service.
    pub text: String,
    /// Since when it has been known, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When the source last confirmed the older list that is still in use, in milliseconds since 1970.
    pub serves_list_of_unix_ms: Option<u64>,
    /// What to do, or what happens next.
    pub advice: String,
}

/// The problems.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Concerns {
    /// The first of them.
    pub listed: Vec<Concern>,
    /// Number of the remaining problems.
    pub more: usize,
}

/// A change that a guard blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// The service whose hosts would change; none for the service definitions.
    pub service: Option<String>,
    /// The change.
    pub change: BlockedEntry,
}

/// [`BlockedChange`] with the decision of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockedEntry {
    /// The limit that it violates.
    pub reason: String,
    /// Since when the guard blocks it, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Whether an operator rejected it.
    pub is_rejected: bool,
    /// Number of entries it would add, and the first of them.
    pub adds: (usize, Vec<String>),
    /// Number of entries it would remove.
    pub removes: usize,
    /// What HAProxy knows of the first of them.
    pub evidence: Evidence,
}

impl BlockedEntry {
    /// The blocked change of the hosts of a service: the pending one, or else the rejected one.
    pub fn of_hosts(watcher: &WatcherState, service: Option<&ServiceState>) -> Option<Self> {
        let change = watcher.blocked()?;
        Some(Self::new(change, watcher.held.is_none(), Evidence::of_hosts(change, service)))
    }

    /// The blocked change of the service definitions.
    fn of_definitions(state: &ServiceConfigState, haproxy: Option<&HaproxyState>) -> Option<Self> {
        let change = state.blocked()?;
        Some(Self::new(change, state.held.is_none(), Evidence::of_definitions(change, haproxy)))
    }

    fn new(change: &BlockedChange, is_rejected: bool, mut evidence: Evidence) -> Self {
        evidence.removes.sort_by(|a, b| natural_order::compare(&a.name, &b.name));
        let mut adds = change.adds.first.clone();
        adds.sort_by(|a, b| natural_order::compare(a, b));
        Self {
            reason: change.reason.clone(),
            since_unix_ms: change.since_unix_ms,
            is_rejected,
            adds: (change.adds.count, adds),
            removes: change.removes.count,
            evidence,
        }
    }
}

/// Records since when each problem has been known.
#[derive(Debug, Default)]
pub struct KnownSince(BTreeMap<String, u64>);

impl KnownSince {
    /// Adds new problems and removes those that ended.
    pub fn update(&mut self, report: &StatusReport, now_unix_ms: u64) {
        let mut before = std::mem::take(&mut self.0);
        for concern in &report.concerns {
            let seen = before.remove(&concern.text).unwrap_or(now_unix_ms);
            self.0.insert(concern.text.clone(), concern.since_unix_ms.unwrap_or(seen));
        }
    }

    fn since(&self, concern: &str) -> Option<u64> {
        self.0.get(concern).copied()
    }

    fn oldest(&self) -> Option<u64> {
        self.0.values().min().copied()
    }
}

/// The headline.
pub fn headline(report: &StatusReport, known: &KnownSince, rows: &BTreeMap<String, ServiceRow>) -> Headline {
    let hosts: usize = rows.values().map(|row| row.servers.total()).sum();
    let serves = format!("HAProxy serves {} on {}", report.services_served(), counted(hosts, "host"));
    match (report.readiness.ready, report.concerns.len()) {
        (true, 0) => Headline { sentence: format!("OK: {serves}."), ..Headline::default() },
        (true, concerns) => Headline {
            severity: report.severity,
            sentence: format!("{}: {serves}", counted(concerns, "problem")),
            since_unix_ms: known.oldest(),
        },
        (false, _) => {
            let why = report.readiness.reasons.first().map_or("its state is not known", String::as_str);
            let sentence = format!("Not ready: {why}");
            Headline { severity: Severity::Critical, sentence, since_unix_ms: known.oldest() }
        }
    }
}

/// The problems that `is_wanted` selects, one line each.
pub fn concerns(
    report: &StatusReport,
    known: &KnownSince,
    is_on_page: impl Fn(&str) -> bool,
    is_wanted: impl Fn(&concern::Concern) -> bool,
) -> Concerns {
    let concern = |concern: &concern::Concern| {
        // The page shows the name of the service as a link before the text.
        let service = concern.service.as_ref().filter(|name| is_on_page(name));
        let text = service.and_then(|name| concern.text.strip_prefix(name.as_str())?.strip_prefix(": "));
        Concern {
            service: service.filter(|_| text.is_some()).cloned(),
            services: several(concern, &is_on_page),
            count: concern.services.len(),
            text: text.unwrap_or(&concern.text).to_owned(),
            since_unix_ms: known.since(&concern.text).unwrap_or_default(),
            serves_list_of_unix_ms: concern.serves_list_of_unix_ms,
            advice: concern.advice.clone(),
        }
    };
    let mut wanted = report.concerns.iter().filter(|concern| is_wanted(concern));
    let listed: Vec<_> = wanted.by_ref().take(CONCERNS_MAX).map(concern).collect();
    Concerns { more: wanted.count(), listed }
}

/// The first services of a problem that concerns several.
fn several(concern: &concern::Concern, is_on_page: impl Fn(&str) -> bool) -> Vec<String> {
    let known = concern.services.iter().filter(|name| concern.service.is_none() && is_on_page(name));
    known.take(CONCERN_SERVICES_MAX).cloned().collect()
}

/// The changes that guards block, pending or rejected.
pub fn blocked(actors: &[ActorState]) -> Vec<Blocked> {
    let known = Known::of(actors);
    let definitions = known.definitions.and_then(|state| BlockedEntry::of_definitions(state, known.haproxy));
    let definitions = definitions.map(|change| Blocked { service: None, change });
    let of_service = |(name, service): (&str, KnownService<'_>)| {
        let change = BlockedEntry::of_hosts(service.watcher?, service.haproxy)?;
        Some(Blocked { service: Some(name.to_owned()), change })
    };
    definitions.into_iter().chain(known.services().filter_map(of_service)).collect()
}
