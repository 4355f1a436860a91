//! Counters of the journal since the daemon started.

use std::fmt;

use proxymgr_actors::model::{LatencyHistogram, PlanClass};
use proxymgr_actors::snapshot::{ActorState, JournalState};

use super::exposition::{Families, Labels};

/// Figures of the journal.
pub fn write(families: &mut Families<'_>, states: &[ActorState]) -> fmt::Result {
    for state in states {
        if let ActorState::Journal(state) = state {
            counts(families, state)?;
        }
    }
    Ok(())
}

fn counts(families: &mut Families<'_>, state: &JournalState) -> fmt::Result {
    let counts = &state.counts;
    let changes = counts.events.get("hosts_changed").copied().unwrap_or_default();
    families.counter("changes_seen", "Lists of hosts that differ from the previous one", changes)?;
    let servers =
        [("added", counts.servers_added), ("removed", counts.servers_removed), ("changed", counts.servers_changed)];
    let servers = servers.map(|(change, count)| (vec![("change", change.to_owned())], count));
    families.counters("servers_changed", "Servers added, removed or changed by discovery", servers)?;
    let health = [("up", counts.servers_up), ("down", counts.servers_down)];
    let health = health.map(|(state, count)| (vec![("state", state.to_owned())], count));
    families.counters("health_changes", "Servers that HAProxy's checks found up or down", health)?;
    let decided = PlanClass::ALL.map(|class| (of(class), counts.decided.get(&class).copied().unwrap_or_default()));
    families.counters("decisions", "Decisions about single servers, by class", decided)?;
    let none = LatencyHistogram::default();
    let applied = PlanClass::ALL.map(|class| (of(class), counts.applied.get(&class).unwrap_or(&none)));
    let help = "Time from the event of the source to the answer of HAProxy, by class";
    families.histograms("apply_latency_seconds", help, applied)?;
    let events = counts.events.iter().map(|(event, count)| (vec![("event", event.clone())], *count));
    families.counters("journal_events", "Journal events by name", events)?;
    families.gauge("journal_entries", "Entries in the journal", state.entries as f64)
}

fn of(class: PlanClass) -> Labels {
    vec![("class", class.as_str().to_owned())]
}
