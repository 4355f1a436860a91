//! Runtime lane: plans services that may differ, sends runtime commands, and handles the answers.

use std::time::Instant;

use super::desired::AppliedChange;
use super::effect::{Effect, debug, info, warn};
use super::planning::{Planned, Planning};
use super::section::{Section, Unknown};
use super::state::{Batch, Exchange, State};
use super::time::micros;
use crate::decide::proxy_plan::{ServicePlan, Step, deletion};
use crate::decide::scope::Scope;
use crate::journal::{Event, JournalEntry};
use crate::limits::{CLEARANCES_AT_ONCE_MAX, PARKED_SERVER_KEEP, PLANNED_SERVERS_AT_ONCE_MAX};
use crate::model::{ChangeId, Moment, ObservedServers, PlanClass, RuntimeCommand, ServiceName, UpdateStrategy};
use crate::port::Answer;

impl State {
    /// Plans services that may differ and sends the runtime commands. Returns whether a batch was sent.
    pub(super) fn begin_commands(&mut self, now: Moment) -> bool {
        let batch = self.plan_batch(now);
        if batch.is_empty() {
            return false;
        }
        let commands: Vec<RuntimeCommand> = batch.values().flatten().flat_map(|step| step.commands.clone()).collect();
        self.begin_change(Exchange::Commands(batch), Effect::RunCommands(commands), now);
        true
    }

    /// Plans services that may differ: as many as fit into one batch, and no more than one turn may take.
    fn plan_batch(&mut self, now: Moment) -> Batch {
        let mut batch = Batch::new();
        let mut room = self.lane.pace.commands();
        let mut servers = 0;
        self.timers.more_to_plan = false;
        while room > 0 {
            if servers >= PLANNED_SERVERS_AT_ONCE_MAX {
                self.timers.more_to_plan = !self.work.is_empty();
                break;
            }
            let Some((name, scope)) = self.work.pop() else { break };
            servers += 1 + self.servers_in(&name, &scope);
            let mut steps = self.plan_next(&name, &scope, now);
            if steps.is_empty() {
                continue;
            }
            let later = steps.split_off(fitting(&steps, room));
            self.work.review_servers_of(&name, later);
            room = room.saturating_sub(steps.iter().map(|step| step.commands.len()).sum());
            self.note_decisions(&name, &steps);
            batch.insert(name, steps);
        }
        let sweeps = std::mem::take(&mut self.work.sweep);
        if sweeps {
            self.plan_deletions(&mut batch, now.instant);
        }
        if std::mem::take(&mut self.work.departures) || sweeps {
            self.plan_departures(&mut batch, now.instant);
        }
        batch
    }

    fn servers_in(&self, name: &ServiceName, scope: &Scope) -> usize {
        match scope {
            Scope::Servers(servers) => servers.len(),
            Scope::Whole => self.desired.services.get(name).map_or(0, |service| service.servers.len()),
        }
    }

    /// Plans one service, and records reasons for a reload, ineffective changes, and drift. Returns the steps, if any.
    fn plan_next(&mut self, name: &ServiceName, scope: &Scope, now: Moment) -> Vec<Step> {
        if self.settings.is_external() {
            self.claim(name, scope, now.instant);
        }
        self.settle(name, scope, now.instant);
        if self.changes_backend(name) {
            self.reloads.set(name, Vec::new());
            self.work.backends.insert(name.clone());
            return Vec::new();
        }
        let planning = match self.plan_of(name, scope) {
            None => return Vec::new(),
            Some(Planned::Unknown(disables)) => {
                self.work.observe.insert(name.clone());
                return disables;
            }
            Some(Planned::Plan(planning)) => planning,
        };
        let Planning { plan, ineffective, hopeless } = planning;
        if let Some(section) = self.process.running_mut().and_then(|running| running.sections.get_mut(name)) {
            section.attempts.refused.extend(ineffective);
            // Servers that now match the desired state are no longer hopeless.
            section.attempts.hopeless.retain(|server, _| hopeless.contains(server));
        }
        if self.work.take_drift(name) {
            self.note_drift(name, &plan);
        }
        let ServicePlan { steps, reload } = plan;
        self.reloads.set(name, reload);
        if steps.is_empty() {
            self.in_sync(name, now);
        }
        steps
    }

    /// Ends the transitions of servers that have reached maintenance or were deleted.
    fn settle(&mut self, name: &ServiceName, scope: &Scope, now: Instant) {
        let Some(service) = self.desired.services.get_mut(name) else { return };
        let section = self.process.running_mut().and_then(|running| running.sections.get_mut(name));
        let Some(section) = section else {
            service.life.settle(&ObservedServers::new(), &service.slots);
            return;
        };
        if section.unknown.is_some() {
            return;
        }
        let is_settled =
            self.deployment.is_none() && section.is_verified() && !section.attempts.any() && service.blocked.is_none();
        let scope = if is_settled { scope } else { &Scope::Whole };
        section.park(&service.servers, scope, now);
        if service.slots_in_use().is_some() {
            section.forget_drains_of_moved_slots(&service.servers);
        }
        service.life.settle(&section.observed, &service.slots);
    }

    /// Adds deletions of servers that have been in maintenance longer than a flapping host needs to come back.
    fn plan_deletions(&mut self, batch: &mut Batch, now: Instant) {
        let Some(running) = self.process.running().filter(|running| running.capabilities.dynamic_servers()) else {
            return;
        };
        let may_delete = |name: &ServiceName| {
            let service = self.desired.services.get(name);
            service.is_none_or(|service| service.strategy.strategy == UpdateStrategy::Dynamic)
        };
        let is_known = |section: &Section| section.unknown.is_none() && section.is_published();
        let sections = running.sections.iter().filter(|(name, section)| is_known(section) && may_delete(name));
        let ripe = sections.flat_map(|(name, section)| {
            section.ripe_for_deletion(PARKED_SERVER_KEEP, now).map(move |server| (name, deletion(name, server)))
        });
        for (name, step) in ripe.take(CLEARANCES_AT_ONCE_MAX) {
            batch.entry(name.clone()).or_default().push(step);
        }
    }

    fn note_decisions(&mut self, name: &ServiceName, steps: &[Step]) {
        let class = steps.iter().map(|step| step.class).max();
        let service = self.desired.services.get_mut(name);
        let pending = service.map_or(&mut [][..], |service| &mut service.changes.pending);
        let change = pending.last().map(|pending| pending.change);
        pending.iter_mut().for_each(|pending| pending.class = pending.class.max(class));
        for step in steps {
            let event = Event::Decided { class: step.class, reason: step.reason.clone() };
            self.record_step(name, step, change, event);
        }
    }

    /// Handles the answers to a batch. The new state is predicted, so that the next change need not wait, and observed
    /// afterwards to verify it.
    pub(super) fn commands_answered(&mut self, batch: &Batch, (answers, answered_at): (Vec<Answer>, Instant)) {
        self.link_answered();
        self.steps_answered(batch, &answers, Some(answered_at));
        self.work.observe.extend(batch.keys().cloned());
    }

    /// Handles answers that may come from the previous process: the state of the current one is unknown.
    pub(super) fn commands_outdated(&mut self, batch: &Batch, answers: Option<&[Answer]>) {
        self.steps_answered(batch, answers.unwrap_or_default(), None);
        self.distrust(batch);
    }

    /// Handles a batch that HAProxy did not answer.
    pub(super) fn commands_unanswered(&mut self, batch: &Batch) {
        self.tally.counts.unanswered += 1;
        self.distrust(batch);
    }

    fn distrust(&mut self, batch: &Batch) {
        if let Some(running) = self.process.running_mut() {
            for (name, steps) in batch {
                let Some(section) = running.sections.get_mut(name) else { continue };
                for step in steps {
                    match section.unknown {
                        // A process that was started since got the commands only if it had the socket by then.
                        Some(Unknown::Started) => section.may_have_added(step),
                        _ => section.unanswered(step),
                    }
                }
            }
        }
        self.work.review(batch.keys().cloned());
    }

    /// Records the answers to steps, in the order of the commands. `at` is `None` where the process that answered no
    /// longer serves.
    fn steps_answered(&mut self, batch: &Batch, mut answers: &[Answer], at: Option<Instant>) {
        for (name, steps) in batch {
            for step in steps {
                let (own, rest) = answers.split_at(step.commands.len().min(answers.len()));
                answers = rest;
                self.record_answers(name, step, own);
                if let Some(at) = at {
                    self.step_answered(name, step, own, at);
                }
            }
        }
    }

    fn record_answers(&mut self, name: &ServiceName, step: &Step, answers: &[Answer]) {
        let change = self.desired.services.get(name).and_then(|service| service.changes.newest());
        let change = change.map(|pending| pending.change);
        let clears = step.is_clearance();
        // A refused deletion is retried with each sweep and not recorded again.
        for (command, answer) in step.commands.iter().zip(answers).filter(|(_, answer)| answer.accepted || !clears) {
            let Answer { accepted, text } = answer.clone();
            let event = Event::Commanded { command: command.to_string(), answer: text, accepted };
            self.record_step(name, step, change, event);
        }
    }

    fn step_answered(&mut self, name: &ServiceName, step: &Step, answers: &[Answer], answered_at: Instant) {
        let newest = self.desired.services.get(name).and_then(|service| service.changes.newest()).copied();
        let clears = step.is_clearance();
        let section = self.process.running_mut().and_then(|running| running.sections.get_mut(name));
        let Some(section) = section else { return };
        let counts = &mut self.tally.counts;
        match section.answered(step, answers, answered_at) {
            None if clears => {
                counts.runtime_delete += 1;
                let service = self.desired.services.get_mut(name);
                service.into_iter().for_each(|service| service.ids.forget(&step.server));
            }
            None if step.class == PlanClass::RuntimeDisable => counts.runtime_disable += 1,
            None => counts.runtime_enable += 1,
            Some(refusal) if clears => {
                // The server is still in use; the next sweep tries again.
                let line = debug("deletion deferred").with("service", name).with("server", step.known_as());
                self.outbox.log(line.with("answer", refusal.words));
                return;
            }
            Some(refusal) => {
                let line = warn("HAProxy refused a runtime change").with("service", name);
                self.outbox.log(line.with("server", step.known_as()).with("answer", &refusal.words));
                counts.refused += 1;
                section.attempts.refused.insert(step.server.clone(), refusal);
                self.work.changed_servers(name.clone(), [step.server.clone()]);
                return;
            }
        }
        let took_us = newest.map(|pending| micros(answered_at.saturating_duration_since(pending.seen_at)));
        let message = if clears { "runtime-delete" } else { step.class.as_str() };
        let line = info(message).with("service", name).with("server", step.known_as());
        self.outbox.log(line.with("reason", &step.reason).with_some("took_us", took_us));
    }

    /// Handles a service with no runtime change left: schedules the write of the file, and marks its changes as applied
    /// unless they wait for a reload.
    fn in_sync(&mut self, name: &ServiceName, now: Moment) {
        if self.reloads.waits(name) {
            return;
        }
        let has_certificates = self.next_of_listener(name).is_none();
        let Some(service) = self.desired.services.get_mut(name) else { return };
        let Some(running) = self.process.running_mut() else { return };
        let style = running.style;
        let section = running.sections.get_mut(name).filter(|section| section.is_verified());
        let Some(section) = section else { return };
        if section.rewrite(&service.servers, service.ids.ids(), style) {
            self.files.config.changed();
        }
        section.attempts.repeated.clear();
        if !section.is_published() {
            self.work.backends.insert(name.clone());
            return;
        }
        let mut is_redefined = false;
        let mut has_new_text = false;
        if !service.is_blocked(Some(&section.definition)) && has_certificates {
            self.work.routes |= service.blocked.take().is_some();
            is_redefined = section.definition != service.definition;
            has_new_text = section.redefine(&service.definition, style);
        } else if !has_certificates {
            self.files.certificates.due.insert(name.clone());
        }
        let answered_at = section.answered_at;
        let took = |seen_at| micros(answered_at.saturating_duration_since(seen_at));
        // A change that needed no command has no class.
        let pending = std::mem::take(&mut service.changes.pending).into_iter();
        let applied = pending.filter_map(|pending| Some((pending.change, pending.class?, took(pending.seen_at))));
        let applied: Vec<_> = applied.collect();
        let last = applied.last().map(|&(_, class, took_us)| AppliedChange { class, took_us, at: answered_at });
        service.changes.last_applied = last.or(service.changes.last_applied);
        for (change, class, took_us) in applied {
            let entry = JournalEntry::new(Event::Applied { class, took_us }).service(name).change(change);
            self.outbox.record(entry);
        }
        if has_new_text {
            running.rewrite_frontends(&self.settings.policy.base_config.map_path);
            self.files.config.changed();
        }
        if is_redefined {
            self.save_later(now);
        }
    }

    fn note_drift(&mut self, name: &ServiceName, plan: &ServicePlan) {
        let steps = plan.steps.iter().map(|step| (Some(step.known_as()), &step.reason));
        for (server, what) in steps.chain(plan.reload.iter().map(|reason| (None, &reason.text))) {
            let line = warn("drift: HAProxy differs from the applied state, repairing").with("service", name);
            self.outbox.log(line.with_some("server", server).with("what", what));
            self.tally.counts.drift += 1;
            let mut entry = JournalEntry::new(Event::DriftFound { what: what.clone() }).service(name);
            entry.server = server.cloned();
            self.outbox.record(entry);
        }
    }

    fn record_step(&mut self, service: &ServiceName, step: &Step, change: Option<ChangeId>, event: Event) {
        let mut entry = JournalEntry::new(event).service(service).server(step.known_as());
        entry.change = change;
        self.outbox.record(entry);
    }
}

/// Returns how many of these steps fit into a batch with room for `room` commands: at least one.
fn fitting(steps: &[Step], room: usize) -> usize {
    let sizes = steps.iter().scan(0, |commands, step| {
        *commands += step.commands.len();
        Some(*commands)
    });
    sizes.take_while(|commands| *commands <= room).count().max(1)
}
