//! Facts below the headline of the page: HAProxy, sources, guards, changes, reloads, processes.

use std::collections::BTreeMap;

use proxymgr_actors::history::History;
use proxymgr_actors::snapshot::{
    ActorState, DrainingProcess, HaproxyState, ProcessSupervisorState, SourceHealth, WatcherState,
};
use serde::Serialize;

use super::overview::blocked;
use super::service_row::ServiceRow;
use crate::status::report::StatusReport;

/// Reasons shown of one reload.
const REASONS_MAX: usize = 3;

/// Services listed as being at `min_hosts`.
const MINIMUM_NAMES_MAX: usize = 12;

/// Facts below the headline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// HAProxy's version; none if it does not run.
    pub haproxy: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
    /// When it was started, in milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
    /// Sources by kind.
    pub sources: Vec<SourceFact>,
    /// Number of sources.
    pub sources_count: usize,
    /// Number of sources that cannot be read.
    pub sources_away: usize,
    /// When the oldest list in use of an unreachable source was confirmed, in milliseconds since 1970.
    pub oldest_data_unix_ms: Option<u64>,
    /// Services at or below `min_hosts`.
    pub at_minimum: usize,
    /// The first of them.
    pub at_minimum_names: Vec<String>,
    /// Changes that guards block and no operator has decided on.
    pub pending: usize,
    /// Changes that an operator rejected and that the source still reports.
    pub rejected: usize,
    /// Drift repairs since the daemon started.
    pub drift: u64,
    /// The first reasons of the last reload.
    pub last_reload: Reasons,
    /// When, in milliseconds since 1970.
    pub last_reload_unix_ms: Option<u64>,
    /// Reloads since the daemon started.
    pub reloads: u64,
    /// The first reasons of the next reload; empty if none is due.
    pub reload_due: Reasons,
    /// Draining processes, oldest first.
    pub draining: Vec<DrainingProcess>,
    /// Runtime changes: servers enabled, disabled, deleted.
    pub runtime: (u64, u64, u64),
    /// Runtime commands refused, and batches without an answer.
    pub refused: (u64, u64),
    /// Unexpected exits of HAProxy.
    pub crashes: u64,
    /// Outputs: name and error.
    pub outputs: Vec<(String, Option<String>)>,
    /// Targets: name and error.
    pub targets: Vec<(String, Option<String>)>,
    /// Free slots; none if no service has slots.
    pub slots: Option<SlotFact>,
}

/// Reasons of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reasons {
    /// The first of them: the service, if it concerns one, and the reason.
    pub first: Vec<(Option<String>, String)>,
    /// Number of the remaining ones.
    pub more: usize,
}

impl Reasons {
    /// These reasons, which begin with the name of the service, if they concern one.
    fn of(reasons: &[String], rows: &BTreeMap<String, ServiceRow>) -> Self {
        let reason = |text: &String| match text.split_once(": ").filter(|(name, _)| rows.contains_key(*name)) {
            Some((name, reason)) => (Some(name.to_owned()), reason.to_owned()),
            None => (None, text.clone()),
        };
        let first: Vec<_> = reasons.iter().take(REASONS_MAX).map(reason).collect();
        Self { more: reasons.len() - first.len(), first }
    }
}

/// Free slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotFact {
    /// In all services.
    pub free: usize,
    /// The service with the fewest free slots, and their number.
    pub fewest: (String, usize),
}

impl SlotFact {
    fn of(haproxy: &HaproxyState) -> Option<Self> {
        let services = haproxy.services.iter();
        let free = services.filter_map(|(name, service)| Some((name, service.free_slots?)));
        let (name, count) = free.clone().min_by_key(|(_, count)| *count)?;
        Some(Self { free: free.map(|(_, count)| count).sum(), fewest: (name.to_string(), count) })
    }
}

/// Sources of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceFact {
    /// The kind; `definitions` for service definitions, `annotations` for annotations.
    pub kind: String,
    /// Their number.
    pub count: usize,
    /// Number of those that cannot be read.
    pub away: usize,
}

/// Collects the facts.
pub fn facts(report: &StatusReport, history: &History, rows: &BTreeMap<String, ServiceRow>) -> Facts {
    let (rejected, pending): (Vec<_>, Vec<_>) =
        blocked(&report.actors).into_iter().partition(|blocked| blocked.change.is_rejected);
    let mut facts = Facts { pending: pending.len(), rejected: rejected.len(), ..Facts::default() };
    let at_minimum = rows.values().filter(|row| row.at_minimum);
    facts.at_minimum = at_minimum.clone().count();
    facts.at_minimum_names = at_minimum.take(MINIMUM_NAMES_MAX).map(|row| row.name.clone()).collect();
    if let Some(haproxy) = report.haproxy() {
        facts.of_haproxy(haproxy, history, rows);
    }
    for state in report.actors.iter() {
        match state {
            ActorState::ServiceConfig(state) => {
                facts.source("definitions", &state.source);
                state.annotations.iter().for_each(|health| facts.source("annotations", health));
            }
            ActorState::Watcher(state) => facts.watcher(state),
            ActorState::ProcessSupervisor(state) => facts.of_processes(state),
            ActorState::Target(state) => facts.targets.push((state.name.clone(), state.haproxy.runtime_error.clone())),
            ActorState::Output(state) => facts.outputs.push((state.name.clone(), state.error.clone())),
            _ => {}
        }
    }
    facts
}

impl Facts {
    fn of_haproxy(&mut self, haproxy: &HaproxyState, history: &History, rows: &BTreeMap<String, ServiceRow>) {
        self.slots = SlotFact::of(haproxy);
        if let Some(process) = &haproxy.process {
            self.haproxy = Some(process.version_text.clone());
            self.pid = Some(process.pid);
            let life = history.processes.iter().rev().find(|life| life.pid == process.pid);
            self.started_unix_ms = life.map(|life| life.from_unix_ms);
        }
        let counts = &haproxy.counts;
        self.drift = counts.drift;
        self.last_reload = Reasons::of(&haproxy.last_reload, rows);
        self.last_reload_unix_ms = haproxy.last_reload_unix_ms;
        self.reloads = counts.reload;
        self.reload_due = Reasons::of(&haproxy.reload_due, rows);
        self.runtime = (counts.runtime_enable, counts.runtime_disable, counts.runtime_delete);
        self.refused = (counts.refused, counts.unanswered);
    }

    fn of_processes(&mut self, processes: &ProcessSupervisorState) {
        self.draining = processes.draining.clone();
        self.crashes = processes.crashes;
    }

    fn watcher(&mut self, watcher: &WatcherState) {
        self.source(&watcher.source_kind, &watcher.source);
        let stale = watcher.source.error.is_some() || watcher.from_saved_state;
        let confirmed = watcher.confirmed_unix_ms.filter(|_| stale);
        self.oldest_data_unix_ms = self.oldest_data_unix_ms.into_iter().chain(confirmed).min();
    }

    fn source(&mut self, kind: &str, health: &SourceHealth) {
        let away = usize::from(health.error.is_some());
        self.sources_count += 1;
        self.sources_away += away;
        match self.sources.iter_mut().find(|fact| fact.kind == kind) {
            Some(fact) => {
                fact.count += 1;
                fact.away += away;
            }
            None => self.sources.push(SourceFact { kind: kind.to_owned(), count: 1, away }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::ServiceName;
    use proxymgr_actors::snapshot::ServiceState;

    use super::*;

    #[test]
    fn free_slots_are_summed_over_services() {
        let mut haproxy = HaproxyState::default();
        let mut add = |name: &str, free_slots: Option<usize>| {
            let service = ServiceState { free_slots, ..ServiceState::default() };
            haproxy.services.insert(ServiceName::new(name).unwrap(), service);
            SlotFact::of(&haproxy)
        };
        assert_eq!(add("without", None), None);
        assert_eq!(add("api", Some(7)).map(|fact| fact.free), Some(7));
        assert_eq!(add("web", Some(2)), Some(SlotFact { free: 9, fewest: ("web".to_owned(), 2) }));
    }
}
