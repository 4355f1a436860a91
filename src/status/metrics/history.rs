//! What the journal counted since the daemon started.

use std::fmt;

use proxymgr_actors::model::{LatencyHistogram, PlanClass};
use proxymgr_actors::snapshot::{ActorState, JournalState};

use super::exposition::{Families, Labels};

/// What the JournalActor says.
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
    families.counter("changes_seen", "Times that discovery showed another list of hosts", changes)?;
    let servers =
        [("added", counts.servers_added), ("removed", counts.servers_removed), ("changed", counts.servers_changed)];
    let servers = servers.map(|(change, count)| (vec![("change", change.to_owned())], count));
    families.counters("servers_changed", "Servers that discovery showed new, gone or changed", servers)?;
    let decided = PlanClass::ALL.map(|class| (of(class), counts.decided.get(&class).copied().unwrap_or_default()));
    families.counters("decisions", "Decisions about single servers, by the way that was chosen", decided)?;
    let none = LatencyHistogram::default();
    let applied = PlanClass::ALL.map(|class| (of(class), counts.applied.get(&class).unwrap_or(&none)));
    let help = "From the source's event to HAProxy's answer, by the way that the change took";
    families.histograms("apply_latency_seconds", help, applied)?;
    let events = counts.events.iter().map(|(event, count)| (vec![("event", event.clone())], *count));
    families.counters("journal_events", "What happened, by the name of the event", events)?;
    families.gauge("journal_entries", "Entries that the journal keeps", state.entries as f64)
}

fn of(class: PlanClass) -> Labels {
    vec![("class", class.as_str().to_owned())]
}
