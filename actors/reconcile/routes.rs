//! Runtime lane: assigns domains to services after each change of a definition, and updates the map of the process that
//! serves.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{Effect, info, warn};
use super::observed::Running;
use super::section::Section;
use super::state::{Exchange, State};
use crate::decide::routing::{Claim, RouteStep, Routing, assign, keys, mapped_at, plan_routes};
use crate::journal::{Event, JournalEntry};
use crate::limits::{MAP_REFUSALS_BEFORE_RELOAD, ROUTES_PACE, ROUTES_PACED_FROM, RUNTIME_BATCH_COMMANDS_MAX};
use crate::model::{Moment, ObservedRoutes, PlanClass, ReloadCause, RouteCommand, RouteKey, ServiceName};
use crate::port::Answer;

impl State {
    /// Assigns the domains when that is due, and sends the changes. Returns whether a change was sent.
    pub(super) fn begin_route_change(&mut self, now: Moment) -> bool {
        if now.instant < self.timers.routes_at || !std::mem::take(&mut self.work.routes) {
            return false;
        }
        self.pace_routes(now);
        let Some(routing) = self.next_routing() else { return false };
        self.report_complaints(&routing);
        let Some(running) = self.process.running_mut() else { return false };
        if running.routing.routes != routing.routes {
            self.files.config.changed();
        }
        running.routing = routing;
        if running.map.refusals >= MAP_REFUSALS_BEFORE_RELOAD {
            // A reload that is due applies it.
            return false;
        }
        let Some(map) = &running.map.observed else {
            self.work.observe_all = true;
            return false;
        };
        let mut steps = plan_routes(&running.routing.routes, map);
        if steps.is_empty() {
            return false;
        }
        steps.truncate(RUNTIME_BATCH_COMMANDS_MAX);
        for step in &steps {
            let event = Event::Decided { class: PlanClass::RuntimeEnable, reason: step.reason.clone() };
            self.record_route(step, event);
        }
        let commands = steps.iter().map(|step| step.command.clone()).collect();
        let effect = Effect::ChangeRoutes { map: self.settings.policy.base_config.map_path.clone(), commands };
        self.begin_change(Exchange::Routes(steps), effect, now);
        true
    }

    /// Lets other work go before the next assignment, where it takes long.
    pub(super) fn pace_routes(&mut self, now: Moment) {
        let sections = self.running().map_or(0, |running| running.sections.len());
        let services = sections.max(self.desired.services.len());
        if services > ROUTES_PACED_FROM {
            self.timers.routes_at = now.instant + ROUTES_PACE * u32::try_from(services).unwrap_or(u32::MAX);
        }
    }

    /// Returns the changes that the map needs now.
    pub fn plan_routes(&self) -> Vec<RouteStep> {
        let Some((routing, running)) = self.next_routing().zip(self.running()) else { return Vec::new() };
        running.map.observed.as_ref().map(|map| plan_routes(&routing.routes, map)).unwrap_or_default()
    }

    /// Returns the desired assignment of domains; `None` where no frontend uses the map.
    fn next_routing(&self) -> Option<Routing> {
        let running = self.running().filter(|running| !running.frontends.is_empty())?;
        let claims = running.sections.iter().filter_map(|(name, section)| self.route_claim(name, section));
        Some(assign(claims, &self.awaited_routes(running), &running.routing.routes))
    }

    /// Returns the domains that a service claims: by the definition of its section as long as its current one cannot
    /// apply yet, and none while its backend is not published yet, or leaves at run time.
    fn route_claim<'a>(&'a self, service: &'a ServiceName, section: &'a Section) -> Option<Claim<'a>> {
        let listen = mapped_at(&section.definition).filter(|_| section.is_published())?;
        if self.departs_at_run_time(service) {
            return None;
        }
        let desired = self.desired.services.get(service);
        let current = desired.map(|desired| match desired.is_blocked(Some(&section.definition)) {
            true => &section.definition,
            false => &desired.definition,
        });
        let still_there = current.filter(|definition| mapped_at(definition) == Some(listen));
        let definition = still_there.unwrap_or(&section.definition);
        Some(Claim { service, listen, definition, is_leaving: still_there.is_none() })
    }

    /// Returns the domains that services get with the next reload.
    fn awaited_routes(&self, running: &Running) -> BTreeSet<RouteKey> {
        let here = |name: &ServiceName| {
            let section = running.sections.get(name).filter(|section| section.is_published())?;
            mapped_at(&section.definition)
        };
        let waiting = self.desired.services.iter().filter_map(|(name, service)| {
            let listen = mapped_at(&service.definition).filter(|listen| here(name) != Some(*listen))?;
            Some(keys(listen, &service.definition))
        });
        waiting.flatten().collect()
    }

    /// Reports services that claim a domain of another service: once for each distinct problem.
    fn report_complaints(&mut self, routing: &Routing) {
        let contested = routing.contested.keys();
        let complaints = contested.filter_map(|name| Some((name.clone(), routing.complaint(name)?)));
        let complaints: BTreeMap<ServiceName, String> = complaints.collect();
        let known = &self.tally.complaints;
        for (name, problem) in complaints.iter().filter(|(name, problem)| known.get(*name) != Some(*problem)) {
            let line = warn("a service requests a domain of another service").with("service", name);
            self.outbox.log(line.with("problem", problem));
            self.outbox.record_of(name, Event::InputRefused { problem: problem.clone() });
        }
        self.tally.complaints = complaints;
    }

    /// Handles the answers to a change of the map.
    pub(super) fn routes_answered(&mut self, steps: &[RouteStep], answers: &[Answer]) {
        self.link_answered();
        let mut refusal = None;
        for (step, answer) in steps.iter().zip(answers) {
            let Answer { accepted, text } = answer.clone();
            let command = self.route_command_text(&step.command);
            if accepted {
                self.tally.counts.routes += 1;
                let line = info("map of domains changed").with_some("service", step.service.as_ref());
                self.outbox.log(line.with("reason", &step.reason));
            } else {
                let line = warn("HAProxy refused a map change").with("command", &command);
                self.outbox.log(line.with("answer", &text));
                self.tally.counts.refused += 1;
                refusal.get_or_insert_with(|| format!("{command}: {text}"));
            }
            self.record_route(step, Event::Commanded { command, answer: text, accepted });
            let map = self.process.running_mut().and_then(|running| running.map.observed.as_mut());
            let before = map.filter(|_| accepted).and_then(|map| execute(map, &step.command));
            // It may be a service that was removed, and can leave now.
            self.work.review(before.and_then(|before| ServiceName::new(&before).ok()));
        }
        let Some(running) = self.process.running_mut() else { return };
        let Some(refusal) = refusal else {
            running.map.refusals = 0;
            return;
        };
        // The map differs from its assumed state.
        running.map.observed = None;
        running.map.refusals += 1;
        if running.map.refusals == MAP_REFUSALS_BEFORE_RELOAD {
            let why = format!("HAProxy refused a map change at run time: {refusal}");
            self.reloads.request(ReloadCause::Refused.because(why));
        }
    }

    /// Handles a change of the map without an answer: the map has to be observed.
    pub(super) fn routes_unanswered(&mut self) {
        if let Some(running) = self.process.running_mut() {
            running.map.observed = None;
        }
    }

    /// Reports and repairs a map that differs from the applied state.
    pub(super) fn note_route_drift(&mut self, observed: &ObservedRoutes) {
        let Some(running) = self.running() else { return };
        for step in plan_routes(&running.routing.routes, observed) {
            let what = step.reason.clone();
            let line = warn("drift: HAProxy's map differs from the applied map, repairing it");
            self.outbox.log(line.with("what", &what));
            self.tally.counts.drift += 1;
            self.record_route(&step, Event::DriftFound { what });
        }
    }

    fn route_command_text(&self, command: &RouteCommand) -> String {
        command.text(&self.settings.policy.base_config.map_path.to_string_lossy(), command.key().as_str())
    }

    fn record_route(&mut self, step: &RouteStep, event: Event) {
        let entry = JournalEntry::new(event);
        self.outbox.record(match &step.service {
            Some(service) => entry.service(service),
            None => entry,
        });
    }
}

/// Applies the command to the known state of the map. Returns the previous value of its key.
fn execute(map: &mut ObservedRoutes, command: &RouteCommand) -> Option<String> {
    match command {
        RouteCommand::Add(key, service) | RouteCommand::Set(key, service) => {
            map.insert(key.clone(), service.to_string())
        }
        RouteCommand::Delete(key) => map.remove(key),
    }
}
