//! What the actor comes back for unasked, and when: one timer for all of it, set for what is due first.

use std::collections::BTreeMap;

use actix::{AsyncContext, Context, SpawnHandle};
use tokio::time::{Duration, Instant};

use super::HaproxyStateActor;
use crate::limits::PARKED_SERVER_SWEEP;

/// Something to come back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    /// To look at everything again, because something is due or may be tried again.
    Advance,
    /// To look at what HAProxy and its file really are.
    Observe,
    /// To delete the servers that have waited in maintenance long enough.
    Sweep,
    /// To save the desired state.
    Save,
    /// To let haproxy.cfg follow, if it is behind again.
    FollowFile,
    /// To ask HAProxy how its servers are.
    AskHealth,
    /// To let the state file follow, if servers have changed again.
    FollowHealth,
}

/// The errands that are due some time.
#[derive(Debug, Default)]
pub struct Errands {
    due: BTreeMap<Errand, Instant>,
    timer: Option<(Instant, SpawnHandle)>,
}

impl Errands {
    /// Whether it is known already when to come back for this.
    pub fn has(&self, errand: Errand) -> bool {
        self.due.contains_key(&errand)
    }
}

impl HaproxyStateActor {
    /// Comes back for this after so long, if not before.
    pub(super) fn come_back_after(&mut self, pause: Duration, errand: Errand, ctx: &mut Context<Self>) {
        self.come_back_at(Instant::now() + pause, errand, ctx);
    }

    /// Comes back for this then, if not before.
    pub(super) fn come_back_at(&mut self, at: Instant, errand: Errand, ctx: &mut Context<Self>) {
        let due = self.errands.due.entry(errand).or_insert(at);
        *due = at.min(*due);
        self.set_timer(ctx);
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let Some(first) = self.errands.due.values().min().copied() else { return };
        if let Some((at, timer)) = self.errands.timer {
            if at <= first {
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(first.saturating_duration_since(Instant::now()), Self::come_back);
        self.errands.timer = Some((first, timer));
    }

    fn come_back(&mut self, ctx: &mut Context<Self>) {
        self.errands.timer = None;
        let now = Instant::now();
        let due: Vec<Errand> =
            self.errands.due.iter().filter(|(_, at)| **at <= now).map(|(errand, _)| *errand).collect();
        self.errands.due.retain(|_, at| *at > now);
        for errand in due {
            self.run(errand, ctx);
        }
        self.advance(ctx);
        self.set_timer(ctx);
    }

    fn run(&mut self, errand: Errand, ctx: &mut Context<Self>) {
        match errand {
            Errand::Advance => {}
            Errand::Observe => {
                self.observe_due = true;
                self.come_back_after(self.policy.observe_interval, Errand::Observe, ctx);
            }
            Errand::Sweep => {
                self.sweep_due = true;
                self.come_back_after(PARKED_SERVER_SWEEP, Errand::Sweep, ctx);
            }
            Errand::Save => self.save_now(ctx),
            Errand::FollowFile => self.follow_file(ctx),
            Errand::AskHealth => self.ask_health(ctx),
            Errand::FollowHealth => self.health_may_follow(ctx),
        }
    }
}
