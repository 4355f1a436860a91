//! Attachment to an external HAProxy, which is changed only via its Runtime API.
//!
//! The daemon manages each section that has the name of a service. Servers in it that discovery knows are assumed to
//! match the definition; other servers go into maintenance, and none that was found there is ever deleted. Changes that
//! need a reload wait for the operator of that HAProxy; after its reload, the daemon attaches to the new process from
//! scratch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::desired::{DesiredService, DisabledBefore};
use super::effect::{Effect, info, warn};
use super::input::Observed;
use super::observed::{DomainMap, Running, RuntimeBackends};
use super::section::Section;
use super::state::{Exchange, State};
use super::time::backoff;
use crate::decide::base::BoundBase;
use crate::decide::capabilities::Capabilities;
use crate::decide::deployment::BoundSection;
use crate::decide::deployment::Warnings;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::proxy_plan::{AppliedServer, DisabledBy, applied_server};
use crate::decide::routing::Routing;
use crate::decide::scope::Scope;
use crate::journal::{Event, JournalEntry};
use crate::limits::{HEALTH_POLL_MIN, RUNTIME_RETRY_MAX, RUNTIME_RETRY_MIN};
use crate::model::{
    AdminState, AgentState, Host, Moment, Observation, ObservedServer, ObservedServers, ProcessInfo, ServerName,
    ServiceName,
};
use crate::port::RuntimeError;

impl State {
    /// Connects to the external HAProxy when an attempt is due.
    pub(super) fn begin_attachment(&mut self, now: Moment) {
        let is_due = match self.process.running() {
            None => self.may_start(now),
            Some(_) => !self.process.is_serving(),
        };
        let is_free = self.lane.reading.is_none() && !self.process.is_stopping();
        if self.settings.is_external() && is_free && is_due && now.instant >= self.reloads.not_before {
            self.work.observe_all = false;
            let effect = Effect::Observe { services: None, map: None };
            self.begin_read(Exchange::Observation(None), effect, now);
        }
    }

    /// Handles the answer, or the lack of one, of an external HAProxy that was out of reach.
    pub(super) fn attachment_answered(&mut self, result: Result<Observed, RuntimeError>, now: Moment) {
        match result {
            Ok(observed) => self.attach(observed.process, observed.servers, now),
            Err(error) => self.still_away(&error, now),
        }
    }

    /// Attaches to the process that answered, with the sections and servers that it reported.
    pub(super) fn attach(&mut self, process: ProcessInfo, observation: Observation, now: Moment) {
        self.lane.link.replaced(now.instant);
        let before = self.process.take_running();
        if let Some(mut running) = before {
            if running.process.pid == process.pid {
                self.outbox.log(info("the external HAProxy answers again").with("pid", process.pid));
                running.distrust();
                self.process.serve(running);
                return self.process_observed(None, Observed { process, servers: observation, routes: None }, now);
            }
            // Until the new pid was seen, commands meant for the old process may have reached this one.
            let disabled = running.sections.iter().map(|(name, section)| (name.clone(), section.disabled_by()));
            self.desired.disabled_before.extend(disabled);
            self.attach_new(process, observation, &running.sections, now);
        } else {
            self.attach_new(process, observation, &BTreeMap::new(), now);
        }
    }

    fn attach_new(
        &mut self,
        process: ProcessInfo,
        observation: Observation,
        before: &BTreeMap<ServiceName, Section>,
        now: Moment,
    ) {
        let line =
            info("attached to an external HAProxy, changes are applied via its Runtime API").with("pid", process.pid);
        self.outbox.log(line.with("version", &process.version_text));
        let style = SectionStyle::of(&self.settings.base, Some(process.version));
        let mut unclaimed = observation.services;
        let mut sections = BTreeMap::new();
        let known = self.desired.services.iter().filter(|(_, service)| service.source.revision.is_some());
        for (name, service) in known {
            let Some(servers) = unclaimed.remove(name) else { continue };
            let disabled = self.desired.disabled_before.get(name);
            let mut section = found_section(service, servers, style, disabled, now.instant);
            // Drains set on the socket of the previous process are set again.
            if let Some(known) = before.get(name) {
                let again = known.drained_on_socket(&section.file.hosts).chain(&known.found.drained_before);
                let again = again.filter(|server| section.file.hosts.contains_key(*server)).cloned().collect();
                section.found.drained_before = again;
            }
            sections.insert(name.clone(), section);
        }
        self.process.serve(Box::new(Running {
            capabilities: Capabilities::of(process.version),
            process,
            base: BoundBase::default(),
            warnings: Warnings::default(),
            style,
            sections,
            unclaimed,
            // The routing of an external HAProxy is up to its own configuration.
            frontends: BTreeMap::new(),
            certificates: BTreeMap::new(),
            backends: RuntimeBackends::default(),
            routing: Routing::default(),
            map: DomainMap::default(),
            health_changed: false,
        }));
        self.choose_strategies();
        self.reloads.clear();
        self.work.forget_drift();
        let services: Vec<ServiceName> = self.desired.services.keys().cloned().collect();
        self.work.review(services);
        self.timers.health_at = Some(now.instant + HEALTH_POLL_MIN);
    }

    /// Schedules the next attempt after the external HAProxy did not answer.
    fn still_away(&mut self, error: &RuntimeError, now: Moment) {
        let link = &mut self.lane.link;
        if link.failed(error.to_string(), now) {
            self.outbox.log(
                warn("the external HAProxy does not answer, changes are applied once it does").with("error", error),
            );
            self.outbox.record(JournalEntry::new(Event::Failed { error: error.to_string() }));
        }
        self.reloads.not_before = now.instant + backoff(link.failures(), RUNTIME_RETRY_MIN, RUNTIME_RETRY_MAX);
        self.process.end(None);
    }

    /// Starts to manage the section of a service once its hosts are known, and gives up that of a removed service.
    pub(super) fn claim(&mut self, name: &ServiceName, scope: &Scope, now: Instant) {
        let Some(running) = self.process.running_mut() else { return };
        let service = self.desired.services.get(name).filter(|service| service.source.revision.is_some());
        let Some(service) = service else {
            let Some(section) = running.sections.remove(name) else { return };
            // If the service is defined again, the reasons of its drains are still known.
            self.desired.disabled_before.insert(name.clone(), section.disabled_by());
            if section.unknown.is_some() {
                // The section is observed before it is managed again.
                self.work.observe_all = true;
            } else {
                running.unclaimed.insert(name.clone(), section.observed);
            }
            return;
        };
        if let Some(servers) = running.unclaimed.remove(name) {
            let before = self.desired.disabled_before.get(name);
            running.sections.insert(name.clone(), found_section(service, servers, running.style, before, now));
        }
        let Some(section) = running.sections.get_mut(name) else { return };
        match scope {
            Scope::Whole => {
                service.servers.iter().for_each(|(server, host)| take_as_defined(section, service, server, host));
            }
            Scope::Servers(servers) => {
                let desired = servers.iter().filter_map(|server| Some((server, service.servers.get(server)?)));
                desired.for_each(|(server, host)| take_as_defined(section, service, server, host));
            }
        }
    }
}

/// Assumes that a server found in HAProxy matches the definition.
fn take_as_defined(section: &mut Section, service: &DesiredService, server: &ServerName, host: &Host) {
    if let Some(found) = section.observed.get(server)
        && !section.loaded.servers.contains_key(server)
    {
        let known = section.found.disabled_by.remove(server);
        let disabled_by = drained_by(found, host.state, || known);
        let loaded = AppliedServer { disabled_by, ..applied_server(&service.definition, host) };
        section.loaded.servers.insert(server.clone(), loaded);
    }
}

fn found_section(
    service: &DesiredService,
    servers: Arc<ObservedServers>,
    style: SectionStyle,
    before: Option<&DisabledBefore>,
    now: Instant,
) -> Section {
    let spec = service.section_by(&service.definition);
    let mut section = Section::started(BoundSection::new(spec, None), style, None, now);
    // Its file is not ours, so the server ids in it are not known.
    section.loaded.servers.values_mut().for_each(|server| server.id = None);
    for (name, found) in &*servers {
        let state = service.servers.get(name).map_or(AdminState::Ready, |host| host.state);
        // A server that an earlier run kept ready was not drained by it; one that it did not know was drained as
        // removed.
        let known = || before?.get(name).copied().unwrap_or(Some(DisabledBy::Removal));
        section.note_disabled_by(name, drained_by(found, state, known));
    }
    section.found.servers = servers.keys().cloned().collect();
    section.observe_first(servers);
    section
}

/// Returns why a server that was found in drain is there; `None` where it is not in drain, or where an operator drained
/// it on HAProxy's own socket.
fn drained_by(
    found: &ObservedServer,
    wanted: AdminState,
    known: impl FnOnce() -> Option<DisabledBy>,
) -> Option<DisabledBy> {
    match wanted {
        // While the agent check is enabled, a drain comes from the agent.
        _ if !found.in_drain() || found.agent == AgentState::Enabled => None,
        // Drain is the desired state, so the daemon also ends it, whatever set it.
        AdminState::Drain => Some(DisabledBy::Discovery),
        AdminState::Ready | AdminState::Maint => known(),
    }
}
