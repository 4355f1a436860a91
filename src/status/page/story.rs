//! The journal in words; and one server's own story: event, decision, command, HAProxy's answer, time taken.

use std::collections::BTreeSet;

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::model::ChangeId;
use serde::Serialize;

use super::words;

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

/// The story of one server, newest chapter first: what the journal says of it, and what it says of the changes that
/// touched it without naming it. `entries` are those of its service, oldest first.
pub fn story(entries: &[JournalEntry], server: &str) -> Vec<Chapter> {
    let is_about = |entry: &&JournalEntry| entry.server.as_ref().is_some_and(|name| name.as_str() == server);
    let changes: BTreeSet<ChangeId> = entries.iter().filter(is_about).filter_map(|entry| entry.change).collect();
    let belongs = |entry: &&JournalEntry| match (&entry.server, entry.change) {
        (Some(name), _) => name.as_str() == server,
        (None, Some(change)) => changes.contains(&change),
        (None, None) => false,
    };
    let mut chapters: Vec<Chapter> = Vec::new();
    for entry in entries.iter().filter(belongs) {
        let line = line(entry);
        match chapters.iter_mut().rev().find(|chapter| line.change.is_some() && chapter.change == line.change) {
            Some(chapter) => chapter.lines.push(line),
            None => chapters.push(Chapter { change: line.change.clone(), lines: vec![line] }),
        }
    }
    chapters.reverse();
    chapters
}

fn told(event: &Event) -> (String, String, &'static str) {
    let (label, text, tone) = match event {
        Event::ServiceDefined => ("defined", "the service appeared, or its definition changed".to_owned(), "plain"),
        Event::ServiceRemoved => ("removed", "the service is no more".to_owned(), "plain"),
        Event::InputRefused { problem } => ("refused", problem.clone(), "bad"),
        Event::SourceLost { error } => ("source away", error.clone(), "bad"),
        Event::SourceBack => ("source back", "it can be read again".to_owned(), "good"),
        Event::HostsChanged { added, removed, changed } => {
            ("event", format!("discovery shows other hosts: {}", change_of_hosts(*added, *removed, *changed)), "plain")
        }
        Event::ChangeHeld { reason } => ("held back", reason.clone(), "bad"),
        Event::HoldEnded => ("hold ended", "the source shows a list that passes".to_owned(), "good"),
        Event::HeldAccepted { reason } => ("accepted", format!("by an operator; it had been held: {reason}"), "good"),
        Event::HeldRejected { reason } => ("rejected", format!("by an operator; it had been held: {reason}"), "plain"),
        Event::Ordered { what } => ("operator", what.clone(), "plain"),
        Event::Decided { class, reason } => ("decision", format!("{}: {reason}", class.as_str()), "plain"),
        Event::Commanded { answer, accepted: true, .. } => ("command", said(answer), "good"),
        Event::Commanded { answer, accepted: false, .. } => ("command", said(answer), "bad"),
        Event::Applied { class, took_us } => {
            let took = words::took(*took_us);
            ("in force", format!("by {}, {took} after the event", class.as_str()), "good")
        }
        Event::Failed { error } => ("failed", error.clone(), "bad"),
        Event::Reloaded { reasons, pid, took_ms, .. } => {
            ("reload", format!("process {pid} after {took_ms} ms: {}", reasons.join("; ")), "plain")
        }
        Event::OutputChanged { output } => ("output", format!("{output} says something else now"), "plain"),
        Event::ProxyExited { pid, how } => ("HAProxy ended", format!("process {pid}, unasked: {how}"), "bad"),
        Event::OldProxyEnded { pid, how } => ("old process", format!("{pid} has finished what it had: {how}"), "plain"),
        Event::DriftFound { what } => ("drift", format!("repaired: {what}"), "bad"),
        #[allow(unreachable_patterns)]
        other => return (other.name().replace('_', " "), String::new(), "plain"),
    };
    (label.to_owned(), text, tone)
}

fn said(answer: &str) -> String {
    if answer.is_empty() { "done".to_owned() } else { answer.to_owned() }
}

fn change_of_hosts(added: usize, removed: usize, changed: usize) -> String {
    let counts = [(added, "new"), (removed, "gone"), (changed, "changed")];
    let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let told: Vec<_> = told.collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{PlanClass, ServerName, ServiceName};

    use super::*;

    #[test]
    fn a_story_has_its_own_steps_and_those_of_its_change() {
        let web = ServiceName::new("web").unwrap();
        let (a, b) = (ServerName::new("a").unwrap(), ServerName::new("b").unwrap());
        let entry = |event, change: u64| JournalEntry::new(event).service(&web).change(ChangeId(change));
        let decided = || Event::Decided { class: PlanClass::RuntimeDisable, reason: "it left".into() };
        let command = "set server web/a state maint".to_owned();
        let entries = [
            entry(Event::HostsChanged { added: 0, removed: 2, changed: 0 }, 1),
            entry(decided(), 1).server(&a),
            entry(decided(), 1).server(&b),
            entry(Event::Commanded { command, answer: String::new(), accepted: true }, 1).server(&a),
            entry(Event::Applied { class: PlanClass::RuntimeDisable, took_us: 430 }, 1),
            entry(Event::HostsChanged { added: 1, removed: 0, changed: 0 }, 2),
        ];
        let story = story(&entries, "a");
        assert_eq!(story.len(), 1, "{story:?}");
        let told: Vec<_> = story[0].lines.iter().map(|line| (line.label.as_str(), line.text.as_str())).collect();
        assert_eq!(
            told,
            [
                ("event", "discovery shows other hosts: 2 gone"),
                ("decision", "runtime-disable: it left"),
                ("command", "done"),
                ("in force", "by runtime-disable, 0.4 ms after the event"),
            ]
        );
        assert_eq!(story[0].lines[2].command.as_deref(), Some("set server web/a state maint"));
    }
}
