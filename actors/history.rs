//! The history of the last hours, with a size that does not depend on the load: counts by the minute, the last reloads,
//! the last HAProxy processes. Under load the journal forgets entries within minutes; the history does not.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::journal::{Event, JournalEntry};
use crate::limits::{
    APPLY_LATENCY_BOUNDS_US, HISTORY_MINUTES_MAX, HISTORY_PROCESSES_MAX, HISTORY_REASON_CHARS_MAX, HISTORY_RELOADS_MAX,
};
use crate::model::{PlanClass, ReloadCause};

const MINUTE_MS: u64 = 60_000;

/// Latencies by class: one class for each of [`APPLY_LATENCY_BOUNDS_US`], its upper bound, and one for all above.
pub type LatencyCounts = [u32; APPLY_LATENCY_BOUNDS_US.len() + 1];

/// The counts of one minute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Minute {
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Hosts that were added, removed or changed.
    pub host_changes: u32,
    /// Runtime commands that HAProxy executed.
    pub commands: u32,
    /// Runtime commands that HAProxy refused.
    pub refused: u32,
    /// Starts and reloads.
    pub reloads: u32,
    /// Failures: unanswered batches, failed reloads, crashed processes, lost sources.
    pub failures: u32,
    /// Differences found between the applied and the observed state.
    pub drift: u32,
    /// Latencies from event to effect, of changes at run time.
    pub runtime_latency: LatencyCounts,
    /// Latencies from event to effect, of changes by a reload.
    pub reload_latency: LatencyCounts,
}

/// One start or reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadMark {
    /// When the new process answered, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The reason, truncated.
    pub reason: String,
    /// The causes.
    pub causes: BTreeSet<ReloadCause>,
    /// The new process.
    pub pid: u32,
    /// From the decision to its answer, in milliseconds.
    pub took_ms: u64,
}

/// One HAProxy process from its start to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessLife {
    /// Its process id.
    pub pid: u32,
    /// When it first answered, in milliseconds since 1970.
    pub from_unix_ms: u64,
    /// Since when it is draining; `None` while it serves.
    pub draining_unix_ms: Option<u64>,
    /// When it ended; `None` while it runs.
    pub ended_unix_ms: Option<u64>,
    /// How it ended, where it crashed.
    pub crashed: Option<String>,
}

/// The last hours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The minutes in which anything happened, oldest first.
    pub minutes: VecDeque<Minute>,
    /// The last reloads, oldest first.
    pub reloads: VecDeque<ReloadMark>,
    /// The last processes, oldest first.
    pub processes: VecDeque<ProcessLife>,
}

impl History {
    /// Adds an entry of the journal.
    pub fn add(&mut self, entry: &JournalEntry) {
        let at = entry.at_unix_ms;
        match &entry.event {
            Event::HostsChanged { added, removed, changed } => {
                let hosts = u32::try_from(added + removed + changed).unwrap_or(u32::MAX);
                self.minute(at).host_changes += hosts;
            }
            Event::Commanded { accepted: true, .. } => self.minute(at).commands += 1,
            Event::Commanded { accepted: false, .. } => self.minute(at).refused += 1,
            Event::Applied { class, took_us } => {
                let minute = self.minute(at);
                let latencies =
                    if *class == PlanClass::Reload { &mut minute.reload_latency } else { &mut minute.runtime_latency };
                latencies[latency_class(*took_us)] += 1;
            }
            Event::Reloaded { reasons, causes, pid, took_ms } => {
                let reason = reasons.join("; ").chars().take(HISTORY_REASON_CHARS_MAX).collect();
                let causes = causes.clone();
                self.reloaded(ReloadMark { at_unix_ms: at, reason, causes, pid: *pid, took_ms: *took_ms });
            }
            Event::ProxyExited { pid, how } => {
                self.minute(at).failures += 1;
                self.ended(*pid, at, Some(how));
            }
            Event::OldProxyEnded { pid, .. } => self.ended(*pid, at, None),
            Event::Failed { .. } | Event::SourceLost { .. } | Event::AnnotationsLost { .. } => {
                self.minute(at).failures += 1;
            }
            Event::DriftFound { .. } => self.minute(at).drift += 1,
            _ => {}
        }
    }

    /// Ends the processes of an earlier run of the daemon, whose end this run does not learn.
    pub fn end_processes(&mut self, at_unix_ms: u64) {
        for process in self.processes.iter_mut().filter(|process| process.ended_unix_ms.is_none()) {
            process.ended_unix_ms = Some(at_unix_ms);
        }
    }

    fn reloaded(&mut self, mark: ReloadMark) {
        let at = mark.at_unix_ms;
        self.minute(at).reloads += 1;
        for process in self.processes.iter_mut().filter(|process| process.ended_unix_ms.is_none()) {
            process.draining_unix_ms.get_or_insert(at);
        }
        let life = ProcessLife { pid: mark.pid, from_unix_ms: at, ..ProcessLife::default() };
        push_within(&mut self.processes, life, HISTORY_PROCESSES_MAX);
        push_within(&mut self.reloads, mark, HISTORY_RELOADS_MAX);
    }

    fn ended(&mut self, pid: u32, at: u64, crashed: Option<&String>) {
        // Process ids are reused: the newest process with this id is meant.
        let running = self.processes.iter_mut().rev().find(|life| life.pid == pid && life.ended_unix_ms.is_none());
        if let Some(process) = running {
            process.ended_unix_ms = Some(at);
            process.crashed = crashed.cloned();
        }
    }

    fn minute(&mut self, at: u64) -> &mut Minute {
        let start = at - at % MINUTE_MS;
        if self.minutes.back().is_none_or(|newest| newest.at_unix_ms < start) {
            let oldest_kept = start.saturating_sub((HISTORY_MINUTES_MAX as u64 - 1) * MINUTE_MS);
            while self.minutes.front().is_some_and(|minute| minute.at_unix_ms < oldest_kept) {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute { at_unix_ms: start, ..Minute::default() });
        }
        self.minutes.back_mut().expect("one was pushed where there was none")
    }
}

/// Returns the class of [`LatencyCounts`] of a latency.
pub fn latency_class(took_us: u64) -> usize {
    APPLY_LATENCY_BOUNDS_US.partition_point(|bound| *bound < took_us)
}

fn push_within<T>(kept: &mut VecDeque<T>, newest: T, bound: usize) {
    if kept.len() >= bound {
        kept.pop_front();
    }
    kept.push_back(newest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_unix_ms: u64, event: Event) -> JournalEntry {
        JournalEntry { at_unix_ms, ..JournalEntry::new(event) }
    }

    fn reloaded(pid: u32) -> Event {
        Event::Reloaded {
            reasons: vec!["web: the service is new".into(), "x".repeat(500)],
            causes: BTreeSet::from([ReloadCause::ServiceNew]),
            pid,
            took_ms: 12,
        }
    }

    #[test]
    fn minutes_are_counted_and_forgotten_after_hours() {
        let mut history = History::default();
        let change = || Event::HostsChanged { added: 2, removed: 1, changed: 0 };
        history.add(&at(59_999, change()));
        history.add(&at(60_000, change()));
        history.add(&at(61_000, Event::Commanded { command: "c".into(), answer: String::new(), accepted: false }));
        let seen: Vec<_> =
            history.minutes.iter().map(|minute| (minute.at_unix_ms, minute.host_changes, minute.refused)).collect();
        assert_eq!(seen, [(0, 3, 0), (60_000, 3, 1)]);
        history.add(&at(60_000 * HISTORY_MINUTES_MAX as u64, change()));
        assert_eq!(history.minutes.front().map(|minute| minute.at_unix_ms), Some(60_000), "the first is too old");
    }

    #[test]
    fn latencies_fall_into_their_classes() {
        assert_eq!(latency_class(0), 0);
        assert_eq!(latency_class(100), 0);
        assert_eq!(latency_class(101), 1);
        assert_eq!(latency_class(u64::MAX), APPLY_LATENCY_BOUNDS_US.len());
        let mut history = History::default();
        history.add(&at(0, Event::Applied { class: PlanClass::RuntimeDisable, took_us: 430 }));
        history.add(&at(0, Event::Applied { class: PlanClass::Reload, took_us: 60_000_000 }));
        assert_eq!(history.minutes[0].runtime_latency[latency_class(500)], 1);
        assert_eq!(history.minutes[0].reload_latency[APPLY_LATENCY_BOUNDS_US.len()], 1);
    }

    #[test]
    fn processes_are_followed_to_their_end() {
        let mut history = History::default();
        history.add(&at(1_000, reloaded(10)));
        history.add(&at(2_000, reloaded(11)));
        history.add(&at(3_000, Event::OldProxyEnded { pid: 10, how: "exit code 0".into() }));
        history.add(&at(4_000, Event::ProxyExited { pid: 11, how: "signal 9".into() }));
        let lives: Vec<_> = history
            .processes
            .iter()
            .map(|life| (life.pid, life.draining_unix_ms, life.ended_unix_ms, life.crashed.as_deref()))
            .collect();
        assert_eq!(lives, [(10, Some(2_000), Some(3_000), None), (11, None, Some(4_000), Some("signal 9"))]);
        assert_eq!(history.reloads[0].reason.chars().count(), HISTORY_REASON_CHARS_MAX);
        for pid in 0..500 {
            history.add(&at(5_000, reloaded(pid)));
        }
        assert_eq!((history.reloads.len(), history.processes.len()), (HISTORY_RELOADS_MAX, HISTORY_PROCESSES_MAX));
    }
}
