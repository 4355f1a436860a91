//! Applies the rules of older managers to a day's load. The models cover only these rules: the same trace, the same
//! latencies, one round at a time, and all changes that arrive during a round are applied in the next one. Polling,
//! pauses between rounds and old processes are not counted.

use std::collections::VecDeque;
use std::fmt;

use super::day::Figures;
use super::host_numbers::HostNumbers;
use super::load::{Change, Load, Update};
use super::random::Random;

/// How a manager applies a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Servers that the running HAProxy was started with are disabled and enabled; any other host needs a reload.
    EnableDisable,
    /// Each service has this number of slots, whose addresses are set at run time. Without a free slot a host waits.
    FixedSlots(u16),
    /// Every change is a new configuration and a reload.
    AlwaysReload,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnableDisable => f.write_str("enable/disable only"),
            Self::FixedSlots(slots) => write!(f, "{slots} fixed slots"),
            Self::AlwaysReload => f.write_str("always reload"),
        }
    }
}

impl Rule {
    /// Returns every rule, for this load.
    pub fn all(load: &Load) -> [Self; 3] {
        [Self::EnableDisable, Self::FixedSlots(load.slots()), Self::AlwaysReload]
    }
}

/// Random durations like those of the simulated world.
struct Latencies(Random);

impl Latencies {
    /// Time from a change until its source reports it.
    fn discovery_ms(&mut self) -> u64 {
        self.0.between(0, 25)
    }

    /// Time to connect and to execute commands.
    fn commands_ms(&mut self) -> u64 {
        1 + self.0.between(0, 8)
    }

    /// Time to check a configuration, to put it in place, and to start a process until it answers.
    fn reload_ms(&mut self) -> u64 {
        self.0.between(10, 80) + self.0.between(0, 5) + self.0.between(1, 10) + self.0.between(2, 60)
    }
}

/// State of a service under a rule.
#[derive(Default)]
struct Section {
    hosts: HostNumbers,
    /// The servers that the running HAProxy was started with.
    loaded: HostNumbers,
    /// Hosts without a slot, each with the update that added it.
    without_slot: VecDeque<(u8, usize)>,
}

/// Returns the figures of a day of updates under this rule.
pub(super) fn under_rule(rule: Rule, load: &Load, updates: &[Update], seed: u64) -> Figures {
    let mut latencies = Latencies(Random::of_purpose(seed, "the ancestors"));
    let initial = || {
        let hosts: HostNumbers = (1..=load.hosts).collect();
        Section { loaded: hosts, hosts, without_slot: VecDeque::new() }
    };
    let sections = (0..load.services).map(|_| initial()).collect();
    let mut model = Model { rule, sections, figures: Figures::default(), applied: vec![None; updates.len()] };
    let mut heard: Vec<(u64, usize)> =
        updates.iter().enumerate().map(|(at, update)| (update.at_ms + latencies.discovery_ms(), at)).collect();
    heard.sort_unstable();
    let (mut free_ms, mut next) = (0, 0);
    while let Some((heard_ms, _)) = heard.get(next) {
        let begin_ms = free_ms.max(*heard_ms);
        let meanwhile = heard[next..].iter().take_while(|(heard_ms, _)| *heard_ms <= begin_ms).count();
        let round: Vec<usize> = heard[next..next + meanwhile].iter().map(|(_, at)| *at).collect();
        next += meanwhile;
        let (cause, done) = model.take_in(&round, updates);
        free_ms = begin_ms + if cause.is_some() { latencies.reload_ms() } else { latencies.commands_ms() };
        model.end_round(cause, &done, free_ms);
    }
    model.figures(updates)
}

struct Model {
    rule: Rule,
    sections: Vec<Section>,
    figures: Figures,
    /// When each update was applied, in milliseconds.
    applied: Vec<Option<u64>>,
}

impl Model {
    /// Applies a round of updates to the model. Returns why it needs a reload, and which updates are applied after the
    /// round.
    fn take_in(&mut self, round: &[usize], updates: &[Update]) -> (Option<&'static str>, Vec<usize>) {
        let mut cause = None;
        let mut done = Vec::new();
        let mut commands = 0;
        for at in round {
            let section = &mut self.sections[usize::from(updates[*at].service)];
            match (self.rule, updates[*at].change) {
                (_, Change::Options) => cause = cause.max(Some("other options")),
                (Rule::AlwaysReload, change) => {
                    section.takes(change);
                    cause = cause.max(Some("a change of hosts"));
                    done.push(*at);
                }
                (Rule::EnableDisable, change) => {
                    section.takes(change);
                    match change {
                        Change::Join(host) if !section.loaded.contains(host) => cause = cause.max(Some("a new host")),
                        _ => commands += 1,
                    }
                    done.push(*at);
                }
                (Rule::FixedSlots(slots), change) => commands += section.fill_slots(slots, change, *at, &mut done),
            }
        }
        if cause.is_none() {
            self.figures.commands += commands;
        }
        (cause, done)
    }

    fn end_round(&mut self, cause: Option<&'static str>, done: &[usize], now_ms: u64) {
        if let Some(cause) = cause {
            self.figures.reloads += 1;
            *self.figures.reload_causes.entry(cause.to_owned()).or_default() += 1;
            self.sections.iter_mut().for_each(|section| section.loaded = section.hosts);
        }
        done.iter().for_each(|at| self.applied[*at] = Some(now_ms));
    }

    fn figures(self, updates: &[Update]) -> Figures {
        let Self { mut figures, applied, .. } = self;
        let changes = updates.iter().zip(applied).filter(|(update, _)| update.change != Change::Options);
        let mut in_force_at = Vec::with_capacity(updates.len());
        for (update, applied) in changes.clone() {
            match applied {
                Some(applied) => {
                    in_force_at.push(applied);
                    figures.took_ms.push(applied - update.at_ms);
                }
                None => figures.never_in_force += 1,
            }
        }
        in_force_at.sort_unstable();
        let mut done = 0;
        for (before, (update, _)) in changes.enumerate() {
            done += in_force_at[done..].iter().take_while(|at_ms| **at_ms <= update.at_ms).count();
            figures.backlog_max = figures.backlog_max.max(before + 1 - done);
        }
        figures.took_ms.sort_unstable();
        figures
    }
}

impl Section {
    fn takes(&mut self, change: Change) {
        match change {
            Change::Join(host) => self.hosts.insert(host),
            Change::Leave(host) => {
                self.hosts.remove(host);
            }
            Change::Options => {}
        }
    }

    /// Applies a change under fixed slots. Returns the number of commands.
    fn fill_slots(&mut self, slots: u16, change: Change, at: usize, done: &mut Vec<usize>) -> usize {
        // An address, and the state.
        const FILL: usize = 2;
        match change {
            Change::Join(host) if self.hosts.len() < u32::from(slots) => {
                self.hosts.insert(host);
                done.push(at);
                FILL
            }
            Change::Join(host) => {
                self.without_slot.push_back((host, at));
                0
            }
            Change::Leave(host) => {
                done.push(at);
                if !self.hosts.remove(host) {
                    // It never had a slot: its registration and its removal both count as applied.
                    self.without_slot.retain(|(waiting, came)| {
                        if *waiting == host {
                            done.push(*came);
                        }
                        *waiting != host
                    });
                    return 0;
                }
                match self.without_slot.pop_front() {
                    Some((waiting, came)) => {
                        self.hosts.insert(waiting);
                        done.push(came);
                        1 + FILL
                    }
                    None => 1,
                }
            }
            Change::Options => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(rule: Rule, hosts: u8, changes: &[(u64, Change)]) -> Figures {
        let load = Load { hosts, services: 1, ..Load::default() };
        let updates: Vec<Update> =
            changes.iter().map(|(at_ms, change)| Update { at_ms: *at_ms, service: 0, change: *change }).collect();
        under_rule(rule, &load, &updates, 1)
    }

    #[test]
    fn known_host_returns_without_reload() {
        let changes = [(0, Change::Leave(1)), (10_000, Change::Join(1)), (20_000, Change::Join(9))];
        let figures = day(Rule::EnableDisable, 3, &changes);
        assert_eq!((figures.commands, figures.reloads), (2, 1));
        assert_eq!(figures.reload_causes["a new host"], 1);
        // After the reload HAProxy does not know the host that was away.
        let changes = [(0, Change::Leave(1)), (10_000, Change::Join(9)), (20_000, Change::Join(1))];
        assert_eq!(day(Rule::EnableDisable, 3, &changes).reloads, 2);
    }

    #[test]
    fn host_without_slot_waits() {
        let changes = [(0, Change::Join(8)), (10_000, Change::Join(9)), (60_000, Change::Leave(1))];
        let figures = day(Rule::FixedSlots(4), 3, &changes);
        assert_eq!((figures.reloads, figures.never_in_force, figures.backlog_max), (0, 0, 2));
        assert!(figures.took_ms.last().is_some_and(|took_ms| *took_ms >= 50_000), "{figures:?}");
        let figures = day(Rule::FixedSlots(3), 3, &changes[..2]);
        assert_eq!((figures.never_in_force, figures.took_ms.len()), (2, 0));
    }

    #[test]
    fn changes_during_reload_join_the_next() {
        let changes = [(0, Change::Join(7)), (26, Change::Join(8)), (27, Change::Join(9)), (9_000, Change::Leave(9))];
        let figures = day(Rule::AlwaysReload, 3, &changes);
        assert!((2..=3).contains(&figures.reloads), "{figures:?}");
        assert_eq!(figures.took_ms.len(), 4);
    }
}
