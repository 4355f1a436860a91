//! Runtime changes: plan what is dirty, send one batch, take in the answers, plan again.

use std::collections::BTreeMap;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::{debug, info, warn};
use tokio::time::Instant;

use super::desired::AppliedChange;
use super::running::Section;
use super::{HaproxyStateActor, backoff};
use crate::decide::proxy_plan::{Ground, Refusal, ServicePlan, Step, WantedService, deletion, plan_part, plan_service};
use crate::decide::scope::Scope;
use crate::journal::{Event, JournalEntry};
use crate::limits::{
    CLEARANCES_AT_ONCE_MAX, PARKED_SERVER_KEEP, RUNTIME_BATCH_COMMANDS_MAX, RUNTIME_FAILURES_BEFORE_RELOAD,
    RUNTIME_RETRY_MAX, RUNTIME_RETRY_MIN, RUNTIME_TRIES_MAX,
};
use crate::message::Record;
use crate::model::{
    ChangeId, Observation, ObservedServers, PlanClass, ReloadCause, RuntimeCommand, ServiceName, UpdateStrategy,
};
use crate::port::{Answer, RuntimeError};
use crate::snapshot::ProxyPhase;

/// The steps that go to HAProxy together.
type Batch = BTreeMap<ServiceName, Vec<Step>>;

/// What came back from a batch: the answers, the servers as they are now, and when the answers were there.
type BatchOutcome = Result<(Vec<Answer>, Observation, Instant), RuntimeError>;

impl HaproxyStateActor {
    /// Plans what is dirty and sends what can be done at run time. Returns whether a batch is under way.
    pub(super) fn begin_batch(&mut self, ctx: &mut Context<Self>) -> bool {
        let batch = self.plan_batch(ctx);
        if batch.is_empty() {
            return false;
        }
        let commands: Vec<RuntimeCommand> = batch.values().flatten().flat_map(|step| step.commands.clone()).collect();
        let touched: Vec<ServiceName> = batch.keys().cloned().collect();
        let runtime = self.ports.runtime.clone();
        let talk = async move {
            let answers = runtime.run(commands).await?;
            let answered_at = Instant::now();
            Ok((answers, runtime.observe(Some(touched)).await?, answered_at))
        };
        self.busy_since = Some(Instant::now());
        ctx.spawn(talk.into_actor(self).map(move |outcome: BatchOutcome, actor, ctx| {
            actor.busy_since = None;
            match outcome {
                Ok(outcome) => actor.batch_answered(batch, outcome),
                Err(error) => actor.batch_unanswered(&batch, &error),
            }
            actor.advance(ctx);
        }));
        true
    }

    /// Plans the dirty services, as many as fit into one batch.
    fn plan_batch(&mut self, ctx: &mut Context<Self>) -> Batch {
        let mut batch = Batch::new();
        let mut room = RUNTIME_BATCH_COMMANDS_MAX;
        while room > 0
            && let Some((name, scope)) = self.dirty.pop_first()
        {
            let Some(plan) = self.plan_one(&name, &scope) else { continue };
            let ServicePlan { mut steps, reload } = plan;
            if reload.is_empty() {
                self.reload_due.remove(&name);
            } else {
                self.reload_due.insert(name.clone(), reload);
            }
            if steps.is_empty() {
                self.in_step(&name, ctx);
                continue;
            }
            let fitting = steps.iter().scan(0, |commands, step| {
                *commands += step.commands.len();
                Some(*commands)
            });
            let fitting = fitting.take_while(|commands| *commands <= room).count().max(1);
            if fitting < steps.len() {
                let later = steps.split_off(fitting);
                self.dirty.insert_servers(name.clone(), later.into_iter().map(|step| step.server));
            }
            room = room.saturating_sub(steps.iter().map(|step| step.commands.len()).sum());
            self.note_decisions(&name, &steps);
            batch.insert(name, steps);
        }
        if std::mem::take(&mut self.sweep_due) {
            self.plan_deletions(&mut batch);
        }
        batch
    }

    /// Plans what may differ of one service, and notes where it was not as it was left.
    fn plan_one(&mut self, name: &ServiceName, scope: &Scope) -> Option<ServicePlan> {
        let plan = self.plan_of(name, scope)?;
        if self.drifted.remove(name) {
            self.note_drift(name, &plan);
        }
        Some(plan)
    }

    /// The plan of one service. None where there is nothing to be done now: what it has is not known, or something
    /// stands in the way.
    pub(super) fn plan_of(&mut self, name: &ServiceName, scope: &Scope) -> Option<ServicePlan> {
        let of_others = self.is_run_by_others();
        if of_others {
            self.claim(name, scope);
        }
        let running = self.running.as_mut()?;
        let section = running.sections.get_mut(name);
        let Some(service) = self.desired.services.get_mut(name) else {
            let mut plan = ServicePlan::default();
            plan.reload.extend(section.map(|_| ReloadCause::ServiceRemoved.because("the service was removed")));
            return Some(plan);
        };
        let Some(section) = section else {
            service.life.settle(&ObservedServers::new(), &service.slots);
            let mut plan = ServicePlan::default();
            if service.known && !service.is_blocked(None) {
                let why = if of_others { "HAProxy has no section of this name" } else { "the service is new" };
                plan.reload.push(ReloadCause::ServiceNew.because(why));
            }
            return Some(plan);
        };
        if section.stale {
            self.observe_due = true;
            return None;
        }
        // What waits for a reload, or is not tried again, is told by plans of the whole.
        let waits_for_reload = !self.reload_forced.is_empty() || self.reload_due.contains_key(name);
        let is_settled = !waits_for_reload && !section.is_in_trouble() && service.blocker.is_none();
        let scope = if is_settled { scope } else { &Scope::Whole };
        let hosts = service.servers.clone();
        section.park(&hosts, scope);
        if service.slots_in_use().is_some() {
            section.forget_drains_of_others(&hosts);
        }
        service.life.settle(&section.observed, &service.slots);
        let chosen = service.choices.all().keys();
        let overlay = service.life.overlay(chosen, &section.drained_before, &service.slots);
        let definition =
            if service.is_blocked(Some(&section.definition)) { &section.definition } else { &service.definition }
                .clone();
        let ground = Ground { capabilities: running.capabilities, inherited: &self.inherited, style: running.style };
        let wanted = WantedService {
            definition: &definition,
            hosts: &hosts,
            overlay: &overlay,
            strategy: service.strategy.strategy,
            slots: service.slots_in_use(),
        };
        let plan_section = |section: &Section| {
            let Section { loaded, observed, refused, hopeless, .. } = section;
            let mut plan = plan_part(wanted, Some(loaded), Some(observed), refused, ground, scope);
            debug_assert_eq!(
                plan,
                plan_service(wanted, Some(loaded), Some(observed), refused, ground),
                "what lies outside of {scope:?} is as it should be"
            );
            let is_hopeless = |step: &Step| hopeless.get(&step.server).is_some_and(|refusal| refusal.meets(step));
            let still_hopeless: Vec<_> = plan.steps.extract_if(.., |step| is_hopeless(step)).collect();
            (plan, still_hopeless)
        };
        let (mut plan, mut still_hopeless) = plan_section(section);
        if find_ineffective(section, &plan) {
            (plan, still_hopeless) = plan_section(section);
        }
        // What is as wanted by now gives no more cause for complaint.
        section.hopeless.retain(|server, _| still_hopeless.iter().any(|step| step.server == *server));
        if service.was_rejected_with(&hosts) {
            // A reload for these hosts would be refused again.
            plan.reload.clear();
        }
        Some(plan)
    }

    /// Servers that have waited in maintenance long enough for a flapping host to have come back.
    fn plan_deletions(&mut self, batch: &mut Batch) {
        let Some(running) = self.running.as_ref().filter(|running| running.capabilities.dynamic_servers()) else {
            return;
        };
        let may_delete = |name: &ServiceName| {
            let service = self.desired.services.get(name);
            service.is_none_or(|service| service.strategy.strategy == UpdateStrategy::Dynamic)
        };
        let sections = running.sections.iter().filter(|(name, section)| !section.stale && may_delete(name));
        let ripe = sections.flat_map(|(name, section)| {
            section.ripe_for_deletion(PARKED_SERVER_KEEP).map(move |server| (name, deletion(name, server)))
        });
        for (name, step) in ripe.take(CLEARANCES_AT_ONCE_MAX) {
            batch.entry(name.clone()).or_default().push(step);
        }
    }

    fn note_decisions(&mut self, name: &ServiceName, steps: &[Step]) {
        let class = steps.iter().map(|step| step.class).max();
        let service = self.desired.services.get_mut(name);
        let pending = service.map_or(&mut [][..], |service| &mut service.pending);
        let change = pending.last().map(|pending| pending.change);
        pending.iter_mut().for_each(|pending| pending.class = pending.class.max(class));
        for step in steps {
            let event = Event::Decided { class: step.class, reason: step.reason.clone() };
            self.record(name, step, change, event);
        }
    }

    fn batch_answered(
        &mut self,
        batch: Batch,
        (answers, observation, answered_at): (Vec<Answer>, Observation, Instant),
    ) {
        self.runtime_failures = 0;
        self.runtime_error.ends();
        let mut answers = answers.as_slice();
        for (name, steps) in &batch {
            for step in steps {
                let (own, rest) = answers.split_at(step.commands.len().min(answers.len()));
                answers = rest;
                self.step_answered(name, step, own, answered_at);
            }
        }
        let touched: Vec<ServiceName> = batch.keys().cloned().collect();
        let running = self.running.as_mut();
        let mut different = running.map(|running| running.observed(Some(&touched), observation)).unwrap_or_default();
        for (name, steps) in batch {
            let further = different.remove(&name).unwrap_or_default();
            self.dirty.insert_servers(name, steps.into_iter().map(|step| step.server).chain(further));
        }
    }

    fn step_answered(&mut self, name: &ServiceName, step: &Step, answers: &[Answer], answered_at: Instant) {
        let service = self.desired.services.get(name);
        let pending = service.and_then(|service| service.pending.last()).copied();
        let clears = step.is_clearance();
        // A clearance that is refused is tried again and again: no news.
        for (command, answer) in step.commands.iter().zip(answers).filter(|(_, answer)| answer.accepted || !clears) {
            let Answer { accepted, text } = answer.clone();
            let event = Event::Commanded { command: command.to_string(), answer: text, accepted };
            self.record(name, step, pending.map(|pending| pending.change), event);
        }
        let Some(section) = self.running.as_mut().and_then(|running| running.sections.get_mut(name)) else { return };
        section.answered_at = answered_at;
        let refusal = section.answered(step, answers);
        match refusal {
            None if clears => self.counts.runtime_delete += 1,
            None if step.class == PlanClass::RuntimeDisable => self.counts.runtime_disable += 1,
            None => self.counts.runtime_enable += 1,
            Some(refusal) if clears => {
                // Still in use; it is tried again with the next sweep.
                debug!(self.log, "not deleted yet";
                    "service" => %name, "server" => %step.known_as(), "answer" => refusal.words);
                return;
            }
            Some(refusal) => {
                warn!(self.log, "HAProxy refused a change at run time";
                    "service" => %name, "server" => %step.known_as(), "answer" => &refusal.words);
                self.counts.refused += 1;
                section.refused.insert(step.server.clone(), refusal);
                return;
            }
        }
        let took_us = pending.map(|pending| micros(answered_at.saturating_duration_since(pending.seen_at)));
        let done = if clears { "runtime-delete" } else { step.class.as_str() };
        info!(self.log, "{}", done;
            "service" => %name, "server" => %step.known_as(), "reason" => &step.reason, "took_us" => took_us);
    }

    fn batch_unanswered(&mut self, batch: &Batch, error: &RuntimeError) {
        self.counts.unanswered += 1;
        if let Some(running) = &mut self.running {
            for (name, steps) in batch {
                let Some(section) = running.sections.get_mut(name) else { continue };
                steps.iter().for_each(|step| section.unanswered(step));
            }
        }
        self.dirty.extend(batch.keys().cloned());
        self.runtime_failed(error);
    }

    /// HAProxy did not answer: again after a pause, and in the end by a reload.
    pub(super) fn runtime_failed(&mut self, error: &RuntimeError) {
        self.runtime_failures += 1;
        let pause = backoff(self.runtime_failures, RUNTIME_RETRY_MIN, RUNTIME_RETRY_MAX);
        warn!(self.log, "HAProxy does not answer on its socket";
            "error" => %error, "failures" => self.runtime_failures, "retry_after_ms" => micros(pause) / 1_000);
        self.runtime_retry_at = Instant::now() + pause;
        self.runtime_error.stands(error.to_string(), self.clock);
        let event = Event::Failed { error: error.to_string() };
        self.peers.journal.do_send(Record(JournalEntry::new(event)));
        if self.is_run_by_others() {
            if self.runtime_failures >= RUNTIME_FAILURES_BEFORE_RELOAD {
                // It is looked for anew: whoever runs it may have started another.
                self.phase = ProxyPhase::Down;
                self.reload_not_before = self.runtime_retry_at;
            }
        } else if self.runtime_failures == RUNTIME_FAILURES_BEFORE_RELOAD {
            let why = format!("its socket failed {} times in a row: {error}", self.runtime_failures);
            self.reload_forced.push(ReloadCause::RuntimeApi.because(why));
        }
    }

    /// The service has nothing left to do at run time: the file follows, and its changes are in force unless they
    /// wait for a reload.
    fn in_step(&mut self, name: &ServiceName, ctx: &mut Context<Self>) {
        if self.reload_due.contains_key(name) {
            return;
        }
        let Some(service) = self.desired.services.get_mut(name) else { return };
        let sections = self.running.as_mut().map(|running| &mut running.sections);
        let Some(section) = sections.and_then(|sections| sections.get_mut(name)) else { return };
        if section.rewrite(&service.servers) {
            self.file.has_changed();
        }
        section.tried.clear();
        let mut is_redefined = false;
        if !service.is_blocked(Some(&section.definition)) {
            self.routes_due |= service.blocker.take().is_some();
            is_redefined = section.definition != service.definition;
            section.definition = service.definition.clone();
        }
        let answered_at = section.answered_at;
        let took = |seen_at| micros(answered_at.saturating_duration_since(seen_at));
        // One for which nothing had to be done has come into force by nothing.
        let pending = std::mem::take(&mut service.pending).into_iter();
        let applied = pending.filter_map(|pending| Some((pending.change, pending.class?, took(pending.seen_at))));
        let applied: Vec<_> = applied.collect();
        let last = applied.last().map(|&(_, class, took_us)| AppliedChange { class, took_us, at: answered_at });
        service.last_applied = last.or(service.last_applied);
        for (change, class, took_us) in applied {
            let entry = JournalEntry::new(Event::Applied { class, took_us }).service(name).change(change);
            self.peers.journal.do_send(Record(entry));
        }
        if is_redefined {
            self.save_later(ctx);
        }
        self.follow_file(ctx);
    }

    fn note_drift(&mut self, name: &ServiceName, plan: &ServicePlan) {
        let steps = plan.steps.iter().map(|step| (Some(step.known_as()), &step.reason));
        for (server, what) in steps.chain(plan.reload.iter().map(|reason| (None, &reason.text))) {
            warn!(self.log, "the running HAProxy is not as it was left, repairing it";
                "service" => %name, "server" => server.map(ToString::to_string), "what" => what);
            self.counts.drift += 1;
            let mut entry = JournalEntry::new(Event::DriftFound { what: what.clone() }).service(name);
            entry.server = server.cloned();
            self.peers.journal.do_send(Record(entry));
        }
    }

    fn record(&self, service: &ServiceName, step: &Step, change: Option<ChangeId>, event: Event) {
        let mut entry = JournalEntry::new(event).service(service).server(step.known_as());
        entry.change = change;
        self.peers.journal.do_send(Record(entry));
    }
}

/// What was accepted and is planned again word for word, several times, has no effect: only a reload can bring it.
/// Once is not enough: from 3.0 on HAProxy sets an address only after it has answered, and shows the old one meanwhile.
fn find_ineffective(section: &mut Section, plan: &ServicePlan) -> bool {
    let mut found = false;
    for step in &plan.steps {
        let has_no_effect =
            |(commands, times): &(Vec<RuntimeCommand>, u32)| *commands == step.commands && *times >= RUNTIME_TRIES_MAX;
        if section.tried.get(&step.server).is_some_and(has_no_effect) {
            let commands: Vec<_> = step.commands.iter().map(ToString::to_string).collect();
            let words = format!("{}: accepted, without effect", commands.join("; "));
            section.refused.insert(step.server.clone(), Refusal { commands: step.commands.clone(), words });
            found = true;
        }
    }
    found
}

pub(super) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
