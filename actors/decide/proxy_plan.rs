//! The cheapest way from what HAProxy has to what it should have.
//!
//! Three inputs, no memory: what is wanted, what the process was given (its file, and what was added since), and what
//! it says it has. The same inputs always give the same plan, and a plan that was carried out leaves an empty one.

mod one_server;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::one_server::{OwnOptions, Planned};
use super::capabilities::Capabilities;
use super::haproxy_config::{self, SectionStyle};
use super::overlay::{Departure, Overlay};
use super::scope::Scope;
use super::slots::SlotTable;
use crate::model::{
    Host, HostList, ObservedServer, ObservedServers, PlanClass, ReloadCause, ReloadReason, RuntimeCommand, ServerId,
    ServerName, ServiceDefinition, ServiceName, UpdateStrategy, Word,
};

/// What a service should be.
#[derive(Debug, Clone, Copy)]
pub struct WantedService<'a> {
    /// Its definition.
    pub definition: &'a ServiceDefinition,
    /// Its servers: under the names of their slots, where it has slots, with the free ones.
    pub hosts: &'a HostList,
    /// What is wanted of single servers for a time.
    pub overlay: &'a Overlay,
    /// How its changes may be made.
    pub strategy: UpdateStrategy,
    /// Its slots; none where its servers have the names of their hosts.
    pub slots: Option<&'a SlotTable>,
}

impl WantedService<'_> {
    fn is_free_slot(&self, server: &ServerName) -> bool {
        self.slots.is_some_and(|slots| slots.is_free(server))
    }
}

/// What a HAProxy process was given of one service: by its file, and at run time since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedService {
    /// The section without its servers, as [`haproxy_config::section_head`] writes it.
    pub head: Arc<str>,
    /// Each server's options.
    pub servers: BTreeMap<ServerName, LoadedServer>,
}

/// What a HAProxy process was given of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedServer {
    /// The address and port, as written in the file or the command: a host name is resolved only then.
    pub endpoint: String,
    /// Its options but for the weight, which can change at run time.
    pub options: Vec<Word>,
    /// For whom it was last put into drain or maintenance; none where that was not our doing, or is over.
    pub held_by: Option<Holder>,
}

/// For whom a server is kept from traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// Discovery asks for it.
    Discovery,
    /// An operator chose it, over proxymgr.
    Operator,
    /// Its host is gone from discovery.
    Removal,
    /// It moves to another address.
    Move,
}

/// What surrounds every service's plan.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// What this HAProxy can do.
    pub capabilities: Capabilities,
    /// The `default-server` words of the `defaults` section.
    pub inherited: &'a [Word],
    /// What the frame means for every section.
    pub style: SectionStyle,
}

/// What to do with one server, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The server.
    pub server: ServerName,
    /// The server that discovery knows, where HAProxy has it in a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_slot: Option<ServerName>,
    /// What kind of change it is.
    pub class: PlanClass,
    /// Why, in words.
    pub reason: String,
    /// The commands, in order.
    pub commands: Vec<RuntimeCommand>,
    /// What the process will have been given of the server once they are carried out; none where that does not
    /// change. Kept with the step, because what is wanted may have changed again by the time HAProxy answers.
    pub gives: Option<LoadedServer>,
    /// For whom it keeps the server from traffic, where it does.
    pub holder: Option<Holder>,
}

impl Step {
    /// The server as discovery and operators call it.
    pub fn known_as(&self) -> &ServerName {
        self.in_slot.as_ref().unwrap_or(&self.server)
    }

    /// Whether it only clears away a server that nobody waits for: a refusal is no failure, it is tried again.
    pub fn is_clearance(&self) -> bool {
        self.class == PlanClass::RuntimeDisable && matches!(*self.commands, [RuntimeCommand::DeleteServer(_)])
    }

    /// Whether it changes which hosts serve, or where: states and weights of those that stay, which the file cannot
    /// hold or which are for a time only, are none of that.
    fn changes_hosts(&self) -> bool {
        self.commands.iter().any(|command| match command {
            RuntimeCommand::AddServer { .. } | RuntimeCommand::DeleteServer(_) | RuntimeCommand::SetAddress(..) => true,
            RuntimeCommand::SetMaintenance(_) => self.holder == Some(Holder::Removal),
            _ => false,
        })
    }
}

/// A change at run time that HAProxy turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it was asked.
    pub commands: Vec<RuntimeCommand>,
    /// Its words.
    pub words: String,
}

impl Refusal {
    /// Whether the step asks for the same kind of change again. A drain is another than the addition that was refused,
    /// and that a reload has brought since.
    pub fn meets(&self, step: &Step) -> bool {
        let is_same = |one: &RuntimeCommand, other: &RuntimeCommand| discriminant(one) == discriminant(other);
        step.commands.iter().any(|command| self.commands.iter().any(|refused| is_same(refused, command)))
    }
}

/// What to do about one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// What can be done at run time: servers that come first, so that those that go are never the last.
    pub steps: Vec<Step>,
    /// Why a reload is needed; empty where none is.
    pub reload: Vec<ReloadReason>,
}

/// Plans one service. `loaded` and `observed` are none where the process does not have the section; `refused` names
/// servers for which HAProxy has already turned a runtime change down.
pub fn plan_service(
    wanted: WantedService<'_>,
    loaded: Option<&LoadedService>,
    observed: Option<&ObservedServers>,
    refused: &BTreeMap<ServerName, Refusal>,
    ground: Ground<'_>,
) -> ServicePlan {
    plan_part(wanted, loaded, observed, refused, ground, &Scope::Whole)
}

/// The part of [`plan_service`]'s plan that is about the servers in `scope`.
pub fn plan_part(
    wanted: WantedService<'_>,
    loaded: Option<&LoadedService>,
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
        let head = haproxy_config::section_head(wanted.definition, ground.style);
        if *head != *loaded.head {
            plan.reload.push(ReloadCause::ServiceChanged.because(head_difference(&loaded.head, &head)));
        }
    }
    let own = haproxy_config::default_server_words(wanted.definition);
    let inherited: Vec<Word> = ground.inherited.iter().cloned().chain(own).collect();
    let inherited_weight = split_weight(&inherited).1;
    let mut last: Option<OwnOptions> = None;
    let mut missing_slots = 0;
    let mut awaited = BTreeSet::new();
    let mut steps = Vec::new();
    for (name, host) in scope.of(wanted.hosts) {
        let step = match (observed.get(name), wanted.is_free_slot(name)) {
            (None, true) => {
                missing_slots += 1;
                continue;
            }
            (Some(observed), true) if observed.forced_maintenance() => continue,
            (Some(observed), true) => Ok(removal(wanted, name, observed)),
            (found, false) => {
                let id = id(&wanted.definition.name, name);
                let server = Planned { id, host, wanted, ground, inherited: &inherited, inherited_weight };
                match found {
                    None => server.add(),
                    Some(observed) => {
                        let known = last.take().filter(|known| known.are_those_of(host));
                        let own = last.insert(known.unwrap_or_else(|| OwnOptions::of(wanted.definition, host)));
                        server.adjust(own, loaded.servers.get(name), observed)
                    }
                }
            }
        };
        if step.is_err() && !observed.contains_key(name) {
            awaited.insert((Arc::from(host.endpoint.address.to_string()), host.endpoint.port.get()));
        }
        steps.push((name, step));
    }
    // A host that only gets another name is not taken from traffic before the reload that brings the new one.
    let is_awaited = |server: &ObservedServer| {
        // One that is given by name shows the address that the name resolves to, too.
        awaited.contains(&(server.fqdn.as_ref().unwrap_or(&server.address).clone(), server.port))
    };
    let unwanted = scope.of(observed).filter(|(name, server)| {
        !wanted.hosts.contains_key(*name) && !server.forced_maintenance() && !is_awaited(server)
    });
    steps.extend(unwanted.map(|(name, server)| (name, Ok(removal(wanted, name, server)))));
    for (name, step) in steps {
        let in_slot = wanted.slots.and_then(|slots| slots.server_in(name)).cloned();
        match judged(step, wanted.strategy, refused.get(name)) {
            Ok(step) => plan.steps.extend(step.map(|step| Step { in_slot, ..step })),
            Err((cause, reason)) => {
                let name = in_slot.as_ref().unwrap_or(name);
                plan.reload.push(cause.because(format!("server {name}: {reason}")));
            }
        }
    }
    if let (1.., Some(slots)) = (missing_slots, wanted.slots) {
        let few = format!("{} of {} slots are free", slots.free() - missing_slots, slots.len() - missing_slots);
        plan.reload.push(ReloadCause::Slots.because(format!("only {few}, it gets {missing_slots} more ahead of need")));
    }
    plan
}

/// A step that may be taken, or why a reload takes its place.
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

/// Takes a server out of service whose host is gone: at once, or once it has finished what it has.
fn removal(wanted: WantedService<'_>, server: &ServerName, observed: &ObservedServer) -> Option<Step> {
    let id = id(&wanted.definition.name, server);
    let (command, reason) = match wanted.overlay.leaving.get(server) {
        Some(Departure::Draining) if observed.in_drain() => return None,
        Some(Departure::Draining) => {
            (RuntimeCommand::SetDrain(id), "the host is gone from discovery; it may finish what it has")
        }
        Some(Departure::Idle) => {
            (RuntimeCommand::SetMaintenance(id), "the host is gone from discovery, and has no sessions left")
        }
        Some(Departure::TimedOut) => {
            (RuntimeCommand::SetMaintenance(id), "the host is gone from discovery, and its drain_timeout is over")
        }
        None => (RuntimeCommand::SetMaintenance(id), "the host is gone from discovery"),
    };
    Some(Step {
        server: server.clone(),
        in_slot: None,
        class: PlanClass::RuntimeDisable,
        reason: reason.to_owned(),
        commands: vec![command],
        gives: None,
        holder: Some(Holder::Removal),
    })
}

/// What a process is given of a server by its file.
pub fn given(definition: &ServiceDefinition, host: &Host) -> LoadedServer {
    LoadedServer {
        endpoint: host.endpoint.to_string(),
        options: split_weight(&haproxy_config::server_words(definition, host)).0,
        held_by: None,
    }
}

fn id(service: &ServiceName, server: &ServerName) -> ServerId {
    ServerId { service: service.clone(), server: server.clone() }
}

/// The words without `weight N`, and the last N where there is one.
fn split_weight(words: &[Word]) -> (Vec<Word>, Option<u16>) {
    let mut weight = None;
    let mut rest = Vec::with_capacity(words.len());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "weight" => weight = words.next().and_then(|value| value.as_str().parse().ok()).or(weight),
            // A cookie may be called anything, `weight` included.
            "cookie" => rest.extend([word.clone()].into_iter().chain(words.next().cloned())),
            _ => rest.push(word.clone()),
        }
    }
    (rest, weight)
}

/// Says in words what two section heads differ in.
fn head_difference(loaded: &str, wanted: &str) -> String {
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

/// The commands that delete servers which have been in maintenance long enough.
pub fn deletion(service: &ServiceName, server: &ServerName) -> Step {
    Step {
        server: server.clone(),
        in_slot: None,
        class: PlanClass::RuntimeDisable,
        reason: "it has been out of discovery long enough".to_owned(),
        commands: vec![RuntimeCommand::DeleteServer(id(service, server))],
        gives: None,
        holder: None,
    }
}
