//! What would be done now, and why: the plan as an operator may see it before it happens.
//!
//! It is made as every plan is, piece by piece, so that a change never waits for one who only looks.

use std::collections::BTreeSet;
use std::ops::Bound;

use actix::{Context, Handler, MessageResult};
use tokio::time::Instant;

use super::HaproxyStateActor;
use crate::decide::scope::Scope;
use crate::limits::PREVIEW_SERVERS_AT_ONCE_MAX;
use crate::message::{PlanPiece, PreviewPlan};
use crate::model::ServiceName;

impl HaproxyStateActor {
    /// The services after this one, by name, as many as may be planned at once.
    fn next_to_preview(&self, after: Option<ServiceName>) -> (Vec<ServiceName>, Option<ServiceName>) {
        let bounds = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let wanted = self.desired.services.range::<ServiceName, _>(bounds.clone());
        let running = self.running.iter().flat_map(|running| running.sections.range::<ServiceName, _>(bounds.clone()));
        let names: BTreeSet<&ServiceName> = wanted.map(|(name, _)| name).chain(running.map(|(name, _)| name)).collect();
        let mut chosen = Vec::new();
        let mut servers = 0;
        for name in names {
            if servers >= PREVIEW_SERVERS_AT_ONCE_MAX {
                let last: Option<&ServiceName> = chosen.last();
                let last = last.cloned();
                return (chosen, last);
            }
            servers += 1 + self.desired.services.get(name).map_or(0, |service| service.hosts.len());
            chosen.push(name.clone());
        }
        (chosen, None)
    }
}

impl Handler<PreviewPlan> for HaproxyStateActor {
    type Result = MessageResult<PreviewPlan>;

    fn handle(&mut self, PreviewPlan { after }: PreviewPlan, _: &mut Context<Self>) -> Self::Result {
        let routes = if after.is_none() { self.preview_routes() } else { Vec::new() };
        let (names, next) = self.next_to_preview(after);
        let mut piece = PlanPiece {
            next,
            routes,
            phase: self.phase,
            reload: self.reload_forced.iter().map(|reason| reason.text.clone()).collect(),
            reload_not_before_ms: millis_until(self.reload_not_before),
            runtime_not_before_ms: millis_until(self.runtime_retry_at),
            ..PlanPiece::default()
        };
        for name in names {
            match self.plan_of(&name, &Scope::Whole) {
                Some(plan) if plan.steps.is_empty() && plan.reload.is_empty() => {}
                Some(plan) => piece.services.push((name, plan)),
                None if self.running.is_some() => piece.not_known.push(name),
                None => {}
            }
        }
        MessageResult(piece)
    }
}

fn millis_until(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX)
}
