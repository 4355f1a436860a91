//! The journal, and one server's own story, in words.

use proxymgr_actors::journal::{Event, JournalEntry};
use serde::Serialize;

use crate::status::story;
use crate::status::telling::{Telling, Tone, tell};

/// One entry of the journal in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Its number in the journal.
    pub sequence: u64,
    /// The change it belongs to.
    pub change: Option<String>,
    /// The service it is about.
    pub service: Option<String>,
    /// The server it is about.
    pub server: Option<String>,
    /// What kind of thing happened, in a word or two.
    pub label: String,
    /// What happened.
    pub text: String,
    /// The words of the Runtime API, where it is about a command.
    pub command: Option<String>,
    /// How it looks: `good`, `bad`, `plain`.
    pub tone: &'static str,
}

/// What happened in one go: the entries of one change, or a single one that belongs to none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Chapter {
    /// The change.
    pub change: Option<String>,
    /// Its entries, in order.
    pub lines: Vec<Line>,
}

/// The entry in words.
pub fn line(entry: &JournalEntry) -> Line {
    let (label, text, tone) = told(&entry.event);
    let command = match &entry.event {
        Event::Commanded { command, .. } => Some(command.clone()),
        _ => None,
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
        tone,
    }
}

/// The story of one server in words, newest chapter first, at most so many. `entries` are those of its service, oldest
/// first.
pub fn chapters(entries: &[JournalEntry], server: &str, most: usize) -> Vec<Chapter> {
    let in_words = |chapter: story::Chapter| Chapter {
        change: chapter.change.map(|change| change.to_string()),
        lines: chapter.entries.into_iter().map(line).collect(),
    };
    story::story(entries, server).into_iter().rev().take(most).map(in_words).collect()
}

fn told(event: &Event) -> (String, String, &'static str) {
    let Telling { label, text, tone } = tell(event);
    let tone = match tone {
        Tone::Good => "good",
        Tone::Plain => "plain",
        Tone::Bad => "bad",
    };
    // The command itself stands beside.
    let text = if let Event::Commanded { answer, .. } = event { said(answer) } else { text };
    (label.to_owned(), text, tone)
}

fn said(answer: &str) -> String {
    if answer.is_empty() { "done".to_owned() } else { answer.to_owned() }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{ChangeId, PlanClass, ServerName, ServiceName};

    use super::*;

    #[test]
    fn a_story_is_told_in_words_with_its_commands() {
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
        let told = chapters(&entries, "a", 5);
        assert_eq!(told.iter().map(|chapter| chapter.lines.len()).collect::<Vec<_>>(), [1, 4], "the newest first");
        let lines = &told[1].lines;
        let told: Vec<_> = lines.iter().map(|line| (line.label.as_str(), line.text.as_str())).collect();
        assert_eq!(
            told,
            [
                ("event", "discovery shows other hosts: 2 gone"),
                ("decision", "runtime-disable: it left"),
                ("command", "done"),
                ("in force", "by runtime-disable, 0.4 ms after the event"),
            ]
        );
        assert_eq!(lines[2].command.as_deref(), Some("set server web/a state maint"));
    }
}
