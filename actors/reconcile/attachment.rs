//! An external HAProxy: taken as it is found, and changed at run time alone.
//!
//! A section that is named like a service is ours to change. What stands there of servers that discovery knows is taken to
//! be as our definition says; other servers go into maintenance, and none that was found there is ever deleted. What only
//! a reload can bring waits for whoever manages it: the process that is found afterwards is taken anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::desired::{DesiredService, DisabledBefore};
use super::effect::{Effect, info, warn};
use super::input::Observed;
use super::observed::{DomainMap, Running};
use super::section::Section;
use super::state::{Exchange, State};
use super::time::{Now, backoff};
use crate::decide::capabilities::Capabilities;
use crate::decide::deployment::BoundSection;
use crate::decide::deployment::Warnings;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::proxy_plan::{Holder, LoadedServer, given};
use crate::decide::routing::Routing;
use crate::decide::scope::Scope;
use crate::journal::{Event, JournalEntry};
use crate::limits::{HEALTH_POLL_MIN, RUNTIME_RETRY_MAX, RUNTIME_RETRY_MIN};
use crate::model::{
    AdminState, AgentState, Host, Observation, ObservedServer, ObservedServers, ProcessInfo, ServerName, ServiceName,
};
use crate::port::RuntimeError;

impl State {
    /// Looks whether the external HAProxy is there, where that is due.
    pub(super) fn begin_attachment(&mut self, now: Now) {
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

    /// An external HAProxy that was out of reach answered, or did not.
    pub(super) fn attachment_answered(&mut self, result: Result<Observed, RuntimeError>, now: Now) {
        match result {
            Ok(observed) => self.attach(observed.process, observed.servers, now),
            Err(error) => self.still_away(&error, now),
        }
    }

    /// Takes the process that answers, with all that it has.
    pub(super) fn attach(&mut self, process: ProcessInfo, observation: Observation, now: Now) {
        self.lane.link.replaced(now.instant);
        let before = self.process.take_running();
        if let Some(mut running) = before {
            if running.process.pid == process.pid {
                self.outbox.log(info("the external HAProxy is back").with("pid", process.pid));
                running.distrust();
                self.process.serve(running);
                return self.process_observed(None, Observed { process, servers: observation, routes: None }, now);
            }
            // Until it was seen to be another process it was asked for what that one was meant to do.
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
        now: Now,
    ) {
        let line = info("an external HAProxy is changed at run time from here on").with("pid", process.pid);
        self.outbox.log(line.with("version", &process.version_text));
        let style = SectionStyle::of(&self.settings.policy.frame, Some(process.version));
        let mut unclaimed = observation.services;
        let mut sections = BTreeMap::new();
        let known = self.desired.services.iter().filter(|(_, service)| service.source.revision.is_some());
        for (name, service) in known {
            let Some(servers) = unclaimed.remove(name) else { continue };
            let disabled = self.desired.disabled_before.get(name);
            let mut section = found_section(service, servers, style, disabled, now.instant);
            // What somebody drained on the socket of the process before is drained again.
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
            base: Arc::default(),
            warnings: Warnings::default(),
            style,
            sections,
            unclaimed,
            // Which service a domain belongs to is decided by whoever manages it.
            frontends: BTreeMap::new(),
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

    /// It does not answer; it is looked for again after a pause.
    fn still_away(&mut self, error: &RuntimeError, now: Now) {
        let link = &mut self.lane.link;
        if link.failed(error.to_string(), now) {
            self.outbox
                .log(warn("the external HAProxy does not answer, it is caught up when it does").with("error", error));
            self.outbox.record(JournalEntry::new(Event::Failed { error: error.to_string() }));
        }
        self.reloads.not_before = now.instant + backoff(link.failures(), RUNTIME_RETRY_MIN, RUNTIME_RETRY_MAX);
        self.process.end(None);
    }

    /// Takes the section of a service whose hosts are known by now, and leaves that of a service that is no more.
    pub(super) fn claim(&mut self, name: &ServiceName, scope: &Scope, now: Instant) {
        let Some(running) = self.process.running_mut() else { return };
        let service = self.desired.services.get(name).filter(|service| service.source.revision.is_some());
        let Some(service) = service else {
            let Some(section) = running.sections.remove(name) else { return };
            // It may be defined again: whose drains these are is known until then.
            self.desired.disabled_before.insert(name.clone(), section.disabled_by());
            if section.stale {
                // What it has is observed before it is taken again.
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

/// A server that was found is taken to be as the definition says.
fn take_as_defined(section: &mut Section, service: &DesiredService, server: &ServerName, host: &Host) {
    if let Some(found) = section.observed.get(server)
        && !section.loaded.servers.contains_key(server)
    {
        let known = section.found.disabled_by.remove(server);
        let held_by = drained_by(found, host.state, || known);
        let loaded = LoadedServer { held_by, ..given(&service.definition, host) };
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
    // Its file is not ours: which ids it gives is not known.
    section.loaded.servers.values_mut().for_each(|server| server.id = None);
    for (name, found) in &*servers {
        let state = service.servers.get(name).map_or(AdminState::Ready, |host| host.state);
        // What an earlier run wanted ready, it never drained. What that run did not want it drained for good.
        let known = || before?.get(name).copied().unwrap_or(Some(Holder::Removal));
        section.note_disabled_by(name, drained_by(found, state, known));
    }
    section.found.servers = servers.keys().cloned().collect();
    section.observe_first(servers);
    section
}

/// Why a server is in drain that is found so; none where it is not, or where an operator drained it on HAProxy's own
/// socket.
fn drained_by(found: &ObservedServer, wanted: AdminState, known: impl FnOnce() -> Option<Holder>) -> Option<Holder> {
    match wanted {
        // Under an agent that is asked, a drain is the agent's.
        _ if !found.in_drain() || found.agent == AgentState::Enabled => None,
        // Whoever put it there, it is as it should be, and ours to end.
        AdminState::Drain => Some(Holder::Discovery),
        AdminState::Ready | AdminState::Maint => known(),
    }
}
