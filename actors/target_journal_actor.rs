//! Adds a target's name to the journal entries of its actor.

use actix::{Actor, Context, Handler, Recipient};

use crate::message::Record;

/// The journal for the actor of one target.
pub struct TargetJournalActor {
    target: String,
    journal: Recipient<Record>,
}

impl TargetJournalActor {
    /// Creates an actor that forwards entries to `journal`, with the name of this target.
    pub fn new(target: String, journal: Recipient<Record>) -> Self {
        Self { target, journal }
    }
}

impl Actor for TargetJournalActor {
    type Context = Context<Self>;
}

impl Handler<Record> for TargetJournalActor {
    type Result = ();

    fn handle(&mut self, Record(entry): Record, _: &mut Self::Context) {
        self.journal.do_send(Record(entry.of_target(self.target.clone())));
    }
}
