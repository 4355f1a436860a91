//! What a guard may let pass, by the documented rules; computed from the whole history, unlike in the actors.

use proxymgr_actors::decide::guard::GuardMemory;
use proxymgr_actors::limits::GUARD_WINDOW;
use proxymgr_actors::model::AdminState;
use tokio::time::{Duration, Instant};

use super::hosts::Hosts;
use super::truth::Limits;

/// Smallest number of hosts for which a service without a share of its own has one, and that percentage.
const DEFAULT_FROM: usize = 4;
const DEFAULT_PERCENT: u8 = 50;

/// A list as its guard sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Entries that serve.
    serving: usize,
    /// Entries that served before and are listed without serving.
    disabled: usize,
    /// Entries that were listed without serving before, and serve.
    enabled: usize,
}

impl Seen {
    /// A list of services: all serve.
    pub(super) fn services(count: usize) -> Self {
        Self { serving: count, disabled: 0, enabled: 0 }
    }

    /// A list of hosts after another.
    pub(super) fn hosts(list: &Hosts, before: Option<&Hosts>) -> Self {
        let state = |hosts: Option<&Hosts>, host| hosts.and_then(|hosts| hosts.get(host)).map(|shown| shown.state);
        let now = |host| state(Some(list), host) == Some(AdminState::Ready);
        let changed = |from: bool| {
            let was = move |host: &u8| state(before, *host).is_some_and(|state| (state == AdminState::Ready) == from);
            list.numbers().iter().filter(was).filter(|host| now(*host) != from).count()
        };
        Self { serving: list.ready(), disabled: changed(true), enabled: changed(false) }
    }

    /// The list as a guard sees it that counts every listed host, for the planted bug.
    pub(super) fn listed(list: &Hosts) -> Self {
        Self::services(list.len())
    }
}

/// Recent history of a guard.
#[derive(Debug, Default)]
pub(super) struct GuardModel {
    /// Number of entries that served, with the time from which on; the newest last. Entries that are disabled later are
    /// taken from all of them.
    sizes: Vec<(Instant, i64)>,
    /// Number of entries that are disabled and were not enabled since.
    disabled: i64,
    /// While a list is blocked: the most entries within the window at that time.
    kept: Option<i64>,
    /// Number of entries that count as in service until this time: a blocked change has ended, or an earlier manager
    /// saw them.
    until: Option<(i64, Instant)>,
    /// Number of entries that may be missing regardless of their share, unless none remains.
    always_removable: i64,
}

impl GuardModel {
    /// Creates the guard of the definitions, of which one may always be removed.
    pub(super) fn of_services() -> Self {
        Self { always_removable: 1, ..Self::default() }
    }

    /// Returns the guard of a restarted manager with this number of entries that serve.
    pub(super) fn restored<L>(mut self, serving: usize, memory: &GuardMemory<L>, unix_ms: u64) -> Self {
        let now = Instant::now();
        let known = memory.baseline.filter(|baseline| {
            let age = baseline.until_unix_ms.map_or(0, |until| unix_ms.saturating_sub(until));
            Duration::from_millis(age) <= GUARD_WINDOW
        });
        let until = known.map(|baseline| (signed(baseline.entries), now + GUARD_WINDOW));
        (self.sizes, self.until) = (vec![(now, signed(serving))], until);
        self.kept = memory.rejected.as_ref().map(|_| self.largest());
        self
    }

    /// Returns whether this list may pass.
    pub(super) fn allows(&self, list: Seen, limits: Limits) -> bool {
        self.allows_after(list, limits, self.largest())
    }

    /// Returns whether it would pass if only the previous list counted.
    pub(super) fn allows_alone(&self, list: Seen, limits: Limits) -> bool {
        self.sizes.last().is_none_or(|(_, serving)| self.allows_after(list, limits, *serving))
    }

    fn allows_after(&self, list: Seen, limits: Limits, largest: i64) -> bool {
        let Some((_, serving)) = self.sizes.last() else { return true };
        let remaining = signed(list.serving + list.disabled);
        let missing = (largest - remaining).max(0);
        let percent = limits.max_removal_percent.unwrap_or(match largest < signed(DEFAULT_FROM) {
            true => 100,
            false => DEFAULT_PERCENT,
        });
        let is_one_of_several = missing <= self.always_removable && remaining > 0;
        let may_be_missing = missing * 100 <= i64::from(percent) * largest || is_one_of_several;
        remaining >= *serving || (remaining >= i64::from(limits.min_hosts) && may_be_missing)
    }

    /// Notes that a list passed and is in service.
    pub(super) fn passed(&mut self, list: Seen) {
        let now = Instant::now();
        if let Some(kept) = self.kept.take() {
            self.until = Some((kept, now + GUARD_WINDOW));
        }
        let enabled = signed(list.enabled).min(self.disabled);
        let taken = signed(list.disabled) - enabled;
        self.disabled += taken;
        self.sizes.iter_mut().for_each(|(_, size)| *size -= taken);
        self.until.iter_mut().for_each(|(size, _)| *size -= taken);
        self.sizes.push((now, signed(list.serving)));
        // The last list before the window was in service until the window began.
        let old = self.sizes.partition_point(|(from, _)| *from + GUARD_WINDOW < now).saturating_sub(1);
        self.sizes.drain(..old);
    }

    /// Notes that a list was blocked.
    pub(super) fn blocked(&mut self) {
        self.kept = Some(self.largest());
    }

    /// Notes that an operator accepted the blocked list: earlier lists no longer count.
    pub(super) fn accepted(&mut self, list: Seen) {
        let always_removable = self.always_removable;
        let sizes = vec![(Instant::now(), signed(list.serving))];
        *self = Self { sizes, always_removable, ..Self::default() };
    }

    /// Returns the largest number of entries that counts.
    fn largest(&self) -> i64 {
        let now = Instant::now();
        let ends = self.sizes.iter().skip(1).map(|(from, _)| *from).chain([now]);
        let within = self.sizes.iter().zip(ends).filter(|(_, end)| *end + GUARD_WINDOW >= now);
        let in_window = within.map(|((_, entries), _)| *entries);
        let until = self.until.filter(|(_, until)| *until >= now).map(|(entries, _)| entries);
        in_window.chain(until).chain(self.kept).max().unwrap_or_default()
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
