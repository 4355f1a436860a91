//! Operators' decisions about a list that the guard blocked.

use actix::{Context, Handler};
use slog::info;
use tokio::time::Instant;

use super::WatcherActor;
use crate::decide::guard::Rejection;
use crate::journal::Event;
use crate::message::DecideBlocked;
use crate::operator::{GuardDecision, OrderRefused, extent};

impl Handler<DecideBlocked> for WatcherActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, DecideBlocked { decision, .. }: DecideBlocked, _: &mut Context<Self>) -> Self::Result {
        let answer = match decision {
            GuardDecision::Accept => self.accept(),
            GuardDecision::Reject => self.reject(),
        };
        self.save_guard();
        answer
    }
}

impl WatcherActor {
    fn accept(&mut self) -> Result<String, OrderRefused> {
        let service = self.definition.name.to_string();
        let (limits, now) = (self.limits(), self.clock.now());
        let Ok((change, diff)) = self.hosts.accept(&limits, now) else {
            return Err(OrderRefused::NothingBlocked(service));
        };
        let done = format!("the blocked list of {service} was accepted and applied: {}", extent(&change));
        info!(self.log, "an operator accepted the blocked list"; "reason" => &change.reason);
        self.record(None, Event::HeldAccepted { reason: change.reason });
        if let Some(diff) = diff {
            self.announce(diff, Instant::now());
        }
        Ok(done)
    }

    fn reject(&mut self) -> Result<String, OrderRefused> {
        let service = self.definition.name.to_string();
        match self.hosts.reject() {
            Err(_) => Err(OrderRefused::NothingBlocked(service)),
            Ok(Rejection::AlreadyRejected(_)) => Ok(format!("the list of {service} was already rejected")),
            Ok(Rejection::Rejected(change)) => {
                let done = format!(
                    "the blocked list of {service} is rejected until the source returns another one: {}",
                    extent(change)
                );
                let reason = change.reason.clone();
                info!(self.log, "an operator rejected the blocked list, its previous hosts stay"; "reason" => &reason);
                self.record(None, Event::HeldRejected { reason });
                Ok(done)
            }
        }
    }
}
