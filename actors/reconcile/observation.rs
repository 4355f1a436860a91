//! Runtime lane: observes HAProxy's state periodically and whenever it is unknown, and repairs drift.

use std::sync::Arc;

use super::effect::{Effect, warn};
use super::input::Observed;
use super::observed::{Differences, Running};
use super::section::Unknown;
use super::state::{Exchange, State};
use crate::decide::health_changes::health_changes;
use crate::journal::{Event, JournalEntry};
use crate::limits::OBSERVED_SERVICES_AT_ONCE_MAX;
use crate::model::{Moment, Observation, ObservedRoutes, ProcessInfo, ReloadCause, ServiceName};
use crate::port::RuntimeError;

impl State {
    /// Begins an observation of everything, or of single services, when it is due. Returns whether one was begun.
    pub(super) fn begin_observation(&mut self, now: Moment) -> bool {
        if std::mem::take(&mut self.work.observe_all) {
            self.work.observe.clear();
            self.work.observe_later.clear();
            let has_frontends = self.running().is_some_and(|running| !running.frontends.is_empty());
            let map = has_frontends.then(|| self.settings.policy.base_config.map_path.clone());
            let effect = Effect::Observe { services: None, map };
            self.begin_read(Exchange::Observation(None), effect, now);
            return true;
        }
        let services = self.work.pop_observed(OBSERVED_SERVICES_AT_ONCE_MAX);
        if services.is_empty() {
            return false;
        }
        let effect = Effect::Observe { services: Some(services.clone()), map: None };
        self.begin_read(Exchange::Observation(Some(services)), effect, now);
        true
    }

    /// Handles the end of an observation of the process that serves, or of the previous one where `is_outdated`.
    pub(super) fn observed(
        &mut self,
        services: Option<&[ServiceName]>,
        is_outdated: bool,
        result: Result<Observed, RuntimeError>,
        now: Moment,
    ) {
        match result {
            Err(RuntimeError::Replaced) => self.observe_again(services),
            _ if is_outdated => self.observe_again(services),
            Ok(observed) => self.process_observed(services, observed, now),
            Err(error) => {
                self.work.observe_all = true;
                self.link_failed(&error, now);
            }
        }
    }

    /// Queues services whose observation was answered by the previous process, or would have been.
    fn observe_again(&mut self, services: Option<&[ServiceName]>) {
        let sections = self.process.running().into_iter().flat_map(Running::section_names);
        match services {
            Some(services) => self.work.observe.extend(services.iter().cloned()),
            None => self.work.observe_later.extend(sections),
        }
    }

    /// Handles the state that a process reported.
    pub(super) fn process_observed(&mut self, services: Option<&[ServiceName]>, observed: Observed, now: Moment) {
        let Observed { process, mut servers, routes } = observed;
        let is_external = self.settings.is_external();
        let Some(running) = self.process.running_mut() else { return };
        if process.pid != running.process.pid {
            return self.another_process(Observed { process, servers, routes }, now);
        }
        running.process = process;
        let meanwhile = std::mem::take(&mut self.lane.changed_meanwhile);
        let unknown = running.unknown_sections(services, &meanwhile.services);
        if is_external && services.is_none() {
            let is_ours = |name: &ServiceName| running.sections.contains_key(name);
            let (ours, unclaimed) = servers.services.into_iter().partition(|(name, _)| is_ours(name));
            running.unclaimed = unclaimed;
            let is_desired = |name: &&ServiceName| self.desired.services.contains_key(*name);
            self.work.review(running.unclaimed.keys().filter(is_desired).cloned());
            servers.services = ours;
        }
        if !self.settings.is_supervised() {
            self.record_health_changes(&servers);
        }
        self.note_down_servers(&servers, now);
        let Some(running) = self.process.running_mut() else { return };
        let Differences { drift, missing, verified } =
            running.observe(services, servers, &meanwhile.services, now.instant);
        self.work.drift_found(drift.keys().filter(|name| !unknown.contains_key(name)).cloned());
        self.work.review(drift.into_keys());
        for (name, servers) in verified {
            self.work.changed_servers(name, servers);
        }
        self.sections_missing(missing);
        // Services that changed during the read are observed again.
        self.work.observe.extend(meanwhile.services);
        let is_answered = !unknown.values().any(|unknown| *unknown == Unknown::Unanswered);
        self.work.review(unknown.into_keys());
        if is_answered {
            // If a batch went unanswered, only an answered batch shows that the problem is over.
            self.link_answered();
        }
        self.look_up_names();
        self.routes_observed(routes.filter(|_| !meanwhile.routes));
    }

    /// Notes since when servers are down.
    fn note_down_servers(&mut self, servers: &Observation, now: Moment) {
        let Some(running) = self.process.running() else { return };
        for (name, observed) in &servers.services {
            let is_same = running.sections.get(name).is_some_and(|section| Arc::ptr_eq(&section.observed, observed));
            if let Some(service) = self.desired.services.get_mut(name).filter(|_| !is_same) {
                service.down.observe(observed, &service.slots, now.unix_ms);
            }
        }
    }

    /// Records the servers that went down or came up. For a process that the daemon started, its log reports them, with
    /// the result of the check.
    fn record_health_changes(&mut self, servers: &Observation) {
        let Some(running) = self.process.running() else { return };
        for (name, section) in &running.sections {
            let Some(now) = servers.services.get(name) else { continue };
            let slots = self.desired.services.get(name).map(|service| &service.slots);
            for (server, up) in health_changes(&section.observed, now) {
                let server = slots.map_or(&server, |slots| slots.known_as(&server));
                let event = Event::HealthChanged { up, check: String::new() };
                self.outbox.record(JournalEntry::new(event).service(name).server(server));
            }
        }
    }

    /// Handles an answer from another process than the known one.
    fn another_process(&mut self, observed: Observed, now: Moment) {
        if self.settings.is_external() {
            return self.attach(observed.process, observed.servers, now);
        }
        if self.deployment.is_some() {
            // Most likely this is the process that is being deployed.
            self.work.observe_all = true;
            return;
        }
        self.stranger_found(&observed.process, now);
    }

    /// Handles an unknown process on the socket: the state of our process is unknown until it answers again, and the
    /// unknown one gets no commands.
    fn stranger_found(&mut self, stranger: &ProcessInfo, now: Moment) {
        let Some(running) = self.process.running_mut() else { return };
        let (found, known) = (stranger.pid, running.process.pid);
        running.distrust();
        self.outbox
            .log(warn("an unknown HAProxy process answers on the socket").with("pid", found).with("expected", known));
        self.outbox.push(Effect::Disconnect);
        let problem = format!("unknown HAProxy process {found} answers on the socket, expected process {known}");
        self.lane.link.blocked(problem, now);
        let why = format!("unknown process {found} answers on the socket, expected {known}");
        self.reloads.replace_stranger(ReloadCause::Stranger.because(why));
    }

    /// Records the map that HAProxy reported; changes made outside the daemon are repaired.
    fn routes_observed(&mut self, observed: Option<ObservedRoutes>) {
        let Some((observed, running)) = observed.zip(self.process.running_mut()) else { return };
        let known = running.map.observed.replace(observed.clone());
        if known.as_ref() == Some(&observed) {
            return;
        }
        // Removed services that lost their domains by commands without an answer can leave now.
        let removed = running.sections.keys().filter(|name| !self.desired.services.contains_key(*name));
        self.work.review(removed.cloned());
        self.work.routes = true;
        // After an unanswered batch a difference is expected.
        if known.is_some() {
            self.note_route_drift(&observed);
        }
    }

    /// Compares the files with the last written texts, when that is due.
    pub(super) fn compare_files(&mut self) {
        let is_free = !self.settings.is_external() && self.deployment.is_none() && !self.files.comparing;
        if is_free && self.process.is_serving() && std::mem::take(&mut self.work.compare_files) {
            self.files.comparing = true;
            let with_map = self.running().is_some_and(|running| !running.frontends.is_empty());
            self.outbox.push(Effect::ReadFiles { with_map });
        }
    }

    /// Handles the read files: a file that differs from the last written text was changed outside proxymgr, and is
    /// written again.
    pub(super) fn files_read(&mut self, config: Result<String, String>, map: Result<Option<String>, String>) {
        self.files.comparing = false;
        let Some(text) = self.running_text() else { return };
        if self.files.config.is_behind() || self.deployment.is_some() {
            return;
        }
        let config_is_same = config.is_ok_and(|found| text.is(&found));
        let map_is_same = map.is_ok_and(|found| found.as_deref() == text.map.as_deref());
        if config_is_same && map_is_same {
            return;
        }
        self.outbox.log(warn("the configuration file was changed outside proxymgr, writing it again"));
        self.tally.counts.drift += 1;
        let what = "the configuration file was changed or removed outside proxymgr".to_owned();
        self.outbox.record(JournalEntry::new(Event::DriftFound { what }));
        self.files.config.changed();
    }
}
