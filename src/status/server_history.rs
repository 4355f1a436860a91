//! The history of one server: event, decision, command, HAProxy's answer, duration.

use std::collections::BTreeSet;

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::model::ChangeId;
use serde::Serialize;

/// Journal entries of one change: the event, the decision, the commands with HAProxy's answers, the result.
#[derive(Debug, Serialize)]
pub struct ChangeHistory<'a> {
    /// The change; none for a single entry outside any change.
    pub change: Option<ChangeId>,
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Time from the source's event until it was applied, in microseconds; none if it is not applied (yet).
    pub took_us: Option<u64>,
    /// Its journal entries, in order.
    pub entries: Vec<&'a JournalEntry>,
}

/// History of one server, newest change last: entries about the server, and entries of its changes that name no server.
/// `entries` are the entries of its service, oldest first.
pub fn server_history<'a>(entries: &'a [JournalEntry], server: &str) -> Vec<ChangeHistory<'a>> {
    let is_about = |entry: &&JournalEntry| entry.server.as_ref().is_some_and(|name| name.as_str() == server);
    let changes: BTreeSet<ChangeId> = entries.iter().filter(is_about).filter_map(|entry| entry.change).collect();
    let belongs = |entry: &&JournalEntry| match (&entry.server, entry.change) {
        (Some(name), _) => name.as_str() == server,
        (None, Some(change)) => changes.contains(&change),
        (None, None) => false,
    };
    let mut history: Vec<ChangeHistory> = Vec::new();
    for entry in entries.iter().filter(belongs) {
        let same = |known: &ChangeHistory| entry.change.is_some() && known.change == entry.change;
        let at = history.iter().rposition(same).unwrap_or_else(|| {
            let (change, at_unix_ms) = (entry.change, entry.at_unix_ms);
            history.push(ChangeHistory { change, at_unix_ms, took_us: None, entries: Vec::new() });
            history.len() - 1
        });
        let change = &mut history[at];
        if let Event::Applied { took_us, .. } = entry.event {
            change.took_us = Some(took_us);
        }
        change.entries.push(entry);
    }
    history
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{PlanClass, ServerName, ServiceName};

    use super::*;

    #[test]
    fn history_groups_entries_by_change() {
        let web = ServiceName::new("web").unwrap();
        let (a, b) = (ServerName::new("a").unwrap(), ServerName::new("b").unwrap());
        let entry = |event, change: u64| JournalEntry::new(event).service(&web).change(ChangeId(change));
        let decided = || Event::Decided { class: PlanClass::RuntimeDisable, reason: "it left".into() };
        let drift = || JournalEntry::new(Event::DriftFound { what: "x".into() }).service(&web).server(&a);
        let entries = [
            entry(Event::HostsChanged { added: 0, removed: 2, changed: 0 }, 1),
            entry(decided(), 1).server(&a),
            entry(decided(), 1).server(&b),
            entry(Event::Applied { class: PlanClass::RuntimeDisable, took_us: 430 }, 1),
            entry(Event::HostsChanged { added: 1, removed: 0, changed: 0 }, 2),
            drift(),
            drift(),
        ];
        let history = server_history(&entries, "a");
        let found: Vec<_> =
            history.iter().map(|change| (change.change, change.took_us, change.entries.len())).collect();
        assert_eq!(found, [(Some(ChangeId(1)), Some(430), 3), (None, None, 1), (None, None, 1)]);
    }
}
