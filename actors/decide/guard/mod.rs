//! Whether a new list of hosts or definitions may replace the one in service. Discovery that empties (a restart, an
//! ACL, sessions that expire one by one) looks just like hosts that leave; the guard tells the two apart by how much
//! is lost within a window of time.
//!
//! | question | where |
//! | --- | --- |
//! | which lists are too small? | `limits` |
//! | how much was in service within the window? | `window` |
//! | what does a restarted daemon need to know? | `memory` |
//! | what is blocked, and what did an operator decide? | here |

mod limits;
mod memory;
#[cfg(test)]
mod properties;
#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a point from which the moments of a test are counted")]
mod tests;
#[cfg(test)]
mod traces;
mod window;

pub use limits::{BlockReason, GuardLimits, Subject};
pub use memory::{Baseline, GuardMemory, RejectedList};
use window::CapacityWindow;

use crate::model::{BlockedChange, Moment};

/// A list that a guard can block.
pub trait GuardedList {
    /// Whether the other list shows the same, so that an operator's decision about one holds for the other.
    fn shows_the_same(&self, other: &Self) -> bool;
}

/// The guard over the hosts of one service, or over all definitions.
///
/// The baseline is the largest capacity in service within the window. While a change is blocked the baseline stays,
/// until the source shows a list that passes or an operator accepts one.
#[derive(Debug)]
pub struct Guard<L> {
    window: CapacityWindow,
    standing: Standing<L>,
}

/// What became of the newest list of the source.
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
    /// The capacity that further lists are compared with.
    baseline: usize,
}

/// What the guard did with a list that breaks its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// It is the first one that is blocked.
    Began,
    /// It takes the place of the pending one.
    Updated,
    /// It is the one that an operator rejected.
    StaysRejected,
}

/// What a list that passes put an end to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A pending change: the source recovered.
    Pending,
    /// A rejected change.
    Rejected,
}

/// Why an operator's decision was refused: nothing is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NothingBlocked;

/// What an operator's rejection did.
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
    /// The guard of an earlier run of the daemon, with `in_service` entries in service now. `change` completes a
    /// rejected list that was saved without one.
    pub fn restored(
        memory: GuardMemory<L>,
        in_service: Option<usize>,
        limits: &GuardLimits,
        now: Moment,
        change: impl FnOnce(&L) -> BlockedChange,
    ) -> Self {
        let GuardMemory { rejected, baseline } = memory;
        let mut window = CapacityWindow::default();
        if let Some(in_service) = in_service {
            window.record(in_service, now, limits.window);
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

    /// Whether a list may replace the one in service, of which it would leave `remaining` entries.
    ///
    /// # Errors
    /// The limit that it breaks.
    pub fn check(&self, remaining: usize, limits: &GuardLimits, now: Moment) -> Result<(), BlockReason> {
        let Some(in_service) = self.window.in_service() else { return Ok(()) };
        limits.check(remaining, in_service, self.baseline(limits, now))
    }

    /// A list that passes the check is in service with this many entries. Returns what it put an end to.
    pub fn passed(&mut self, entries: usize, limits: &GuardLimits, now: Moment) -> Option<Ended> {
        let ended = match std::mem::replace(&mut self.standing, Standing::Open) {
            Standing::Open => None,
            Standing::Pending(blocked) => Some((Ended::Pending, blocked.baseline)),
            Standing::Rejected(blocked) => Some((Ended::Rejected, blocked.baseline)),
        };
        if let Some((_, baseline)) = ended {
            // The baseline counts for one window more: what recovered only to the limit may not fall again at once.
            self.window.renew(baseline, now);
        }
        self.window.record(entries, now, limits.window);
        ended.map(|(ended, _)| ended)
    }

    /// The list in service has this many entries now, without a new list of the source.
    pub fn recount(&mut self, entries: usize, limits: &GuardLimits, now: Moment) {
        if self.window.in_service().is_some() {
            self.window.record(entries, now, limits.window);
        }
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

    /// An operator accepts the blocked list, rejected before or not. It becomes the new baseline once it
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

    /// An operator rejects the blocked list: it stays out of service until the source shows another one.
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

    /// The change that waits for an operator's decision.
    pub fn pending(&self) -> Option<&BlockedChange> {
        match &self.standing {
            Standing::Pending(blocked) => Some(&blocked.change),
            _ => None,
        }
    }

    /// The change that an operator rejected.
    pub fn rejected(&self) -> Option<&BlockedChange> {
        match &self.standing {
            Standing::Rejected(blocked) => Some(&blocked.change),
            _ => None,
        }
    }

    /// What the guard of a restarted daemon needs to know; `share` makes a list ready to be saved.
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

    /// The capacity that a list is compared with.
    fn baseline(&self, limits: &GuardLimits, now: Moment) -> usize {
        let in_window = self.window.baseline(now, limits.window);
        match &self.standing {
            Standing::Open => in_window,
            Standing::Pending(blocked) | Standing::Rejected(blocked) => blocked.baseline.max(in_window),
        }
    }
}
