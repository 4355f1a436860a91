//! Reports of the state, which do not change it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::desired::DesiredService;
use super::section::Section;
use super::server_life::{Leaving, Rising};
use super::state::State;
use crate::decide::haproxy_config::default_server_words;
use crate::decide::routing::{keys, routed_at};
use crate::decide::slots::SlotTable;
use crate::limits::RUNTIME_SILENCE_TOLD;
use crate::model::{
    AgentState, Moment, ProxyManagement, ServerName, ServerState, ServiceDefinition, ServiceName, Word,
};
use crate::snapshot::{
    DefinitionFacts, HaproxyState, LastChange, LeavingServer, ProblemsSince, ProxyPhase, RisingServer,
    ServerExceptions, ServiceState,
};

/// The problem that is reported while HAProxy does not answer.
const SILENCE: &str = "HAProxy's socket does not answer; runtime changes wait for it";

impl State {
    /// Returns the phase of the HAProxy process.
    pub fn phase(&self) -> ProxyPhase {
        use super::process_state::ProcessState::{Down, Serving, Stopping, Waiting};
        match &self.process {
            Stopping { .. } => ProxyPhase::Stopping,
            _ if self.deployment.is_some() => ProxyPhase::Launching,
            Waiting => ProxyPhase::Waiting,
            Serving(_) => ProxyPhase::Running,
            Down { .. } => ProxyPhase::Down,
        }
    }

    /// Returns a snapshot of the whole state.
    pub fn snapshot(&self, now: Moment) -> HaproxyState {
        let silent_since = self.silent_since(now.instant);
        let link = &self.lane.link.problem;
        let files = &self.files;
        let services = self.desired.services.iter();
        HaproxyState {
            phase: self.phase(),
            process: self.process.serving().map(|running| running.process.clone()),
            services: services.map(|(name, service)| (name.clone(), self.service_state(name, service, now))).collect(),
            reload_due: self.reload_reasons(),
            counts: self.tally.counts.clone(),
            last_reload: self.reloads.last.as_ref().map(|(_, reasons)| reasons.clone()).unwrap_or_default(),
            last_reload_unix_ms: self.reloads.last.as_ref().map(|(at, _)| now.unix_ms_at(*at)),
            runtime_error: link.text().map(ToOwned::to_owned).or(silent_since.map(|_| SILENCE.to_owned())),
            reload_error: self.reloads.problem.text().map(ToOwned::to_owned),
            file_error: files.config.problem.text().map(ToOwned::to_owned),
            saved_state_error: files.saved.problem.text().map(ToOwned::to_owned),
            since: ProblemsSince {
                gone_unix_ms: self.process.exit().map(|exit| exit.since_unix_ms),
                runtime_error_unix_ms: link.since_unix_ms().or(silent_since.map(|since| now.unix_ms_at(since))),
                reload_error_unix_ms: self.reloads.problem.since_unix_ms(),
                file_error_unix_ms: files.config.problem.since_unix_ms(),
                saved_state_error_unix_ms: files.saved.problem.since_unix_ms(),
            },
            settings_refused: self.tally.settings_refused.clone(),
            run_by_others: self.settings.management == ProxyManagement::External,
            warnings: self.running().map(|running| running.warnings.base.clone()).unwrap_or_default(),
        }
    }

    fn service_state(&self, name: &ServiceName, service: &DesiredService, now: Moment) -> ServiceState {
        let section = self.running().and_then(|running| running.sections.get(name));
        let hopeless = |section: &Section| {
            let (server, refusal) = section.attempts.hopeless.first_key_value()?;
            Some(format!("server {}: {}", service.slots.known_as(server), refusal.words))
        };
        let unresolved = || section?.names(&self.settings.inherited)?.problem();
        let drained_on_socket = |section: &Section| {
            let drained = section.drained_on_socket(&service.servers);
            drained.map(|server| service.slots.known_as(server).clone()).collect()
        };
        let agent_weights = |section: &Section| {
            let with_agent = section.observed.iter().filter(|(_, server)| server.agent == AgentState::Enabled);
            with_agent.map(|(name, server)| (service.slots.known_as(name).clone(), server.weight)).collect()
        };
        let leaving = |(name, leaving): (&ServerName, &Leaving)| {
            let since_unix_ms = now.unix_ms_at(leaving.since);
            let until_unix_ms = now.unix_ms_at(leaving.until);
            (name.clone(), LeavingServer { since_unix_ms, until_unix_ms, sessions: leaving.sessions })
        };
        let rising = |(name, rising): (&ServerName, &Rising)| {
            let until_unix_ms = now.unix_ms_at(rising.until);
            (name.clone(), RisingServer { percent: rising.percent(), until_unix_ms })
        };
        let complaint = || self.running()?.routing.complaint(name);
        let blocked = service.blocker().map(|blocker| blocker.text().to_owned());
        let applied = service.changes.last_applied;
        ServiceState {
            listen: service.definition.addresses().next().map(|address| address.to_string()),
            defined: defined(&service.definition, &self.settings.inherited),
            revision: service.source.revision.unwrap_or_default(),
            desired: service.hosts.len(),
            update: service.strategy.strategy,
            update_reason: service.strategy.why.clone(),
            free_slots: service.slots_in_use().map(|slots| section.map_or(0, |section| free_slots(section, slots))),
            slots: service.slots.taken(),
            servers: section.map(|section| section.reported_states(slots_of(service))).unwrap_or_default(),
            exceptions: ServerExceptions {
                operator: service.overrides.clone(),
                drained_on_socket: section.map(drained_on_socket).unwrap_or_default(),
                agent_weights: section.map(agent_weights).unwrap_or_default(),
                leaving: service.life.leaving().map(leaving).collect(),
                rising: service.life.rising().map(rising).collect(),
                down_since_unix_ms: service.down.since_unix_ms().clone(),
            },
            problem_since_unix_ms: service.blocked.as_ref().map(|blocked| blocked.since_unix_ms),
            problem: blocked.or_else(|| section.and_then(hopeless)).or_else(unresolved).or_else(complaint),
            warnings: self
                .running()
                .and_then(|running| running.warnings.services.get(name))
                .into_iter()
                .flatten()
                .cloned()
                .chain(without_effect(&service.definition))
                .collect(),
            last: LastChange {
                applied_unix_ms: applied.map(|applied| now.unix_ms_at(applied.at)),
                class: applied.map(|applied| applied.class.as_str().to_owned()),
                took_us: applied.map(|applied| applied.took_us),
            },
        }
    }

    /// Returns the start of an exchange that takes unusually long.
    fn silent_since(&self, now: Instant) -> Option<Instant> {
        let under_way = self.lane.changing.iter().chain(&self.lane.reading);
        let since = under_way.map(|exchange| exchange.since).min()?;
        (now.saturating_duration_since(since) >= RUNTIME_SILENCE_TOLD).then_some(since)
    }
}

fn slots_of(service: &DesiredService) -> &SlotTable {
    &service.slots
}

/// Returns the number of free slots in the process.
fn free_slots(section: &Section, slots: &SlotTable) -> usize {
    section.observed.keys().filter(|name| slots.is_free(name)).count()
}

/// Returns a warning about the keys of a definition that have no effect, because its section is in the base
/// configuration.
fn without_effect(definition: &ServiceDefinition) -> Option<String> {
    let frame = definition.frame()?;
    let keys = [
        ("port", definition.listen.is_some()),
        ("binds", !definition.section.binds.is_empty()),
        ("defaults", definition.section.defaults.is_some()),
        ("tls", definition.section.tls.is_some()),
        ("listen_options", !definition.listen_options.is_empty()),
        ("domains", !definition.requests.domains.is_empty()),
        ("default", definition.requests.is_default),
        ("match", !definition.requests.conditions.is_empty()),
    ];
    let set: Vec<&str> = keys.iter().filter(|(_, is_set)| *is_set).map(|(key, _)| *key).collect();
    (!set.is_empty()).then(|| {
        let place = frame.place();
        format!(
            "its section is in the base configuration ({place}), so that these keys have no effect: {}",
            set.join(", ")
        )
    })
}

/// Returns what status shows of a definition.
fn defined(definition: &ServiceDefinition, inherited: &[Word]) -> DefinitionFacts {
    let of_section = default_server_words(definition);
    let mut options = inherited.iter().chain(&of_section).chain(&definition.server_options).map(Word::as_str);
    let last = options.rfind(|option| ["check", "no-check", "agent-check"].contains(option));
    DefinitionFacts {
        origin: definition.origin.clone(),
        domains: domains(definition),
        tags: tags(definition),
        min_hosts: definition.removal.min_hosts,
        certificates: definition.certificates().iter().map(ToString::to_string).collect(),
        checks_health: last.is_some_and(|option| option != "no-check"),
    }
}

/// Returns the tags that the source of a service looks for.
fn tags(definition: &ServiceDefinition) -> Vec<String> {
    let tags = definition.source.settings.get("tags").and_then(|tags| tags.as_array());
    tags.into_iter().flatten().filter_map(|tag| tag.as_str()).map(ToOwned::to_owned).collect()
}

/// Returns the domains of a service as display texts.
fn domains(definition: &ServiceDefinition) -> Vec<String> {
    match routed_at(definition) {
        Some(listen) => {
            let conditions = &definition.requests.conditions;
            let with = if conditions.is_empty() { String::new() } else { format!(" ({conditions})") };
            keys(listen, definition).map(|key| format!("{key}{with}")).collect()
        }
        None => definition.requests.domains.iter().map(ToString::to_string).collect(),
    }
}

impl Section {
    /// Returns the state of each server, by its name in discovery, without free slots. The result is cached until the
    /// next observation of the section.
    fn reported_states(&self, slots: &SlotTable) -> Arc<BTreeMap<ServerName, ServerState>> {
        let states = || {
            let servers = self.observed.iter().filter_map(|(name, server)| {
                let waits = slots.is_free(name) && server.forced_maintenance();
                (!waits).then(|| (slots.known_as(name).clone(), server.state()))
            });
            Arc::new(servers.collect())
        };
        self.states.get_or_init(states).clone()
    }
}
