//! Handles changes of the desired state by discovery, operators and settings.

use std::sync::Arc;

use super::desired::{DesiredService, PendingChange};
use super::input::Overrides;
use super::state::State;
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::proxy_plan::DisabledBy;
use crate::limits::SETTINGS_MISTAKES_SHOWN_MAX;
use crate::model::{
    AgentState, ChangeId, HostList, LifeCyclePolicy, Moment, ObservedServer, ProxyPolicy, ReloadCause, Revision,
    ServerName, ServiceDefinition, ServiceName,
};
use crate::snapshot::RefusedSettings;

/// A new list of hosts.
pub struct NewHosts {
    /// Tracks the change until it is applied.
    pub change: PendingChange,
    /// The revision of the list.
    pub revision: Revision,
    /// The differences from the previous list.
    pub diff: HostsDiff,
    /// All hosts after the change.
    pub hosts: Arc<HostList>,
    /// When the source showed the list, in milliseconds since 1970.
    pub shown_unix_ms: u64,
}

impl NewHosts {
    /// Creates a change without a class.
    pub fn pending(change: ChangeId, seen_at: std::time::Instant) -> PendingChange {
        PendingChange { change, seen_at, class: None }
    }
}

impl State {
    /// Handles a new service or an updated definition.
    pub(super) fn service_defined(&mut self, definition: Arc<ServiceDefinition>, now: Moment) {
        let definition = self.in_base(&definition);
        let name = definition.name.clone();
        let strategy = self.settings.strategy_of(&definition, self.version());
        let never_ran = self.running().is_none();
        match self.desired.services.get_mut(&name) {
            Some(known) => {
                let before = std::mem::replace(&mut known.definition, definition);
                if never_ran {
                    known.earlier.definition.get_or_insert(before);
                }
                // The updated definition may use another port.
                known.retry_port();
                known.update_by(strategy);
                self.retry_certificates(&name);
                self.end_vain_waits_later(now);
            }
            None => self.add_service(definition),
        }
        self.work.routes = true;
        self.save_later(now);
        self.work.changed(name);
    }

    /// Handles the removal of a service.
    pub(super) fn service_removed(&mut self, name: ServiceName, now: Moment) {
        if !self.remove_service(&name) {
            return;
        }
        self.end_vain_waits_later(now);
        self.work.routes = true;
        self.save_later(now);
        self.work.changed(name);
    }

    /// Handles a new list of hosts.
    pub(super) fn hosts_changed(&mut self, name: ServiceName, new: NewHosts, now: Moment) {
        let NewHosts { change, revision, diff, hosts, shown_unix_ms } = new;
        let Some(service) = self.desired.services.get_mut(&name) else { return };
        let had_list = service.source.revision.replace(revision).is_some();
        let (servers_before, was_as_discovered) = (service.servers.clone(), service.is_as_discovered());
        service.discovered = hosts;
        service.source.known = true;
        service.source.shown_unix_ms = shown_unix_ms;
        service.changes.follow(change);
        // A refused definition may be accepted with other hosts.
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
            // Overrides and slots may change servers that discovery did not.
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
            // After a crash the next daemon has to know the reason of this drain.
            self.files.saved.changed_for_good(now.instant);
        } else {
            self.save_later(now);
        }
    }

    /// Starts to drain servers whose hosts are gone and to ramp up new ones. Returns whether any drains.
    fn servers_in_transition(&mut self, name: &ServiceName, diff: &HostsDiff, now: Moment) -> bool {
        let section = self.process.serving().and_then(|running| running.sections.get(name));
        let Some(service) = self.desired.services.get_mut(name) else { return false };
        let LifeCyclePolicy { drain_timeout, ramp_up } = self.settings.policy.life_cycle;
        let own = service.definition.life_cycle;
        let drain_timeout = own.drain_timeout.unwrap_or(drain_timeout);
        let ramp_up = own.ramp_up.unwrap_or(ramp_up);
        let DesiredService { life, slots, .. } = service;
        // Servers in the file of a process that is being deployed get traffic as soon as it serves.
        let is_deploying = self.deployment.is_some();
        let is_out = |server: &ServerName| {
            let observed = section.map(|section| section.observed.get(slots.in_haproxy(server)));
            !is_deploying && observed.is_some_and(|observed| observed.is_none_or(ObservedServer::in_maintenance))
        };
        life.hosts_changed(diff, is_out, drain_timeout, ramp_up, now.instant);
        !drain_timeout.is_zero() && !diff.removed.is_empty()
    }

    /// Records that the first read of a source returned no usable list.
    pub(super) fn hosts_unknown(&mut self, name: ServiceName) {
        if let Some(service) = self.desired.services.get_mut(&name) {
            service.source.known = true;
            self.work.changed(name);
        }
    }

    /// Applies changed overrides of a service.
    pub(super) fn overrides_changed(
        &mut self,
        name: ServiceName,
        overrides: Overrides,
        ordered: Option<ServerName>,
        now: Moment,
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

    /// Retries failed changes of a server that an operator gave an order for; the order supersedes changes made on
    /// HAProxy's own socket.
    fn server_ordered(&mut self, name: &ServiceName, server: &ServerName) {
        let section = self.process.running_mut().and_then(|running| running.sections.get_mut(name));
        let (Some(section), Some(service)) = (section, self.desired.services.get(name)) else { return };
        let server = service.slots.in_haproxy(server);
        section.attempts.forget_server(server);
        let is_kept = |server: &ObservedServer| {
            server.in_drain() || (server.agent == AgentState::Enabled && server.forced_maintenance())
        };
        if section.observed.get(server).is_some_and(is_kept) {
            section.note_disabled_by(server, Some(DisabledBy::Operator));
        }
    }

    /// Applies settings that were read again.
    pub(super) fn policy_changed(&mut self, policy: Arc<ProxyPolicy>) {
        let is_new = policy.base_config != self.settings.policy.base_config;
        if (is_new || self.reloads.retry_base()) && self.deploys() {
            self.reloads.request(ReloadCause::Settings.because("the settings of HAProxy changed"));
        }
        self.reloads.forget_refused_base();
        self.tally.settings_refused = None;
        self.settings.update(policy);
        self.apply_base();
    }

    /// Records the mistakes of settings that were read again.
    pub(super) fn settings_refused(&mut self, mut mistakes: Vec<String>, now: Moment) {
        mistakes.truncate(SETTINGS_MISTAKES_SHOWN_MAX);
        self.tally.settings_refused = Some(RefusedSettings { at_unix_ms: now.unix_ms, mistakes });
    }

    /// Plans and observes everything again and retries what was refused, because the cause may have been outside the
    /// daemon.
    pub(super) fn refresh(&mut self) {
        for service in self.desired.services.values_mut() {
            service.retry_definition();
        }
        if let Some(running) = self.process.running_mut() {
            running.sections.values_mut().for_each(|section| section.attempts.forget());
        }
        self.retry_base();
        self.review_all();
        self.work.observe_all = true;
        self.work.compare_files = true;
        self.work.routes = true;
    }

    /// Tries the base configuration again with which HAProxy did not start, if there is one.
    pub(super) fn retry_base(&mut self) {
        if self.reloads.retry_base() {
            self.apply_base();
            self.reloads.request(ReloadCause::Settings.because("the refused base configuration is tried again"));
        }
    }

    /// Handles a port that could not be bound before and is now held for this service.
    pub(super) fn socket_opened(&mut self, name: Option<ServiceName>) {
        let Some(name) = name else {
            self.reloads.forget_refused_base();
            self.apply_base();
            self.reloads.request(ReloadCause::Settings.because("an address of the base configuration is free now"));
            return;
        };
        let Some(service) = self.desired.services.get_mut(&name) else {
            // The service was removed during the wait for its port. A deployment releases its sockets when it ends.
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
