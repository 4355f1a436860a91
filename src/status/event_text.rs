//! Journal events as text: a short label, and what happened and why.

use proxymgr_actors::journal::{Event, JournalEntry};

use super::format::duration;

/// An event as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventText {
    /// Its label: one or two words.
    pub label: &'static str,
    /// What happened, and why.
    pub text: String,
    /// Whether it is good or bad news.
    pub tone: Tone,
}

/// Whether an event is good or bad news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A success, or the end of a problem.
    Good,
    /// Neutral.
    Plain,
    /// A failure or a problem.
    Bad,
}

impl Tone {
    /// Its name, used as a CSS class.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Plain => "plain",
            Self::Bad => "bad",
        }
    }
}

/// Text of an event.
pub fn describe(event: &Event) -> EventText {
    use Tone::{Bad, Good, Plain};
    let (label, text, tone) = match event {
        Event::ServiceDefined => ("defined", "service added, or its definition updated".to_owned(), Plain),
        Event::ServiceRemoved => ("removed", "service removed".to_owned(), Plain),
        Event::InputRefused { problem } => ("invalid", problem.clone(), Bad),
        Event::SourceLost { error } => ("source down", error.clone(), Bad),
        Event::SourceBack => ("source up", "readable again".to_owned(), Good),
        Event::AnnotationsLost { error } => ("annotations down", error.clone(), Bad),
        Event::AnnotationsBack => ("annotations up", "readable again".to_owned(), Good),
        Event::HostsChanged { added, removed, changed } => {
            ("hosts", format!("discovery reports a new list: {}", counts(*added, *removed, *changed)), Plain)
        }
        Event::ChangeMissed => {
            ("missed", "the source did not report a change, the periodic confirmation found it".to_owned(), Bad)
        }
        Event::ChangeHeld { reason } => ("blocked", format!("change blocked by guard: {reason}"), Bad),
        Event::HoldEnded => ("unblocked", "the source reports a list that passes the guard".to_owned(), Good),
        Event::HeldAccepted { reason } => ("accepted", format!("change accepted by an operator: {reason}"), Good),
        Event::HeldRejected { reason } => ("rejected", format!("change rejected by an operator: {reason}"), Plain),
        Event::ChoiceEnded { why } => ("override", format!("the operator's override ended: {why}"), Plain),
        Event::OrderRequested { who, from, what, result, accepted } => {
            ("order", format!("{what} by {who} from {from}: {result}"), if *accepted { Plain } else { Bad })
        }
        Event::LogLevelSet { what } => ("log", what.clone(), Plain),
        Event::Ordered { what, .. } => ("operator", what.clone(), Plain),
        Event::Decided { class, reason } => ("decision", format!("{}: {reason}", class.as_str()), Plain),
        Event::Commanded { command, answer, accepted } => {
            ("command", format!("{command}: {}", command_result(answer)), if *accepted { Good } else { Bad })
        }
        Event::Applied { class, took_us } => {
            ("applied", format!("via {}, {} after the event", class.as_str(), duration(*took_us)), Good)
        }
        Event::Failed { error } => ("failed", error.clone(), Bad),
        Event::Reloaded { reasons, pid, took_ms, .. } => {
            ("reload", format!("process {pid} serves after {took_ms} ms: {}", reasons.join("; ")), Plain)
        }
        Event::OutputChanged { output } => ("output", format!("{output} updated"), Plain),
        Event::ProxyExited { pid, how } => ("HAProxy exit", format!("process {pid} exited unexpectedly: {how}"), Bad),
        Event::Restarted { from, to } => ("restarted", format!("proxymgr {to} runs in place of {from}"), Good),
        Event::RestartFailed { why } => ("restart failed", format!("the previous program runs: {why}"), Bad),
        Event::OldProxyEnded { pid, how } => ("old process", format!("{pid} has drained and exited: {how}"), Plain),
        Event::OldProxyStopped { pid, why, connections } => {
            let lost = connections.map(|count| format!(" with {count} connections")).unwrap_or_default();
            ("old process", format!("{pid} stopped{lost}: {why}"), Bad)
        }
        Event::HealthChanged { up: true, check } => ("up", check_result(check), Good),
        Event::HealthChanged { up: false, check } => ("down", check_result(check), Bad),
        Event::DriftFound { what } => ("drift", format!("repaired: {what}"), Bad),
    };
    EventText { label, text, tone }
}

fn check_result(check: &str) -> String {
    if check.is_empty() { "health check".to_owned() } else { format!("health check: {check}") }
}

/// HAProxy's answer to a command; success has an empty answer.
pub fn command_result(answer: &str) -> &str {
    if answer.is_empty() { "done" } else { answer }
}

/// Service and server of an entry: `web`, `web/10.0.0.1:80`, or `-` if it concerns all; followed by the target, if any.
pub fn subject(entry: &JournalEntry) -> String {
    let subject = match (&entry.service, &entry.server) {
        (Some(service), Some(server)) => format!("{service}/{server}"),
        (Some(service), None) => service.to_string(),
        _ => "-".to_owned(),
    };
    match &entry.target {
        Some(target) => format!("{subject} at {target}"),
        None => subject,
    }
}

fn counts(added: usize, removed: usize, changed: usize) -> String {
    let counts = [(added, "added"), (removed, "removed"), (changed, "changed")];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() { "no change".to_owned() } else { counts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_command_shows_haproxys_answer() {
        let event = Event::Commanded { command: "del server web/a".into(), answer: "No.".into(), accepted: false };
        let expected = EventText { label: "command", text: "del server web/a: No.".into(), tone: Tone::Bad };
        assert_eq!(describe(&event), expected);
    }
}
