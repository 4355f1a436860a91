//! The journal: records events and their causes, up to a maximum number of entries. Its newest part is saved, and survives
//! restarts of the daemon.

use std::collections::{BTreeMap, VecDeque};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, ResponseFuture, WrapFuture,
};

use crate::clock::Clock;
use crate::history::History;
use crate::journal::{Event, JournalEntry};
use crate::limits::{JOURNAL_ENTRIES_MAX, JOURNAL_SAVE_INTERVAL, JOURNAL_SAVED_ENTRIES_MAX};
use crate::message::{BeginShutdown, GetState, ReadHistory, ReadJournal, Record, SaveJournal};
use crate::port::SavedJournal;
use crate::snapshot::{ActorState, JournalCounts, JournalState};

/// The journal.
pub struct JournalActor {
    entries: VecDeque<JournalEntry>,
    history: History,
    newest: u64,
    events: BTreeMap<&'static str, u64>,
    counts: JournalCounts,
    saves: Recipient<SaveJournal>,
    /// The sequence number of the newest entry that is saved, or being saved.
    saved: u64,
    clock: Clock,
}

impl JournalActor {
    /// Creates a journal with what an earlier run of the daemon saved.
    pub fn new(restored: SavedJournal, saves: Recipient<SaveJournal>, clock: Clock) -> Self {
        let SavedJournal { entries, history } = restored;
        let newest = entries.last().map_or(0, |entry| entry.sequence);
        Self {
            entries: entries.into(),
            history,
            newest,
            events: BTreeMap::new(),
            counts: JournalCounts::default(),
            saves,
            saved: newest,
            clock,
        }
    }

    /// Saves the newest part, where it changed. Resolves when it is saved; a disk that is full is reported by the saved
    /// state.
    fn save(&mut self) -> impl Future<Output = bool> + use<> {
        let first = self.entries.len().saturating_sub(JOURNAL_SAVED_ENTRIES_MAX);
        let is_behind = std::mem::replace(&mut self.saved, self.newest) != self.newest;
        let save = is_behind.then(|| {
            let entries = self.entries.range(first..).cloned().collect();
            self.saves.send(SaveJournal(SavedJournal { entries, history: self.history.clone() }))
        });
        async move {
            match save {
                Some(save) => save.await.is_ok_and(|saved| saved.is_ok()),
                None => true,
            }
        }
    }

    /// Saves regularly, one save after the other.
    fn save_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(JOURNAL_SAVE_INTERVAL, |journal, ctx| {
            let saved = journal.save().into_actor(journal);
            ctx.spawn(saved.map(|_, journal, ctx| journal.save_later(ctx)));
        });
    }

    fn count(&mut self, event: &Event) {
        *self.events.entry(event.name()).or_default() += 1;
        let counts = &mut self.counts;
        match event {
            Event::HostsChanged { added, removed, changed } => {
                counts.servers_added += *added as u64;
                counts.servers_removed += *removed as u64;
                counts.servers_changed += *changed as u64;
            }
            Event::HealthChanged { up: true, .. } => counts.servers_up += 1,
            Event::HealthChanged { up: false, .. } => counts.servers_down += 1,
            Event::Decided { class, .. } => *counts.decided.entry(*class).or_default() += 1,
            Event::Applied { class, took_us } => counts.applied.entry(*class).or_default().observe(*took_us),
            _ => {}
        }
    }
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.save_later(ctx);
    }
}

impl Handler<BeginShutdown> for JournalActor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: BeginShutdown, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.save())
    }
}

impl Handler<Record> for JournalActor {
    type Result = ();

    fn handle(&mut self, Record(mut entry): Record, _: &mut Self::Context) {
        self.newest += 1;
        entry.sequence = self.newest;
        entry.at_unix_ms = self.clock.unix_ms();
        if entry.target.is_none() {
            // Targets repeat the same events: counts and history only cover the primary HAProxy.
            self.count(&entry.event);
            self.history.add(&entry);
        }
        if self.entries.len() == JOURNAL_ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

impl Handler<ReadJournal> for JournalActor {
    type Result = MessageResult<ReadJournal>;

    fn handle(&mut self, query: ReadJournal, _: &mut Self::Context) -> Self::Result {
        let is_wanted = |entry: &&JournalEntry| {
            let service = |wanted: &String| entry.service.as_ref().is_some_and(|s| s.as_str() == wanted);
            let server = |wanted: &String| entry.server.as_ref().is_some_and(|s| s.as_str() == wanted);
            query.service.as_ref().is_none_or(service)
                && query.server.as_ref().is_none_or(server)
                && query.event.as_ref().is_none_or(|wanted| entry.event.name() == wanted)
                && query.since_unix_ms.is_none_or(|since| entry.at_unix_ms >= since)
        };
        let limit = query.limit.unwrap_or(usize::MAX);
        if let Some(after) = query.after {
            let first = self.entries.partition_point(|entry| entry.sequence <= after);
            return MessageResult(self.entries.range(first..).filter(is_wanted).take(limit).cloned().collect());
        }
        let mut found: Vec<_> = self.entries.iter().rev().filter(is_wanted).take(limit).cloned().collect();
        found.reverse();
        MessageResult(found)
    }
}

impl Handler<ReadHistory> for JournalActor {
    type Result = MessageResult<ReadHistory>;

    fn handle(&mut self, _: ReadHistory, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.history.clone())
    }
}

impl Handler<GetState> for JournalActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let events = self.events.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let counts = JournalCounts { events, ..self.counts.clone() };
        MessageResult(ActorState::Journal(JournalState { entries: self.entries.len(), newest: self.newest, counts }))
    }
}
