//! A preview of the plan for operators, before it is executed. It covers a few services per request, so that it never
//! delays a change.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Instant;

use super::planning::Planned;
use super::state::State;
use super::time::millis;
use crate::decide::scope::Scope;
use crate::limits::PREVIEW_SERVERS_AT_ONCE_MAX;
use crate::message::PlanPiece;
use crate::model::{Moment, ServiceName};

impl State {
    /// Returns the plans of the services after this one, by name, or those of the first ones.
    pub fn preview(&self, after: Option<ServiceName>, now: Moment) -> PlanPiece {
        let routes = if after.is_none() { self.plan_routes() } else { Vec::new() };
        let (names, next) = self.next_to_preview(after);
        let mut piece = PlanPiece {
            next,
            routes,
            phase: self.phase(),
            reload: self.reloads.general().iter().map(|reason| reason.text.clone()).collect(),
            reload_not_before_ms: millis_until(self.reloads.not_before, now.instant),
            runtime_not_before_ms: millis_until(self.lane.link.retry_at(), now.instant),
            ..PlanPiece::default()
        };
        for name in names {
            if self.changes_backend(&name) {
                piece.backends.extend(self.next_backend_step(&name));
            }
            match self.plan_of(&name, &Scope::Whole) {
                Some(Planned::Plan(planning)) if !planning.plan.is_empty() => {
                    piece.services.push((name, planning.plan));
                }
                Some(Planned::Unknown(_)) => piece.not_known.push(name),
                Some(Planned::Plan(_)) | None => {}
            }
        }
        piece
    }

    /// Returns as many services as may be planned at once, and the last of them where there are more.
    fn next_to_preview(&self, after: Option<ServiceName>) -> (Vec<ServiceName>, Option<ServiceName>) {
        let bounds = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let desired = self.desired.services.range::<ServiceName, _>(bounds.clone());
        let sections =
            self.running().into_iter().flat_map(|running| running.sections.range::<ServiceName, _>(bounds.clone()));
        let names: BTreeSet<&ServiceName> =
            desired.map(|(name, _)| name).chain(sections.map(|(name, _)| name)).collect();
        let mut chosen: Vec<ServiceName> = Vec::new();
        let mut servers = 0;
        for name in names {
            if servers >= PREVIEW_SERVERS_AT_ONCE_MAX {
                let last = chosen.last().cloned();
                return (chosen, last);
            }
            servers += 1 + self.desired.services.get(name).map_or(0, |service| service.hosts.len());
            chosen.push(name.clone());
        }
        (chosen, None)
    }
}

fn millis_until(at: Instant, now: Instant) -> u64 {
    millis(at.saturating_duration_since(now))
}
