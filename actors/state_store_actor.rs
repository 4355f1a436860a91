//! The only writer of the saved state and the saved journal, which survive restarts of the daemon.

use std::rc::Rc;

use actix::{Actor, Context, Handler, ResponseFuture};
use tokio::sync::Mutex;

use crate::message::{SaveJournal, SaveState};
use crate::port::StateStore;

/// Saves states one after the other, so that an older one never overwrites a newer one.
pub struct StateStoreActor {
    store: Rc<dyn StateStore>,
    turn: Rc<Mutex<()>>,
}

impl StateStoreActor {
    /// Creates the writer of this store.
    pub fn new(store: Rc<dyn StateStore>) -> Self {
        Self { store, turn: Rc::default() }
    }
}

impl Actor for StateStoreActor {
    type Context = Context<Self>;
}

impl Handler<SaveState> for StateStoreActor {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, SaveState(state): SaveState, _: &mut Self::Context) -> Self::Result {
        let (store, turn) = (self.store.clone(), self.turn.clone());
        Box::pin(async move {
            let _turn = turn.lock().await;
            store.save(state).await
        })
    }
}

impl Handler<SaveJournal> for StateStoreActor {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, SaveJournal(journal): SaveJournal, _: &mut Self::Context) -> Self::Result {
        // The JournalActor saves one after the other, into a file of its own.
        self.store.save_journal(journal)
    }
}
