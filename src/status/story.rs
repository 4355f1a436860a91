//! One server's own story, for whoever shows it: event -> decision -> command -> HAProxy's answer -> time taken.

use std::collections::BTreeSet;

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::model::ChangeId;
use serde::Serialize;

/// What happened in one go: the event, the decision, the commands with HAProxy's answers, the result.
#[derive(Debug, Serialize)]
pub struct Chapter<'a> {
    /// The change; none where it belongs to none.
    pub change: Option<ChangeId>,
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From the source's event until it was in force, in microseconds; none where it is not (yet).
    pub took_us: Option<u64>,
    /// Its entries in the journal, in order.
    pub entries: Vec<&'a JournalEntry>,
}

/// The story of one server, newest chapter last: what the journal says of it, and of the changes that touched it without
/// naming it. `entries` are those of its service, oldest first.
pub fn story<'a>(entries: &'a [JournalEntry], server: &str) -> Vec<Chapter<'a>> {
    let is_about = |entry: &&JournalEntry| entry.server.as_ref().is_some_and(|name| name.as_str() == server);
    let changes: BTreeSet<ChangeId> = entries.iter().filter(is_about).filter_map(|entry| entry.change).collect();
    let belongs = |entry: &&JournalEntry| match (&entry.server, entry.change) {
        (Some(name), _) => name.as_str() == server,
        (None, Some(change)) => changes.contains(&change),
        (None, None) => false,
    };
    let mut chapters: Vec<Chapter> = Vec::new();
    for entry in entries.iter().filter(belongs) {
        let same = |chapter: &Chapter| entry.change.is_some() && chapter.change == entry.change;
        let at = chapters.iter().rposition(same).unwrap_or_else(|| {
            let (change, at_unix_ms) = (entry.change, entry.at_unix_ms);
            chapters.push(Chapter { change, at_unix_ms, took_us: None, entries: Vec::new() });
            chapters.len() - 1
        });
        let chapter = &mut chapters[at];
        if let Event::Applied { took_us, .. } = entry.event {
            chapter.took_us = Some(took_us);
        }
        chapter.entries.push(entry);
    }
    chapters
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{PlanClass, ServerName, ServiceName};

    use super::*;

    #[test]
    fn a_story_has_its_own_steps_and_those_of_its_changes_and_the_time_taken() {
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
        let story = story(&entries, "a");
        let told: Vec<_> =
            story.iter().map(|chapter| (chapter.change, chapter.took_us, chapter.entries.len())).collect();
        assert_eq!(told, [(Some(ChangeId(1)), Some(430), 3), (None, None, 1), (None, None, 1)]);
    }
}
