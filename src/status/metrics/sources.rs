//! Discovery: what can be read, how old it is, what the guard blocks.

use std::collections::BTreeMap;
use std::fmt;

use proxymgr_actors::snapshot::{ActorState, ServiceConfigState, SourceHealth, WatcherState};

use super::exposition::Families;
use super::{flag, seconds};
use crate::status::standing::SourceStanding;

/// What the ServiceConfigActor and the WatcherActors say.
pub fn write(families: &mut Families<'_>, states: &[ActorState], now_unix_ms: u64) -> fmt::Result {
    for state in states {
        if let ActorState::ServiceConfig(state) = state {
            definitions(families, state, now_unix_ms)?;
        }
    }
    let watchers: Vec<&WatcherState> = watchers(states).collect();
    families.gauge("watchers", "Sources of hosts that are watched, one for each service", watchers.len() as f64)?;
    by_standing(families, &watchers)?;
    let away = watchers.iter().map(|watcher| away_ms(&watcher.source, now_unix_ms)).max();
    let help = "How long the source of hosts that is away longest has been away; 0 while all can be read";
    families.gauge("source_away_max_seconds", help, seconds(away.unwrap_or_default()))?;
    let oldest = watchers.iter().filter_map(|watcher| watcher.held.as_ref()).map(|held| held.since_unix_ms).min();
    let held_for = oldest.map_or(0, |since| now_unix_ms.saturating_sub(since));
    let help = "How long the oldest pending list of hosts has been blocked by the guard; 0 while none is";
    families.gauge("held_age_max_seconds", help, seconds(held_for))?;
    let refused: usize = watchers.iter().map(|watcher| watcher.problems.len()).sum();
    families.gauge("entries_refused", "Entries of sources that cannot be used now", refused as f64)
}

/// What the WatcherActors say.
pub fn watchers(states: &[ActorState]) -> impl Iterator<Item = &WatcherState> {
    states.iter().filter_map(|state| match state {
        ActorState::Watcher(state) => Some(state),
        _ => None,
    })
}

/// How long a source has not been readable; 0 while it is.
pub fn away_ms(source: &SourceHealth, now_unix_ms: u64) -> u64 {
    source.error.as_ref().map_or(0, |_| now_unix_ms.saturating_sub(source.since_unix_ms))
}

fn definitions(families: &mut Families<'_>, state: &ServiceConfigState, now_unix_ms: u64) -> fmt::Result {
    let up = flag(state.source.error.is_none());
    families.gauge("definitions_source_up", "1 while the definitions of services can be read", up)?;
    let help = "How long the definitions have not been readable; 0 while they are";
    families.gauge("definitions_away_seconds", help, seconds(away_ms(&state.source, now_unix_ms)))?;
    let read_at = state.source.read_at_unix_ms.map(|at| (Vec::new(), seconds(at)));
    let help = "When the definitions were last read";
    families.gauges("definitions_last_read_timestamp_seconds", help, read_at)?;
    let help = "1 while a list of definitions is blocked by the guard and no operator has decided yet";
    families.gauge("definitions_held", help, flag(state.held.is_some()))?;
    let help = "1 while a list of definitions is rejected by an operator";
    families.gauge("definitions_rejected", help, flag(state.rejected.is_some()))?;
    if let Some(health) = &state.annotations {
        annotations(families, health, now_unix_ms)?;
    }
    families.gauge("services", "Services in force", state.services.len() as f64)?;
    let help = "Definitions that cannot be used as they are";
    families.gauge("definitions_refused", help, state.problems.len() as f64)
}

fn annotations(families: &mut Families<'_>, health: &SourceHealth, now_unix_ms: u64) -> fmt::Result {
    let up = flag(health.error.is_none());
    families.gauge("annotations_source_up", "1 while the annotations of definitions can be read", up)?;
    let help = "How long the annotations have not been readable; 0 while they are";
    families.gauge("annotations_away_seconds", help, seconds(away_ms(health, now_unix_ms)))?;
    let read_at = health.read_at_unix_ms.map(|at| (Vec::new(), seconds(at)));
    families.gauges("annotations_last_read_timestamp_seconds", "When the annotations were last read", read_at)
}

/// Sources by kind and by how they are. The kinds are those that definitions may name.
fn by_standing(families: &mut Families<'_>, watchers: &[&WatcherState]) -> fmt::Result {
    let mut kinds: BTreeMap<&str, BTreeMap<SourceStanding, usize>> = BTreeMap::new();
    for watcher in watchers {
        *kinds.entry(&watcher.source_kind).or_default().entry(SourceStanding::of(watcher)).or_default() += 1;
    }
    let samples = kinds.iter().flat_map(|(kind, standings)| {
        SourceStanding::ALL.map(|standing| {
            let labels = vec![("kind", (*kind).to_owned()), ("state", standing.as_str().to_owned())];
            (labels, standings.get(&standing).copied().unwrap_or_default() as f64)
        })
    });
    families.gauges("sources", "Sources of hosts by kind and state", samples)
}
