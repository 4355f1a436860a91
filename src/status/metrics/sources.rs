//! Discovery: reachability, age, blocked changes.

use std::collections::BTreeMap;
use std::fmt;

use proxymgr_actors::limits::METRICS_SOURCE_KINDS_MAX;
use proxymgr_actors::snapshot::{ActorState, ServiceConfigState, SourceHealth, WatcherState};

use super::exposition::Families;
use super::{flag, seconds};
use crate::status::source_state::SourceState;

/// Figures of definitions and sources of hosts.
pub fn write(families: &mut Families<'_>, states: &[ActorState], now_unix_ms: u64) -> fmt::Result {
    for state in states {
        if let ActorState::ServiceConfig(state) = state {
            definitions(families, state, now_unix_ms)?;
        }
    }
    let watchers: Vec<&WatcherState> = watchers(states).collect();
    families.gauge("watchers", "Watched sources of hosts, one per service", watchers.len() as f64)?;
    by_state(families, &watchers)?;
    let away = watchers.iter().map(|watcher| away_ms(&watcher.source, now_unix_ms)).max();
    let help = "Longest time for which a source of hosts has been unreachable; 0 while all can be read";
    families.gauge("source_away_max_seconds", help, seconds(away.unwrap_or_default()))?;
    let oldest = watchers.iter().filter_map(|watcher| watcher.held.as_ref()).map(|held| held.since_unix_ms).min();
    let blocked_for = oldest.map_or(0, |since| now_unix_ms.saturating_sub(since));
    let help = "Age of the oldest change of hosts that a guard blocks; 0 without any";
    families.gauge("held_age_max_seconds", help, seconds(blocked_for))?;
    let rejected: Vec<u64> =
        watchers.iter().filter_map(|watcher| watcher.rejected.as_ref()).map(|change| change.since_unix_ms).collect();
    let help = "Changes of hosts that an operator rejected and that their sources still report";
    families.gauge("changes_rejected", help, rejected.len() as f64)?;
    let rejected_for = rejected.iter().min().map_or(0, |since| now_unix_ms.saturating_sub(*since));
    let help = "Age of the oldest change of hosts that an operator rejected; 0 without any";
    families.gauge("rejected_age_max_seconds", help, seconds(rejected_for))?;
    missed(families, states)?;
    let refused: usize = watchers.iter().map(|watcher| watcher.problems.len()).sum();
    families.gauge("entries_refused", "Invalid entries of sources", refused as f64)
}

/// Changes that no watch reported.
fn missed(families: &mut Families<'_>, states: &[ActorState]) -> fmt::Result {
    let of = |state: &ActorState| match state {
        ActorState::ServiceConfig(state) => state.source.missed_changes,
        ActorState::Watcher(state) => state.source.missed_changes,
        _ => 0,
    };
    let help = "Changes of hosts and definitions that the watch of a source did not report and a confirmation found";
    families.counter("discovery_missed_changes", help, states.iter().map(of).sum())
}

/// Snapshots of all watchers.
pub fn watchers(states: &[ActorState]) -> impl Iterator<Item = &WatcherState> {
    states.iter().filter_map(|state| match state {
        ActorState::Watcher(state) => Some(state),
        _ => None,
    })
}

/// For how long a source has been unreachable, in milliseconds; 0 while it can be read.
pub fn away_ms(source: &SourceHealth, now_unix_ms: u64) -> u64 {
    source.error.as_ref().map_or(0, |_| now_unix_ms.saturating_sub(source.since_unix_ms))
}

fn definitions(families: &mut Families<'_>, state: &ServiceConfigState, now_unix_ms: u64) -> fmt::Result {
    let up = flag(state.source.error.is_none());
    families.gauge("definitions_source_up", "1 while the service definitions can be read", up)?;
    let help = "For how long the definitions have been unreadable; 0 while they can be read";
    families.gauge("definitions_away_seconds", help, seconds(away_ms(&state.source, now_unix_ms)))?;
    let read_at = state.source.read_at_unix_ms.map(|at| (Vec::new(), seconds(at)));
    let help = "When the definitions were last read";
    families.gauges("definitions_last_read_timestamp_seconds", help, read_at)?;
    let help = "1 while a guard blocks a change of the definitions and no operator has decided yet";
    families.gauge("definitions_held", help, flag(state.held.is_some()))?;
    let help = "1 while a change of the definitions is rejected by an operator";
    families.gauge("definitions_rejected", help, flag(state.rejected.is_some()))?;
    if let Some(health) = &state.annotations {
        annotations(families, health, now_unix_ms)?;
    }
    families.gauge("services", "Services in use", state.services.len() as f64)?;
    let help = "Invalid definitions";
    families.gauge("definitions_refused", help, state.problems.len() as f64)
}

fn annotations(families: &mut Families<'_>, health: &SourceHealth, now_unix_ms: u64) -> fmt::Result {
    let up = flag(health.error.is_none());
    families.gauge("annotations_source_up", "1 while the annotations can be read", up)?;
    let help = "For how long the annotations have been unreadable; 0 while they can be read";
    families.gauge("annotations_away_seconds", help, seconds(away_ms(health, now_unix_ms)))?;
    let read_at = health.read_at_unix_ms.map(|at| (Vec::new(), seconds(at)));
    families.gauges("annotations_last_read_timestamp_seconds", "When the annotations were last read", read_at)
}

/// Sources by kind and state.
fn by_state(families: &mut Families<'_>, watchers: &[&WatcherState]) -> fmt::Result {
    let mut kinds: BTreeMap<&str, BTreeMap<SourceState, usize>> = BTreeMap::new();
    for watcher in watchers {
        let is_known = kinds.len() < METRICS_SOURCE_KINDS_MAX || kinds.contains_key(watcher.source_kind.as_str());
        let kind = if is_known { watcher.source_kind.as_str() } else { "other" };
        *kinds.entry(kind).or_default().entry(SourceState::of(watcher)).or_default() += 1;
    }
    let samples = kinds.iter().flat_map(|(kind, counts)| {
        SourceState::ALL.map(|state| {
            let labels = vec![("kind", (*kind).to_owned()), ("state", state.as_str().to_owned())];
            (labels, counts.get(&state).copied().unwrap_or_default() as f64)
        })
    });
    families.gauges("sources", "Sources of hosts by kind and state", samples)
}
