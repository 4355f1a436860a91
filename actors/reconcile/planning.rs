//! Planning of one service from the desired and the observed state. Planning changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::backends::Arrival;
use super::desired::DesiredService;
use super::observed::Running;
use super::section::{Section, Unknown};
use super::state::State;
use crate::decide::haproxy_config;
use crate::decide::overlay::Overlay;
use crate::decide::proxy_plan::{
    AppliedService, DisabledBy, Ground, Refusal, ServicePlan, Step, WantedService, plan_part, plan_service,
};
use crate::decide::scope::Scope;
use crate::limits::RUNTIME_TRIES_MAX;
use crate::model::{
    AdminState, Host, ObservedServers, PlanClass, ReloadCause, ServerName, ServiceDefinition, ServiceName,
};

/// The result of planning a service.
#[derive(Debug)]
pub enum Planned {
    /// The plan.
    Plan(Planning),
    /// The state of the process has to be observed first. These steps take servers out of service that its file has in
    /// service, and need not wait for that.
    Unknown(Vec<Step>),
}

/// A plan, and the changes that were left out of it.
#[derive(Debug, Default)]
pub struct Planning {
    /// The steps and reload reasons.
    pub plan: ServicePlan,
    /// Changes that were accepted several times in a row without effect.
    pub ineffective: BTreeMap<ServerName, Refusal>,
    /// Servers that not even a reload brought into the desired state.
    pub hopeless: Vec<ServerName>,
}

impl State {
    /// Returns the plan of one service. It covers only the servers in `scope`, where nothing else of the service is
    /// open.
    pub fn plan_of(&self, name: &ServiceName, scope: &Scope) -> Option<Planned> {
        let running = self.process.running()?;
        let reload = |cause: ReloadCause, why: &str| {
            let mut planning = Planning::default();
            planning.plan.reload.push(cause.because(why));
            Some(Planned::Plan(planning))
        };
        let section = running.sections.get(name);
        let Some(service) = self.desired.services.get(name) else {
            return match section {
                Some(_) if !self.departs_at_run_time(name) => {
                    let refused = running.backends.refused.get(name);
                    let refused =
                        refused.map(|refusal| format!(", and HAProxy refused to delete its backend: {refusal}"));
                    let why = format!("the service was removed{}", refused.unwrap_or_default());
                    reload(ReloadCause::ServiceRemoved, &why)
                }
                Some(_) | None => Some(Planned::Plan(Planning::default())),
            };
        };
        let Some(section) = section else {
            return match self.arrival(service) {
                None => Some(Planned::Plan(Planning::default())),
                Some(Ok(Arrival { plan, .. })) => Some(Planned::Plan(Planning { plan, ..Planning::default() })),
                Some(Err(_)) if self.settings.is_external() => {
                    reload(ReloadCause::ServiceNew, "HAProxy has no section of this name")
                }
                Some(Err(reason)) => reload(ReloadCause::ServiceNew, &reason.text()),
            };
        };
        // Changes that wait for a reload, or are not retried, are only found by planning the whole service.
        let waits_for_reload = self.deployment.is_some() || self.reloads.is_due_for_all() || self.reloads.waits(name);
        let is_settled =
            !waits_for_reload && section.is_verified() && !section.attempts.any() && service.blocked.is_none();
        let ground = self.ground(running);
        Some(match section.unknown {
            None if is_settled => Planned::Plan(plan_section(service, section, &section.observed, ground, scope)),
            None => Planned::Plan(plan_section(service, section, &section.observed, ground, &Scope::Whole)),
            Some(Unknown::Started) => Planned::Unknown(disables_by_file(service, section, ground)),
            Some(Unknown::Unanswered) => Planned::Unknown(Vec::new()),
        })
    }

    /// Returns the plan for the servers of a backend that has none yet.
    pub(super) fn plan_of_new(&self, running: &Running, service: &DesiredService) -> ServicePlan {
        let none = AppliedService {
            header: haproxy_config::section_header(&service.definition, running.style),
            servers: BTreeMap::new(),
            in_base: service.definition.in_base.clone(),
        };
        let overlay = service.life.overlay(service.overrides.keys(), &BTreeSet::new(), &service.slots);
        let wanted = wanted(service, &service.definition, &overlay);
        plan_service(wanted, Some(&none), Some(&ObservedServers::new()), &BTreeMap::new(), self.ground(running))
    }

    fn ground<'a>(&'a self, running: &Running) -> Ground<'a> {
        Ground {
            capabilities: running.capabilities,
            inherited: &self.settings.inherited,
            style: running.style,
            is_external: self.settings.is_external(),
        }
    }
}

fn wanted<'a>(
    service: &'a DesiredService,
    definition: &'a ServiceDefinition,
    overlay: &'a Overlay,
) -> WantedService<'a> {
    WantedService {
        definition,
        hosts: &service.servers,
        ids: service.ids.ids(),
        overlay,
        strategy: service.strategy.strategy,
        slots: service.slots_in_use(),
    }
}

/// Plans by the file of a process that was just started. Returns the steps for servers whose host is not desired any more.
fn disables_by_file(service: &DesiredService, section: &Section, ground: Ground<'_>) -> Vec<Step> {
    let by_file = section.by_file();
    let Planning { plan, .. } = plan_section(service, section, &by_file, ground, &Scope::Whole);
    let disables = |step: &Step| step.class == PlanClass::RuntimeDisable || step.disabled_by == Some(DisabledBy::Move);
    // A host that gets another server keeps its own until that one is added.
    let is_desired = |step: &Step| {
        let endpoint = section.loaded.servers.get(&step.server).map(|server| &server.endpoint);
        let is_there = |host: &Host| host.state == AdminState::Ready && Some(&host.endpoint) == endpoint;
        service.servers.values().any(|host| is_there(host))
    };
    plan.steps.into_iter().filter(|step| disables(step) && !is_desired(step)).collect()
}

fn plan_section(
    service: &DesiredService,
    section: &Section,
    observed: &ObservedServers,
    ground: Ground<'_>,
    scope: &Scope,
) -> Planning {
    let definition = match service.is_blocked(Some(&section.definition)) {
        true => &section.definition,
        false => &service.definition,
    };
    let overlay = service.life.overlay(service.overrides.keys(), &section.found.drained_before, &service.slots);
    let wanted = wanted(service, definition, &overlay);
    let plan_with = |refused: &BTreeMap<ServerName, Refusal>| {
        let plan = plan_part(wanted, Some(&section.loaded), Some(observed), refused, ground, scope);
        debug_assert_eq!(
            plan,
            plan_service(wanted, Some(&section.loaded), Some(observed), refused, ground),
            "a server outside of {scope:?} needs a change"
        );
        plan
    };
    let is_hopeless = |step: &Step| section.attempts.hopeless.get(&step.server).is_some_and(|known| known.meets(step));
    let mut plan = plan_with(&section.attempts.refused);
    let ineffective = ineffective(section, &plan, is_hopeless);
    if !ineffective.is_empty() {
        let mut refused = section.attempts.refused.clone();
        refused.extend(ineffective.clone());
        plan = plan_with(&refused);
    }
    let hopeless = plan.steps.extract_if(.., |step| is_hopeless(step)).map(|step| step.server).collect();
    if service.was_rejected_with(&service.servers) {
        // A reload for these hosts would be refused again.
        plan.reload.clear();
    }
    if let Some(why) = &section.attempts.certificates
        && !service.is_blocked(Some(&section.definition))
    {
        plan.reload.push(ReloadCause::Certificate.because(why));
    }
    plan.steps.retain(|step| section.may_take(step));
    Planning { plan, ineffective, hopeless }
}

/// Returns the changes that only a reload can apply: HAProxy accepted the same commands several times without effect.
/// Once is not enough: since 3.0 HAProxy sets an address after its answer, and shows the old one until then.
fn ineffective(
    section: &Section,
    plan: &ServicePlan,
    is_hopeless: impl Fn(&Step) -> bool,
) -> BTreeMap<ServerName, Refusal> {
    let has_no_effect = |step: &&Step| {
        let repeated = section.attempts.repeated.get(&step.server);
        repeated.is_some_and(|(commands, times)| *commands == step.commands && *times >= RUNTIME_TRIES_MAX)
    };
    let steps = plan.steps.iter().filter(|step| !is_hopeless(step)).filter(has_no_effect);
    let refusal = |step: &Step| {
        let commands: Vec<_> = step.commands.iter().map(ToString::to_string).collect();
        let words = format!("{}: accepted, without effect", commands.join("; "));
        (step.server.clone(), Refusal { commands: step.commands.clone(), words })
    };
    steps.map(refusal).collect()
}
