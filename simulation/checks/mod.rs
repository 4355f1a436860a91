//! Looks at the actors and the world together: what must hold at every moment, and what must hold at rest.
//!
//! | file | invariants |
//! | --- | --- |
//! | `always.rs` | actors live, revisions grow, bounds hold, mailboxes are read |
//! | `rest.rs` | HAProxy, its sockets and its processes have converged |
//! | `files.rs` | haproxy.cfg and the saved state follow |
//! | `removal.rs` | a removed host gets no requests, whatever else is going on |
//! | `isolation.rs` | a good service is served, however many others are refused |
//! | `desired.rs` | no invariant: what the others compare with |
//!
//! The invariants of single commands are checked where commands pass, in `runtime_api.rs`; those of processes and sockets in
//! `processes.rs` and `sockets.rs`.

mod always;
mod desired;
mod files;
mod isolation;
mod removal;
mod rest;

use std::collections::BTreeMap;

use proxymgr_actors::snapshot::ActorState;

pub(super) use self::isolation::Calm;
use super::domains::Holders;
use super::invariant::{Invariant, Violation};
use super::world::World;

/// What was seen at earlier looks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The revision of each service, by manager and life.
    revisions: BTreeMap<(u64, u64, String), u64>,
    journal: BTreeMap<u64, u64>,
    holders: Holders,
}

fn ensure(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

impl World {
    /// Looks at what must hold at every moment. Returns the state that every actor reports.
    pub(super) async fn look(&self, memory: &mut Memory) -> Vec<ActorState> {
        // What was delivered at this very instant arrives before the second question.
        let _ = self.states().await;
        let states = self.states().await;
        let found = match &states {
            Ok(states) => self.with(|things| things.always(states, memory)),
            Err(error) => Err(Violation { invariant: Invariant::ActorsLive, what: error.clone() }),
        };
        if let Err(violation) = found {
            self.violate(violation.invariant, violation.what);
        }
        states.unwrap_or_default()
    }

    /// Whether HAProxy has converged to discovery, and nothing is left to do.
    ///
    /// # Errors
    /// What is not so, with the invariant that promises it.
    pub async fn at_rest(&self) -> Result<(), Violation> {
        let states = self.states().await.map_err(|what| Violation { invariant: Invariant::ActorsLive, what })?;
        self.with(|things| things.rests(&states))
    }
}
