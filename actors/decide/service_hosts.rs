//! The hosts of one service: the list in service, and the handling of each list from its source.

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a point from which the moments of a test are counted")]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::flapping::Flapping;
use super::guard::{
    BlockReason, Blocking, Capacity, Ended, Guard, GuardLimits, GuardMemory, GuardedList, NothingBlocked, Rejection,
};
use super::host_list::{Assembled, Followed, GoodEntries, GoodEntry, assemble, follow};
use super::hosts_diff::HostsDiff;
use crate::model::{AdminState, BlockedChange, Endpoint, Host, HostList, Moment, NameSample, SeenHost, ServerName};

/// The hosts of one service.
#[derive(Debug, Default)]
pub struct ServiceHosts {
    /// `None` before the first list.
    in_service: Option<Arc<HostList>>,
    /// Whether hosts of an earlier run are in service that the source has not confirmed.
    is_from_saved_state: bool,
    confirmed_unix_ms: Option<u64>,
    /// Since when the list in service has no hosts.
    empty_since_unix_ms: Option<u64>,
    entries: GoodEntries,
    problems: BTreeMap<String, String>,
    flapping: Flapping,
    guard: Guard<ShownHosts>,
}

/// A list from the source.
#[derive(Debug)]
struct ShownHosts {
    hosts: Arc<HostList>,
    /// The last good host of each entry.
    entries: GoodEntries,
    /// Whether it contains hosts of an earlier run because an entry is invalid now.
    is_unsure: bool,
}

impl GuardedList for ShownHosts {
    fn shows_the_same(&self, other: &Self) -> bool {
        self.hosts == other.hosts
    }
}

/// The changes by a list of the source.
#[derive(Debug, Default, PartialEq)]
pub struct Shown {
    /// The differences from the previous list in service; `None` where they are the same.
    pub diff: Option<HostsDiff>,
    /// New problems, by entry.
    pub new_problems: Vec<(String, String)>,
    /// The change of the guard's state.
    pub guard: Option<GuardNews>,
}

/// A change of the guard's state.
#[derive(Debug, Clone, PartialEq)]
pub enum GuardNews {
    /// A change is blocked.
    Blocked(BlockReason),
    /// The source returned a list that passes: nothing is pending any longer.
    Recovered,
    /// The source returned another list than the rejected one.
    RejectionEnded,
}

impl ServiceHosts {
    /// Restores the hosts that an earlier run of the daemon saved, if any, with the time of their confirmation.
    pub fn restored(
        in_service: Option<Arc<HostList>>,
        confirmed_unix_ms: Option<u64>,
        memory: GuardMemory<Arc<HostList>>,
        limits: &GuardLimits,
        now: Moment,
    ) -> Self {
        let shown = |hosts| ShownHosts { hosts, entries: GoodEntries::new(), is_unsure: true };
        let change = |shown: &ShownHosts| {
            let diff = difference(in_service.as_deref(), &shown.hosts);
            blocked_change(&shown.hosts, &diff, "an operator rejected it earlier".to_owned(), now)
        };
        let guard = Guard::restored(memory.map(shown), in_service.as_deref().map(serving), limits, now, change);
        Self {
            is_from_saved_state: in_service.is_some(),
            empty_since_unix_ms: in_service.as_ref().filter(|hosts| hosts.is_empty()).map(|_| now.unix_ms),
            confirmed_unix_ms: confirmed_unix_ms.filter(|_| in_service.is_some()),
            in_service,
            guard,
            ..Self::default()
        }
    }

    /// Has hosts that flap served like all others.
    pub fn undamped(mut self) -> Self {
        self.flapping = Flapping::off();
        self
    }

    /// Returns the list in service; `None` before the first.
    pub fn in_service(&self) -> Option<&Arc<HostList>> {
        self.in_service.as_ref()
    }

    /// Returns whether the list in service comes from an earlier run and has not been confirmed since.
    pub fn is_from_saved_state(&self) -> bool {
        self.is_from_saved_state
    }

    /// Returns when the source last returned the list in service, in milliseconds since 1970.
    pub fn confirmed_unix_ms(&self) -> Option<u64> {
        self.confirmed_unix_ms
    }

    /// Returns since when the list in service has no hosts, in milliseconds since 1970; `None` where it has some.
    pub fn empty_since_unix_ms(&self) -> Option<u64> {
        self.empty_since_unix_ms
    }

    /// Returns the problems of the source, by entry.
    pub fn problems(&self) -> &BTreeMap<String, String> {
        &self.problems
    }

    /// Returns after which time a host that is kept out returns to service, if it stays in the list.
    pub fn next_return(&self, now: Moment) -> Option<Duration> {
        self.flapping.next_return(now)
    }

    /// Returns the change that waits for an operator's decision.
    pub fn pending(&self) -> Option<&BlockedChange> {
        self.guard.pending()
    }

    /// Returns the change that an operator rejected.
    pub fn rejected(&self) -> Option<&BlockedChange> {
        self.guard.rejected()
    }

    /// Returns the guard's state to save for a restart.
    pub fn guard_memory(&self, limits: &GuardLimits, now: Moment) -> GuardMemory<Arc<HostList>> {
        self.guard.memory(limits, now, |shown| shown.hosts.clone())
    }

    /// Handles a list of the source.
    pub fn show(&mut self, seen: &[SeenHost], limits: &GuardLimits, now: Moment) -> Shown {
        let followed = self.follow(seen, limits, now);
        let is_listed = |followed: &Followed, name: &ServerName| followed.hosts.contains_key(name);
        let flaps = followed
            .as_ref()
            .map(|followed| self.flapping.listed(&followed.diff, |name| is_listed(followed, name), now));
        if let Some(followed) = followed.filter(|_| flaps == Some(false)) {
            self.problems.clear();
            let guard = self.passed(self.capacity(&followed.hosts, &followed.diff), limits, now);
            let diff = self.put_in_service(followed.hosts.clone(), followed.diff.clone(), now);
            followed.enter_into(&mut self.entries);
            return Shown { diff, guard, new_problems: Vec::new() };
        }
        let (mut shown, mut problems) = self.assemble(seen);
        let mut diff = difference(self.in_service.as_deref(), &shown.hosts);
        let listed = &shown.hosts;
        if flaps.unwrap_or_else(|| self.flapping.listed(&diff, |name| listed.contains_key(name), now)) {
            self.flapping.keep_out(Arc::make_mut(&mut shown.hosts), limits.min_entries);
            diff = difference(self.in_service.as_deref(), &shown.hosts);
        }
        problems.extend(self.flapping.problems().map(|(name, problem)| (name.to_string(), problem)));
        let new_problems = self.take_problems(problems);
        let capacity = self.capacity(&shown.hosts, &diff);
        match self.guard.check(capacity, limits, now) {
            Ok(()) => {
                let guard = self.passed(capacity, limits, now);
                Shown { diff: self.serve(shown, diff, now), new_problems, guard }
            }
            Err(reason) => {
                let change = blocked_change(&shown.hosts, &diff, reason.to_string(), now);
                let began = self.guard.block(shown, change, limits, now) == Blocking::Began;
                Shown { diff: None, new_problems, guard: began.then_some(GuardNews::Blocked(reason)) }
            }
        }
    }

    /// Accepts the blocked list for an operator. Returns the change, and its differences from the list in service.
    ///
    /// # Errors
    /// Nothing is blocked.
    pub fn accept(
        &mut self,
        limits: &GuardLimits,
        now: Moment,
    ) -> Result<(BlockedChange, Option<HostsDiff>), NothingBlocked> {
        let (shown, change) = self.guard.accept()?;
        self.guard.passed(Capacity::serving(serving(&shown.hosts)), limits, now);
        let diff = difference(self.in_service.as_deref(), &shown.hosts);
        Ok((change, self.serve(shown, diff, now)))
    }

    /// Rejects the blocked list for an operator.
    ///
    /// # Errors
    /// Nothing is blocked.
    pub fn reject(&mut self) -> Result<Rejection<'_>, NothingBlocked> {
        self.guard.reject()
    }

    /// Returns the incremental result of the list, where that is possible and the guard lets it pass.
    fn follow(&self, seen: &[SeenHost], limits: &GuardLimits, now: Moment) -> Option<Followed> {
        let in_service = self.in_service.as_ref().filter(|_| !self.is_from_saved_state)?;
        let followed = follow(seen, &self.entries, in_service)?;
        let capacity = self.capacity(&followed.hosts, &followed.diff);
        let passes = self.guard.check(capacity, limits, now).is_ok();
        passes.then_some(followed)
    }

    fn assemble(&self, seen: &[SeenHost]) -> (ShownHosts, BTreeMap<String, String>) {
        let Assembled { mut hosts, good_entries, problems } = assemble(seen, &self.entries);
        // The entries of saved hosts are unknown: each that had no good one since may belong to the invalid entry.
        let is_unsure = self.is_from_saved_state
            && seen.iter().any(|entry| entry.record.is_err() && !good_entries.contains_key(&entry.key));
        if is_unsure && let Some(saved) = &self.in_service {
            let known: BTreeSet<&Endpoint> = self.entries.values().map(GoodEntry::endpoint).collect();
            for (name, host) in saved.iter().filter(|(_, host)| !known.contains(&host.endpoint)) {
                hosts.entry(name.clone()).or_insert_with(|| host.clone());
            }
        }
        (ShownHosts { hosts: Arc::new(hosts), entries: good_entries, is_unsure }, problems)
    }

    fn take_problems(&mut self, problems: BTreeMap<String, String>) -> Vec<(String, String)> {
        let before = std::mem::replace(&mut self.problems, problems);
        let is_new = |(entry, problem): &(&String, &String)| before.get(*entry) != Some(problem);
        self.problems.iter().filter(is_new).map(|(entry, problem)| (entry.clone(), problem.clone())).collect()
    }

    /// Returns the capacity of a list, from its differences to the one in service.
    fn capacity(&self, hosts: &HostList, diff: &HostsDiff) -> Capacity {
        let in_service = self.in_service.as_deref();
        let was_ready = |name: &&ServerName| in_service.and_then(|hosts| hosts.get(*name)).is_some_and(is_ready);
        let becomes_ready = |name: &&ServerName| hosts.get(*name).is_some_and(is_ready);
        let added = diff.added.iter().filter(becomes_ready).count();
        let removed = diff.removed.iter().filter(was_ready).count();
        let taken_out = diff.changed.iter().filter(|name| was_ready(name) && !becomes_ready(name)).count();
        let returned = diff.changed.iter().filter(|name| !was_ready(name) && becomes_ready(name)).count();
        let serving = (self.guard.serving() + added + returned).saturating_sub(removed + taken_out);
        Capacity { serving, taken_out, returned }
    }

    fn passed(&mut self, list: Capacity, limits: &GuardLimits, now: Moment) -> Option<GuardNews> {
        self.guard.passed(list, limits, now).map(|ended| match ended {
            Ended::Pending => GuardNews::Recovered,
            Ended::Rejected => GuardNews::RejectionEnded,
        })
    }

    fn serve(&mut self, shown: ShownHosts, diff: HostsDiff, now: Moment) -> Option<HostsDiff> {
        let ShownHosts { hosts, entries, is_unsure } = shown;
        self.entries = entries;
        self.is_from_saved_state = is_unsure;
        self.put_in_service(hosts, diff, now)
    }

    fn put_in_service(&mut self, hosts: Arc<HostList>, diff: HostsDiff, now: Moment) -> Option<HostsDiff> {
        self.confirmed_unix_ms = Some(now.unix_ms);
        self.empty_since_unix_ms = hosts.is_empty().then(|| self.empty_since_unix_ms.unwrap_or(now.unix_ms));
        let is_news = self.in_service.is_none() || !diff.is_empty();
        is_news.then(|| {
            self.in_service = Some(hosts);
            diff
        })
    }
}

/// Returns the differences from the list in service, if any, to another.
fn difference(in_service: Option<&HostList>, hosts: &HostList) -> HostsDiff {
    match in_service {
        Some(in_service) => HostsDiff::between(in_service, hosts),
        None => HostsDiff::between(&HostList::new(), hosts),
    }
}

/// Returns the number of hosts that take traffic according to discovery.
fn serving(hosts: &HostList) -> usize {
    hosts.values().filter(|host| is_ready(host)).count()
}

fn is_ready(host: &Arc<Host>) -> bool {
    host.state == AdminState::Ready
}

fn blocked_change(hosts: &HostList, diff: &HostsDiff, reason: String, now: Moment) -> BlockedChange {
    BlockedChange {
        reason,
        since_unix_ms: now.unix_ms,
        entries: hosts.len(),
        adds: NameSample::of(&diff.added),
        removes: NameSample::of(&diff.removed),
    }
}
