//! What a guard may let pass, by the rules that the README promises; worked out from the whole history, in another way
//! than in the actors.

use proxymgr_actors::decide::guard::GuardMemory;
use proxymgr_actors::limits::GUARD_WINDOW;
use tokio::time::{Duration, Instant};

use super::truth::Limits;

/// Everything that a guard has let pass lately.
#[derive(Debug, Default)]
pub(super) struct GuardModel {
    /// How many entries were in service from when on, the newest last.
    sizes: Vec<(Instant, usize)>,
    /// While a list is blocked: the most entries within the window when it was, and before.
    kept: Option<usize>,
    /// So many entries count as in service until then: the change that was blocked has ended, or another manager saw them.
    until: Option<(usize, Instant)>,
    /// So many entries may be missing whatever their share is.
    always_removable: usize,
}

impl GuardModel {
    /// The guard of the definitions, of which one may always go.
    pub(super) fn of_services() -> Self {
        Self { always_removable: 1, ..Self::default() }
    }

    /// The same guard in a manager that starts, with so many entries in service.
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

    /// Whether a list that leaves so many entries may pass.
    pub(super) fn allows(&self, remaining: usize, limits: Limits) -> bool {
        self.allows_after(remaining, limits, self.largest())
    }

    /// Whether it might pass if only the list before it counted.
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

    /// A list that passes is in service.
    pub(super) fn passed(&mut self, entries: usize) {
        let now = Instant::now();
        if let Some(kept) = self.kept.take() {
            self.until = Some((kept, now + GUARD_WINDOW));
        }
        self.sizes.push((now, entries));
        // The one before the first that counts was in service until then.
        let old = self.sizes.partition_point(|(from, _)| *from + GUARD_WINDOW < now).saturating_sub(1);
        self.sizes.drain(..old);
    }

    /// A list does not pass.
    pub(super) fn blocked(&mut self) {
        self.kept = Some(self.largest());
    }

    /// An operator accepted the list that was blocked: nothing before it counts any more.
    pub(super) fn accepted(&mut self, entries: usize) {
        let always_removable = self.always_removable;
        *self = Self { sizes: vec![(Instant::now(), entries)], always_removable, ..Self::default() };
    }

    /// The most entries that count.
    fn largest(&self) -> usize {
        let now = Instant::now();
        let ends = self.sizes.iter().skip(1).map(|(from, _)| *from).chain([now]);
        let within = self.sizes.iter().zip(ends).filter(|(_, end)| *end + GUARD_WINDOW >= now);
        let in_window = within.map(|((_, entries), _)| *entries);
        let until = self.until.filter(|(_, until)| *until >= now).map(|(entries, _)| entries);
        in_window.chain(until).chain(self.kept).max().unwrap_or_default()
    }
}
