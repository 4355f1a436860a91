//! Who is asked for which domain: decided anew whenever a definition changes, and told to the map of the running HAProxy.

use std::collections::{BTreeMap, BTreeSet};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::{info, warn};
use tokio::time::Instant;

use super::HaproxyStateActor;
use super::running::{Running, Section};
use crate::decide::routing::{Claim, RouteStep, Routing, assign, keys, plan_routes, routed_at};
use crate::journal::{Event, JournalEntry};
use crate::limits::{MAP_REFUSALS_BEFORE_RELOAD, RUNTIME_BATCH_COMMANDS_MAX};
use crate::message::Record;
use crate::model::{ObservedRoutes, PlanClass, ReloadCause, RouteCommand, RouteKey, ServiceName};
use crate::port::{Answer, RuntimeError};

impl HaproxyStateActor {
    /// Decides, where that is due, and tells HAProxy. Returns whether that is under way.
    pub(super) fn begin_route_change(&mut self, ctx: &mut Context<Self>) -> bool {
        if !std::mem::take(&mut self.routes_due) {
            return false;
        }
        let Some(routing) = self.next_routing() else { return false };
        self.complain(&routing);
        let Some(running) = &mut self.running else { return false };
        if running.routing.routes != routing.routes {
            self.file.has_changed();
        }
        running.routing = routing;
        if running.map_refusals >= MAP_REFUSALS_BEFORE_RELOAD {
            // The reload that is due brings it.
            self.follow_file(ctx);
            return false;
        }
        let Some(map) = &running.map else {
            self.observe_due = true;
            return false;
        };
        let mut steps = plan_routes(&running.routing.routes, map);
        self.follow_file(ctx);
        if steps.is_empty() {
            return false;
        }
        steps.truncate(RUNTIME_BATCH_COMMANDS_MAX);
        for step in &steps {
            let event = Event::Decided { class: PlanClass::RuntimeEnable, reason: step.reason.clone() };
            self.record_route(step, event);
        }
        let commands = steps.iter().map(|step| step.command.clone()).collect();
        let change = self.ports.runtime.change_routes(self.policy.frame.map_path.clone(), commands);
        self.busy_since = Some(Instant::now());
        ctx.spawn(change.into_actor(self).map(move |outcome, actor, ctx| {
            actor.busy_since = None;
            // There may be more than fitted, or what was refused.
            actor.routes_due = true;
            match outcome {
                Ok(answers) => actor.routes_answered(&steps, &answers),
                Err(error) => actor.routes_unanswered(&error),
            }
            actor.advance(ctx);
        }));
        true
    }

    /// What would be told to the map now.
    pub(super) fn preview_routes(&self) -> Vec<RouteStep> {
        let Some((routing, running)) = self.next_routing().zip(self.running.as_ref()) else { return Vec::new() };
        running.map.as_ref().map(|map| plan_routes(&routing.routes, map)).unwrap_or_default()
    }

    /// Who is to be asked for what; none where no frontend asks.
    fn next_routing(&self) -> Option<Routing> {
        let running = self.running.as_ref().filter(|running| !running.frontends.is_empty())?;
        let claims = running.sections.iter().filter_map(|(name, section)| self.route_claim(name, section));
        Some(assign(claims, &self.awaited(running), &running.routing.routes))
    }

    /// What a service that HAProxy has wants to be asked for: by its section as long as that is the older one.
    fn route_claim<'a>(&'a self, service: &'a ServiceName, section: &'a Section) -> Option<Claim<'a>> {
        let listen = routed_at(&section.definition)?;
        let desired = self.desired.services.get(service);
        let current = desired.map(|desired| match desired.is_blocked(Some(&section.definition)) {
            true => &section.definition,
            false => &desired.definition,
        });
        let still_there = current.filter(|definition| routed_at(definition) == Some(listen));
        let definition = still_there.unwrap_or(&section.definition);
        Some(Claim { service, listen, definition, is_leaving: still_there.is_none() })
    }

    /// What services want to be asked for that only the next reload brings.
    fn awaited(&self, running: &Running) -> BTreeSet<RouteKey> {
        let here = |name: &ServiceName| running.sections.get(name).and_then(|section| routed_at(&section.definition));
        let waiting = self.desired.services.iter().filter_map(|(name, service)| {
            let listen = routed_at(&service.definition).filter(|listen| here(name) != Some(*listen))?;
            Some(keys(listen, &service.definition))
        });
        waiting.flatten().collect()
    }

    /// Says which services want what another has: once, and again when it is something else.
    fn complain(&mut self, routing: &Routing) {
        let contested = routing.contested.keys();
        let complaints = contested.filter_map(|name| Some((name.clone(), routing.complaint(name)?)));
        let complaints: BTreeMap<ServiceName, String> = complaints.collect();
        for (name, problem) in complaints.iter().filter(|(name, problem)| self.complaints.get(*name) != Some(*problem))
        {
            warn!(self.log, "a service wants a domain that another has"; "service" => %name, "problem" => problem);
            let event = Event::InputRefused { problem: problem.clone() };
            self.peers.journal.do_send(Record(JournalEntry::new(event).service(name)));
        }
        self.complaints = complaints;
    }

    fn routes_answered(&mut self, steps: &[RouteStep], answers: &[Answer]) {
        self.runtime_failures = 0;
        self.runtime_error.ends();
        let mut refusal = None;
        for (step, answer) in steps.iter().zip(answers) {
            let Answer { accepted, text } = answer.clone();
            let command = self.route_text(&step.command);
            if accepted {
                self.counts.routes += 1;
                let service = step.service.as_ref().map(ToString::to_string);
                info!(self.log, "the map of domains changes"; "service" => service, "reason" => &step.reason);
            } else {
                warn!(self.log, "HAProxy refused a change of its map"; "command" => &command, "answer" => &text);
                self.counts.refused += 1;
                refusal.get_or_insert_with(|| format!("{command}: {text}"));
            }
            self.record_route(step, Event::Commanded { command, answer: text, accepted });
            if let Some(map) = self.running.as_mut().and_then(|running| running.map.as_mut()).filter(|_| accepted) {
                take_in(map, &step.command);
            }
        }
        let Some(running) = &mut self.running else { return };
        let Some(refusal) = refusal else {
            running.map_refusals = 0;
            return;
        };
        // It is not as it was thought to be.
        running.map = None;
        running.map_refusals += 1;
        if running.map_refusals == MAP_REFUSALS_BEFORE_RELOAD {
            let why = format!("HAProxy refused a change of its map at run time: {refusal}");
            self.reload_forced.push(ReloadCause::Refused.because(why));
        }
    }

    fn routes_unanswered(&mut self, error: &RuntimeError) {
        self.counts.unanswered += 1;
        if let Some(running) = &mut self.running {
            running.map = None;
        }
        self.runtime_failed(error);
    }

    /// Takes in the map that HAProxy says it has; what somebody else changed there is repaired.
    pub(super) fn routes_found(&mut self, found: Option<ObservedRoutes>) {
        let Some((found, running)) = found.zip(self.running.as_mut()) else { return };
        let known = running.map.replace(found.clone());
        if known.as_ref() == Some(&found) {
            return;
        }
        self.routes_due = true;
        // After a batch without an answer a difference is no surprise.
        if known.is_some() {
            for step in plan_routes(&running.routing.routes, &found) {
                let what = step.reason.clone();
                warn!(self.log, "the map of the running HAProxy is not as it was left, repairing it"; "what" => &what);
                self.counts.drift += 1;
                self.record_route(&step, Event::DriftFound { what });
            }
        }
    }

    fn route_text(&self, command: &RouteCommand) -> String {
        command.text(&self.policy.frame.map_path.to_string_lossy(), command.key().as_str())
    }

    fn record_route(&self, step: &RouteStep, event: Event) {
        let entry = JournalEntry::new(event);
        let entry = match &step.service {
            Some(service) => entry.service(service),
            None => entry,
        };
        self.peers.journal.do_send(Record(entry));
    }
}

/// What the map is after the command.
fn take_in(map: &mut ObservedRoutes, command: &RouteCommand) {
    match command {
        RouteCommand::Add(key, service) | RouteCommand::Set(key, service) => {
            map.insert(key.clone(), service.to_string());
        }
        RouteCommand::Delete(key) => {
            map.remove(key);
        }
    }
}
