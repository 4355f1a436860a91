//! Records a run as intervals, for figures and drawings: the hosts in discovery, the hosts that took traffic, the
//! processes of HAProxy, the faults, and the duration of each change.

use std::collections::BTreeMap;

use super::host_numbers::HostNumbers;
use super::plan::Step;

/// An interval of virtual time, in milliseconds since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Start of the interval.
    pub from_ms: u64,
    /// End of the interval; `None` if it lasted to the end of the run.
    pub to_ms: Option<u64>,
}

/// History of one host of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostLife {
    /// When it was registered.
    pub registered: Vec<Span>,
    /// When it took traffic.
    pub enabled: Vec<Span>,
    /// Since when HAProxy has differed from discovery.
    behind_since_ms: Option<u64>,
}

impl HostLife {
    /// Sets whether it takes traffic. Returns the change that is now applied.
    fn takes_traffic(&mut self, is_enabled: bool, now_ms: u64) -> Option<AppliedChange> {
        set(&mut self.enabled, is_enabled, now_ms);
        if is_open(&self.registered) != is_enabled {
            return None;
        }
        let at_ms = self.behind_since_ms.take()?;
        Some(AppliedChange { at_ms, took_ms: now_ms - at_ms })
    }
}

/// History of one HAProxy process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessLife {
    /// Its process id.
    pub pid: u32,
    /// Events that required it.
    pub causes: Vec<String>,
    /// When it was started.
    pub started_ms: u64,
    /// When it began to serve.
    pub serves_ms: Option<u64>,
    /// When it was asked to drain.
    pub drains_ms: Option<u64>,
    /// When it had ended.
    pub ended_ms: Option<u64>,
}

/// A step of a plan that is more than a change of hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How long it lasted.
    pub span: Span,
    /// Description of the step.
    pub what: String,
}

/// A change of one host that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedChange {
    /// When discovery changed.
    pub at_ms: u64,
    /// How long HAProxy took to match discovery.
    pub took_ms: u64,
}

/// The chronicle of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chronicle {
    /// The hosts of each service.
    pub services: BTreeMap<String, BTreeMap<u8, HostLife>>,
    /// The processes, oldest first.
    pub processes: Vec<ProcessLife>,
    /// Faults and other steps.
    pub faults: Vec<Fault>,
    /// Applied changes, in the order in which they were applied.
    pub applied: Vec<AppliedChange>,
    /// Changes that were undone before they were applied, and the changes that undid them.
    pub overtaken: usize,
    /// Largest number of changes that were not applied yet at one moment.
    pub backlog_max: usize,
    /// When the run ended.
    pub ended_ms: u64,
    backlog: usize,
}

fn is_open(spans: &[Span]) -> bool {
    spans.last().is_some_and(|span| span.to_ms.is_none())
}

fn set(spans: &mut Vec<Span>, open: bool, now_ms: u64) {
    match (spans.last_mut(), open) {
        (Some(last), false) if last.to_ms.is_none() => last.to_ms = Some(now_ms),
        (Some(last), true) if last.to_ms.is_none() => {}
        (_, true) => spans.push(Span { from_ms: now_ms, to_ms: None }),
        (_, false) => {}
    }
}

/// Describes a step: `session lost`, `process dies`, `config rejected web`.
fn words(step: &Step) -> String {
    let written = serde_json::to_value(step).unwrap_or_default();
    let name = written.as_str().or_else(|| written.as_object()?.keys().next().map(String::as_str));
    let name = name.unwrap_or_default().replace('_', " ");
    step.service().map_or(name.clone(), |service| format!("{name} {service}"))
}

impl Chronicle {
    /// Returns how many changes were not applied when the run ended.
    pub fn never_in_force(&self) -> usize {
        self.backlog
    }

    /// Records the initial hosts of a service.
    pub(super) fn begins_with(&mut self, service: &str, hosts: HostNumbers, now_ms: u64) {
        let lives = self.services.entry(service.to_owned()).or_default();
        for host in hosts.iter() {
            set(&mut lives.entry(host).or_default().registered, true, now_ms);
        }
    }

    /// Records a change of the hosts of a service. Each difference is a change that HAProxy must follow.
    pub(super) fn registered(&mut self, service: &str, before: HostNumbers, now: HostNumbers, now_ms: u64) {
        if before == now {
            return;
        }
        if !self.services.contains_key(service) {
            self.services.insert(service.to_owned(), BTreeMap::new());
        }
        let Some(lives) = self.services.get_mut(service) else { return };
        for host in before.difference_to(now).iter() {
            let is_registered = now.contains(host);
            let life = lives.entry(host).or_default();
            set(&mut life.registered, is_registered, now_ms);
            let is_behind = is_open(&life.enabled) != is_registered;
            match (life.behind_since_ms, is_behind) {
                (None, true) => {
                    life.behind_since_ms = Some(now_ms);
                    self.backlog += 1;
                    self.backlog_max = self.backlog_max.max(self.backlog);
                }
                (Some(_), false) => {
                    life.behind_since_ms = None;
                    self.backlog -= 1;
                    self.overtaken += 2;
                }
                _ => {}
            }
        }
    }

    /// Records whether a host takes traffic.
    pub(super) fn enabled(&mut self, service: &str, host: u8, is_enabled: bool, now_ms: u64) {
        let Some(lives) = self.services.get_mut(service) else { return };
        let change = lives.entry(host).or_default().takes_traffic(is_enabled, now_ms);
        self.come_into_force(change);
    }

    /// Records all hosts that take traffic now.
    pub(super) fn all_enabled(&mut self, ready: &BTreeMap<String, BTreeMap<u8, u16>>, now_ms: u64) {
        let mut changes = Vec::new();
        for (service, lives) in &mut self.services {
            let ready = ready.get(service);
            for (host, life) in lives {
                let is_enabled = ready.is_some_and(|hosts| hosts.contains_key(host));
                changes.extend(life.takes_traffic(is_enabled, now_ms));
            }
        }
        self.come_into_force(changes);
    }

    fn come_into_force(&mut self, changes: impl IntoIterator<Item = AppliedChange>) {
        let before = self.applied.len();
        self.applied.extend(changes);
        self.backlog -= self.applied.len() - before;
    }

    /// Records a step.
    pub(super) fn step(&mut self, step: &Step, now_ms: u64) {
        let to_ms = match step {
            Step::Join { .. }
            | Step::Leave { .. }
            | Step::Flap { .. }
            | Step::Vanish { .. }
            | Step::ServicesVanish { .. }
            | Step::Weight { .. }
            | Step::Wait { .. }
            | Step::Heal => return,
            Step::SessionExpired { away_ms } => Some(now_ms + away_ms),
            step if step.lasts() => None,
            _ => Some(now_ms),
        };
        self.faults.push(Fault { span: Span { from_ms: now_ms, to_ms }, what: words(step) });
    }

    /// Ends all faults.
    pub(super) fn healed(&mut self, now_ms: u64) {
        for fault in self.faults.iter_mut().filter(|fault| fault.span.to_ms.is_none()) {
            fault.span.to_ms = Some(now_ms);
        }
    }

    /// Records the start of a process.
    pub(super) fn started(&mut self, pid: u32, causes: Vec<String>, now_ms: u64) {
        let life = ProcessLife { pid, causes, started_ms: now_ms, serves_ms: None, drains_ms: None, ended_ms: None };
        self.processes.push(life);
    }

    /// Records an event of a process.
    pub(super) fn process(&mut self, pid: u32, note: impl FnOnce(&mut ProcessLife)) {
        if let Some(life) = self.processes.iter_mut().rev().find(|life| life.pid == pid) {
            note(life);
        }
    }
}
