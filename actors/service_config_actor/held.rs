//! Lists of definitions that the guard holds back, and what an operator says to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::fut::ready;
use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use slog::{info, warn};

use super::ServiceConfigActor;
use crate::journal::{Event, JournalEntry};
use crate::message::{DecideHeld, DefinitionsRejected, Record, WatcherHandle};
use crate::model::{RawDefinition, ServiceName};
use crate::operator::{HeldDecision, OrderRefused};
use crate::snapshot::{HeldChange, HeldNames};

/// A list of definitions that is not in force, and why.
pub struct HeldDefinitions {
    seen: Arc<BTreeMap<Arc<str>, RawDefinition>>,
    /// The same in short.
    pub change: HeldChange,
}

impl ServiceConfigActor {
    /// Keeps what is in force, and the list for an operator to decide upon, unless it was rejected already.
    pub(super) fn hold(&mut self, reason: String, seen: BTreeMap<Arc<str>, RawDefinition>) {
        if self.rejected.as_ref().is_some_and(|rejected| *rejected.seen == seen) {
            return;
        }
        if self.rejected_before.as_ref().is_some_and(|rejected| **rejected == seen) {
            self.rejected_before = None;
            info!(self.log, "the source shows the list of definitions that an operator rejected, the services stay");
            self.rejected = Some(self.held(reason, seen, self.clock.unix_ms()));
            return;
        }
        self.forget_rejected();
        if self.held.as_ref().is_none_or(|held| held.change.reason != reason) {
            warn!(self.log, "holding a change back, the services known so far stay"; "reason" => &reason);
            self.record(Event::ChangeHeld { reason: reason.clone() });
        }
        let since_unix_ms = self.held.as_ref().map_or_else(|| self.clock.unix_ms(), |held| held.change.since_unix_ms);
        self.held = Some(self.held(reason, seen, since_unix_ms));
    }

    fn held(&self, reason: String, seen: BTreeMap<Arc<str>, RawDefinition>, since_unix_ms: u64) -> HeldDefinitions {
        let in_force: Vec<_> = self.in_force().collect();
        let removes: Vec<_> = in_force.iter().filter(|name| !seen.contains_key(**name)).collect();
        let adds: Vec<_> = seen.keys().filter(|name| !in_force.contains(name)).collect();
        let change = HeldChange {
            reason,
            since_unix_ms,
            entries: seen.len(),
            adds: HeldNames::of(&adds),
            removes: HeldNames::of(&removes),
        };
        HeldDefinitions { seen: Arc::new(seen), change }
    }

    /// The source shows a list that passes.
    pub(super) fn end_hold(&mut self) {
        self.forget_rejected();
        if self.held.take().is_some() {
            info!(self.log, "the source shows a list of definitions that passes, the hold ends");
            self.record(Event::HoldEnded);
        }
    }

    /// The source shows another list than the one that was rejected.
    fn forget_rejected(&mut self) {
        let before = self.rejected_before.take().is_some();
        if self.rejected.take().is_some() || before {
            self.tell_rejected();
        }
    }

    pub(super) fn tell_rejected(&self) {
        let rejected = self.rejected.as_ref().map(|rejected| rejected.seen.clone());
        let definitions = rejected.or_else(|| self.rejected_before.clone());
        self.peers.rejected.do_send(DefinitionsRejected { definitions });
    }

    fn decide(&mut self, decision: HeldDecision) -> Result<String, OrderRefused> {
        let Some(held) = self.held.take() else {
            return Err(OrderRefused::NothingHeld("the service definitions".to_owned()));
        };
        let reason = held.change.reason.clone();
        let HeldChange { adds, removes, .. } = &held.change;
        let what = format!("{} to add, {} to take away", adds.count, removes.count);
        match decision {
            HeldDecision::Accept => {
                info!(self.log, "an operator accepts the held definitions"; "reason" => &reason);
                self.record(Event::HeldAccepted { reason });
                self.apply(Arc::unwrap_or_clone(held.seen));
                Ok(format!("the held definitions are in force: {what}"))
            }
            HeldDecision::Reject => {
                info!(self.log, "an operator rejects the held definitions"; "reason" => &reason);
                self.record(Event::HeldRejected { reason });
                self.rejected = Some(held);
                self.tell_rejected();
                Ok(format!("the held definitions are rejected until they change: {what}"))
            }
        }
    }

    /// The names of the services in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.iter().filter(|(_, service)| service.good.is_some()).map(|(name, _)| name)
    }

    /// The watcher of a service in force.
    pub(super) fn watcher(&self, service: &ServiceName) -> Option<&WatcherHandle> {
        let (_, watcher) = self.services.get(service.as_str())?.good.as_ref()?;
        Some(watcher)
    }

    fn record(&self, event: Event) {
        self.peers.journal.do_send(Record(JournalEntry::new(event)));
    }
}

impl Handler<DecideHeld> for ServiceConfigActor {
    type Result = ResponseActFuture<Self, Result<String, OrderRefused>>;

    fn handle(&mut self, order: DecideHeld, _: &mut Context<Self>) -> Self::Result {
        let Some(service) = order.service.clone() else {
            return Box::pin(ready(self.decide(order.decision)));
        };
        let Some(watcher) = self.watcher(&service) else {
            return Box::pin(ready(Err(OrderRefused::UnknownService(service))));
        };
        let answer = watcher.decide.send(order).into_actor(self);
        Box::pin(answer.map(move |answer, _, _| answer.unwrap_or(Err(OrderRefused::UnknownService(service)))))
    }
}
