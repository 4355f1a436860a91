//! Servers in transition: those that drain because their host is gone, and new ones whose weight ramps up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

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
    /// When it goes into maintenance, regardless of its sessions.
    pub until: Instant,
    /// Its sessions at the last read; `None` before the first.
    pub sessions: Option<u64>,
    read_at: Instant,
    departure: Departure,
}

/// A new server whose weight ramps up.
#[derive(Debug)]
pub struct Rising {
    /// Since when.
    pub since: Instant,
    /// When it reaches its full weight.
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

    /// Returns its current share of its weight, in percent.
    pub fn percent(&self) -> u8 {
        u8::try_from(100 * self.step / RAMP_STEPS).unwrap_or(100)
    }
}

impl ServerLife {
    /// Handles a change of the hosts. `is_out` returns whether a server takes no traffic in the process that serves; it
    /// is false for all while a process is being started, whose file may contain the servers that leave now.
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
            // A host that comes back while its server drains is not new.
            if self.leaving.remove(name).is_none() && !ramp_up.is_zero() {
                self.rising.insert(name.clone(), Rising { since: now, until: now + ramp_up, step: 1 });
            }
        }
    }

    /// Forgets the servers that are in maintenance or deleted.
    pub fn settle(&mut self, observed: &ObservedServers, slots: &SlotTable) {
        let found = |name: &ServerName| observed.get(slots.in_haproxy(name));
        self.leaving.retain(|name, _| found(name).is_some_and(|server| !server.forced_maintenance()));
    }

    /// Returns whether this server's host is gone and the server is not in maintenance yet.
    pub fn is_leaving(&self, server: &ServerName) -> bool {
        self.leaving.contains_key(server)
    }

    /// Returns whether this server's host is gone and the server may still finish its sessions.
    pub fn is_draining(&self, server: &ServerName) -> bool {
        self.leaving.get(server).is_some_and(|leaving| leaving.departure == Departure::Draining)
    }

    /// Advances all transitions to this moment. Returns whether anything changed.
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

    /// Returns whether sessions have to be read.
    pub fn wants_sessions(&self, now: Instant) -> bool {
        self.draining().any(|leaving| leaving.read_at <= now)
    }

    /// Records the sessions of the service's servers. Returns whether a server has none left.
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

    /// Returns when the next transition is due, or the next read of sessions unless one `is_queued`; `None` where no server
    /// is in transition.
    pub fn next_event(&self, is_queued: bool) -> Option<Instant> {
        let leaving =
            self.draining().map(|leaving| if is_queued { leaving.until } else { leaving.until.min(leaving.read_at) });
        leaving.chain(self.rising.values().map(Rising::next_step)).min()
    }

    /// Returns the servers whose hosts are gone.
    pub fn leaving(&self) -> impl Iterator<Item = (&ServerName, &Leaving)> {
        self.leaving.iter()
    }

    /// Returns the servers whose weight ramps up.
    pub fn rising(&self) -> impl Iterator<Item = (&ServerName, &Rising)> {
        self.rising.iter()
    }

    /// Returns the overlay for the plan, by the names of servers in HAProxy.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn server() -> ServerName {
        ServerName::new("s").unwrap()
    }

    fn service() -> ServiceName {
        ServiceName::new("web").unwrap()
    }

    /// Creates a server that ramps up for 100 s, or drains for a minute.
    fn begun(diff: &HostsDiff, now: Instant) -> ServerLife {
        let mut life = ServerLife::default();
        life.hosts_changed(diff, |_| false, MINUTE, Duration::from_secs(100), now);
        life
    }

    fn rising(now: Instant) -> ServerLife {
        begun(&HostsDiff { added: vec![server()], ..HostsDiff::default() }, now)
    }

    fn leaving(now: Instant) -> ServerLife {
        begun(&HostsDiff { removed: vec![server()], ..HostsDiff::default() }, now)
    }

    fn departure(life: &ServerLife) -> Departure {
        life.leaving[&server()].departure
    }

    fn now() -> Instant {
        Clock::starting_at(0).now().instant
    }

    #[test]
    fn share_of_the_weight_grows_by_a_tenth() {
        let now = now();
        let (mut life, seconds) = (rising(now), |s| now + Duration::from_secs(s));
        let percent = |life: &ServerLife| life.rising().map(|(_, rising)| rising.percent()).next();
        assert_eq!((percent(&life), life.next_event(false)), (Some(10), Some(seconds(10))));
        assert!(!life.advance(seconds(10) - Duration::from_millis(1)) && life.advance(seconds(10)));
        assert_eq!((percent(&life), life.next_event(false)), (Some(20), Some(seconds(20))));
        assert!(life.advance(seconds(55)) && !life.advance(seconds(59)));
        assert_eq!((percent(&life), life.next_event(false)), (Some(60), Some(seconds(60))));
        assert!(life.advance(seconds(99)));
        assert_eq!((percent(&life), life.next_event(false)), (Some(100), Some(seconds(100))));
        assert!(life.advance(seconds(100)) && !life.advance(seconds(101)));
        assert_eq!((percent(&life), life.next_event(false)), (None, None));
    }

    #[test]
    fn drain_ends_at_its_timeout() {
        let now = now();
        let mut life = leaving(now);
        assert!(life.is_leaving(&server()) && life.is_draining(&server()));
        assert_eq!(life.next_event(false), Some(now + DRAIN_LOOK_INTERVAL));
        assert!(!life.advance(now + MINUTE - Duration::from_millis(1)));
        assert_eq!(departure(&life), Departure::Draining);
        assert!(life.advance(now + MINUTE) && !life.advance(now + MINUTE));
        assert_eq!((departure(&life), life.next_event(false)), (Departure::TimedOut, None));
        assert!(life.is_leaving(&server()) && !life.is_draining(&server()), "it is not in maintenance yet");
    }

    #[test]
    fn drain_ends_without_sessions() {
        let now = now();
        let (mut life, slots) = (leaving(now), SlotTable::default());
        assert!(!life.wants_sessions(now) && life.wants_sessions(now + DRAIN_LOOK_INTERVAL));
        let sessions = |count| ServerSessions::from([(service(), BTreeMap::from([(server(), count)]))]);
        let read_at = now + DRAIN_LOOK_INTERVAL;
        assert!(!life.sessions_read(&service(), &sessions(2), &slots, read_at));
        assert!(!life.wants_sessions(read_at) && life.wants_sessions(read_at + DRAIN_LOOK_INTERVAL));
        assert!(!life.sessions_read(&service(), &ServerSessions::new(), &slots, read_at), "they are not known");
        assert!(life.sessions_read(&service(), &sessions(0), &slots, read_at));
        assert_eq!(departure(&life), Departure::Idle);
        assert!(!life.sessions_read(&service(), &sessions(0), &slots, read_at) && !life.wants_sessions(now + MINUTE));
    }

    #[test]
    fn transition_needs_a_duration_and_traffic() {
        let (diff, now) = (HostsDiff { added: vec![server()], ..HostsDiff::default() }, now());
        let mut life = ServerLife::default();
        life.hosts_changed(&diff, |_| false, Duration::ZERO, Duration::ZERO, now);
        let diff = HostsDiff { removed: vec![server()], ..HostsDiff::default() };
        life.hosts_changed(&diff, |_| false, Duration::ZERO, MINUTE, now);
        life.hosts_changed(&diff, |_| true, MINUTE, MINUTE, now);
        assert!(life.rising.is_empty() && life.leaving.is_empty());
    }
}
