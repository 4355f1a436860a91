//! Servers on their way: those that leave finish what they have, newcomers rise to their weight, operators' choices
//! end when their time is over.
//!
//! Each service knows when its next event of this kind is due; [`HaproxyStateActor::live_on`] looks at the services
//! only then.

use std::collections::{BTreeMap, BTreeSet};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::{debug, info};
use tokio::time::{Duration, Instant};

use super::HaproxyStateActor;
use super::errands::Errand;
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::overlay::{Departure, Overlay};
use crate::decide::slots::SlotTable;
use crate::journal::{Event, JournalEntry};
use crate::limits::{DRAIN_LOOK_INTERVAL, DRAIN_LOOK_SERVICES_MAX, RAMP_STEPS};
use crate::message::Record;
use crate::model::{ObservedServers, OperatorChoice, ServerName, ServiceName};
use crate::port::{RuntimeError, ServerSessions};

/// The servers of one service that are on their way.
#[derive(Debug, Default)]
pub struct LifeCycle {
    leaving: BTreeMap<ServerName, Leaving>,
    rising: BTreeMap<ServerName, Rising>,
}

/// A server whose host is gone from discovery.
#[derive(Debug)]
pub struct Leaving {
    /// Since when.
    pub since: Instant,
    /// When its time to finish is over.
    pub until: Instant,
    /// Its sessions as last seen; none before the first look.
    pub sessions: Option<u64>,
    look_at: Instant,
    departure: Departure,
}

/// A newcomer.
#[derive(Debug)]
pub struct Rising {
    /// Since when.
    pub since: Instant,
    /// When it has all of its weight.
    pub until: Instant,
    step: u32,
}

impl Rising {
    fn step_at(&self, now: Instant) -> u32 {
        let (passed, whole) = (now.saturating_duration_since(self.since), self.until - self.since);
        let steps = passed.as_millis() * u128::from(RAMP_STEPS) / whole.as_millis().max(1);
        u32::try_from(steps).unwrap_or(RAMP_STEPS).min(RAMP_STEPS - 1) + 1
    }

    fn next_step(&self) -> Instant {
        self.since + (self.until - self.since) * self.step / RAMP_STEPS
    }

    /// The share of its weight that it has, in percent.
    pub fn percent(&self) -> u8 {
        u8::try_from(100 * self.step / RAMP_STEPS).unwrap_or(100)
    }
}

impl LifeCycle {
    /// Takes in what discovery changed. `is_out` tells what takes no traffic in the process that serves; nothing while
    /// one is being brought up, which may have been given the servers that leave now.
    pub fn hosts_changed(
        &mut self,
        diff: &HostsDiff,
        is_out: impl Fn(&ServerName) -> bool,
        drain_timeout: Duration,
        ramp_up: Duration,
    ) {
        let now = Instant::now();
        for name in &diff.removed {
            self.rising.remove(name);
            if !is_out(name) && !drain_timeout.is_zero() {
                let (until, look_at) = (now + drain_timeout, now + DRAIN_LOOK_INTERVAL);
                let leaving = Leaving { since: now, until, sessions: None, look_at, departure: Departure::Draining };
                self.leaving.insert(name.clone(), leaving);
            }
        }
        for name in &diff.added {
            // One that comes back while it finishes what it has never was away.
            if self.leaving.remove(name).is_none() && !ramp_up.is_zero() {
                self.rising.insert(name.clone(), Rising { since: now, until: now + ramp_up, step: 1 });
            }
        }
    }

    /// Forgets those that have arrived where they were going.
    pub fn settle(&mut self, observed: &ObservedServers, slots: &SlotTable) {
        let found = |name: &ServerName| observed.get(slots.in_haproxy(name));
        self.leaving.retain(|name, _| found(name).is_some_and(|server| !server.forced_maintenance()));
    }

    /// Whether this server's host is gone, and it has not finished what it has.
    pub fn is_leaving(&self, server: &ServerName) -> bool {
        self.leaving.contains_key(server)
    }

    /// Moves on to now. Returns whether anything changed.
    fn live_on(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for leaving in self.leaving.values_mut().filter(|leaving| leaving.departure == Departure::Draining) {
            if leaving.until <= now {
                leaving.departure = Departure::TimedOut;
                changed = true;
            }
        }
        let before = self.rising.len();
        self.rising.retain(|_, rising| rising.until > now);
        changed |= self.rising.len() < before;
        for rising in self.rising.values_mut() {
            let step = rising.step_at(now);
            changed |= step != rising.step;
            rising.step = step;
        }
        changed
    }

    fn wants_look(&self, now: Instant) -> bool {
        self.draining().any(|leaving| leaving.look_at <= now)
    }

    fn looked(&mut self, service: &ServiceName, sessions: &ServerSessions, slots: &SlotTable) -> bool {
        let mut changed = false;
        let next = Instant::now() + DRAIN_LOOK_INTERVAL;
        for (name, leaving) in &mut self.leaving {
            leaving.look_at = next;
            leaving.sessions = sessions.get(service).and_then(|servers| servers.get(slots.in_haproxy(name))).copied();
            if leaving.departure == Departure::Draining && leaving.sessions == Some(0) {
                leaving.departure = Departure::Idle;
                changed = true;
            }
        }
        changed
    }

    fn draining(&self) -> impl Iterator<Item = &Leaving> {
        self.leaving.values().filter(|leaving| leaving.departure == Departure::Draining)
    }

    fn next_event(&self) -> Option<Instant> {
        let leaving = self.draining().map(|leaving| leaving.until.min(leaving.look_at));
        leaving.chain(self.rising.values().map(Rising::next_step)).min()
    }

    /// The servers that leave.
    pub fn leaving(&self) -> impl Iterator<Item = (&ServerName, &Leaving)> {
        self.leaving.iter()
    }

    /// The servers that rise to their weight.
    pub fn rising(&self) -> impl Iterator<Item = (&ServerName, &Rising)> {
        self.rising.iter()
    }

    /// What it means for the plan, whose servers have the names that HAProxy knows.
    pub fn overlay<'a>(
        &self,
        choices: impl Iterator<Item = &'a ServerName>,
        drained_before: &BTreeSet<ServerName>,
        slots: &SlotTable,
    ) -> Overlay {
        let named = |name: &ServerName| slots.in_haproxy(name).clone();
        Overlay {
            chosen: choices.map(named).collect(),
            leaving: self.leaving.iter().map(|(name, leaving)| (named(name), leaving.departure)).collect(),
            rising: self.rising.iter().map(|(name, rising)| (named(name), rising.percent())).collect(),
            drained_before: drained_before.clone(),
        }
    }
}

impl HaproxyStateActor {
    /// Moves every service on whose next event is due, and comes back for the event after.
    pub(super) fn live_on(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if self.life_due.is_none_or(|due| due > now) {
            self.life_due.into_iter().for_each(|due| self.come_back_at(due, Errand::Advance, ctx));
            return;
        }
        self.life_due = None;
        let unix_ms = self.clock.unix_ms();
        let mut ended = Vec::new();
        for (name, service) in &mut self.desired.services {
            if service.life.live_on(now) {
                self.dirty.insert(name.clone());
            }
            if service.life.wants_look(now) {
                self.drain_looks.insert(name.clone());
            }
            let over = service.choices.end(unix_ms);
            if !over.is_empty() {
                service.choose();
                self.dirty.insert(name.clone());
                ended.extend(over.into_iter().map(|(server, choice, why)| (name.clone(), server, choice, why)));
            }
        }
        for (service, server, choice, why) in ended {
            self.choice_ended(&service, &server, &choice, why);
            self.tell_choices(&service, None);
            self.save_later(ctx);
        }
        let names: Vec<ServiceName> = self.desired.services.keys().cloned().collect();
        names.iter().for_each(|name| self.expect_life(name, ctx));
    }

    /// Takes note of when the service's next event is due.
    pub(super) fn expect_life(&mut self, name: &ServiceName, ctx: &mut Context<Self>) {
        let Some(service) = self.desired.services.get(name) else { return };
        let unix_ms = self.clock.unix_ms();
        let expiry = service.choices.next_end();
        let expiry = expiry.map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(unix_ms)));
        let look_pends = self.drain_looks.contains(name);
        let life = service.life.next_event().filter(|_| !look_pends);
        for at in life.into_iter().chain(expiry) {
            self.life_due = Some(self.life_due.map_or(at, |due| due.min(at)));
            self.come_back_at(at, Errand::Advance, ctx);
        }
    }

    fn choice_ended(&self, service: &ServiceName, server: &ServerName, choice: &OperatorChoice, why: &str) {
        info!(self.log, "an operator's choice ends"; "service" => %service, "server" => %server,
            "state" => ?choice.state, "why" => why);
        let entry = JournalEntry::new(Event::ChoiceEnded { why: why.to_owned() }).service(service).server(server);
        self.peers.journal.do_send(Record(entry));
    }

    /// Looks whether servers that leave have finished, where that is due. Returns whether a look is under way.
    pub(super) fn begin_drain_look(&mut self, ctx: &mut Context<Self>) -> bool {
        let running = self.running.as_ref();
        let serves = |name: &ServiceName| running.is_some_and(|running| running.sections.contains_key(name));
        let mut asked = Vec::new();
        while asked.len() < DRAIN_LOOK_SERVICES_MAX
            && let Some(name) = self.drain_looks.pop_first()
        {
            if serves(&name) {
                asked.push(name);
            }
        }
        if asked.is_empty() {
            return false;
        }
        let look = self.ports.runtime.sessions(asked.clone());
        self.busy_since = Some(Instant::now());
        ctx.spawn(look.into_actor(self).map(move |outcome: Result<ServerSessions, RuntimeError>, actor, ctx| {
            actor.busy_since = None;
            let sessions = outcome.unwrap_or_else(|error| {
                // What still answers is found out by the batches; a look is only tried again.
                debug!(actor.log, "HAProxy does not tell its sessions"; "error" => %error);
                ServerSessions::new()
            });
            for name in asked {
                let Some(service) = actor.desired.services.get_mut(&name) else { continue };
                if service.life.looked(&name, &sessions, &service.slots) {
                    actor.dirty.insert(name.clone());
                }
                actor.expect_life(&name, ctx);
            }
            actor.advance(ctx);
        }));
        true
    }
}
