//! The guard: decides whether a new list of hosts or definitions may replace the one in service. A failing discovery (a
//! restart, an ACL, sessions that expire one by one) looks like hosts that leave. The guard blocks a change that
//! removes too many entries within a window of time.
//!
//! | question | where |
//! | --- | --- |
//! | which lists are too small? | `limits` |
//! | which entries are capacity? | `capacity` |
//! | what was the capacity within the window? | `window` |
//! | what does a restarted daemon need to know? | `memory` |
//! | what is blocked, and what did an operator decide? | this module |

mod capacity;
mod limits;
mod memory;
#[cfg(test)]
mod properties;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a point from which the moments of a test are counted")]
mod tests;
#[cfg(test)]
mod traces;
mod window;

pub use capacity::Capacity;
pub use limits::{BlockReason, GuardLimits, Subject};
pub use memory::{Baseline, GuardMemory, RejectedList};
use window::CapacityWindow;

use crate::model::{BlockedChange, Moment};

/// A list that a guard can block.
pub trait GuardedList {
    /// Returns whether both lists are equal for an operator's decision, so that it applies to both.
    fn shows_the_same(&self, other: &Self) -> bool;
}

/// The guard of the hosts of one service, or of all definitions.
///
/// The baseline is the largest serving capacity within the window. A blocked change keeps the baseline until the
/// source returns a list that passes, or an operator accepts one.
#[derive(Debug)]
pub struct Guard<L> {
    window: CapacityWindow,
    standing: Standing<L>,
}

/// The decision about the newest list of the source.
#[derive(Debug)]
enum Standing<L> {
    /// It is in service.
    Open,
    /// It is blocked and waits for an operator, or for the source to recover.
    Pending(Blocked<L>),
    /// It is blocked, and an operator rejected it.
    Rejected(Blocked<L>),
}

/// A blocked list.
#[derive(Debug)]
struct Blocked<L> {
    list: L,
    change: BlockedChange,
    /// The baseline for further lists.
    baseline: usize,
}

/// The result of blocking a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// It is the first blocked list.
    Began,
    /// It replaces the pending list.
    Updated,
    /// It equals the list that an operator rejected.
    StaysRejected,
}

/// The blocked change that a passing list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A pending change: the source recovered.
    Pending,
    /// A rejected change.
    Rejected,
}

/// The error for an operator's decision while nothing is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NothingBlocked;

/// The result of an operator's rejection.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejection<'a> {
    /// The pending change is rejected.
    Rejected(&'a BlockedChange),
    /// It was rejected before; nothing changed.
    AlreadyRejected(&'a BlockedChange),
}

impl<L> Default for Guard<L> {
    fn default() -> Self {
        Self { window: CapacityWindow::default(), standing: Standing::Open }
    }
}

impl<L: GuardedList> Guard<L> {
    /// Restores the guard of an earlier run of the daemon, with `serving` entries in service now. `change` completes a
    /// rejected list that was saved without one.
    pub fn restored(
        memory: GuardMemory<L>,
        serving: Option<usize>,
        limits: &GuardLimits,
        now: Moment,
        change: impl FnOnce(&L) -> BlockedChange,
    ) -> Self {
        let GuardMemory { rejected, baseline } = memory;
        let mut window = CapacityWindow::default();
        if let Some(serving) = serving {
            window.record(Capacity::serving(serving), now, limits.window);
        }
        if let Some(baseline) = baseline {
            baseline.enter_into(&mut window, limits.window, now);
        }
        let baseline = window.baseline(now, limits.window);
        let standing = match rejected {
            Some(RejectedList { list, change: saved }) => {
                let change = saved.unwrap_or_else(|| change(&list));
                Standing::Rejected(Blocked { list, change, baseline })
            }
            None => Standing::Open,
        };
        Self { window, standing }
    }

    /// Checks whether a list with this capacity may replace the one in service.
    ///
    /// # Errors
    /// The limit that it breaks.
    pub fn check(&self, list: Capacity, limits: &GuardLimits, now: Moment) -> Result<(), BlockReason> {
        let Some(in_service) = self.window.serving() else { return Ok(()) };
        limits.check(list.remaining(), in_service, self.baseline(limits, now))
    }

    /// Records that a list that passed the check is in service, with this capacity. Returns the blocked change that it
    /// ended.
    pub fn passed(&mut self, list: Capacity, limits: &GuardLimits, now: Moment) -> Option<Ended> {
        let ended = match std::mem::replace(&mut self.standing, Standing::Open) {
            Standing::Open => None,
            Standing::Pending(blocked) => Some((Ended::Pending, blocked.baseline)),
            Standing::Rejected(blocked) => Some((Ended::Rejected, blocked.baseline)),
        };
        if let Some((_, baseline)) = ended {
            // The baseline stays for one more window: a list that recovered only to the limit must not shrink again at
            // once.
            self.window.renew(baseline, now);
        }
        self.window.record(list, now, limits.window);
        ended.map(|(ended, _)| ended)
    }

    /// Returns the number of serving entries; 0 before the first list.
    pub fn serving(&self) -> usize {
        self.window.serving().unwrap_or_default()
    }

    /// Records a new number of serving entries, without a new list of the source.
    pub fn recount(&mut self, serving: usize, limits: &GuardLimits, now: Moment) {
        if self.window.serving().is_some() {
            self.window.record(Capacity::serving(serving), now, limits.window);
        }
    }

    /// Returns whether an operator rejected this list.
    pub fn has_rejected(&self, list: &L) -> bool {
        matches!(&self.standing, Standing::Rejected(rejected) if rejected.list.shows_the_same(list))
    }

    /// Blocks a list that does not pass the check.
    pub fn block(&mut self, list: L, change: BlockedChange, limits: &GuardLimits, now: Moment) -> Blocking {
        let baseline = self.baseline(limits, now);
        let (standing, blocking) = match std::mem::replace(&mut self.standing, Standing::Open) {
            Standing::Rejected(rejected) if rejected.list.shows_the_same(&list) => {
                (Standing::Rejected(Blocked { list, ..rejected }), Blocking::StaysRejected)
            }
            Standing::Pending(pending) => {
                let change = BlockedChange { since_unix_ms: pending.change.since_unix_ms, ..change };
                (Standing::Pending(Blocked { list, change, baseline }), Blocking::Updated)
            }
            Standing::Open | Standing::Rejected(_) => {
                (Standing::Pending(Blocked { list, change, baseline }), Blocking::Began)
            }
        };
        self.standing = standing;
        blocking
    }

    /// Accepts the blocked list for an operator, even if it was rejected before. It becomes the new baseline once it
    /// [`passed`](Self::passed).
    ///
    /// # Errors
    /// Nothing is blocked.
    pub fn accept(&mut self) -> Result<(L, BlockedChange), NothingBlocked> {
        match std::mem::replace(&mut self.standing, Standing::Open) {
            Standing::Open => Err(NothingBlocked),
            Standing::Pending(blocked) | Standing::Rejected(blocked) => {
                self.window = CapacityWindow::default();
                Ok((blocked.list, blocked.change))
            }
        }
    }

    /// Rejects the blocked list for an operator: it stays out of service until the source returns another one.
    ///
    /// # Errors
    /// Nothing is blocked.
    pub fn reject(&mut self) -> Result<Rejection<'_>, NothingBlocked> {
        let was_rejected = matches!(self.standing, Standing::Rejected(_));
        self.standing = match std::mem::replace(&mut self.standing, Standing::Open) {
            Standing::Pending(blocked) => Standing::Rejected(blocked),
            standing => standing,
        };
        let change = self.rejected().ok_or(NothingBlocked)?;
        Ok(if was_rejected { Rejection::AlreadyRejected(change) } else { Rejection::Rejected(change) })
    }

    /// Returns the change that waits for an operator's decision.
    pub fn pending(&self) -> Option<&BlockedChange> {
        match &self.standing {
            Standing::Pending(blocked) => Some(&blocked.change),
            _ => None,
        }
    }

    /// Returns the change that an operator rejected.
    pub fn rejected(&self) -> Option<&BlockedChange> {
        match &self.standing {
            Standing::Rejected(blocked) => Some(&blocked.change),
            _ => None,
        }
    }

    /// Returns the state to save for a restart; `share` converts a list to its saved form.
    pub fn memory<S>(&self, limits: &GuardLimits, now: Moment, share: impl FnOnce(&L) -> S) -> GuardMemory<S> {
        let rejected = match &self.standing {
            Standing::Rejected(blocked) => {
                Some(RejectedList { list: share(&blocked.list), change: Some(blocked.change.clone()) })
            }
            _ => None,
        };
        let baseline = match &self.standing {
            Standing::Open => Baseline::of_window(&self.window, limits.window, now),
            Standing::Pending(blocked) | Standing::Rejected(blocked) => Some(Baseline::kept(blocked.baseline)),
        };
        GuardMemory { rejected, baseline: baseline.filter(|_| limits.needs_baseline()) }
    }

    /// Returns the baseline that a list is compared with.
    fn baseline(&self, limits: &GuardLimits, now: Moment) -> usize {
        let in_window = self.window.baseline(now, limits.window);
        match &self.standing {
            Standing::Open => in_window,
            Standing::Pending(blocked) | Standing::Rejected(blocked) => blocked.baseline.max(in_window),
        }
    }
}
