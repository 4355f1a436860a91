//! What stands at the top of the page: one sentence, what is not well, what the guard blocks, and the facts.

use std::collections::BTreeMap;

use proxymgr_actors::history::History;
use proxymgr_actors::model::BlockedChange;
use proxymgr_actors::snapshot::{
    ActorState, DrainingProcess, HaproxyState, ProcessSupervisorState, SourceHealth, WatcherState,
};
use serde::Serialize;

use super::service_row::{ServiceRow, Trouble};
use super::words;
use crate::status::concern;
use crate::status::report::StatusReport;

/// Concerns that are listed; what is more is counted, and found under the services with trouble.
const CONCERNS_MAX: usize = 10;

/// Services that are named as being at their minimum.
const MINIMUM_NAMES_MAX: usize = 12;

/// The daemon in one sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Headline {
    /// How bad it is.
    pub trouble: Trouble,
    /// The sentence, without its end where a time follows.
    pub sentence: String,
    /// Since when it has not been well, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
}

/// One thing that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Concern {
    /// The service it is about, where it is about one.
    pub service: Option<String>,
    /// What it is.
    pub text: String,
    /// Since when it has been known, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When the list that is served meanwhile was last confirmed by its source, in milliseconds since 1970.
    pub serves_list_of_unix_ms: Option<u64>,
    /// What to do about it.
    pub advice: String,
}

/// What is not well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Concerns {
    /// The first of them.
    pub listed: Vec<Concern>,
    /// How many more there are.
    pub more: usize,
}

/// A list that the guard blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// Whose list it is; none for the definitions.
    pub service: Option<String>,
    /// The list, and why it is blocked.
    pub change: BlockedEntry,
}

/// [`BlockedChange`], with what an operator decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockedEntry {
    /// The limit that it breaks.
    pub reason: String,
    /// When the guard first blocked it, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Whether an operator rejected it.
    pub is_rejected: bool,
    /// How many it would add, and the first of them.
    pub adds: (usize, Vec<String>),
    /// How many it would remove, and the first of them.
    pub removes: (usize, Vec<String>),
}

impl BlockedEntry {
    /// The pending change, or the rejected one.
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

/// The facts beneath the sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// HAProxy's version; none while it does not run.
    pub haproxy: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Since when it has been running, in milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
    /// Sources by kind: how many there are and how many can be read.
    pub sources: Vec<SourceFact>,
    /// All sources.
    pub sources_count: usize,
    /// Those that cannot be read.
    pub sources_away: usize,
    /// The oldest time at which the list in force of a source that is away was confirmed.
    pub oldest_data_unix_ms: Option<u64>,
    /// Services at or below the least number of hosts they may have.
    pub at_minimum: usize,
    /// The first of them.
    pub at_minimum_names: Vec<String>,
    /// Changes that the guard blocks and nobody has decided on.
    pub pending: usize,
    /// Changes that an operator rejected while their source still shows them.
    pub rejected: usize,
    /// Differences found and repaired since the daemon started.
    pub drift: u64,
    /// Why HAProxy was last reloaded.
    pub last_reload: String,
    /// When, in milliseconds since 1970.
    pub last_reload_unix_ms: Option<u64>,
    /// Reloads since the daemon started.
    pub reloads: u64,
    /// What the next reload waits for.
    pub reload_due: Vec<String>,
    /// Old processes that finish what they have, oldest first.
    pub draining: Vec<DrainingProcess>,
    /// Changes made at run time: enabled, disabled, deleted.
    pub runtime: (u64, u64, u64),
    /// Commands refused, and batches without an answer.
    pub refused: (u64, u64),
    /// How often HAProxy ended unasked.
    pub crashes: u64,
    /// Outputs beside HAProxy: name and what is wrong with it.
    pub outputs: Vec<(String, Option<String>)>,
    /// Further HAProxies, and why they do not answer.
    pub targets: Vec<(String, Option<String>)>,
    /// The slots that stand for no host; none where no service has slots.
    pub slots: Option<SlotFact>,
}

/// How many slots are free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotFact {
    /// In all services together.
    pub free: usize,
    /// The service that has the fewest, and how many.
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

/// The sources of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceFact {
    /// The kind; `definitions` for that of the services themselves, `annotations` for that of what is added to them.
    pub kind: String,
    /// How many there are.
    pub count: usize,
    /// How many cannot be read.
    pub away: usize,
}

/// Remembers since when each concern has been known.
#[derive(Debug, Default)]
pub struct KnownSince(BTreeMap<String, u64>);

impl KnownSince {
    /// Takes in what is not well now, and forgets what is well again.
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

/// The sentence.
pub fn headline(report: &StatusReport, known: &KnownSince, rows: &BTreeMap<String, ServiceRow>) -> Headline {
    let hosts: usize = rows.values().map(|row| row.servers.total()).sum();
    let serves = format!("HAProxy serves {} on {}", counted(rows.len(), "service"), counted(hosts, "host"));
    let much = rows.values().any(|row| row.trouble == Trouble::Much);
    match (report.readiness.ready, report.concerns.len()) {
        (true, 0) => Headline { sentence: format!("All is well: {serves}."), ..Headline::default() },
        (true, concerns) => {
            let what = if concerns == 1 {
                "one thing is".to_owned()
            } else {
                format!("{} things are", words::grouped(concerns as u64))
            };
            Headline {
                trouble: if much { Trouble::Much } else { Trouble::Some },
                sentence: format!("{serves}, but {what} not well"),
                since_unix_ms: known.oldest(),
            }
        }
        (false, _) => {
            let why = report.readiness.reasons.first().map_or("nothing is known of it", String::as_str);
            let sentence = format!("HAProxy is not kept in step: {why}");
            Headline { trouble: Trouble::Much, sentence, since_unix_ms: known.oldest() }
        }
    }
}

/// What is not well, one line each.
pub fn concerns(report: &StatusReport, known: &KnownSince, rows: &BTreeMap<String, ServiceRow>) -> Concerns {
    let concern = |concern: &concern::Concern| {
        // Named before its words, as a link.
        let named = concern.text.split_once(": ").filter(|(name, _)| rows.contains_key(*name));
        Concern {
            service: named.map(|(name, _)| name.to_owned()),
            text: named.map_or(concern.text.as_str(), |(_, rest)| rest).to_owned(),
            since_unix_ms: known.since(&concern.text).unwrap_or_default(),
            serves_list_of_unix_ms: concern.serves_list_of_unix_ms,
            advice: concern.advice.clone(),
        }
    };
    let listed: Vec<_> = report.concerns.iter().take(CONCERNS_MAX).map(concern).collect();
    Concerns { more: report.concerns.len() - listed.len(), listed }
}

/// The lists that the guard blocks.
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

/// The facts.
pub fn facts(report: &StatusReport, history: &History, rows: &BTreeMap<String, ServiceRow>) -> Facts {
    let (rejected, pending): (Vec<_>, Vec<_>) =
        blocked(&report.actors).into_iter().partition(|blocked| blocked.change.is_rejected);
    let mut facts = Facts { pending: pending.len(), rejected: rejected.len(), ..Facts::default() };
    let at_minimum = rows.values().filter(|row| row.at_minimum);
    facts.at_minimum = at_minimum.clone().count();
    facts.at_minimum_names = at_minimum.take(MINIMUM_NAMES_MAX).map(|row| row.name.clone()).collect();
    if let Some(haproxy) = report.haproxy() {
        facts.of_haproxy(haproxy, history);
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
    fn of_haproxy(&mut self, haproxy: &HaproxyState, history: &History) {
        self.slots = SlotFact::of(haproxy);
        if let Some(process) = &haproxy.process {
            self.haproxy = Some(process.version_text.clone());
            self.pid = Some(process.pid);
            let life = history.processes.iter().rev().find(|life| life.pid == process.pid);
            self.started_unix_ms = life.map(|life| life.from_unix_ms);
        }
        let counts = &haproxy.counts;
        self.drift = counts.drift;
        self.last_reload = haproxy.last_reload.join("; ");
        self.last_reload_unix_ms = haproxy.last_reload_unix_ms;
        self.reloads = counts.reload;
        self.reload_due = haproxy.reload_due.clone();
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

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", words::grouped(count as u64)) }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::ServiceName;
    use proxymgr_actors::snapshot::ServiceState;

    use super::*;

    #[test]
    fn free_slots_are_told_where_there_are_slots() {
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
