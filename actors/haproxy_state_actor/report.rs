//! What the actor says of itself.

use std::sync::Arc;

use actix::{Context, Handler, MessageResult};
use tokio::time::Instant;

use super::HaproxyStateActor;
use super::desired::DesiredService;
use super::life_cycle::{Leaving, Rising};
use super::running::Section;
use crate::decide::routing::{keys, routed_at};
use crate::decide::slots::SlotTable;
use crate::limits::RUNTIME_SILENCE_TOLD;
use crate::message::{ConfigState, GetConfig, GetState, NextSection, RunningConfig};
use crate::model::{ObservedServer, ServerName, ServiceDefinition, ServiceName};
use crate::snapshot::{
    ActorState, HaproxyState, LeavingServer, ProxyPhase, RisingServer, ServiceState, TargetState, TroublesSince,
};

/// Said of a HAProxy whose answer is still waited for.
const SILENCE: &str = "HAProxy's socket does not answer; what changes meanwhile waits for it";

impl HaproxyStateActor {
    fn service_state(&self, name: &ServiceName, service: &DesiredService) -> ServiceState {
        let section = self.running.as_ref().and_then(|running| running.sections.get(name));
        let hopeless = |section: &Section| {
            let (server, refusal) = section.hopeless.first_key_value()?;
            Some(format!("server {}: {}", service.slots.known_as(server), refusal.words))
        };
        let drained_on_socket = |section: &Section| {
            let drained = section.drained_on_socket(&service.servers);
            drained.map(|server| service.slots.known_as(server).clone()).collect()
        };
        let leaving = |(name, leaving): (&ServerName, &Leaving)| {
            let since_unix_ms = self.clock.unix_ms_at(leaving.since);
            let until_unix_ms = self.clock.unix_ms_at(leaving.until);
            (name.clone(), LeavingServer { since_unix_ms, until_unix_ms, sessions: leaving.sessions })
        };
        let rising = |(name, rising): (&ServerName, &Rising)| {
            let until_unix_ms = self.clock.unix_ms_at(rising.until);
            (name.clone(), RisingServer { percent: rising.percent(), until_unix_ms })
        };
        let complaint = || self.running.as_ref()?.routing.complaint(name);
        let blocker = service.blocker.as_ref().map(|blocker| blocker.text().to_owned());
        ServiceState {
            listen: service.definition.listen.map(|address| address.to_string()),
            domains: domains(&service.definition),
            revision: service.revision.unwrap_or_default(),
            desired: service.hosts.len(),
            update: service.strategy.strategy,
            update_reason: service.strategy.why.clone(),
            free_slots: service.slots_in_use().map(|slots| section.map_or(0, |section| free_slots(section, slots))),
            slots: service.slots.taken(),
            min_hosts: service.definition.removal.min_hosts,
            servers: section.and_then(|section| section.states.clone()).unwrap_or_default(),
            operator: service.choices.all().clone(),
            drained_on_socket: section.map(drained_on_socket).unwrap_or_default(),
            leaving: service.life.leaving().map(leaving).collect(),
            rising: service.life.rising().map(rising).collect(),
            problem_since_unix_ms: service.blocker.as_ref().map(|_| service.blocked_since_unix_ms),
            problem: blocker.or_else(|| section.and_then(hopeless)).or_else(complaint),
            last_applied_unix_ms: service.last_applied.map(|applied| self.clock.unix_ms_at(applied.at)),
            last_class: service.last_applied.map(|applied| applied.class.as_str().to_owned()),
            last_took_us: service.last_applied.map(|applied| applied.took_us),
        }
    }

    /// Since when HAProxy has not answered a step at run time that takes longer than such steps do.
    fn silent_since(&self) -> Option<Instant> {
        let is_step = matches!(self.phase, ProxyPhase::Running | ProxyPhase::Down);
        self.busy_since.filter(|since| is_step && since.elapsed() >= RUNTIME_SILENCE_TOLD)
    }

    /// Puts what HAProxy has of each section into words. Only sections seen anew since the last question cost anything.
    fn tell_states(&mut self) {
        let sections = self.running.iter_mut().flat_map(|running| running.sections.iter_mut());
        for (name, section) in sections.filter(|(_, section)| section.states.is_none()) {
            let slots = self.desired.services.get(name).map(|service| &service.slots);
            let servers = section.observed.iter().filter_map(|(name, server)| {
                let waits = slots.is_some_and(|slots| slots.is_free(name)) && server.forced_maintenance();
                let name = slots.map_or(name, |slots| slots.known_as(name));
                (!waits).then(|| (name.clone(), state_word(server).to_owned()))
            });
            section.states = Some(Arc::new(servers.collect()));
        }
    }
}

/// The free slots that the process has, of those that it may yet get.
fn free_slots(section: &Section, slots: &SlotTable) -> usize {
    section.observed.keys().filter(|name| slots.is_free(name)).count()
}

/// What the service wants to be asked for, for people.
fn domains(definition: &ServiceDefinition) -> Vec<String> {
    match routed_at(definition) {
        Some(listen) => keys(listen, definition).map(|key| key.to_string()).collect(),
        None => definition.domains.iter().map(ToString::to_string).collect(),
    }
}

fn state_word(server: &ObservedServer) -> &'static str {
    if server.in_maintenance() {
        "maint"
    } else if server.in_drain() {
        "drain"
    } else if server.operational_state == 0 {
        "down"
    } else {
        "ready"
    }
}

impl Handler<GetState> for HaproxyStateActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Context<Self>) -> Self::Result {
        self.tell_states();
        let silent_since = self.silent_since();
        let silence = silent_since.map(|_| SILENCE.to_owned());
        let services = self.desired.services.iter();
        let state = HaproxyState {
            phase: self.phase,
            process: self.running.as_ref().filter(|running| running.alive).map(|running| running.process.clone()),
            services: services.map(|(name, service)| (name.clone(), self.service_state(name, service))).collect(),
            reload_due: self.reload_reasons(),
            counts: self.counts.clone(),
            last_reload: self.last_reload.as_ref().map(|(_, reasons)| reasons.clone()).unwrap_or_default(),
            last_reload_unix_ms: self.last_reload.as_ref().map(|(at, _)| self.clock.unix_ms_at(*at)),
            runtime_error: self.runtime_error.text().map(ToOwned::to_owned).or(silence),
            reload_error: self.reload_error.text().map(ToOwned::to_owned),
            file_error: self.file.error.text().map(ToOwned::to_owned),
            saved_state_error: self.saver.error.text().map(ToOwned::to_owned),
            since: TroublesSince {
                gone_unix_ms: self.gone.since_unix_ms(),
                runtime_error_unix_ms: (self.runtime_error.since_unix_ms())
                    .or_else(|| silent_since.map(|since| self.clock.unix_ms_at(since))),
                reload_error_unix_ms: self.reload_error.since_unix_ms(),
                file_error_unix_ms: self.file.error.since_unix_ms(),
                saved_state_error_unix_ms: self.saver.error.since_unix_ms(),
            },
            settings_refused: self.settings_refused.clone(),
            run_by_others: self.is_run_by_others(),
        };
        MessageResult(match self.ports.target.clone() {
            None => ActorState::HaproxyState(state),
            Some(name) => ActorState::Target(TargetState { name, haproxy: state }),
        })
    }
}

impl Handler<GetConfig> for HaproxyStateActor {
    type Result = MessageResult<GetConfig>;

    fn handle(&mut self, _: GetConfig, _: &mut Context<Self>) -> Self::Result {
        let running = self.running.as_ref().filter(|_| !self.is_run_by_others());
        let running = running.map(|running| RunningConfig {
            frame: running.frame.clone(),
            sections: running.sections.iter().map(|(name, section)| (name.clone(), section.text.clone())).collect(),
            frontends: running.frontends.values().cloned().collect(),
        });
        let descriptor = |name: &ServiceName| self.running.as_ref()?.sections.get(name)?.descriptor;
        let next = self.service_sections().into_iter().map(|(name, service)| NextSection {
            definition: service.desired.definition,
            descriptor: descriptor(&name),
            hosts: service.desired.hosts,
        });
        let (next_frame, next_style) = self.head_of_file();
        let map_path = self.policy.frame.map_path.clone();
        MessageResult(ConfigState { running, next: next.collect(), next_frame, next_style, map_path })
    }
}
