//! Servers in transition: those that drain because their host is gone, and newcomers whose weight rises.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::{Duration, Instant};

use crate::decide::hosts_diff::HostsDiff;
use crate::decide::overlay::{Departure, Overlay};
use crate::decide::slots::SlotTable;
use crate::limits::{DRAIN_LOOK_INTERVAL, RAMP_STEPS};
use crate::model::{ObservedServers, ServerName, ServiceName};
use crate::port::ServerSessions;

/// The servers of one service that are in transition.
#[derive(Debug, Default)]
pub struct ServerLife {
    leaving: BTreeMap<ServerName, Leaving>,
    rising: BTreeMap<ServerName, Rising>,
}

/// A server whose host is gone from discovery.
#[derive(Debug)]
pub struct Leaving {
    /// Since when.
    pub since: Instant,
    /// When it goes into maintenance whatever sessions it has.
    pub until: Instant,
    /// Its sessions as last read; none before the first time.
    pub sessions: Option<u64>,
    read_at: Instant,
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

impl ServerLife {
    /// Takes in what discovery changed. `is_out` reports what takes no traffic in the process that serves; nothing while
    /// one is being started, which may have been given the servers that leave now.
    pub fn hosts_changed(
        &mut self,
        diff: &HostsDiff,
        is_out: impl Fn(&ServerName) -> bool,
        drain_timeout: Duration,
        ramp_up: Duration,
        now: Instant,
    ) {
        for name in &diff.removed {
            self.rising.remove(name);
            if !is_out(name) && !drain_timeout.is_zero() {
                let (until, read_at) = (now + drain_timeout, now + DRAIN_LOOK_INTERVAL);
                let leaving = Leaving { since: now, until, sessions: None, read_at, departure: Departure::Draining };
                self.leaving.insert(name.clone(), leaving);
            }
        }
        for name in &diff.added {
            // One that comes back while it drains never was away.
            if self.leaving.remove(name).is_none() && !ramp_up.is_zero() {
                self.rising.insert(name.clone(), Rising { since: now, until: now + ramp_up, step: 1 });
            }
        }
    }

    /// Forgets those that are in maintenance or deleted by now.
    pub fn settle(&mut self, observed: &ObservedServers, slots: &SlotTable) {
        let found = |name: &ServerName| observed.get(slots.in_haproxy(name));
        self.leaving.retain(|name, _| found(name).is_some_and(|server| !server.forced_maintenance()));
    }

    /// Whether this server's host is gone, and it is not in maintenance yet.
    pub fn is_leaving(&self, server: &ServerName) -> bool {
        self.leaving.contains_key(server)
    }

    /// Whether this server's host is gone and it may still finish its sessions.
    pub fn is_draining(&self, server: &ServerName) -> bool {
        self.leaving.get(server).is_some_and(|leaving| leaving.departure == Departure::Draining)
    }

    /// Moves on to this moment. Returns whether anything changed.
    pub fn advance(&mut self, now: Instant) -> bool {
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

    /// Whether sessions are to be read.
    pub fn wants_sessions(&self, now: Instant) -> bool {
        self.draining().any(|leaving| leaving.read_at <= now)
    }

    /// Takes in the sessions of the service's servers. Returns whether a server has none left.
    pub fn sessions_read(
        &mut self,
        service: &ServiceName,
        sessions: &ServerSessions,
        slots: &SlotTable,
        now: Instant,
    ) -> bool {
        let mut changed = false;
        for (name, leaving) in &mut self.leaving {
            leaving.read_at = now + DRAIN_LOOK_INTERVAL;
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

    /// When the next of its servers has to be looked at; none where none is in transition.
    pub fn next_event(&self) -> Option<Instant> {
        let leaving = self.draining().map(|leaving| leaving.until.min(leaving.read_at));
        leaving.chain(self.rising.values().map(Rising::next_step)).min()
    }

    /// The servers that leave.
    pub fn leaving(&self) -> impl Iterator<Item = (&ServerName, &Leaving)> {
        self.leaving.iter()
    }

    /// The servers whose weight rises.
    pub fn rising(&self) -> impl Iterator<Item = (&ServerName, &Rising)> {
        self.rising.iter()
    }

    /// What it means for the plan, whose servers have the names that HAProxy knows.
    pub fn overlay<'a>(
        &self,
        overridden: impl Iterator<Item = &'a ServerName>,
        drained_before: &BTreeSet<ServerName>,
        slots: &SlotTable,
    ) -> Overlay {
        let named = |name: &ServerName| slots.in_haproxy(name).clone();
        Overlay {
            chosen: overridden.map(named).collect(),
            leaving: self.leaving.iter().map(|(name, leaving)| (named(name), leaving.departure)).collect(),
            rising: self.rising.iter().map(|(name, rising)| (named(name), rising.percent())).collect(),
            drained_before: drained_before.clone(),
        }
    }
}
