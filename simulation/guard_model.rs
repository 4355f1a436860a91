//! What a guard may let pass, by the documented rules; computed from the whole history, unlike in the actors.

use proxymgr_actors::decide::guard::GuardMemory;
use proxymgr_actors::limits::GUARD_WINDOW;
use tokio::time::{Duration, Instant};

use super::truth::Limits;

/// Recent history of a guard.
#[derive(Debug, Default)]
pub(super) struct GuardModel {
    /// Number of entries in service, with the time from which on; the newest last.
    sizes: Vec<(Instant, usize)>,
    /// While a list is blocked: the most entries within the window at that time.
    kept: Option<usize>,
    /// Number of entries that count as in service until this time: a blocked change has ended, or an earlier manager
    /// saw them.
    until: Option<(usize, Instant)>,
    /// Number of entries that may be missing regardless of their share.
    always_removable: usize,
}

impl GuardModel {
    /// Creates the guard of the definitions, of which one may always be removed.
    pub(super) fn of_services() -> Self {
        Self { always_removable: 1, ..Self::default() }
    }

    /// Returns the guard of a restarted manager with this number of entries in service.
    pub(super) fn restored<L>(mut self, in_service: usize, memory: &GuardMemory<L>, unix_ms: u64) -> Self {
        let now = Instant::now();
        let known = memory.baseline.filter(|baseline| {
            let age = baseline.until_unix_ms.map_or(0, |until| unix_ms.saturating_sub(until));
            Duration::from_millis(age) <= GUARD_WINDOW
        });
        let until = known.map(|baseline| (baseline.entries, now + GUARD_WINDOW));
        (self.sizes, self.until) = (vec![(now, in_service)], until);
        self.kept = memory.rejected.as_ref().map(|_| self.largest());
        self
    }

    /// Returns whether a list with this number of entries may pass.
    pub(super) fn allows(&self, remaining: usize, limits: Limits) -> bool {
        self.allows_after(remaining, limits, self.largest())
    }

    /// Returns whether it would pass if only the previous list counted.
    pub(super) fn allows_alone(&self, remaining: usize, limits: Limits) -> bool {
        self.sizes.last().is_none_or(|(_, in_service)| self.allows_after(remaining, limits, *in_service))
    }

    fn allows_after(&self, remaining: usize, limits: Limits, largest: usize) -> bool {
        let Some((_, in_service)) = self.sizes.last() else { return true };
        let missing = largest.saturating_sub(remaining);
        let may_be_missing =
            missing * 100 <= usize::from(limits.max_removal_percent) * largest || missing <= self.always_removable;
        remaining >= *in_service || (remaining >= usize::from(limits.min_hosts) && may_be_missing)
    }

    /// Notes that a list passed and is in service.
    pub(super) fn passed(&mut self, entries: usize) {
        let now = Instant::now();
        if let Some(kept) = self.kept.take() {
            self.until = Some((kept, now + GUARD_WINDOW));
        }
        self.sizes.push((now, entries));
        // The last list before the window was in service until the window began.
        let old = self.sizes.partition_point(|(from, _)| *from + GUARD_WINDOW < now).saturating_sub(1);
        self.sizes.drain(..old);
    }

    /// Notes that a list was blocked.
    pub(super) fn blocked(&mut self) {
        self.kept = Some(self.largest());
    }

    /// Notes that an operator accepted the blocked list: earlier lists no longer count.
    pub(super) fn accepted(&mut self, entries: usize) {
        let always_removable = self.always_removable;
        *self = Self { sizes: vec![(Instant::now(), entries)], always_removable, ..Self::default() };
    }

    /// Returns the largest number of entries that counts.
    fn largest(&self) -> usize {
        let now = Instant::now();
        let ends = self.sizes.iter().skip(1).map(|(from, _)| *from).chain([now]);
        let within = self.sizes.iter().zip(ends).filter(|(_, end)| *end + GUARD_WINDOW >= now);
        let in_window = within.map(|((_, entries), _)| *entries);
        let until = self.until.filter(|(_, until)| *until >= now).map(|(entries, _)| entries);
        in_window.chain(until).chain(self.kept).max().unwrap_or_default()
    }
}
