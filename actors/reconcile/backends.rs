//! Runtime lane: adds the backends of new services and deletes those of removed ones, where HAProxy can do that at run
//! time.
//!
//! A new backend is added unpublished, gets its servers like any other, is published once they are verified, and only
//! then claims its domains. A removed one loses its domains first, then it is unpublished, its servers are deleted once
//! their last connections have ended, and then the backend itself. Each step follows from the observed state, so that a
//! service that returns meanwhile only goes the other way. No step is taken during a deployment: the new process would
//! not have it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::desired::DesiredService;
use super::effect::{Effect, info, warn};
use super::observed::Running;
use super::section::{Section, Unknown};
use super::state::{Batch, Exchange, State};
use crate::decide::backend_step::BackendStep;
use crate::decide::capabilities::{adds_backends, static_balance};
use crate::decide::deployment::{BoundSection, SectionSpec};
use crate::decide::frontend::{self, frontends};
use crate::decide::line_sets;
use crate::decide::proxy_plan::{ServicePlan, Step, deletion, retirement};
use crate::decide::routing::{has_listener, has_rule, kind_of, routed_at};
use crate::journal::Event;
use crate::limits::{BACKEND_DELETION_WAIT, BACKEND_QUEUE_WAIT, CLEARANCES_AT_ONCE_MAX, RUNTIME_BATCH_COMMANDS_MAX};
use crate::model::{BackendCommand, Descriptors, HostList, Moment, ServiceDefinition, ServiceName, UpdateStrategy};
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
        let mut steps = Vec::new();
        while steps.len() < RUNTIME_BATCH_COMMANDS_MAX
            && let Some(name) = self.work.backends.pop_first()
        {
            steps.extend(self.next_backend_step(&name));
        }
        if steps.is_empty() {
            return false;
        }
        for step in &steps {
            let event = Event::Decided { class: step.class(), reason: step.reason.clone() };
            self.outbox.record_of(step.command.service(), event);
        }
        let commands = steps.iter().map(|step| step.command.clone()).collect();
        self.begin_change(Exchange::Backends(steps), Effect::ChangeBackends(commands), now);
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
                (BackendCommand::Add { service: name.clone(), from }, "the service is new")
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
        let because = |why: &str| NeedsReload(Some(why.to_owned()));
        if !self.changes_at_run_time(running, definition) || has_listener(definition) {
            return Err(NeedsReload(None));
        }
        if let Some(refusal) = running.backends.refused.get(name) {
            return Err(because(&format!("HAProxy refused to add its backend: {refusal}")));
        }
        if service.strategy.strategy != UpdateStrategy::Dynamic {
            return Err(because(&format!("its update strategy is {}", service.strategy.strategy.as_str())));
        }
        if let Some(balance) = static_balance(definition) {
            return Err(because(&format!("balance {balance} does not take servers at run time")));
        }
        let set = line_sets::of(definition, running.style).ok_or_else(|| because("its lines need a section"))?;
        if running.backends.line_sets.get(&set.name) != Some(&set.text) {
            return Err(because("no service in the file has the same lines yet"));
        }
        if !self.frontends_stay(running, name, Some(definition)) {
            return Err(because("the frontend for its domains has to change"));
        }
        let plan = self.plan_of_new(running, service);
        match plan.reload.first() {
            None => Ok(Arrival { set: set.name, plan }),
            Some(reason) => Err(because(&reason.text)),
        }
    }

    /// Returns whether the backend of a removed service leaves the process at run time.
    pub(super) fn departs_at_run_time(&self, name: &ServiceName) -> bool {
        let Some(running) = self.running() else { return false };
        let Some(section) = running.sections.get(name) else { return false };
        let definition = &*section.definition;
        !self.desired.services.contains_key(name)
            && self.changes_at_run_time(running, definition)
            && !running.backends.refused.contains_key(name)
            && line_sets::of(definition, running.style).is_some()
            && self.frontends_stay(running, name, None)
    }

    /// Returns whether this process can add and delete the backend of a service with this definition. It always has the
    /// backends that the base configuration names.
    fn changes_at_run_time(&self, running: &Running, definition: &ServiceDefinition) -> bool {
        let is_in_base = definition.in_base.as_ref().is_some_and(|in_base| {
            in_base.frame.is_some() || !in_base.referred_at.is_empty() || !in_base.required_servers.is_empty()
        });
        !self.settings.is_external() && adds_backends(&running.process) && !is_in_base
    }

    /// Returns whether the shared frontends stay as they are with this definition of a service, or without the service. Then
    /// the mode of the service is that of its frontends, too: a backend of another mode would close the connections.
    fn frontends_stay(&self, running: &Running, name: &ServiceName, arriving: Option<&ServiceDefinition>) -> bool {
        let definition = arriving.or_else(|| running.sections.get(name).map(|section| &*section.definition));
        let Some((definition, listen)) = definition.and_then(|it| Some((it, routed_at(it)?))) else { return true };
        let listens: Vec<SocketAddr> = [Some(listen), definition.redirect_from()].into_iter().flatten().collect();
        let kind = kind_of(definition);
        let has_frontend = |listen: &SocketAddr| {
            let text = running.frontends.get(listen)?;
            Some(frontend::kind_of(text.lines().next()?.strip_prefix("frontend ")?) == kind)
        };
        if !listens.iter().all(|listen| has_frontend(listen) == Some(true)) {
            return false;
        }
        let mut others = running.sections.iter().filter(|(other, section)| {
            *other != name && self.desired.services.contains_key(*other) && shares_one_of(&section.definition, &listens)
        });
        if definition.section.tls.is_none() && !has_rule(definition) {
            return others.next().is_some();
        }
        let none = Descriptors::new();
        let others = others.map(|(_, section)| (&*section.definition, &section.descriptors));
        let with_it = others.chain(arriving.map(|definition| (definition, &none)));
        let texts = frontends(with_it, running.style, &self.settings.policy.base_config.map_path);
        listens.iter().all(|listen| texts.get(listen) == running.frontends.get(listen))
    }

    /// Handles the answers to changes of backends.
    pub(super) fn backends_answered(&mut self, steps: &[BackendStep], answers: &[Answer], now: Moment) {
        self.link_answered();
        for (step, answer) in steps.iter().zip(answers) {
            let name = step.command.service().clone();
            let event = Event::Commanded {
                command: step.command.to_string(),
                answer: answer.text.clone(),
                accepted: answer.accepted,
            };
            self.outbox.record_of(&name, event);
            let is_gone = matches!(step.command, BackendCommand::Delete(_)) && answer.text.contains(UNKNOWN);
            match answer.accepted || is_gone {
                true => self.backend_changed(step, now),
                // The next sweep tries again.
                false if is_in_use(step, &answer.text) => continue,
                false => self.backend_refused(step, &answer.text),
            }
            self.work.changed(name);
        }
    }

    fn backend_changed(&mut self, step: &BackendStep, now: Moment) {
        let name = step.command.service();
        let line = info("backend changed").with("service", name).with("command", &step.command);
        self.outbox.log(line.with("reason", &step.reason));
        self.tally.counts.backends += 1;
        match &step.command {
            BackendCommand::Add { .. } => self.backend_added(name, now.instant),
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
    fn backend_added(&mut self, name: &ServiceName, now: Instant) {
        let Some(running) = self.process.running_mut() else { return };
        let Some(service) = self.desired.services.get_mut(name) else {
            running.backends.strays.insert(name.clone());
            return;
        };
        service.blocked = None;
        let definition = service.definition.clone();
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
    pub(super) fn review_backends(&mut self, steps: &[BackendStep]) {
        self.work.review(steps.iter().map(|step| step.command.service().clone()));
    }

    /// Handles changes without an answer: HAProxy may have executed them, which the next observation shows.
    pub(super) fn backends_unanswered(&mut self, steps: &[BackendStep], now: Moment) {
        for step in steps {
            let name = step.command.service();
            if let BackendCommand::Add { .. } = step.command {
                self.backend_added(name, now.instant);
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
        let Some(running) = self.running() else { return };
        let can_return = |name: &ServiceName| {
            let section = running.sections.get(name)?;
            let set = line_sets::of(&section.definition, running.style)?;
            let is_known = running.backends.line_sets.contains_key(&set.name);
            (is_known && self.changes_at_run_time(running, &section.definition)).then_some(section.is_published())
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

/// Why the backend of a new service cannot be added at run time, where there is more to say than that it is new.
#[derive(Debug)]
pub struct NeedsReload(pub Option<String>);

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

/// Returns whether a service uses the shared frontend of one of these addresses.
fn shares_one_of(definition: &ServiceDefinition, listens: &[SocketAddr]) -> bool {
    let own = [routed_at(definition), definition.redirect_from()];
    own.iter().flatten().any(|listen| listens.contains(listen))
}
