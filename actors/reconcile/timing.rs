//! Timers of the reconciler, for work that no input triggers.

use std::time::{Duration, Instant};

use super::state::State;
use crate::limits::{
    FIRST_LISTS_WAIT, HEALTH_POLL_MIN, HEALTH_POLL_SERVERS_PER_SECOND, PARKED_SERVER_SWEEP, SECTIONS_FREED_AT_ONCE_MAX,
};
use crate::model::{Moment, ServiceName};

impl State {
    /// Queues the work of all timers that are due.
    pub(super) fn run_timers(&mut self, now: Moment) {
        if self.timers.observe_at <= now.instant {
            self.timers.observe_at = now.instant + self.settings.policy.observe_interval;
            self.work.observe_all = true;
            self.work.compare_files = true;
        }
        if self.timers.sweep_at <= now.instant {
            self.timers.sweep_at = now.instant + PARKED_SERVER_SWEEP;
            self.work.sweep = true;
        }
        if self.timers.departures_at.take_if(|at| *at <= now.instant).is_some() {
            self.work.departures = true;
        }
        if self.timers.life_at.is_some_and(|at| at <= now.instant) {
            self.timers.life_at = None;
            self.advance_server_lives(now);
        }
        if self.reloads.base_retry_at().is_some_and(|at| at <= now.instant) {
            self.retry_base();
        }
        if self.timers.waits_at.take_if(|at| *at <= now.instant).is_some() {
            self.end_vain_waits();
        }
        self.retired.truncate(self.retired.len().saturating_sub(SECTIONS_FREED_AT_ONCE_MAX));
        self.poll_health(now);
    }

    /// Advances servers in transition, and schedules the next event.
    fn advance_server_lives(&mut self, now: Moment) {
        for (name, service) in &mut self.desired.services {
            if service.life.advance(now.instant) {
                self.work.changed(name.clone());
            }
            if service.life.wants_sessions(now.instant) {
                self.work.drains.insert(name.clone());
            }
        }
        let names: Vec<ServiceName> = self.desired.services.keys().cloned().collect();
        names.iter().for_each(|name| self.expect_life_event(name));
    }

    /// Polls the health of servers where no log line of HAProxy reports it: the more servers, the less often.
    fn poll_health(&mut self, now: Moment) {
        if self.settings.is_supervised() || self.timers.health_at.is_none_or(|at| at > now.instant) {
            return;
        }
        let sections = self.process.serving().into_iter().flat_map(|running| running.sections.values());
        let servers: usize = sections.map(|section| section.observed.len()).sum();
        let scaled = Duration::from_millis((servers * 1_000 / HEALTH_POLL_SERVERS_PER_SECOND) as u64);
        let longest = self.settings.policy.observe_interval.max(HEALTH_POLL_MIN);
        self.timers.health_at = Some(now.instant + scaled.clamp(HEALTH_POLL_MIN, longest));
        if self.process.is_serving() {
            self.work.observe_all = true;
        }
    }

    /// Begins the next exchanges of the runtime lane, where it is free.
    pub(super) fn begin_runtime_step(&mut self, now: Moment) {
        let is_early = now.instant < self.lane.link.retry_at() || self.awaits_successor();
        if !self.process.is_serving() || is_early || self.gives_way_to_reload(now) {
            return;
        }
        let is_changing = self.begin_next_change(now);
        let is_reading = self.begin_next_read(now);
        let has_work = is_changing || is_reading || !self.work.is_empty();
        if !has_work && !self.reloads.is_due() && self.deployment.is_none() {
            // The failed change is no longer desired, and neither are the sockets that were opened for it.
            self.reloads.end_failure(now);
            self.spare_sockets();
        }
    }

    /// Returns whether a new process is taking over from one that no longer answers. What must not serve any more is disabled
    /// in it on its own connection; everything else is planned when it has taken over.
    fn awaits_successor(&self) -> bool {
        self.deployment.as_ref().is_some_and(|deployment| deployment.successor.is_taking_over)
    }

    /// Returns whether a reload goes before the next runtime changes, because it has waited long enough. A reload that
    /// cannot begin yet delays nothing.
    fn gives_way_to_reload(&mut self, now: Moment) -> bool {
        self.deploys() && self.reloads.is_overdue(now.instant) && self.deployment_can_begin(now)
    }

    /// Returns when the first timer is due.
    pub(super) fn next_event(&self, now: Instant) -> Option<Instant> {
        if self.timers.more_to_plan && !self.changes_wait() || !self.retired.is_empty() {
            return Some(now);
        }
        let is_lane_free = self.lane.changing.is_none() || self.lane.reading.is_none();
        let serves = self.process.is_serving();
        let waits_for_start = self.running().is_none() && !self.may_be_complete();
        let start_at = self.desired.loaded_at.map(|at| at + FIRST_LISTS_WAIT).filter(|_| waits_for_start);
        let deploys_later = self.deployment.is_none() && (self.reloads.is_due() || !serves) && !waits_for_start;
        let is_health_polled = !self.settings.is_supervised() && serves;
        let events = [
            Some(self.timers.observe_at),
            Some(self.timers.sweep_at),
            self.timers.departures_at,
            self.timers.life_at,
            self.reloads.base_retry_at(),
            self.timers.waits_at,
            self.timers.health_at.filter(|_| is_health_polled),
            start_at,
            Some(self.timers.routes_at).filter(|_| serves && self.work.routes && !self.changes_wait()),
            Some(self.lane.link.retry_at())
                .filter(|_| is_lane_free && serves && self.has_runtime_work() && !self.awaits_successor()),
            Some(self.reloads.not_before).filter(|_| deploys_later && self.desired.loaded_at.is_some()),
            self.reloads.overdue_at().filter(|_| self.deployment.is_none()),
            self.files.config.deadline().filter(|_| self.deployment.is_none()),
            self.files.states.deadline(self.running().is_some_and(|running| running.health_changed)),
            self.files.saved.deadline(),
        ];
        // Timers before now were handled already; their work waits for an input.
        events.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn may_be_complete(&self) -> bool {
        self.desired.is_complete()
    }

    fn has_runtime_work(&self) -> bool {
        !self.work.is_empty()
            || self.work.is_observing()
            || self.work.routes
            || self.work.sweep
            || self.work.departures
            || !self.work.backends.is_empty()
            || !self.work.drains.is_empty()
    }
}
