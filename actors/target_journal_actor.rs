//! Puts a target's name on what its actor has to tell the journal.

use actix::{Actor, Context, Handler, Recipient};

use crate::message::Record;

/// The journal, as the actor of one target knows it.
pub struct TargetJournalActor {
    target: String,
    journal: Recipient<Record>,
}

impl TargetJournalActor {
    /// What comes here goes to `journal`, of this target.
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
