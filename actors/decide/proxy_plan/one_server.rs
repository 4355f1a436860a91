//! The plan of one desired server: add it, or change it from its observed to its desired state.

use super::step::{Step, disable_agent};
use super::wanted::{Ground, WantedService};
use crate::decide::applied_service::{AppliedServer, DisabledBy, applied_server, split_weight};
use crate::decide::guid;
use crate::decide::server_line::{id_beside, server_words};
use crate::decide::server_options::{DEFAULT_WEIGHT, contains};
use crate::model::{
    Address, AdminState, AgentState, Endpoint, Host, ObservedServer, PersistentId, PlanClass, RuntimeCommand, ServerId,
    ServerName, ServiceDefinition, UpdateStrategy, Word,
};

/// How many further ids are tried for a server in an external HAProxy, whose file may use its id for another server.
const IDS_TRIED: usize = 1_000;

/// The options in a host's server line. Most hosts of a service have the same ones, so they are cached from one host to
/// the next: a plan of the whole service visits all of them.
pub(super) struct OwnOptions<'a> {
    host: &'a Host,
    /// The options without the weight.
    words: Vec<Word>,
    weight: Option<u16>,
}

impl<'a> OwnOptions<'a> {
    pub(super) fn of(definition: &ServiceDefinition, host: &'a Host) -> Self {
        let (words, weight) = split_weight(&server_words(definition, host));
        Self { host, words, weight }
    }

    pub(super) fn are_those_of(&self, host: &Host) -> bool {
        let Host { weight, backup, cookie, options, .. } = self.host;
        (*weight, *backup, cookie, options) == (host.weight, host.backup, &host.cookie, &host.options)
    }
}

/// A desired server, with all inputs of its plan except its state in HAProxy.
pub(super) struct Planned<'a> {
    pub(super) id: ServerId,
    pub(super) host: &'a Host,
    pub(super) wanted: WantedService<'a>,
    pub(super) ground: Ground<'a>,
    /// The arguments of the `default-server` lines that apply to the section.
    pub(super) inherited: &'a [Word],
    pub(super) inherited_weight: Option<u16>,
    /// A backup in HAProxy that this server, also a backup, has to precede.
    pub(super) later_backup: Option<&'a ServerName>,
}

impl Planned<'_> {
    /// Plans the addition of a server. `is_taken` returns whether a server in HAProxy has the id.
    pub(super) fn add(&self, is_taken: impl Fn(PersistentId) -> bool) -> Result<Option<Step>, String> {
        let definition = self.wanted.definition;
        if self.wanted.strategy == UpdateStrategy::Slots {
            return Err("no slot is free for it".to_owned());
        }
        if let Some(later) = self.later_backup {
            return Err(format!("it comes before the backup {later}, and servers added at run time come last"));
        }
        let own = server_words(definition, self.host);
        let mut options =
            self.ground.capabilities.options_to_add(definition, &self.host.endpoint, self.inherited, &own)?;
        if self.ground.style.guids {
            options.extend(guid::option_beside(&own, &self.id.service, &self.id.server).into_iter().flatten());
        }
        if self.wanted.strategy != UpdateStrategy::Dynamic {
            return Err(format!("it is new, and update: {} leaves that to reloads", self.wanted.strategy.as_str()));
        }
        let id = match id_beside(&own, &self.id.server, self.host, self.wanted.ids) {
            Some(id) if is_taken(id) && self.ground.is_external => {
                (id.rank()..).map(|rank| PersistentId::ranked(rank.into())).take(IDS_TRIED).find(|id| !is_taken(*id))
            }
            Some(id) if is_taken(id) => return Err(format!("another server has its id {id} until a reload")),
            id => id,
        };
        let (checked, has_agent) = (contains(&options, "check"), contains(&options, "agent-check"));
        let endpoint = self.host.endpoint.clone();
        let mut commands = vec![RuntimeCommand::AddServer { server: self.id.clone(), endpoint, id, options }];
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
        // The agent check of an added server is off until it is enabled.
        if has_agent && self.is_left_to_agent() {
            commands.push(RuntimeCommand::EnableAgent(self.id.clone()));
        }
        let step = self.step(PlanClass::RuntimeEnable, "the host is new".to_owned(), commands);
        Ok(Some(Step { applies: step.applies.map(|applies| AppliedServer { id, ..applies }), ..step }))
    }

    /// Returns the full weight from its options.
    fn full_weight(&self) -> u16 {
        self.weight_with(&OwnOptions::of(self.wanted.definition, self.host))
    }

    fn weight_with(&self, own: &OwnOptions<'_>) -> u16 {
        own.weight.or(self.inherited_weight).unwrap_or(DEFAULT_WEIGHT)
    }

    /// Plans the changes of a server that HAProxy has.
    pub(super) fn adjust(
        &self,
        own: &OwnOptions<'_>,
        loaded: Option<&AppliedServer>,
        observed: &ObservedServer,
    ) -> Result<Option<Step>, String> {
        let Some(loaded) = loaded else {
            return Err("it was added outside proxymgr, with unknown options".to_owned());
        };
        let new_id = loaded.id.and(self.wanted.ids.exception(&self.id.server)).filter(|id| loaded.id != Some(*id));
        if own.words != loaded.options || new_id.is_some() {
            let what = new_id.map_or_else(|| "its options changed".to_owned(), |id| format!("its id becomes {id}"));
            let is_slot = self.wanted.strategy == UpdateStrategy::Slots;
            return match observed.forced_maintenance() {
                _ if is_slot => {
                    Err("its options differ from those of its slot, and only a reload can set them".to_owned())
                }
                true => self.replace(),
                false => Err(what),
            };
        }
        let mut reasons = Vec::new();
        let mut commands = Vec::new();
        let mut class = PlanClass::RuntimeEnable;
        let mut disabled_by = None;
        let weight = self.wanted.overlay.weight(&self.id.server, self.weight_with(own));
        // With an agent the weight that was set counts: HAProxy reports the weight after the agent's change.
        let ordered = || loaded.weight.or(self.inherited_weight).unwrap_or(DEFAULT_WEIGHT);
        let is_agents = observed.agent == AgentState::Enabled && self.is_left_to_agent();
        if weight != if is_agents { ordered() } else { observed.weight } {
            commands.push(RuntimeCommand::SetWeight(self.id.clone(), weight));
            reasons.push(format!("its weight changes from {} to {weight}", observed.weight));
        }
        if self.moved(loaded, observed)? {
            // It gets no new sessions while its address changes. It is only set ready after the new address was
            // observed: a refusal must not put the old address back into service. A drain of a slot was meant for its
            // previous host.
            commands.extend(disable_agent(&self.id, observed));
            let is_settled = observed.agent != AgentState::Enabled && observed.in_maintenance();
            if !is_settled && (!observed.in_drain() || self.wanted.slots.is_some()) {
                commands.push(RuntimeCommand::SetMaintenance(self.id.clone()));
            }
            commands.push(RuntimeCommand::SetAddress(self.id.clone(), self.host.endpoint.clone()));
            disabled_by = (!observed.in_drain() || self.wanted.slots.is_some()).then_some(DisabledBy::Move);
            reasons.push(self.move_in_words(observed));
        } else {
            let state = self.state_change(loaded, observed);
            // Disabling the agent of a server that is not ready makes the daemon the owner of that state.
            if self.host.state != AdminState::Ready && (state.is_some() || observed.agent == AgentState::Enabled) {
                class = PlanClass::RuntimeDisable;
                disabled_by = self.disabled_by();
            } else if matches!(state, Some((RuntimeCommand::SetDrain(_), _))) {
                class = PlanClass::RuntimeDisable;
            }
            if !self.is_left_to_agent() && observed.agent == AgentState::Enabled {
                commands.push(RuntimeCommand::DisableAgent(self.id.clone()));
                reasons.extend(state.is_none().then(|| "its agent may not change its state".to_owned()));
            }
            if let Some((command, why)) = state {
                commands.push(command);
                reasons.push(why.to_owned());
            }
            if self.is_left_to_agent() && observed.agent == AgentState::Disabled {
                commands.push(RuntimeCommand::EnableAgent(self.id.clone()));
                reasons.push("its agent may set its state again".to_owned());
            }
        }
        if commands.is_empty() {
            return Ok(None);
        }
        let step = self.step(class, reasons.join(", "), commands);
        // Its position among the servers stays, even if the priority of its host changed.
        let applies = step.applies.map(|applied| AppliedServer { priority: loaded.priority, ..applied });
        Ok(Some(Step { disabled_by, applies, ..step }))
    }

    fn move_in_words(&self, observed: &ObservedServer) -> String {
        let (slot, endpoint) = (&self.id.server, &self.host.endpoint);
        let from = || observed.endpoint().map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
        match (self.wanted.slots.is_some(), observed.forced_maintenance()) {
            (true, true) => format!("{endpoint} takes the free slot {slot}"),
            (true, false) => format!("{endpoint} takes {slot} from {}", from()),
            _ => format!("it moved from {} to {endpoint}", from()),
        }
    }

    /// Plans the deletion of a server in maintenance that comes back with other options. The next plan adds it, once it
    /// is gone.
    fn replace(&self) -> Result<Option<Step>, String> {
        self.add(|_| false).map_err(|reason| format!("its options changed, and {reason}"))?;
        let reason = "the host is back in discovery with other options".to_owned();
        let commands = vec![RuntimeCommand::DeleteServer(self.id.clone())];
        Ok(Some(Step { applies: None, ..self.step(PlanClass::RuntimeEnable, reason, commands) }))
    }

    /// Returns whether the server has another address than desired, and the desired one can be set.
    fn moved(&self, loaded: &AppliedServer, observed: &ObservedServer) -> Result<bool, String> {
        match &self.host.endpoint {
            endpoint @ Endpoint::Tcp { address: Address::Ip(_), .. } => match &loaded.endpoint {
                Endpoint::Unix(path) => Err(format!("it was at {path}, which cannot be changed at run time")),
                Endpoint::Tcp { .. } => Ok(!observed.is_at(endpoint)),
            },
            endpoint if loaded.endpoint == *endpoint => Ok(false),
            Endpoint::Tcp { address, .. } => {
                Err(format!("it is now at the host name {address}, which cannot be set at run time"))
            }
            Endpoint::Unix(path) => Err(format!("it is now at {path}, which cannot be set at run time")),
        }
    }

    /// Returns the command for the administrative state, and its reason; `None` where nothing is to be done. A drain
    /// that the daemon did not set was set on HAProxy's own socket, and stays; so does a state set by an enabled agent.
    fn state_change(
        &self,
        loaded: &AppliedServer,
        observed: &ObservedServer,
    ) -> Option<(RuntimeCommand, &'static str)> {
        let id = self.id.clone();
        let is_chosen = self.is_chosen();
        let is_by_agent = observed.agent == AgentState::Enabled && loaded.disabled_by.is_none();
        let is_to_end = if is_by_agent {
            is_chosen && (observed.forced_maintenance() || observed.in_drain())
        } else {
            observed.forced_maintenance() || (observed.in_drain() && loaded.disabled_by.is_some())
        };
        // While its agent is enabled, it may have ended the state since it was reported.
        let is_settled = observed.agent != AgentState::Enabled;
        match self.host.state {
            AdminState::Ready if is_to_end => {
                let why = match loaded.disabled_by {
                    _ if is_chosen => "an operator set it ready",
                    Some(DisabledBy::Operator) => "the operator's override has ended",
                    Some(DisabledBy::Discovery) => "discovery reports it ready again",
                    Some(DisabledBy::Move) if self.wanted.slots.is_some() => "the address of its slot is set",
                    Some(DisabledBy::Move) => "its address is set",
                    Some(DisabledBy::Removal) | None => "the host is back in discovery",
                };
                Some((RuntimeCommand::SetReady(id), why))
            }
            AdminState::Ready if !observed.in_drain() && self.was_drained_before() => {
                Some((RuntimeCommand::SetDrain(id), "it was drained on HAProxy's own socket before the reload"))
            }
            AdminState::Drain if !is_settled || !observed.in_drain() || observed.forced_maintenance() => {
                let why = if is_chosen { "an operator set it to drain" } else { "discovery set it to drain" };
                Some((RuntimeCommand::SetDrain(id), why))
            }
            AdminState::Maint if !is_settled || !observed.in_maintenance() => {
                let (ours, theirs) = ("an operator set it to maintenance", "discovery set it to maintenance");
                Some((RuntimeCommand::SetMaintenance(id), if is_chosen { ours } else { theirs }))
            }
            _ => None,
        }
    }

    /// Returns whether its agent, if any, may set its state and weight: not against discovery or an operator.
    fn is_left_to_agent(&self) -> bool {
        self.host.state == AdminState::Ready && !self.is_chosen()
    }

    fn is_chosen(&self) -> bool {
        self.wanted.overlay.chosen.contains(&self.id.server)
    }

    fn was_drained_before(&self) -> bool {
        self.wanted.overlay.drained_before.contains(&self.id.server)
    }

    /// Returns why the server is disabled, where its desired state is not ready.
    fn disabled_by(&self) -> Option<DisabledBy> {
        match self.host.state {
            AdminState::Ready => None,
            _ if self.is_chosen() => Some(DisabledBy::Operator),
            _ => Some(DisabledBy::Discovery),
        }
    }

    fn step(&self, class: PlanClass, reason: String, commands: Vec<RuntimeCommand>) -> Step {
        let applies = Some(applied_server(self.wanted.definition, self.host));
        Step {
            server: self.id.server.clone(),
            in_slot: None,
            class,
            reason,
            commands,
            applies,
            disabled_by: self.disabled_by(),
        }
    }
}
