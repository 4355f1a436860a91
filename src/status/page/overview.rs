//! Top of the page: the headline, the problems, the blocked changes.

use std::collections::BTreeMap;

use proxymgr_actors::model::BlockedChange;
use proxymgr_actors::snapshot::ActorState;
use serde::Serialize;

use super::service_row::ServiceRow;
use crate::status::concern;
use crate::status::format::counted;
use crate::status::report::StatusReport;
use crate::status::severity::Severity;

/// Problems listed; the rest is counted, and found in the list of services.
const CONCERNS_MAX: usize = 10;

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
    /// Number of entries it would remove, and the first of them.
    pub removes: (usize, Vec<String>),
}

impl BlockedEntry {
    /// The pending change, or else the rejected one.
    pub fn of(pending: Option<&BlockedChange>, rejected: Option<&BlockedChange>) -> Option<Self> {
        let change = pending.or(rejected)?;
        Some(Self {
            reason: change.reason.clone(),
            since_unix_ms: change.since_unix_ms,
            is_rejected: pending.is_none(),
            adds: (change.adds.count, change.adds.first.clone()),
            removes: (change.removes.count, change.removes.first.clone()),
        })
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

/// The problems, one line each.
pub fn concerns(report: &StatusReport, known: &KnownSince, rows: &BTreeMap<String, ServiceRow>) -> Concerns {
    let concern = |concern: &concern::Concern| {
        // The page shows the name of the service as a link before the text.
        let service = concern.service.as_ref().filter(|name| rows.contains_key(*name));
        let text = service.and_then(|name| concern.text.strip_prefix(name.as_str())?.strip_prefix(": "));
        Concern {
            service: service.filter(|_| text.is_some()).cloned(),
            text: text.unwrap_or(&concern.text).to_owned(),
            since_unix_ms: known.since(&concern.text).unwrap_or_default(),
            serves_list_of_unix_ms: concern.serves_list_of_unix_ms,
            advice: concern.advice.clone(),
        }
    };
    let listed: Vec<_> = report.concerns.iter().take(CONCERNS_MAX).map(concern).collect();
    Concerns { more: report.concerns.len() - listed.len(), listed }
}

/// The changes that guards block, pending or rejected.
pub fn blocked(actors: &[ActorState]) -> Vec<Blocked> {
    let one = |state: &ActorState| {
        let (service, pending, rejected) = match state {
            ActorState::ServiceConfig(state) => (None, &state.held, &state.rejected),
            ActorState::Watcher(state) => (Some(state.service.clone()), &state.held, &state.rejected),
            _ => return None,
        };
        let change = BlockedEntry::of(pending.as_ref(), rejected.as_ref())?;
        Some(Blocked { service, change })
    };
    actors.iter().filter_map(one).collect()
}
