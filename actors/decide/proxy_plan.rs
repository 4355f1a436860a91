//! The cheapest way from what HAProxy has to what it should have.
//!
//! Three inputs, no memory: what is wanted, what the process was given (its file, and what was added since), and what
//! it says it has. The same inputs always give the same plan, and a plan that was carried out leaves an empty one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::capabilities::{Capabilities, has_check};
use super::haproxy_config::{self, SectionStyle};
use super::overlay::{Departure, Overlay};
use super::scope::Scope;
use crate::model::{
    Address, AdminState, Host, HostList, ObservedServer, ObservedServers, PlanClass, ReloadCause, ReloadReason,
    RuntimeCommand, ServerId, ServerName, ServiceDefinition, ServiceName, Word,
};

/// HAProxy's weight of a server that names none.
const DEFAULT_WEIGHT: u16 = 1;

/// What a service should be.
#[derive(Debug, Clone, Copy)]
pub struct WantedService<'a> {
    /// Its definition.
    pub definition: &'a ServiceDefinition,
    /// Its servers.
    pub hosts: &'a HostList,
    /// What is wanted of single servers for a time.
    pub overlay: &'a Overlay,
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
    /// Whether it only clears away a server that nobody waits for: a refusal is no failure, it is tried again.
    pub fn is_clearance(&self) -> bool {
        self.class == PlanClass::RuntimeDisable && matches!(*self.commands, [RuntimeCommand::DeleteServer(_)])
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
/// servers for which HAProxy has already turned a runtime change down, with its words.
pub fn plan_service(
    wanted: WantedService<'_>,
    loaded: Option<&LoadedService>,
    observed: Option<&ObservedServers>,
    refused: &BTreeMap<ServerName, String>,
    ground: Ground<'_>,
) -> ServicePlan {
    plan_part(wanted, loaded, observed, refused, ground, &Scope::Whole)
}

/// The part of [`plan_service`]'s plan that is about the servers in `scope`.
pub fn plan_part(
    wanted: WantedService<'_>,
    loaded: Option<&LoadedService>,
    observed: Option<&ObservedServers>,
    refused: &BTreeMap<ServerName, String>,
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
    let wanted_servers = scope.of(wanted.hosts).map(|(name, host)| {
        let id = id(&wanted.definition.name, name);
        let server = Planned { id, host, wanted, ground, inherited: &inherited, inherited_weight };
        let step = match observed.get(name) {
            None => server.add(),
            Some(observed) => {
                let known = last.take().filter(|known| known.are_those_of(host));
                let own = last.insert(known.unwrap_or_else(|| OwnOptions::of(wanted.definition, host)));
                server.adjust(own, loaded.servers.get(name), observed)
            }
        };
        (name, step)
    });
    let unwanted =
        scope.of(observed).filter(|(name, server)| !wanted.hosts.contains_key(*name) && !server.forced_maintenance());
    let unwanted_servers = unwanted.map(|(name, server)| (name, Ok(removal(wanted, name, server))));
    for (name, step) in wanted_servers.chain(unwanted_servers) {
        let step = match refused.get(name) {
            Some(refusal) if step != Ok(None) => {
                Err((ReloadCause::Refused, format!("HAProxy refused a change at run time: {refusal}")))
            }
            _ => step.map_err(|reason| (ReloadCause::Server, reason)),
        };
        match step {
            Ok(step) => plan.steps.extend(step),
            Err((cause, reason)) => plan.reload.push(cause.because(format!("server {name}: {reason}"))),
        }
    }
    plan
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

/// What a host's server line says besides name and address. Most hosts of a service have the same: kept from one to the
/// next, because a plan looks at all of them for each change of one.
struct OwnOptions<'a> {
    host: &'a Host,
    /// Without the weight.
    words: Vec<Word>,
    weight: Option<u16>,
}

impl<'a> OwnOptions<'a> {
    fn of(definition: &ServiceDefinition, host: &'a Host) -> Self {
        let (words, weight) = split_weight(&haproxy_config::server_words(definition, host));
        Self { host, words, weight }
    }

    fn are_those_of(&self, host: &Host) -> bool {
        let Host { weight, backup, cookie, options, .. } = self.host;
        (*weight, *backup, cookie, options) == (host.weight, host.backup, &host.cookie, &host.options)
    }
}

struct Planned<'a> {
    id: ServerId,
    host: &'a Host,
    wanted: WantedService<'a>,
    ground: Ground<'a>,
    /// The words of the `default-server` lines that hold for the section.
    inherited: &'a [Word],
    inherited_weight: Option<u16>,
}

impl Planned<'_> {
    /// A server that HAProxy does not have.
    fn add(&self) -> Result<Option<Step>, String> {
        let definition = self.wanted.definition;
        let own = haproxy_config::server_words(definition, self.host);
        let options = self.ground.capabilities.options_to_add(definition, &self.host.endpoint, self.inherited, &own)?;
        let checked = has_check(&options);
        let endpoint = self.host.endpoint.clone();
        let mut commands = vec![RuntimeCommand::AddServer { server: self.id.clone(), endpoint, options }];
        if checked {
            commands.push(RuntimeCommand::EnableHealth(self.id.clone()));
        }
        let full = self.full_weight();
        let weight = self.wanted.overlay.weight(&self.id.server, full);
        if weight != full {
            commands.push(RuntimeCommand::SetWeight(self.id.clone(), weight));
        }
        match self.host.state {
            AdminState::Ready => commands.push(RuntimeCommand::SetReady(self.id.clone())),
            AdminState::Drain => commands.push(RuntimeCommand::SetDrain(self.id.clone())),
            AdminState::Maint => {}
        }
        Ok(Some(self.step(PlanClass::RuntimeEnable, "the host is new".to_owned(), commands)))
    }

    /// The weight that its options give it in the end.
    fn full_weight(&self) -> u16 {
        self.weight_with(&OwnOptions::of(self.wanted.definition, self.host))
    }

    fn weight_with(&self, own: &OwnOptions<'_>) -> u16 {
        own.weight.or(self.inherited_weight).unwrap_or(DEFAULT_WEIGHT)
    }

    /// A server that HAProxy has.
    fn adjust(
        &self,
        own: &OwnOptions<'_>,
        loaded: Option<&LoadedServer>,
        observed: &ObservedServer,
    ) -> Result<Option<Step>, String> {
        let Some(loaded) = loaded else {
            return Err("it was added by somebody else, with options that are not known".to_owned());
        };
        if own.words != loaded.options {
            return if observed.forced_maintenance() { self.replace() } else { Err("its options changed".to_owned()) };
        }
        let mut reasons = Vec::new();
        let mut commands = Vec::new();
        let mut class = PlanClass::RuntimeEnable;
        let mut holder = None;
        let weight = self.wanted.overlay.weight(&self.id.server, self.weight_with(own));
        if weight != observed.weight {
            commands.push(RuntimeCommand::SetWeight(self.id.clone(), weight));
            reasons.push(format!("its weight changes from {} to {weight}", observed.weight));
        }
        if self.moved(loaded, observed)? {
            // It takes nothing new while it moves. Whether it moved is seen before it is made ready again: a
            // refusal must not bring the old address back into service.
            if !observed.in_maintenance() && !observed.in_drain() {
                commands.push(RuntimeCommand::SetMaintenance(self.id.clone()));
            }
            commands.push(RuntimeCommand::SetAddress(self.id.clone(), self.host.endpoint.clone()));
            holder = Some(Holder::Move);
            reasons.push(format!("it moved from {}:{} to {}", observed.address, observed.port, self.host.endpoint));
        } else if let Some((command, why)) = self.state_change(loaded, observed) {
            if !matches!(command, RuntimeCommand::SetReady(_)) {
                class = PlanClass::RuntimeDisable;
                holder = self.holder();
            }
            commands.push(command);
            reasons.push(why.to_owned());
        }
        if commands.is_empty() {
            return Ok(None);
        }
        Ok(Some(Step { holder, ..self.step(class, reasons.join(", "), commands) }))
    }

    /// A server that waits in maintenance with other options than it should come back with: deleted now, and added
    /// by the next plan, which sees whether it is gone.
    fn replace(&self) -> Result<Option<Step>, String> {
        self.add().map_err(|reason| format!("its options changed, and {reason}"))?;
        let reason = "the host is back in discovery with other options".to_owned();
        let commands = vec![RuntimeCommand::DeleteServer(self.id.clone())];
        Ok(Some(Step { gives: None, ..self.step(PlanClass::RuntimeEnable, reason, commands) }))
    }

    /// Whether the server is at another address than it should be, and an address can be set.
    fn moved(&self, loaded: &LoadedServer, observed: &ObservedServer) -> Result<bool, String> {
        match &self.host.endpoint.address {
            Address::Ip(ip) => {
                let same_address = observed.address.parse() == Ok(*ip);
                Ok(!same_address || observed.port != self.host.endpoint.port.get())
            }
            Address::Name(_) if loaded.endpoint == self.host.endpoint.to_string() => Ok(false),
            Address::Name(name) => Err(format!("it is now at the host name {name}, which cannot be set at run time")),
        }
    }

    /// The command that brings the administrative state, and why; none where it is as wanted. A drain that is not
    /// our doing is somebody's on HAProxy's own socket, and stays.
    fn state_change(&self, loaded: &LoadedServer, observed: &ObservedServer) -> Option<(RuntimeCommand, &'static str)> {
        let id = self.id.clone();
        let is_chosen = self.is_chosen();
        match self.host.state {
            AdminState::Ready if observed.forced_maintenance() || (observed.in_drain() && loaded.held_by.is_some()) => {
                let why = match loaded.held_by {
                    _ if is_chosen => "an operator makes it ready",
                    Some(Holder::Operator) => "no operator keeps it from traffic any longer",
                    Some(Holder::Discovery) => "discovery no longer keeps it from traffic",
                    Some(Holder::Move) => "it has moved",
                    Some(Holder::Removal) | None => "the host is back in discovery",
                };
                Some((RuntimeCommand::SetReady(id), why))
            }
            AdminState::Ready if !observed.in_drain() && self.was_drained_before() => {
                Some((RuntimeCommand::SetDrain(id), "somebody had drained it on HAProxy's socket before the reload"))
            }
            AdminState::Drain if !observed.in_drain() || observed.forced_maintenance() => {
                let why = if is_chosen { "an operator drains it" } else { "discovery drains it" };
                Some((RuntimeCommand::SetDrain(id), why))
            }
            AdminState::Maint if !observed.in_maintenance() => {
                let (ours, theirs) = ("an operator puts it into maintenance", "discovery puts it into maintenance");
                Some((RuntimeCommand::SetMaintenance(id), if is_chosen { ours } else { theirs }))
            }
            _ => None,
        }
    }

    fn is_chosen(&self) -> bool {
        self.wanted.overlay.chosen.contains(&self.id.server)
    }

    fn was_drained_before(&self) -> bool {
        self.wanted.overlay.drained_before.contains(&self.id.server)
    }

    /// For whom the server is kept from traffic, where its list does not want it ready.
    fn holder(&self) -> Option<Holder> {
        match self.host.state {
            AdminState::Ready => None,
            _ if self.is_chosen() => Some(Holder::Operator),
            _ => Some(Holder::Discovery),
        }
    }

    fn step(&self, class: PlanClass, reason: String, commands: Vec<RuntimeCommand>) -> Step {
        let gives = Some(given(self.wanted.definition, self.host));
        Step { server: self.id.server.clone(), class, reason, commands, gives, holder: self.holder() }
    }
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
        class: PlanClass::RuntimeDisable,
        reason: "it has been out of discovery long enough".to_owned(),
        commands: vec![RuntimeCommand::DeleteServer(id(service, server))],
        gives: None,
        holder: None,
    }
}
