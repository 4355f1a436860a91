//! The plan: the cheapest way from the observed to the desired state of HAProxy.
//!
//! It is a pure function of three inputs: the desired state, the applied state (the file and later runtime changes),
//! and the observed state. The same inputs always give the same plan, and the plan after a completed one is empty.

mod backups;
mod one_server;
mod step;
mod wanted;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use self::backups::Backups;
use self::one_server::{OwnOptions, Planned};
use self::step::disable_agent;
pub use self::step::{Refusal, Step};
pub use self::wanted::{Ground, WantedService};
pub use super::applied_service::{
    AppliedServer, AppliedService, DisabledBy, applied_server, applied_server_with_id, disabled_by_file, split_weight,
};
use super::balance_work;
use super::check_load;
use super::haproxy_config;
use super::overlay::Departure;
use super::scope::Scope;
use crate::limits::RUNTIME_ADDS_MAX;
use crate::model::{
    AgentState, Endpoint, ObservedServer, ObservedServers, PlanClass, ReloadCause, ReloadReason, RuntimeCommand,
    ServerId, ServerName, ServiceName, UpdateStrategy, Word,
};

/// The plan of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// The runtime changes. Additions precede removals that would leave few servers.
    pub steps: Vec<Step>,
    /// The reasons for a reload; empty where none is needed.
    pub reload: Vec<ReloadReason>,
}

impl ServicePlan {
    /// Returns whether the plan is empty.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.reload.is_empty()
    }
}

/// Plans one service. `loaded` and `observed` are `None` where the process lacks the section; `refused` contains the
/// servers for which HAProxy has already refused a runtime change.
pub fn plan_service(
    wanted: WantedService<'_>,
    loaded: Option<&AppliedService>,
    observed: Option<&ObservedServers>,
    refused: &BTreeMap<ServerName, Refusal>,
    ground: Ground<'_>,
) -> ServicePlan {
    plan_part(wanted, loaded, observed, refused, ground, &Scope::Whole)
}

/// Returns the part of [`plan_service`]'s plan for the servers in `scope`.
pub fn plan_part(
    wanted: WantedService<'_>,
    loaded: Option<&AppliedService>,
    observed: Option<&ObservedServers>,
    refused: &BTreeMap<ServerName, Refusal>,
    ground: Ground<'_>,
    scope: &Scope,
) -> ServicePlan {
    let mut plan = ServicePlan::default();
    let (Some(loaded), Some(observed)) = (loaded, observed) else {
        plan.reload.push(ReloadCause::ServiceNew.because("the service is new"));
        return plan;
    };
    if *scope == Scope::Whole {
        let header = haproxy_config::section_header(wanted.definition, ground.style);
        if *header != *loaded.header {
            plan.reload.push(ReloadCause::ServiceChanged.because(header_difference(&loaded.header, &header)));
        }
    }
    let own = haproxy_config::default_server_words(wanted.definition);
    // The lines of a section of the base configuration, or with `defaults` of its own, include those.
    let of_base = if wanted.definition.includes_defaults() { &[] } else { ground.inherited };
    let inherited: Vec<Word> = of_base.iter().cloned().chain(own).collect();
    let inherited_weight = split_weight(&inherited).1;
    let backups = Backups::of(wanted, loaded, observed);
    if let Some((first, before)) = backups.misplaced() {
        let why = format!("the backup {first} comes before {before}, which HAProxy uses first");
        plan.reload.push(ReloadCause::Server.because(why));
    }
    let mut last: Option<OwnOptions> = None;
    let taken_ids = LazyCell::new(|| observed.values().filter_map(|server| server.id).collect::<BTreeSet<u32>>());
    let mut missing_slots = 0;
    let mut awaited = BTreeSet::new();
    let is_new = |name: &ServerName| !observed.contains_key(name) && !wanted.is_free_slot(name);
    let new = scope.of(wanted.hosts).filter(|(name, _)| is_new(name)).count();
    let are_left_to_reload = new > RUNTIME_ADDS_MAX && !ground.is_external;
    if are_left_to_reload {
        plan.reload.push(ReloadCause::Server.because(format!("{new} hosts are new, which a reload adds sooner")));
    }
    let mut steps = Vec::new();
    for (name, host) in scope.of(wanted.hosts) {
        let step = match (observed.get(name), wanted.is_free_slot(name)) {
            (None, true) => {
                missing_slots += 1;
                continue;
            }
            (None, false) if are_left_to_reload => {
                awaited.insert(&host.endpoint);
                continue;
            }
            (Some(observed), true) => Ok(removal(wanted, name, observed)),
            (found, false) => {
                let id = id(&wanted.definition.name, name);
                let later_backup = backups.after(host);
                let server =
                    Planned { id, host, wanted, ground, inherited: &inherited, inherited_weight, later_backup };
                match found {
                    None if loaded.others().any(|other| other == name) => {
                        Err("the base configuration of the running process has a server of its name".to_owned())
                    }
                    None => server.add(|id| taken_ids.contains(&id.get())),
                    Some(observed) => {
                        let known = last.take().filter(|known| known.are_those_of(host));
                        let own = last.insert(known.unwrap_or_else(|| OwnOptions::of(wanted.definition, host)));
                        server.adjust(own, loaded.servers.get(name), observed)
                    }
                }
            }
        };
        if step.is_err() && !observed.contains_key(name) {
            awaited.insert(&host.endpoint);
        }
        steps.push((name, step));
    }
    // A host that only changes its name or its slot keeps its traffic until the reload that adds the new server.
    let is_awaited = |name: &ServerName, server: &ObservedServer| {
        endpoint_of(name, server, loaded).is_some_and(|endpoint| awaited.contains(&endpoint))
    };
    let is_unwanted =
        |name: &ServerName, server: &ObservedServer| !wanted.hosts.contains_key(name) && !is_awaited(name, server);
    let unwanted = scope.of(observed).filter(|(name, server)| is_unwanted(name, server));
    steps.extend(unwanted.map(|(name, server)| (name, Ok(removal(wanted, name, server)))));
    for (name, step) in steps {
        let in_slot = wanted.slots.and_then(|slots| slots.server_in(name)).cloned();
        let serves_awaited =
            observed.get(name).filter(|server| !server.forced_maintenance() && is_awaited(name, server));
        let judged = judged(step, wanted.strategy, refused.get(name));
        match judged.and_then(|step| without_move_from(serves_awaited, step)) {
            Ok(step) => plan.steps.extend(step.map(|step| Step { in_slot, ..step })),
            Err((cause, reason)) => {
                let name = in_slot.as_ref().unwrap_or(name);
                plan.reload.push(cause.because(format!("server {name}: {reason}")));
            }
        }
    }
    disable_first(&mut plan.steps, observed);
    if !plan.steps.is_empty()
        && let Some(excess) = balance_work::excess(wanted.definition, wanted.hosts, ground.style.balance)
            .or_else(|| check_load::excess(wanted.definition, wanted.hosts))
    {
        // A reload with these hosts is refused; until then only servers of hosts that are gone change.
        plan.steps.retain(|step| step.class == PlanClass::RuntimeDisable);
        plan.reload.push(ReloadCause::Server.because(excess));
    }
    if let (1.., Some(slots)) = (missing_slots, wanted.slots) {
        let few = format!("{} of {} slots are free", slots.free() - missing_slots, slots.len() - missing_slots);
        plan.reload.push(ReloadCause::Slots.because(format!("only {few}, it gets {missing_slots} more ahead of need")));
    }
    plan
}

/// Returns the endpoint of a server in HAProxy, which does not report the path of a unix socket.
fn endpoint_of(name: &ServerName, observed: &ObservedServer, loaded: &AppliedService) -> Option<Endpoint> {
    let applied = || loaded.servers.get(name).map(|server| server.endpoint.clone());
    observed.endpoint().or_else(|| applied().filter(|_| observed.is_unix()))
}

/// Moves steps that disable servers to the begin: many others may take several batches. They stay behind where they would
/// leave less than half of the servers until the others are added.
fn disable_first(steps: &mut [Step], observed: &ObservedServers) {
    let disables = |step: &Step| step.class == PlanClass::RuntimeDisable;
    let serving = observed.values().filter(|server| !server.in_maintenance() && !server.in_drain()).count();
    if 2 * steps.iter().filter(|step| disables(step)).count() <= serving {
        steps.sort_by_key(|step| !disables(step));
    }
}

/// Returns a step that may be executed, or the reason for a reload instead.
fn judged(
    step: Result<Option<Step>, String>,
    strategy: UpdateStrategy,
    refusal: Option<&Refusal>,
) -> Result<Option<Step>, (ReloadCause, String)> {
    match (refusal, step) {
        (_, Ok(None)) => Ok(None),
        (Some(Refusal { words, .. }), _) => {
            Err((ReloadCause::Refused, format!("HAProxy refused a change at run time: {words}")))
        }
        (None, Ok(Some(step))) if strategy == UpdateStrategy::Reload && step.changes_hosts() => {
            Err((ReloadCause::Server, step.reason))
        }
        (None, step) => step.map_err(|reason| (ReloadCause::Server, reason)),
    }
}

/// Leaves the move of a server to the reload by which another server gets its address.
fn without_move_from(
    serves_awaited: Option<&ObservedServer>,
    step: Option<Step>,
) -> Result<Option<Step>, (ReloadCause, String)> {
    match (serves_awaited.and_then(ObservedServer::endpoint), step) {
        (Some(endpoint), Some(step)) if step.moves() => {
            let why = format!("it still serves {endpoint}, which another server gets by a reload");
            Err((ReloadCause::Server, why))
        }
        (_, step) => Ok(step),
    }
}

/// Takes a server out of service whose host is gone: at once, or after its sessions have ended. Returns `None` where it
/// is already out of service and its agent cannot enable it again.
fn removal(wanted: WantedService<'_>, server: &ServerName, observed: &ObservedServer) -> Option<Step> {
    let id = id(&wanted.definition.name, server);
    let departure = wanted.overlay.leaving.get(server);
    // Its agent may have ended the state since it was reported.
    let is_settled = observed.agent != AgentState::Enabled;
    let command = match departure {
        _ if observed.forced_maintenance() => (!is_settled).then(|| RuntimeCommand::SetMaintenance(id.clone())),
        Some(Departure::Draining) => {
            (!(is_settled && observed.in_drain())).then(|| RuntimeCommand::SetDrain(id.clone()))
        }
        Some(Departure::Idle | Departure::TimedOut) | None => Some(RuntimeCommand::SetMaintenance(id.clone())),
    };
    let reason = match departure {
        Some(Departure::Draining) => "the host is gone from discovery, draining",
        Some(Departure::Idle) => "the host is gone from discovery, and has no sessions left",
        Some(Departure::TimedOut) => "the host is gone from discovery, and its drain_timeout is over",
        None => "the host is gone from discovery",
    };
    let commands: Vec<_> = disable_agent(&id, observed).into_iter().chain(command).collect();
    (!commands.is_empty()).then(|| Step {
        server: server.clone(),
        in_slot: None,
        class: PlanClass::RuntimeDisable,
        reason: reason.to_owned(),
        commands,
        applies: None,
        disabled_by: Some(DisabledBy::Removal),
    })
}

fn id(service: &ServiceName, server: &ServerName) -> ServerId {
    ServerId { service: service.clone(), server: server.clone() }
}

/// Describes the difference between two section headers.
fn header_difference(loaded: &str, wanted: &str) -> String {
    let without = |text: &str, other: &str| {
        text.lines().find(|line| !other.lines().any(|known| known == *line)).map(|line| line.trim().to_owned())
    };
    match (without(loaded, wanted), without(wanted, loaded)) {
        (Some(old), Some(new)) => format!("`{old}` became `{new}`"),
        (Some(old), None) => format!("`{old}` was removed"),
        (None, Some(new)) => format!("`{new}` was added"),
        (None, None) => "the order of its options changed".to_owned(),
    }
}

/// Returns the step that takes a server of a removed service out of use, so that it can be deleted.
pub fn retirement(service: &ServiceName, server: &ServerName, observed: &ObservedServer) -> Step {
    let id = id(service, server);
    let agent = disable_agent(&id, observed);
    Step {
        server: server.clone(),
        in_slot: None,
        class: PlanClass::RuntimeDisable,
        reason: "its service was removed".to_owned(),
        commands: agent.into_iter().chain([RuntimeCommand::SetMaintenance(id)]).collect(),
        applies: None,
        disabled_by: Some(DisabledBy::Removal),
    }
}

/// Returns the step that deletes a server after it has been in maintenance long enough.
pub fn deletion(service: &ServiceName, server: &ServerName) -> Step {
    Step {
        server: server.clone(),
        in_slot: None,
        class: PlanClass::RuntimeDisable,
        reason: "it has been out of discovery long enough".to_owned(),
        commands: vec![RuntimeCommand::DeleteServer(id(service, server))],
        applies: None,
        disabled_by: None,
    }
}
