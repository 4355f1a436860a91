//! Runtime lane: one change at a time, reads in parallel, and the handling of failures.

use std::time::Instant;

use super::effect::{Effect, info, warn};
use super::state::{Exchange, InFlight, Meanwhile, State};
use super::time::millis;
use crate::journal::{Event, JournalEntry};
use crate::limits::DRAIN_LOOK_SERVICES_MAX;
use crate::model::{Moment, ReloadCause};
use crate::port::{Answer, RuntimeError};

impl State {
    /// Begins the next change: servers first, then backends, then the map of domains. Returns whether one is under way.
    pub(super) fn begin_next_change(&mut self, now: Moment) -> bool {
        self.changes_wait()
            || self.begin_commands(now)
            || self.begin_backend_change(now)
            || self.begin_route_change(now)
    }

    /// Returns whether the next change has to wait: for the answer to another one, or for the end of a handover, because it
    /// could reach either process.
    pub(super) fn changes_wait(&self) -> bool {
        let is_handed_over = self.deployment.as_ref().is_some_and(|deployment| deployment.takes_over);
        self.lane.changing.is_some() || self.lane.still_answering.is_some() || is_handed_over
    }

    /// Begins the next read: servers first, then the sessions of draining servers. Returns whether one is under way.
    pub(super) fn begin_next_read(&mut self, now: Moment) -> bool {
        self.lane.reading.is_some() || self.begin_observation(now) || self.begin_reading_sessions(now)
    }

    /// Begins a change. A read that is under way may return the state from before it.
    pub(super) fn begin_change(&mut self, exchange: Exchange, effect: Effect, now: Moment) {
        self.note_changed(&exchange);
        self.lane.changing = Some(InFlight { since: now.instant, pid: self.pid(), exchange });
        self.outbox.push(effect);
    }

    /// Begins a read. It may return the state from before a change that is under way.
    pub(super) fn begin_read(&mut self, exchange: Exchange, effect: Effect, now: Moment) {
        self.lane.changed_meanwhile = Meanwhile::default();
        // A change that was sent to the previous process does not reach the one that is read.
        if let Some(changing) = self.lane.changing.take() {
            if changing.pid == self.pid() {
                self.note_changed(&changing.exchange);
            }
            self.lane.changing = Some(changing);
        }
        self.lane.reading = Some(InFlight { since: now.instant, pid: self.pid(), exchange });
        self.outbox.push(effect);
    }

    fn note_changed(&mut self, exchange: &Exchange) {
        match exchange {
            Exchange::Commands(batch) => self.lane.changed_meanwhile.services.extend(batch.keys().cloned()),
            Exchange::Backends(changes) => {
                let services = changes.iter().map(|change| change.service().clone());
                self.lane.changed_meanwhile.services.extend(services);
            }
            Exchange::Routes(_) => self.lane.changed_meanwhile.routes = true,
            Exchange::Observation(_) | Exchange::Sessions(_) => {}
        }
    }

    /// Measures how long HAProxy took for a batch.
    pub(super) fn measure_pace(&mut self, result: &Result<(Vec<Answer>, Instant), RuntimeError>) {
        if let (Ok((answers, at)), Some(InFlight { since, .. })) = (result, &self.lane.changing) {
            self.lane.pace.answered(answers.len(), at.saturating_duration_since(*since));
        }
    }

    /// Ends a change. Returns the exchange, and whether another process serves by now.
    pub(super) fn end_change(&mut self) -> Option<(Exchange, bool)> {
        let ended = self.lane.changing.take()?;
        Some(self.ended(ended))
    }

    /// Ends a read. Returns the exchange, and whether another process serves by now.
    pub(super) fn end_read(&mut self) -> Option<(Exchange, bool)> {
        let ended = self.lane.reading.take()?;
        Some(self.ended(ended))
    }

    fn ended(&self, InFlight { pid, exchange, .. }: InFlight) -> (Exchange, bool) {
        (exchange, pid.is_some() && pid != self.pid())
    }

    /// Records that HAProxy answered.
    pub(super) fn link_answered(&mut self) {
        if self.lane.link.answered() {
            self.outbox.log(info("HAProxy answers on its socket again"));
        }
    }

    /// Records that HAProxy did not answer: the exchange is retried after a pause, and in the end HAProxy is reloaded.
    pub(super) fn link_failed(&mut self, error: &RuntimeError, now: Moment) {
        if let Some(deployment) = self.deployment.as_mut().filter(|deployment| deployment.successor.pid.is_some()) {
            // The old process closes its socket while the new one takes over.
            deployment.successor.is_taking_over = true;
            return;
        }
        let link = &mut self.lane.link;
        link.failed(error.to_string(), now);
        let pause = link.retry_at().saturating_duration_since(now.instant);
        let line = warn("HAProxy does not answer on its socket").with("error", error);
        self.outbox.log(line.with("failures", link.failures()).with("retry_after_ms", millis(pause)));
        self.outbox.record(JournalEntry::new(Event::Failed { error: error.to_string() }));
        if !link.is_hung() || self.deployment.is_some() {
            // A deployment that is under way replaces the process.
            return;
        }
        if self.settings.is_external() {
            // Another process may have replaced it.
            self.reloads.not_before = link.retry_at();
            self.process.end(None);
        } else {
            let why = format!("its socket failed {} times in a row: {error}", link.failures());
            self.reloads.request(ReloadCause::RuntimeApi.because(why));
        }
    }

    /// Handles a liveness probe that HAProxy did not answer.
    pub(super) fn silent(&mut self, error: &RuntimeError, now: Moment) {
        self.lane.is_watched = false;
        if !self.process.is_serving() || self.lane.link.problem.text().is_some() {
            return;
        }
        self.lane.link.problem.set(error.to_string(), now);
        self.outbox.log(warn("HAProxy does not answer on its socket").with("error", error));
        self.outbox.record(JournalEntry::new(Event::Failed { error: error.to_string() }));
        // The answer to the observation shows that the problem is over.
        self.work.observe_all = true;
    }

    /// Starts the liveness probe.
    pub(super) fn watch_liveness(&mut self) {
        let is_well = self.process.is_serving() && self.lane.link.problem.text().is_none();
        if is_well && !std::mem::replace(&mut self.lane.is_watched, true) {
            self.outbox.push(Effect::WatchLiveness);
        }
    }

    /// Reads the sessions of draining servers when that is due. Returns whether the read is under way.
    fn begin_reading_sessions(&mut self, now: Moment) -> bool {
        let running = self.process.running();
        let has_section = |name: &_| running.is_some_and(|running| running.sections.contains_key(name));
        let services = self.work.pop_drains(DRAIN_LOOK_SERVICES_MAX, has_section);
        if services.is_empty() {
            return false;
        }
        let effect = Effect::ReadSessions(services.clone());
        self.begin_read(Exchange::Sessions(services), effect, now);
        true
    }
}
