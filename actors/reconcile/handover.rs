//! Handles the end of a deployment: a new process serves, the last configuration was restarted, or the running process
//! continues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::deployment_lane::{CatchUp, Deployment};
use super::desired::Blocked;
use super::effect::{Effect, info, warn};
use super::observed::{DomainMap, ListenerCertificates, Running, RuntimeBackends};
use super::process_state::ProcessEnd;
use super::section::Section;
use super::state::{State, StillAnswering};
use super::time::millis;
use crate::decide::base::local_peer;
use crate::decide::capabilities::{Capabilities, tables_need_age};
use crate::decide::deployment::{BoundSection, DeployFailure, Deployed, RestartedProcess, ServingProcess};
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::proxy_plan::{DisabledBy, Refusal};
use crate::journal::{Event, JournalEntry};
use crate::limits::{HEALTH_POLL_MIN, TABLES_PASSED_ON_AFTER};
use crate::model::{
    AdminState, Blocker, ChangeId, Host, Moment, ObservedServer, PlanClass, ReloadCause, ServerName, ServiceName,
};

impl State {
    /// Handles the result of a deployment.
    pub(super) fn deployed(&mut self, result: Result<Deployed, DeployFailure>, now: Moment) {
        let Some(mut deployment) = self.deployment.take() else { return };
        if self.process.is_stopping() {
            return;
        }
        match result {
            Ok(Deployed::Serving(serving)) => {
                self.report_reload(serving.process.pid, &deployment, now);
                self.serve(*serving, &mut deployment, Some(PlanClass::Reload), now);
            }
            Ok(Deployed::Continuing(serving)) => self.go_on_with(*serving, &mut deployment, now),
            Ok(Deployed::OnLastFile(restarted)) => {
                let failure = self.restarted(*restarted, &deployment, now);
                self.deployment_failed(failure, deployment, now);
            }
            Ok(Deployed::NothingToGain(blockers)) => self.nothing_to_gain(&blockers, &deployment, now),
            Err(failure) => self.deployment_failed(failure, deployment, now),
        }
        self.end_vain_waits();
        self.work.routes = true;
        self.pace_routes(now);
        // Only now is it known which definitions HAProxy accepts.
        self.save_later(now);
    }

    /// Takes over the process that serves. Changes of hosts have this class, by which they were applied.
    fn serve(&mut self, serving: ServingProcess, deployment: &mut Deployment, class: Option<PlanClass>, now: Moment) {
        let ServingProcess { process, base, style, sections, frontends, line_sets, routing, blockers, warnings } =
            serving;
        let pid = process.pid;
        let exit = self.process.exit().cloned();
        let mut before = self.process.take_running();
        let mut replacement: BTreeMap<ServiceName, Section> = BTreeMap::new();
        for (name, bound) in sections {
            let mut known = before.as_mut().and_then(|before| before.sections.remove(&name));
            // A blocked section kept its earlier definition, so the reload did not apply the refused change.
            let refused = deployment.refused.remove(&name).filter(|_| !blockers.contains_key(&name));
            let section = self.replace_section(&name, bound, style, known.as_mut(), refused.unwrap_or_default(), now);
            self.retired.extend(known);
            replacement.insert(name, section);
        }
        self.retired.extend(before.into_iter().flat_map(|before| before.sections.into_values()));
        self.carry_over_drains(&mut replacement);
        self.note_disabled_in_successor(&mut replacement, &deployment.successor);
        let loaded = routing.routes.iter().map(|(key, service)| (key.clone(), service.to_string()));
        let mut running = Running {
            capabilities: Capabilities::of(process.version),
            process,
            base,
            warnings,
            style,
            sections: replacement,
            unclaimed: BTreeMap::new(),
            certificates: BTreeMap::new(),
            frontends,
            backends: RuntimeBackends { line_sets, ..RuntimeBackends::default() },
            map: DomainMap { observed: Some(loaded.collect()), refusals: 0 },
            routing,
            health_changed: true,
        };
        running.certificates = ListenerCertificates::of(running.definitions());
        for (name, service) in &mut self.desired.services {
            let section = running.sections.get(name);
            service.ids.keep(|server| section.is_some_and(|section| section.loaded.servers.contains_key(server)));
        }
        self.process.serve(Box::new(running));
        self.unmanaged = None;
        self.ends_if_exited(pid, exit, deployment, now);
        self.release_sockets();
        self.note_blockers(&blockers, deployment, now);
        self.note_deployed_changes(&blockers, deployment.newest, class);
        let running = self.process.running();
        let has_section = |name: &ServiceName| running.is_some_and(|running| running.sections.contains_key(name));
        // A removed service whose section is gone needs no retained state.
        self.desired.retained.retain(|name, _| has_section(name));
        self.choose_strategies();
        self.files.certificates.started_with(std::mem::take(&mut deployment.certificates));
        self.lane.link.replaced(now.instant);
        self.outbox.push(Effect::Disconnect);
        self.files.config.replaced();
        let interval = self.pause_after_start();
        if !self.reloads.refuses_base(&self.settings.base) {
            self.reloads.forget_refused_base();
        }
        self.reloads.succeeded(std::mem::take(&mut deployment.reasons), interval, now);
        if deployment.successor.is_answering {
            let services = deployment.successor.changed().clone();
            self.lane.still_answering = Some(StillAnswering { pid, services });
        }
        // Services that changed since the file was rendered are planned first.
        for service in deployment.successor.changed() {
            self.work.changed(service.clone());
        }
        self.observe_new_process();
        self.timers.health_at = Some(now.instant + HEALTH_POLL_MIN);
    }

    /// Goes on with the process from before a restart in place.
    fn go_on_with(&mut self, serving: ServingProcess, deployment: &mut Deployment, now: Moment) {
        self.outbox.log(info("HAProxy continues without a reload").with("pid", serving.process.pid));
        // What it was sent while it was not managed was sent to this very process.
        deployment.successor = self.unmanaged.take().unwrap_or_default();
        // The hosts of its file were applied before the restart.
        self.serve(serving, deployment, None, now);
        self.reloads.last = None;
        if let Some(running) = self.process.running_mut() {
            running.map.observed = None;
        }
        self.files.certificates.load_again();
        // Its file has the hosts from before.
        self.files.config.changed();
        self.work.observe_all = true;
    }

    /// Returns how long the process that serves has to run before it may be replaced voluntarily.
    fn pause_after_start(&self) -> Duration {
        let interval = self.settings.policy.reload_interval;
        let passes_on_later = self.process.running().is_some_and(|running| {
            let has_tables = || running.sections.values().any(|section| local_peer::is_used_in(&section.file.text));
            tables_need_age(running.process.version) && has_tables()
        });
        if passes_on_later { interval.max(TABLES_PASSED_ON_AFTER) } else { interval }
    }

    /// Queues the observation of a new process. Its sections are planned as soon as they are observed; those that changed
    /// since the file was rendered, or change now, come first.
    fn observe_new_process(&mut self) {
        let Some(running) = self.process.running() else { return };
        let has_no_section = |name: &&ServiceName| !running.sections.contains_key(*name);
        self.work.review(self.desired.services.keys().filter(has_no_section).cloned());
        self.work.observe.clear();
        self.work.observe_later = running.section_names().collect();
    }

    /// Creates the section of the new process. Drains set on the socket of the previous process are set again, and a
    /// change that the reload did not apply is not tried by a reload again.
    fn replace_section(
        &self,
        name: &ServiceName,
        bound: BoundSection,
        style: SectionStyle,
        known: Option<&mut Section>,
        refused: BTreeMap<ServerName, Refusal>,
        now: Moment,
    ) -> Section {
        let hosts = bound.spec.hosts.clone();
        let drained = known.as_ref().map(|known| {
            let again = known.drained_on_socket(&hosts).chain(&known.found.drained_before);
            // A drain of a slot that now has another host was meant for the previous host.
            let is_same = |server: &&ServerName| {
                let (before, now) = (known.file.hosts.get(*server), hosts.get(*server));
                let is_there = |now: &Arc<Host>| {
                    !self.desired.has_slots(name) || before.is_some_and(|before| before.endpoint == now.endpoint)
                };
                now.is_some_and(is_there)
            };
            again.filter(is_same).cloned().collect()
        });
        let has_same_hosts = known.as_ref().is_some_and(|known| Arc::ptr_eq(&known.file.hosts, &hosts));
        let mut section = Section::started(bound, style, known, now.instant);
        section.found.drained_before = drained.unwrap_or_default();
        section.attempts.hopeless = if has_same_hosts { refused } else { BTreeMap::new() };
        section
    }

    /// Records that servers disabled in the new process before it answered were disabled by the daemon, not by an
    /// operator on the socket.
    fn note_disabled_in_successor(&self, sections: &mut BTreeMap<ServiceName, Section>, successor: &CatchUp) {
        for (name, servers) in successor.disabled() {
            let (Some(section), Some(service)) = (sections.get_mut(name), self.desired.services.get(name)) else {
                continue;
            };
            for server in servers.keys() {
                let reason = match service.servers.get(server) {
                    None => DisabledBy::Removal,
                    Some(_) if service.overrides.contains_key(service.slots.known_as(server)) => DisabledBy::Operator,
                    Some(host) if host.state == AdminState::Ready => DisabledBy::Move,
                    Some(_) => DisabledBy::Discovery,
                };
                section.note_disabled_by(server, Some(reason));
            }
        }
    }

    /// Handles an exit of the new process that arrived before the end of its deployment.
    fn ends_if_exited(&mut self, pid: u32, before: Option<ProcessEnd>, deployment: &Deployment, now: Moment) {
        if deployment.exited == Some(pid) {
            let since_unix_ms = before.map_or(now.unix_ms, |before| before.since_unix_ms);
            let text = format!("HAProxy (pid {pid}) exited right after its start");
            self.process.end(Some(ProcessEnd { text, since_unix_ms }));
        }
    }

    fn report_reload(&mut self, pid: u32, deployment: &Deployment, now: Moment) {
        let took_ms = millis(now.instant.saturating_duration_since(deployment.begun));
        let reasons = deployment.reasons.clone();
        self.outbox.log(info("reloaded").with("pid", pid).with("took_ms", took_ms));
        for cause in &deployment.causes {
            *self.tally.counts.reload_causes.entry(*cause).or_default() += 1;
        }
        self.tally.counts.reload += 1;
        let event = Event::Reloaded { reasons, causes: deployment.causes.clone(), pid, took_ms };
        self.outbox.record(JournalEntry::new(event));
    }

    /// Marks changes up to `newest` as applied by this class, the file lacks later ones. Without a class they needed nothing.
    fn note_deployed_changes(
        &mut self,
        blockers: &BTreeMap<ServiceName, Blocker>,
        newest: Option<ChangeId>,
        class: Option<PlanClass>,
    ) {
        let Some(running) = self.process.running() else { return };
        for (name, service) in &mut self.desired.services {
            let is_current = |section: &Section| {
                Arc::ptr_eq(&section.definition, &service.definition) || section.definition == service.definition
            };
            let applies = running.sections.get(name).is_some_and(is_current);
            if applies && !blockers.contains_key(name) {
                service.blocked = None;
            }
            for pending in service.changes.pending.iter_mut().filter(|pending| Some(pending.change) <= newest) {
                pending.class = class;
            }
        }
    }

    /// Handles a restart of the last good configuration. Changes that its file lacks are planned again.
    fn restarted(&mut self, restarted: RestartedProcess, deployment: &Deployment, now: Moment) -> DeployFailure {
        let RestartedProcess { process, failure } = restarted;
        self.report_reload(process.pid, deployment, now);
        self.reloads.last = Some((now.instant, deployment.reasons.clone()));
        self.lane.link.replaced(now.instant);
        self.outbox.push(Effect::Disconnect);
        let exit = self.process.exit().cloned();
        let pid = process.pid;
        let Some(mut running) = self.process.take_running() else { return failure };
        running.sections.values_mut().for_each(Section::restarted);
        self.note_disabled_in_successor(&mut running.sections, &deployment.successor);
        running.process = process;
        // It has the map of the last file.
        running.map.observed = None;
        running.certificates = ListenerCertificates::of(running.definitions());
        self.process.serve(running);
        self.observe_new_process();
        self.work.observe_all = true;
        self.ends_if_exited(pid, exit, deployment, now);
        failure
    }

    /// Handles a deployment that would have applied nothing: the running process continues.
    fn nothing_to_gain(&mut self, blockers: &BTreeMap<ServiceName, Blocker>, deployment: &Deployment, now: Moment) {
        for (name, blocker) in blockers {
            let line = info("reload skipped, it would change nothing").with("service", name);
            self.outbox.log(line.with("problem", blocker.text()));
        }
        self.note_blockers(blockers, deployment, now);
        self.review_all();
        self.release_sockets();
    }

    fn deployment_failed(&mut self, failure: DeployFailure, deployment: Deployment, now: Moment) {
        let DeployFailure { mut error, suspects_base, file_is_ahead, unmanaged } = failure;
        let Deployment { base, mut general, .. } = deployment;
        if let Some(servers) = unmanaged {
            self.unmanaged = Some(CatchUp::on_earlier_file(servers));
            self.catch_up(None);
        }
        let refuses_base = suspects_base && self.running().is_some_and(|running| running.base.layout != base);
        if refuses_base {
            error = format!("HAProxy does not run with the new base configuration, the last good one stays: {error}");
        }
        self.outbox.log(warn("the reload failed, retrying after a pause").with("error", &error));
        self.outbox.record(JournalEntry::new(Event::Failed { error: error.clone() }));
        self.tally.counts.reload_failed += 1;
        self.tally.sockets_to_spare = true;
        if refuses_base {
            // The next start uses the last good base. No reload for that alone: the process that serves has it.
            self.reloads.refuse_base(base, error.clone(), now.instant);
            general.retain(|reason| reason.cause != ReloadCause::Settings);
            self.apply_base();
        }
        if file_is_ahead {
            self.files.config.overtaken();
        } else if refuses_base {
            // Until then the file is written with that base too.
            self.files.config.changed();
        }
        if self.process.running().is_none() {
            self.process.end(None);
        }
        let is_serving = self.process.is_serving();
        self.reloads.failed(error, general, is_serving, now);
        // Planning all services finds the reload reasons of each again.
        self.review_all();
    }

    /// Records why services do not run with their current definitions. A port that became free during the deployment
    /// does not block.
    fn note_blockers(&mut self, blockers: &BTreeMap<ServiceName, Blocker>, deployment: &Deployment, now: Moment) {
        for (name, blocker) in blockers {
            let is_free = matches!(blocker, Blocker::PortTaken { .. }) && deployment.opened.contains(name);
            if let Some(service) = self.desired.services.get_mut(name).filter(|_| !is_free) {
                let since_unix_ms = service.blocked.as_ref().map_or(now.unix_ms, |blocked| blocked.since_unix_ms);
                service.blocked = Some(Blocked { by: blocker.clone(), since_unix_ms });
            }
        }
    }

    /// Sets drains again that were set on the socket of an orphaned process: of servers that the previous daemon kept
    /// ready and that have no override.
    fn carry_over_drains(&mut self, sections: &mut BTreeMap<ServiceName, Section>) {
        let before = std::mem::take(&mut self.desired.disabled_before);
        for (name, servers) in self.orphan.take().into_iter().flat_map(|observation| observation.services) {
            let (Some(section), Some(before)) = (sections.get_mut(&name), before.get(&name)) else { continue };
            let drained = servers.iter().filter(|(_, server)| server.drained_by_order());
            let on_socket = drained.filter(|(server, _)| before.get(*server) == Some(&None));
            let has_slots = self.desired.has_slots(&name);
            // A drain of a slot that now has another host was meant for the previous host.
            let is_same = |(name, server): &(&ServerName, &ObservedServer)| {
                section.file.hosts.get(*name).is_some_and(|host| !has_slots || server.is_at(&host.endpoint))
            };
            let again: Vec<ServerName> = on_socket.filter(is_same).map(|(name, _)| name.clone()).collect();
            section.found.drained_before.extend(again);
        }
    }

    /// Handles the exit of a process that served or was about to serve.
    pub(super) fn process_exited(&mut self, pid: u32, how: String, now: Moment) {
        if self.process.is_stopping() {
            return;
        }
        if let Some(deployment) = &mut self.deployment {
            deployment.exited = Some(pid);
        }
        if self.pid() != Some(pid) {
            return;
        }
        let text = format!("HAProxy (pid {pid}) exited unexpectedly: {how}");
        self.process.end(Some(ProcessEnd { text, since_unix_ms: now.unix_ms }));
        if self.deployment.is_none() {
            // The supervisor delays the start of a process that keeps crashing.
            self.reloads.not_before = now.instant;
        }
    }
}
