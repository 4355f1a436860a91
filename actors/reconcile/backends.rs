//! Runtime lane: adds the backends of new services and deletes those of removed ones, where HAProxy can do that at run
//! time.
//!
//! A new backend is added unpublished, gets its servers like any other, is published once they are verified, and only
//! then claims its domains. A removed one loses its domains first, then it is unpublished, its servers are deleted once
//! their last connections have ended, and then the backend itself. Each step follows from the observed state, so that a
//! service that returns meanwhile only goes the other way. No step is taken during a deployment: the new process would
//! not have it.

use std::sync::Arc;
use std::time::Instant;

use super::desired::DesiredService;
use super::effect::{Effect, info, warn};
use super::observed::Running;
use super::section::{Section, Unknown};
use super::state::{BackendChange, Batch, Exchange, State};
use crate::decide::backend_step::BackendStep;
use crate::decide::deployment::{BoundSection, SectionSpec};
use crate::decide::proxy_plan::{ServicePlan, Step, deletion, retirement};
use crate::decide::runtime_backends::{BackendGround, NeedsReload, Other, addition};
use crate::journal::Event;
use crate::limits::{BACKEND_DELETION_WAIT, BACKEND_QUEUE_WAIT, CLEARANCES_AT_ONCE_MAX, RUNTIME_BATCH_COMMANDS_MAX};
use crate::model::{BackendCommand, HostList, Moment, ServiceName};
use crate::port::Answer;

/// The text of HAProxy's refusals to delete a backend that end by themselves.
const ENDS_BY_ITSELF: [&str; 2] = ["without server", "attached"];

/// The text of HAProxy's answer for a backend that it does not have.
const UNKNOWN: &str = "No such backend";

impl State {
    /// Begins the next changes of backends. Returns whether any was sent.
    pub(super) fn begin_backend_change(&mut self, now: Moment) -> bool {
        if self.deployment.is_some() {
            // Everything is planned again when it ends.
            return false;
        }
        let mut changes = Vec::new();
        while changes.len() < RUNTIME_BATCH_COMMANDS_MAX
            && let Some(name) = self.work.backends.pop_first()
        {
            let desired = || self.desired.services.get(&name).map(|service| service.definition.clone());
            changes.extend(self.next_backend_step(&name).map(|step| BackendChange { step, definition: desired() }));
        }
        if changes.is_empty() {
            return false;
        }
        for BackendChange { step, .. } in &changes {
            let event = Event::Decided { class: step.class(), reason: step.reason.clone() };
            self.outbox.record_of(step.command.service(), event);
        }
        let commands = changes.iter().map(|change| change.step.command.clone()).collect();
        self.begin_change(Exchange::Backends(changes), Effect::ChangeBackends(commands), now);
        true
    }

    /// Returns the next command that brings a backend into the process or out of it; `None` where none is due.
    pub(super) fn next_backend_step(&self, name: &ServiceName) -> Option<BackendStep> {
        let running = self.process.serving()?;
        if running.backends.strays.contains(name) {
            return Some(BackendStep::new(BackendCommand::Delete(name.clone()), "its service was removed meanwhile"));
        }
        let section = running.sections.get(name);
        let (command, reason) = match (self.desired.services.get(name), section) {
            (Some(service), None) => {
                let from = self.arrival(service).and_then(Result::ok)?.set;
                (addition(name, from, running.style), "the service is new")
            }
            (Some(_), Some(section)) if section.is_published() => return None,
            (Some(_), Some(section)) => {
                let is_ready = section.unknown.is_none() && section.is_verified() && !self.reloads.waits(name);
                is_ready.then_some((BackendCommand::Publish(name.clone()), "its servers are there"))?
            }
            (None, Some(section)) if self.departs_at_run_time(name) && section.unknown.is_none() => {
                match running.map.observed.as_ref().map(|map| map.values().any(|service| service == name.as_str())) {
                    Some(false) if section.is_published() => {
                        (BackendCommand::Unpublish(name.clone()), "the service was removed")
                    }
                    Some(false) if section.observed.is_empty() => {
                        (BackendCommand::Delete(name.clone()), "its last connections have ended")
                    }
                    _ => return None,
                }
            }
            (None, _) => return None,
        };
        Some(BackendStep::new(command, reason))
    }

    /// Returns whether the backend of this service comes into the process or leaves it at run time, now or after the
    /// deployment that is under way.
    pub(super) fn changes_backend(&self, name: &ServiceName) -> bool {
        let Some(running) = self.running() else { return false };
        if running.backends.strays.contains(name) {
            return true;
        }
        let has_section = running.sections.contains_key(name);
        match self.desired.services.get(name) {
            Some(service) => !has_section && matches!(self.arrival(service), Some(Ok(_))),
            None => has_section && self.departs_at_run_time(name),
        }
    }

    /// Returns how a new service gets into the process at run time, or why that needs a reload; `None` where it has to
    /// wait for its hosts.
    pub(super) fn arrival(&self, service: &DesiredService) -> Option<Result<Arrival, NeedsReload>> {
        let running = self.running()?;
        (service.source.known && !service.is_blocked(None)).then(|| self.arrival_in(running, service))
    }

    fn arrival_in(&self, running: &Running, service: &DesiredService) -> Result<Arrival, NeedsReload> {
        let (definition, name) = (&*service.definition, &service.definition.name);
        if self.settings.is_external() {
            return Err(NeedsReload(None));
        }
        let others = self.staying_beside(running, name);
        let set = self.backend_ground(running).set_for(definition, service.strategy.strategy, others)?;
        if let Some(refusal) = running.backends.refused.get(name) {
            return Err(NeedsReload::because(format!("HAProxy refused to add its backend: {refusal}")));
        }
        let plan = self.plan_of_new(running, service);
        match plan.reload.first() {
            None => Ok(Arrival { set, plan }),
            Some(reason) => Err(NeedsReload::because(&*reason.text)),
        }
    }

    /// Returns whether the backend of a removed service leaves the process at run time.
    pub(super) fn departs_at_run_time(&self, name: &ServiceName) -> bool {
        let Some(running) = self.running() else { return false };
        let Some(section) = running.sections.get(name) else { return false };
        !self.settings.is_external()
            && !self.desired.services.contains_key(name)
            && !running.backends.refused.contains_key(name)
            && self.backend_ground(running).can_delete(&section.definition, self.staying_beside(running, name))
    }

    fn backend_ground<'a>(&'a self, running: &'a Running) -> BackendGround<'a> {
        BackendGround {
            process: &running.process,
            style: running.style,
            line_sets: &running.backends.line_sets,
            frontends: &running.frontends,
            map_path: &self.settings.policy.base_config.map_path,
        }
    }

    /// Returns the services of the process that stay, without this one.
    fn staying_beside<'a>(&'a self, running: &'a Running, name: &'a ServiceName) -> impl Iterator<Item = Other<'a>> {
        let stay = move |other: &ServiceName| other != name && self.desired.services.contains_key(other);
        let others = running.sections.iter().filter(move |(other, _)| stay(other));
        others.map(|(_, section)| (&*section.definition, &section.descriptors))
    }

    /// Handles the answers to changes of backends.
    pub(super) fn backends_answered(&mut self, changes: &[BackendChange], answers: &[Answer], now: Moment) {
        self.link_answered();
        for (change, answer) in changes.iter().zip(answers) {
            let step = &change.step;
            let name = step.command.service().clone();
            let event = Event::Commanded {
                command: step.command.to_string(),
                answer: answer.text.clone(),
                accepted: answer.accepted,
            };
            self.outbox.record_of(&name, event);
            let is_gone = matches!(step.command, BackendCommand::Delete(_)) && answer.text.contains(UNKNOWN);
            match answer.accepted || is_gone {
                true => self.backend_changed(change, now),
                // The next sweep tries again.
                false if is_in_use(step, &answer.text) => continue,
                false => self.backend_refused(step, &answer.text),
            }
            self.work.changed(name);
        }
    }

    fn backend_changed(&mut self, change: &BackendChange, now: Moment) {
        let (step, name) = (&change.step, change.service());
        let line = info("backend changed").with("service", name).with("command", &step.command);
        self.outbox.log(line.with("reason", &step.reason));
        self.tally.counts.backends += 1;
        match &step.command {
            BackendCommand::Add { .. } => self.backend_added(change, now.instant),
            BackendCommand::Publish(_) | BackendCommand::Unpublish(_) => {
                let section = self.process.running_mut().and_then(|running| running.sections.get_mut(name));
                if let Some(section) = section {
                    let is_published = matches!(step.command, BackendCommand::Publish(_));
                    section.unpublished_since = (!is_published).then_some(now.instant);
                    section.answered_at = now.instant;
                }
                self.work.routes = true;
                self.work.departures = true;
            }
            BackendCommand::Delete(_) => self.backend_deleted(name),
        }
        self.files.config.changed();
        self.save_later(now);
    }

    /// Creates the section of a new backend, which has no servers yet.
    fn backend_added(&mut self, change: &BackendChange, now: Instant) {
        let Some(running) = self.process.running_mut() else { return };
        let name = change.service();
        let (Some(service), Some(definition)) = (self.desired.services.get_mut(name), change.definition.clone()) else {
            running.backends.strays.insert(name.clone());
            return;
        };
        service.blocked = None;
        let addresses: Vec<_> = definition.addresses().collect();
        let held = running.sections.values().flat_map(|section| &section.descriptors);
        let held = held.filter(|(address, _)| addresses.contains(*address));
        let descriptors = held.map(|(address, descriptor)| (address.clone(), *descriptor)).collect();
        let spec = SectionSpec { definition, hosts: Arc::new(HostList::new()), ids: service.ids.ids().clone() };
        let section = Section::added(BoundSection::new(spec, Some(descriptors)), running.style, now);
        running.sections.insert(name.clone(), section);
        self.release_sockets();
    }

    /// Removes the section of a backend that the process does not have any more.
    pub(super) fn backend_deleted(&mut self, name: &ServiceName) {
        let Some(running) = self.process.running_mut() else { return };
        running.backends.strays.remove(name);
        self.retired.extend(running.sections.remove(name));
        self.desired.retained.remove(name);
        self.files.config.changed();
        self.release_sockets();
    }

    fn backend_refused(&mut self, step: &BackendStep, text: &str) {
        let name = step.command.service();
        let line = warn("HAProxy refused to change a backend").with("service", name);
        self.outbox.log(line.with("command", &step.command).with("answer", text));
        self.tally.counts.refused += 1;
        if let Some(running) = self.process.running_mut() {
            running.backends.refused.insert(name.clone(), format!("{}: {text}", step.command));
        }
    }

    /// Looks again at backends whose change reached an earlier process, if any.
    pub(super) fn review_backends(&mut self, changes: &[BackendChange]) {
        self.work.review(changes.iter().map(|change| change.service().clone()));
    }

    /// Handles changes without an answer: HAProxy may have executed them, which the next observation shows.
    pub(super) fn backends_unanswered(&mut self, changes: &[BackendChange], now: Moment) {
        for change in changes {
            let name = change.service();
            if let BackendCommand::Add { .. } = change.step.command {
                self.backend_added(change, now.instant);
            }
            if let Some(section) = self.process.running_mut().and_then(|running| running.sections.get_mut(name)) {
                section.unknown = Some(Unknown::Unanswered);
            }
            self.work.observe.insert(name.clone());
            self.work.review([name.clone()]);
        }
    }

    /// Handles sections that the process does not have: a deleted backend is gone, and one that others deleted is added
    /// again, where HAProxy can do that.
    pub(super) fn sections_missing(&mut self, missing: Vec<ServiceName>) {
        let Some(running) = self.running().filter(|_| !self.settings.is_external()) else { return };
        let can_return = |name: &ServiceName| {
            let section = running.sections.get(name)?;
            self.backend_ground(running).can_restore(&section.definition).then_some(section.is_published())
        };
        let gone: Vec<_> = missing.into_iter().filter_map(|name| Some((can_return(&name)?, name))).collect();
        for (was_published, name) in gone {
            if was_published {
                let what = "its backend was deleted outside proxymgr".to_owned();
                let line = warn("drift: HAProxy differs from the applied state, repairing").with("service", &name);
                self.outbox.log(line.with("what", &what));
                self.tally.counts.drift += 1;
                self.outbox.record_of(&name, Event::DriftFound { what });
            }
            self.work.take_drift(&name);
            self.backend_deleted(&name);
            self.work.changed(name);
        }
    }

    /// Adds what the backends of removed services need to be deleted: their servers go into maintenance, and are deleted
    /// as soon as they have no connections.
    pub(super) fn plan_departures(&mut self, batch: &mut Batch, now: Instant) {
        let Some(running) = self.process.serving() else { return };
        let mut next: Option<Instant> = None;
        let mut at = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        let mut room = CLEARANCES_AT_ONCE_MAX;
        for (name, section) in running.sections.iter().filter(|(name, _)| !self.desired.services.contains_key(*name)) {
            let Some(since) = section.unpublished_since.filter(|_| section.unknown.is_none()) else { continue };
            let ready_until = since + BACKEND_QUEUE_WAIT;
            if now < ready_until {
                at(ready_until);
                continue;
            }
            // One whose deletion was refused is tried again.
            self.work.review([name.clone()]);
            let (parked, ready): (Vec<_>, Vec<_>) =
                section.observed.iter().partition(|(_, observed)| observed.forced_maintenance());
            let retired = ready.into_iter().map(|(server, observed)| retirement(name, server, observed));
            let deleted = parked.into_iter().map(|(server, _)| deletion(name, server));
            let steps: Vec<Step> = retired.chain(deleted).take(room).collect();
            if steps.iter().any(|step| !step.is_clearance()) {
                at(now + BACKEND_DELETION_WAIT);
            }
            room -= steps.len();
            if !steps.is_empty() {
                batch.entry(name.clone()).or_default().extend(steps);
            }
        }
        self.timers.departures_at = next;
    }
}

/// How a new service gets into the process.
#[derive(Debug)]
pub struct Arrival {
    /// The `defaults` section that its backend derives from.
    pub set: Arc<str>,
    /// What follows once it is there.
    pub plan: ServicePlan,
}

/// Returns whether HAProxy refused to delete a backend only because something still uses it.
fn is_in_use(step: &BackendStep, text: &str) -> bool {
    let deletes = matches!(step.command, BackendCommand::Delete(_));
    deletes && ENDS_BY_ITSELF.iter().any(|words| text.contains(words))
}
