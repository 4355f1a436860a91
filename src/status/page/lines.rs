//! Journal entries and the history of one server, as the page shows them.

use proxymgr_actors::journal::{Event, JournalEntry};
use serde::Serialize;

use crate::status::event_text::{EventText, command_result, describe};
use crate::status::server_history::{self, server_history};

/// One journal entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Its number in the journal.
    pub sequence: u64,
    /// The change it belongs to.
    pub change: Option<String>,
    /// The service it concerns.
    pub service: Option<String>,
    /// The server it concerns.
    pub server: Option<String>,
    /// Label of the event.
    pub label: &'static str,
    /// What happened.
    pub text: String,
    /// The runtime command, if the entry reports one; `text` is HAProxy's answer then.
    pub command: Option<String>,
    /// CSS class: `good`, `bad` or `plain`.
    pub tone: &'static str,
}

/// Entries of one change, or a single entry outside any change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChangeLines {
    /// The change.
    pub change: Option<String>,
    /// Its entries, in order.
    pub lines: Vec<Line>,
}

/// The line for an entry.
pub fn line(entry: &JournalEntry) -> Line {
    let EventText { label, text, tone } = describe(&entry.event);
    let (command, text) = match &entry.event {
        Event::Commanded { command, answer, .. } => (Some(command.clone()), command_result(answer).to_owned()),
        _ => (None, text),
    };
    Line {
        at_unix_ms: entry.at_unix_ms,
        sequence: entry.sequence,
        change: entry.change.map(|change| change.to_string()),
        service: entry.service.as_ref().map(ToString::to_string),
        server: entry.server.as_ref().map(ToString::to_string),
        label,
        text,
        command,
        tone: tone.as_str(),
    }
}

/// History of one server, newest change first, at most `limit` changes. `entries` are the entries of its service, oldest
/// first.
pub fn history(entries: &[JournalEntry], server: &str, limit: usize) -> Vec<ChangeLines> {
    let lines = |change: server_history::ChangeHistory| ChangeLines {
        change: change.change.map(|change| change.to_string()),
        lines: change.entries.into_iter().map(line).collect(),
    };
    server_history(entries, server).into_iter().rev().take(limit).map(lines).collect()
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{ChangeId, PlanClass, ServerName, ServiceName};

    use super::*;

    #[test]
    fn history_shows_commands_with_answers() {
        let web = ServiceName::new("web").unwrap();
        let a = ServerName::new("a").unwrap();
        let entry = |event, change: u64| JournalEntry::new(event).service(&web).change(ChangeId(change));
        let decided = || Event::Decided { class: PlanClass::RuntimeDisable, reason: "it left".into() };
        let command = "set server web/a state maint".to_owned();
        let entries = [
            entry(Event::HostsChanged { added: 0, removed: 2, changed: 0 }, 1),
            entry(decided(), 1).server(&a),
            entry(Event::Commanded { command, answer: String::new(), accepted: true }, 1).server(&a),
            entry(Event::Applied { class: PlanClass::RuntimeDisable, took_us: 430 }, 1),
            JournalEntry::new(Event::DriftFound { what: "x".into() }).service(&web).server(&a),
        ];
        let changes = history(&entries, "a", 5);
        assert_eq!(changes.iter().map(|change| change.lines.len()).collect::<Vec<_>>(), [1, 4], "the newest first");
        let lines = &changes[1].lines;
        assert_eq!(
            lines.iter().map(|line| line.label).collect::<Vec<_>>(),
            ["hosts", "decision", "command", "applied"]
        );
        assert_eq!(lines[2].command.as_deref(), Some("set server web/a state maint"));
        assert_eq!(lines[2].text, "done");
        assert_eq!(lines[3].text, "via runtime-disable, 0.4 ms after the event");
    }
}
