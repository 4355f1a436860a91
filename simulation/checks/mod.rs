//! Checks actors and world together: invariants that must hold at every moment, and those that must hold at rest.
//!
//! | file | invariants |
//! | --- | --- |
//! | `always.rs` | actors live, revisions grow, bounds hold, mailboxes are read |
//! | `rest.rs` | HAProxy, its sockets and its processes have converged |
//! | `files.rs` | haproxy.cfg and the saved state follow |
//! | `removal.rs` | a removed host gets no requests, regardless of other work |
//! | `isolation.rs` | a valid service is served, however many others are refused |
//! | `desired.rs` | no invariant: the desired state, for the other files |
//!
//! The invariants of single commands are checked in `runtime_api.rs`, those of processes and sockets in `processes.rs`
//! and `sockets.rs`.

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

/// Results of earlier checks.
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
    /// Checks the invariants that must hold at every moment. Returns the state that every actor reports.
    pub(super) async fn look(&self, memory: &mut Memory) -> Vec<ActorState> {
        // Messages of this instant arrive before the second query.
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

    /// Checks that HAProxy has converged to discovery and no work is left.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub async fn at_rest(&self) -> Result<(), Violation> {
        let states = self.states().await.map_err(|what| Violation { invariant: Invariant::ActorsLive, what })?;
        self.with(|things| things.rests(&states))
    }
}
