//! What discovery, operators and the settings change of the desired state.

use std::sync::Arc;

use super::desired::{DesiredService, PendingChange};
use super::input::Overrides;
use super::state::State;
use super::time::Now;
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::proxy_plan::Holder;
use crate::limits::SETTINGS_MISTAKES_SHOWN_MAX;
use crate::model::{
    AgentState, ChangeId, HostList, LifeCyclePolicy, ObservedServer, ProxyPolicy, ReloadCause, Revision, ServerName,
    ServiceDefinition, ServiceName,
};
use crate::snapshot::RefusedSettings;

/// Another list of hosts.
pub struct NewHosts {
    /// Follows the change to its end.
    pub change: PendingChange,
    /// The number of the list.
    pub revision: Revision,
    /// What is different from the list before.
    pub diff: HostsDiff,
    /// All hosts after the change.
    pub hosts: Arc<HostList>,
    /// When the source showed the list, in milliseconds since 1970.
    pub shown_unix_ms: u64,
}

impl NewHosts {
    /// A change that is not decided upon yet.
    pub fn pending(change: ChangeId, seen_at: tokio::time::Instant) -> PendingChange {
        PendingChange { change, seen_at, class: None }
    }
}

impl State {
    /// A service appeared, or its definition was updated.
    pub(super) fn service_defined(&mut self, definition: Arc<ServiceDefinition>, now: Now) {
        let name = definition.name.clone();
        let strategy = self.settings.strategy_of(&definition, self.version());
        let never_ran = self.running().is_none();
        match self.desired.services.get_mut(&name) {
            Some(known) => {
                let before = std::mem::replace(&mut known.definition, definition);
                if never_ran {
                    known.earlier.definition.get_or_insert(before);
                }
                // A port that was taken may not be the one that is wanted now.
                known.retry_port();
                known.update_by(strategy);
                self.end_vain_waits();
            }
            None => self.add_service(definition),
        }
        self.work.routes = true;
        self.save_later(now);
        self.work.changed(name);
    }

    /// A service was removed.
    pub(super) fn service_removed(&mut self, name: ServiceName, now: Now) {
        if !self.remove_service(&name) {
            return;
        }
        self.end_vain_waits();
        self.work.routes = true;
        self.save_later(now);
        self.work.changed(name);
    }

    /// Discovery shows another list of hosts.
    pub(super) fn hosts_changed(&mut self, name: ServiceName, new: NewHosts, now: Now) {
        let NewHosts { change, revision, diff, hosts, shown_unix_ms } = new;
        let Some(service) = self.desired.services.get_mut(&name) else { return };
        let had_list = service.source.revision.replace(revision).is_some();
        let (servers_before, was_as_discovered) = (service.servers.clone(), service.is_as_discovered());
        service.discovered = hosts;
        service.source.known = true;
        service.source.shown_unix_ms = shown_unix_ms;
        service.changes.follow(change);
        // Other hosts may make a definition acceptable that was refused.
        self.work.routes |= service.blocked.is_some();
        let mut has_new_chances = false;
        if let Some(section) = self.process.running_mut().and_then(|running| running.sections.get_mut(&name)) {
            has_new_chances = section.attempts.any();
            section.attempts.forget();
        }
        let drains = had_list && self.servers_in_transition(&name, &diff, now);
        let Some(service) = self.desired.services.get_mut(&name) else { return };
        service.derive_servers();
        if had_list && !has_new_chances {
            // Overrides and slots may differ where discovery does not.
            let is_as_discovered = was_as_discovered && service.is_as_discovered();
            let derived = (!is_as_discovered).then(|| HostsDiff::between(&servers_before, &service.servers));
            let derived = derived.unwrap_or_default();
            let changed = diff.servers().map(|server| service.slots.in_haproxy(server));
            self.work.changed_servers(name.clone(), derived.servers().chain(changed).cloned());
        } else {
            self.work.changed(name.clone());
        }
        self.catch_up(Some(&name));
        self.expect_life_event(&name);
        if drains {
            // The next daemon has to know whose drain it is, whenever this one ends.
            self.files.saved.changed_for_good(now.instant);
        } else {
            self.save_later(now);
        }
    }

    /// Servers whose hosts are gone may drain, and newcomers rise. Returns whether any drains.
    fn servers_in_transition(&mut self, name: &ServiceName, diff: &HostsDiff, now: Now) -> bool {
        let section = self.process.serving().and_then(|running| running.sections.get(name));
        let Some(service) = self.desired.services.get_mut(name) else { return false };
        let LifeCyclePolicy { drain_timeout, ramp_up } = self.settings.policy.life_cycle;
        let own = service.definition.life_cycle;
        let drain_timeout = own.drain_timeout.unwrap_or(drain_timeout);
        let ramp_up = own.ramp_up.unwrap_or(ramp_up);
        let DesiredService { life, slots, .. } = service;
        // What the file of a process that is being deployed contains is in traffic as soon as that serves.
        let is_deploying = self.deployment.is_some();
        let is_out = |server: &ServerName| {
            let observed = section.map(|section| section.observed.get(slots.in_haproxy(server)));
            !is_deploying && observed.is_some_and(|observed| observed.is_none_or(ObservedServer::in_maintenance))
        };
        life.hosts_changed(diff, is_out, drain_timeout, ramp_up, now.instant);
        !drain_timeout.is_zero() && !diff.removed.is_empty()
    }

    /// The first read of a source brought no usable list.
    pub(super) fn hosts_unknown(&mut self, name: ServiceName) {
        if let Some(service) = self.desired.services.get_mut(&name) {
            service.source.known = true;
            self.work.changed(name);
        }
    }

    /// Operators' choices for the servers of a service changed.
    pub(super) fn overrides_changed(
        &mut self,
        name: ServiceName,
        overrides: Overrides,
        ordered: Option<ServerName>,
        now: Now,
    ) {
        let Some(service) = self.desired.services.get_mut(&name) else {
            self.desired.retained.entry(name).or_default().overrides = overrides;
            return;
        };
        service.overrides = overrides;
        service.derive_servers();
        if let Some(server) = &ordered {
            self.server_ordered(&name, server);
        }
        self.catch_up(Some(&name));
        self.work.changed(name);
        match ordered {
            // A restart of the daemon right after the order must not undo it.
            Some(_) => self.files.saved.changed_for_good(now.instant),
            None => self.save_later(now),
        }
    }

    /// An order about a server gives it a new chance, and decides over whatever was done on HAProxy's own socket.
    fn server_ordered(&mut self, name: &ServiceName, server: &ServerName) {
        let section = self.process.running_mut().and_then(|running| running.sections.get_mut(name));
        let (Some(section), Some(service)) = (section, self.desired.services.get(name)) else { return };
        let server = service.slots.in_haproxy(server);
        section.attempts.forget_server(server);
        let is_kept = |server: &ObservedServer| {
            server.in_drain() || (server.agent == AgentState::Enabled && server.forced_maintenance())
        };
        if section.observed.get(server).is_some_and(is_kept) {
            section.note_disabled_by(server, Some(Holder::Operator));
        }
    }

    /// The settings were read again.
    pub(super) fn policy_changed(&mut self, policy: Arc<ProxyPolicy>) {
        if policy.frame != self.settings.policy.frame && self.deploys() {
            self.reloads.request(ReloadCause::Settings.because("the settings of HAProxy changed"));
        }
        self.reloads.refused_base = None;
        self.tally.settings_refused = None;
        self.settings.update(policy);
        self.choose_strategies();
    }

    /// Settings that were read again have mistakes.
    pub(super) fn settings_refused(&mut self, mut mistakes: Vec<String>, now: Now) {
        mistakes.truncate(SETTINGS_MISTAKES_SHOWN_MAX);
        self.tally.settings_refused = Some(RefusedSettings { at_unix_ms: now.unix_ms, mistakes });
    }

    /// Everything is looked at again, and what was refused is tried again: the reasons may have been outside.
    pub(super) fn refresh(&mut self) {
        for service in self.desired.services.values_mut() {
            service.retry_definition();
        }
        if let Some(running) = self.process.running_mut() {
            running.sections.values_mut().for_each(|section| section.attempts.forget());
        }
        self.review_all();
        self.work.observe_all = true;
        self.work.compare_files = true;
        self.work.routes = true;
    }

    /// A port that could not be bound before is now held for this service.
    pub(super) fn socket_opened(&mut self, name: ServiceName) {
        let Some(service) = self.desired.services.get_mut(&name) else {
            // Removed while its port was waited for. What a deployment holds is released at its end.
            if self.deployment.is_none() {
                self.release_sockets();
            }
            return;
        };
        service.retry_port();
        if let Some(deployment) = &mut self.deployment {
            deployment.opened.insert(name.clone());
        }
        self.tally.sockets_to_spare = true;
        self.work.changed(name);
    }
}
