//! The guard of the definitions, and operators' decisions about a list that it blocked.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::fut::ready;
use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use slog::{info, warn};

use super::ServiceConfigActor;
use crate::decide::guard::{Blocking, Capacity, Ended, Guard, GuardMemory, GuardedList, Rejection};
use crate::journal::{Event, JournalEntry};
use crate::message::{DecideBlocked, DefinitionsGuardChanged, Record, WatcherHandle};
use crate::model::{BlockedChange, Moment, NameSample, ServiceName};
use crate::operator::{GuardDecision, OrderRefused, extent};
use crate::port::DefinitionList;

impl GuardedList for DefinitionList {
    fn shows_the_same(&self, other: &Self) -> bool {
        self == other
    }
}

impl ServiceConfigActor {
    /// Restores the guard of an earlier run, for the restored services.
    pub(super) fn restore_guard(&mut self) {
        let (limits, now) = (self.policy.guard_limits(), self.clock.now());
        let in_service = Some(self.in_service().count()).filter(|count| *count > 0);
        let memory = std::mem::take(&mut self.saved.definitions_guard);
        let is_told = memory != GuardMemory::default();
        let change =
            |list: &DefinitionList| self.blocked_change(list, "an operator rejected it earlier".to_owned(), now);
        self.guard = Guard::restored(memory, in_service, &limits, now, change);
        if is_told {
            self.saved.definitions_guard = self.guard.memory(&limits, now, Clone::clone);
            self.report_guard();
        }
    }

    /// Applies the newest list. Services that it lacks stay until their grace period is over, and longer if so many are
    /// missing that the source may have lost its data. What the list adds and changes is applied in any case.
    pub(super) fn consider(&mut self) {
        let Some(newest) = self.reading.list.clone() else { return };
        let (limits, now) = (self.policy.guard_limits(), self.clock.now());
        let taken_over = self.taken_over(&newest);
        // A restarted daemon must not take a rejected list for one that passes during the grace period.
        let is_rejected = self.guard.has_rejected(&newest);
        let is_due =
            |name: &Arc<str>| is_rejected || self.removals.absences.is_over(name, now) || taken_over.contains(name);
        let gone: BTreeSet<_> =
            self.in_service().filter(|name| !newest.contains_key(*name) && is_due(name)).cloned().collect();
        let checked = match gone.is_empty() {
            true => Ok(()),
            false => {
                // All missing services count, so that a source that loses them one by one loses none.
                let stands =
                    |name: &Arc<str>| newest.contains_key(name) && !self.removals.added_meanwhile.contains(name);
                let remains = |name: &&Arc<str>| stands(name) || taken_over.contains(*name);
                self.guard.check(Capacity::serving(self.in_service().filter(remains).count()), &limits, now)
            }
        };
        match checked {
            Ok(()) => {
                self.removals.added_meanwhile.clear();
                self.apply(&newest, |name| !gone.contains(name));
                match self.guard.passed(self.remaining(), &limits, now) {
                    Some(Ended::Pending) => {
                        info!(
                            self.log,
                            "the source returned definitions that pass the guard, no change is pending any longer"
                        );
                        self.record(Event::HoldEnded);
                    }
                    Some(Ended::Rejected) => info!(self.log, "the source no longer returns the rejected definitions"),
                    None => {}
                }
            }
            Err(reason) => {
                let before: BTreeSet<_> = self.in_service().cloned().collect();
                let added = newest.keys().filter(|name| !before.contains(*name));
                self.removals.added_meanwhile.extend(added.cloned());
                self.apply(&newest, |name| !taken_over.contains(name));
                let reason = reason.to_string();
                let change = self.blocked_change(&newest, reason.clone(), now);
                if self.guard.block(newest, change, &limits, now) == Blocking::Began {
                    warn!(self.log, "removal of services blocked by guard, they stay"; "reason" => &reason);
                    self.record(Event::ChangeHeld { reason });
                }
            }
        }
        self.save_guard();
    }

    /// Returns how many services are in service once those are removed that the list lacks.
    fn remaining(&self) -> Capacity {
        Capacity::serving(self.in_service().filter(|name| !self.reading.removes(name)).count())
    }

    /// Updates the guard after services became valid.
    pub(super) fn recount(&mut self) {
        let is_guarded = |name: &&Arc<str>| !self.removals.added_meanwhile.contains(*name);
        let in_service = self.in_service().filter(is_guarded).count();
        self.guard.recount(in_service, &self.policy.guard_limits(), self.clock.now());
    }

    fn blocked_change(&self, list: &DefinitionList, reason: String, now: Moment) -> BlockedChange {
        let removes: Vec<_> = self.in_service().filter(|name| !list.contains_key(*name)).collect();
        BlockedChange {
            reason,
            since_unix_ms: now.unix_ms,
            entries: list.len(),
            // They are applied.
            adds: NameSample::default(),
            removes: NameSample::of(&removes),
        }
    }

    /// Sends the state of the guard to be saved, where it has changed.
    pub(super) fn save_guard(&mut self) {
        let memory = self.guard.memory(&self.policy.guard_limits(), self.clock.now(), Clone::clone);
        if memory != self.saved.definitions_guard {
            self.saved.definitions_guard = memory;
            self.report_guard();
        }
    }

    fn report_guard(&self) {
        self.peers.guard.do_send(DefinitionsGuardChanged { memory: self.saved.definitions_guard.clone() });
    }

    fn accept(&mut self, ctx: &mut Context<Self>) -> Result<String, OrderRefused> {
        let Ok((list, change)) = self.guard.accept() else {
            return Err(OrderRefused::NothingBlocked("the service definitions".to_owned()));
        };
        let done = format!("the blocked definitions were accepted and applied: {}", extent(&change));
        info!(self.log, "an operator accepted the blocked definitions"; "reason" => &change.reason);
        self.record(Event::HeldAccepted { reason: change.reason });
        // An operator's decision needs no grace period.
        self.apply(&list, |_| false);
        self.removals.absences.clear();
        self.removals.added_meanwhile.clear();
        self.guard.passed(self.remaining(), &self.policy.guard_limits(), self.clock.now());
        self.read_on(ctx);
        Ok(done)
    }

    fn reject(&mut self) -> Result<String, OrderRefused> {
        match self.guard.reject() {
            Err(_) => Err(OrderRefused::NothingBlocked("the service definitions".to_owned())),
            Ok(Rejection::AlreadyRejected(_)) => Ok("the definitions were already rejected".to_owned()),
            Ok(Rejection::Rejected(change)) => {
                let done =
                    format!("the blocked definitions are rejected until the source returns others: {}", extent(change));
                let reason = change.reason.clone();
                info!(self.log, "an operator rejected the blocked definitions, the services stay"; "reason" => &reason);
                self.record(Event::HeldRejected { reason });
                Ok(done)
            }
        }
    }

    /// Returns the names of the services with a valid definition.
    pub(super) fn in_service(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.iter().filter(|(_, service)| service.good.is_some()).map(|(name, _)| name)
    }

    /// Returns the watcher of a service with a valid definition.
    pub(super) fn watcher(&self, service: &ServiceName) -> Option<&WatcherHandle> {
        let (_, watcher) = self.services.get(service.as_str())?.good.as_ref()?;
        Some(watcher)
    }

    fn record(&self, event: Event) {
        self.peers.journal.do_send(Record(JournalEntry::new(event)));
    }
}

impl Handler<DecideBlocked> for ServiceConfigActor {
    type Result = ResponseActFuture<Self, Result<String, OrderRefused>>;

    fn handle(&mut self, order: DecideBlocked, ctx: &mut Context<Self>) -> Self::Result {
        let Some(service) = order.service.clone() else {
            let answer = match order.decision {
                GuardDecision::Accept => self.accept(ctx),
                GuardDecision::Reject => self.reject(),
            };
            self.save_guard();
            return Box::pin(ready(answer));
        };
        let Some(watcher) = self.watcher(&service) else {
            return Box::pin(ready(Err(OrderRefused::UnknownService(service))));
        };
        let answer = watcher.decide.send(order).into_actor(self);
        Box::pin(answer.map(move |answer, _, _| answer.unwrap_or(Err(OrderRefused::UnknownService(service)))))
    }
}
