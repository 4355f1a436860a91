//! What happened, in words: a label, and what and why.

use proxymgr_actors::journal::{Event, JournalEntry};

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// What it is, in a word or two.
    pub label: &'static str,
    /// What and why.
    pub text: String,
    /// What kind of news it is.
    pub tone: Tone,
}

/// What kind of news an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// What went as it should.
    Good,
    /// Neither.
    Plain,
    /// What did not.
    Bad,
}

/// The event in words.
pub fn tell(event: &Event) -> Telling {
    use Tone::{Bad, Good, Plain};
    let (label, text, tone) = match event {
        Event::ServiceDefined => ("defined", "the service appeared, or its definition changed".to_owned(), Plain),
        Event::ServiceRemoved => ("removed", "the service is no more".to_owned(), Plain),
        Event::InputRefused { problem } => ("refused", problem.clone(), Bad),
        Event::SourceLost { error } => ("source away", error.clone(), Bad),
        Event::SourceBack => ("source back", "it can be read again".to_owned(), Good),
        Event::AnnotationsLost { error } => ("annotations away", error.clone(), Bad),
        Event::AnnotationsBack => ("annotations back", "they can be read again".to_owned(), Good),
        Event::HostsChanged { added, removed, changed } => {
            ("event", format!("discovery shows other hosts: {}", counted(*added, *removed, *changed)), Plain)
        }
        Event::ChangeHeld { reason } => ("blocked by guard", reason.clone(), Bad),
        Event::HoldEnded => ("recovered", "the source shows a list that passes the guard".to_owned(), Good),
        Event::HeldAccepted { reason } => {
            ("accepted", format!("by an operator, though blocked by guard: {reason}"), Good)
        }
        Event::HeldRejected { reason } => ("rejected", format!("by an operator; blocked by guard: {reason}"), Plain),
        Event::ChoiceEnded { why } => ("choice ended", format!("what an operator chose holds no more: {why}"), Plain),
        Event::Ordered { what, .. } => ("operator", what.clone(), Plain),
        Event::Decided { class, reason } => ("decision", format!("{}: {reason}", class.as_str()), Plain),
        Event::Commanded { command, answer, accepted } => {
            let said = if answer.is_empty() { "done" } else { answer.as_str() };
            ("command", format!("{command}: {said}"), if *accepted { Good } else { Bad })
        }
        Event::Applied { class, took_us } => {
            ("in force", format!("by {}, {} after the event", class.as_str(), took(*took_us)), Good)
        }
        Event::Failed { error } => ("failed", error.clone(), Bad),
        Event::Reloaded { reasons, pid, took_ms, .. } => {
            ("reload", format!("process {pid} serves after {took_ms} ms: {}", reasons.join("; ")), Plain)
        }
        Event::OutputChanged { output } => ("output", format!("{output} says something else now"), Plain),
        Event::ProxyExited { pid, how } => ("HAProxy ended", format!("process {pid}, unasked: {how}"), Bad),
        Event::OldProxyEnded { pid, how } => ("old process", format!("{pid} has finished what it had: {how}"), Plain),
        Event::OldProxyStopped { pid, why, connections } => {
            let lost = connections.map(|count| format!(", with {count} connections")).unwrap_or_default();
            ("old process", format!("{pid} is ended{lost}: {why}"), Bad)
        }
        Event::HealthChanged { up: true, check } => ("up", check_in_words(check), Good),
        Event::HealthChanged { up: false, check } => ("down", check_in_words(check), Bad),
        Event::DriftFound { what } => ("drift", format!("repaired: {what}"), Bad),
    };
    Telling { label, text, tone }
}

fn check_in_words(check: &str) -> String {
    if check.is_empty() { "by HAProxy's check".to_owned() } else { format!("by HAProxy's check: {check}") }
}

/// Whom an entry is about: `web`, `web/10.0.0.1:80`, or `-` where it is about all; and at which target.
pub fn whom(entry: &JournalEntry) -> String {
    let whom = match (&entry.service, &entry.server) {
        (Some(service), Some(server)) => format!("{service}/{server}"),
        (Some(service), None) => service.to_string(),
        _ => "-".to_owned(),
    };
    match &entry.target {
        Some(target) => format!("{whom} at {target}"),
        None => whom,
    }
}

/// Microseconds as people read them: `0.4 ms`, `12 ms`, `3.1 s`.
pub fn took(micros: u64) -> String {
    match micros {
        0..10_000 => tenths(micros, 1_000, "ms"),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..100_000_000 => tenths(micros, 1_000_000, "s"),
        _ => format!("{} s", micros / 1_000_000),
    }
}

fn tenths(value: u64, unit: u64, name: &str) -> String {
    let tenths = (value * 10 + unit / 2) / unit;
    if tenths.is_multiple_of(10) {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

fn counted(added: usize, removed: usize, changed: usize) -> String {
    let counts = [(added, "new"), (removed, "gone"), (changed, "changed")];
    let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let told: Vec<_> = told.collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_command_is_told_with_haproxys_words() {
        let event = Event::Commanded { command: "del server web/a".into(), answer: "No.".into(), accepted: false };
        assert_eq!(tell(&event), Telling { label: "command", text: "del server web/a: No.".into(), tone: Tone::Bad });
    }
}
