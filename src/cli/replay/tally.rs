//! Counts the entries of a journal.

use std::collections::BTreeMap;

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::operator::{Order, SetServer};

use crate::recording::without_credentials;

/// The counts and the notable entries of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The counts, in the order in which they are printed.
    pub counts: BTreeMap<Count, u64>,
    /// Counts of each service.
    pub services: BTreeMap<String, BTreeMap<Count, u64>>,
    /// The notable entries: the time in milliseconds, and the text.
    pub reported: Vec<(u64, String)>,
}

/// A counter. The order is that of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// Changes of hosts that the guard accepted.
    Updates,
    /// Applied changes, by class.
    Applied(&'static str),
    /// Commands that HAProxy accepted.
    Commands(String),
    /// Commands that HAProxy refused.
    CommandsRefused,
    /// Starts and reloads.
    Reloads,
    /// Starts and reloads, by cause.
    ReloadsFor(&'static str),
    /// Starts and reloads that failed.
    Failures,
    /// Changes that the guard blocked.
    Held,
    /// Definitions and entries that were invalid.
    InputRefused,
    /// Times that a source could not be read.
    SourcesLost,
    /// Executed orders of operators, by kind.
    Orders(&'static str),
}

impl Count {
    /// Returns the counter's name; a counter that is a part of the one above is indented.
    pub fn words(&self) -> String {
        match self {
            Self::Updates => "updates".to_owned(),
            Self::Applied(class) => format!("  applied by {class}"),
            Self::Commands(what) => format!("commands: {what}"),
            Self::CommandsRefused => "commands refused".to_owned(),
            Self::Reloads => "starts and reloads".to_owned(),
            Self::ReloadsFor(cause) => format!("  for {cause}"),
            Self::Failures => "failures".to_owned(),
            Self::Held => "changes blocked by guard".to_owned(),
            Self::InputRefused => "input refused".to_owned(),
            Self::SourcesLost => "sources lost".to_owned(),
            Self::Orders(what) => format!("orders: {what}"),
        }
    }
}

impl Tally {
    /// Counts the entries of a journal.
    pub fn of(journal: &[JournalEntry]) -> Self {
        let mut tally = Self::default();
        for entry in journal {
            let orders = entry.order().map(|order| Count::Orders(name(&order)));
            for count in counted(&entry.event).into_iter().chain(orders) {
                if let Some(service) = &entry.service {
                    *tally.services.entry(service.to_string()).or_default().entry(count.clone()).or_default() += 1;
                }
                *tally.counts.entry(count).or_default() += 1;
            }
            tally.reported.extend(reported(entry).map(|what| (entry.at_unix_ms, what)));
        }
        tally
    }
}

fn counted(event: &Event) -> Vec<Count> {
    match event {
        Event::HostsChanged { .. } => vec![Count::Updates],
        Event::Applied { class, .. } => vec![Count::Applied(class.as_str())],
        Event::Commanded { command, accepted: true, .. } => vec![Count::Commands(kind(command))],
        Event::Commanded { .. } => vec![Count::CommandsRefused],
        Event::Reloaded { causes, .. } => {
            let causes = causes.iter().map(|cause| Count::ReloadsFor(cause.as_str()));
            std::iter::once(Count::Reloads).chain(causes).collect()
        }
        Event::Failed { .. } => vec![Count::Failures],
        Event::ChangeHeld { .. } => vec![Count::Held],
        Event::InputRefused { .. } => vec![Count::InputRefused],
        Event::SourceLost { .. } | Event::AnnotationsLost { .. } => vec![Count::SourcesLost],
        _ => Vec::new(),
    }
}

fn name(order: &Order) -> &'static str {
    match order {
        Order::Refresh { .. } => "refresh",
        Order::Reload { .. } => "reload",
        Order::Accept { .. } => "accept",
        Order::Reject { .. } => "reject",
        Order::SetServer(SetServer { state, .. }) => state.as_str(),
    }
}

/// Returns the kind of a command: `set server web/a state ready` is `state ready`.
fn kind(command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    match words.as_slice() {
        ["set", "server", _, "state", state, ..] => format!("state {state}"),
        ["set", "server", _, what, ..] => (*what).to_owned(),
        [verb, what, ..] => format!("{verb} {what}"),
        _ => command.to_owned(),
    }
}

/// Returns the text of a notable entry. Credentials are removed, because a recording contains none.
fn reported(entry: &JournalEntry) -> Option<String> {
    let of = entry.service.as_ref().map(|service| format!("{service}: ")).unwrap_or_default();
    match &entry.event {
        Event::Reloaded { reasons, .. } => {
            let reasons: Vec<String> = reasons.iter().map(|reason| without_credentials(reason)).collect();
            Some(format!("reload: {}", reasons.join("; ")))
        }
        Event::Ordered { what, .. } => Some(format!("ordered: {}", without_credentials(what))),
        Event::HeldAccepted { reason } => Some(format!("accepted: {of}{}", without_credentials(reason))),
        Event::HeldRejected { reason } => Some(format!("rejected: {of}{}", without_credentials(reason))),
        Event::ChangeHeld { reason } => Some(format!("blocked by guard: {of}{}", without_credentials(reason))),
        Event::InputRefused { problem } => Some(format!("refused: {of}{}", without_credentials(problem))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_what_they_do() {
        for (command, counted) in [
            ("add server web/a 10.0.0.1:80", "add server"),
            ("set server web/a state ready", "state ready"),
            ("set server web/a weight 5", "weight"),
            ("set server web/a addr 10.0.0.1 port 80", "addr"),
            ("del server web/a", "del server"),
        ] {
            assert_eq!(kind(command), counted);
        }
    }
}
