//! What a plan does with one server.

use std::mem::discriminant;

use serde::{Deserialize, Serialize};

use crate::decide::loaded_service::{Holder, LoadedServer};
use crate::model::{AgentState, ObservedServer, PlanClass, RuntimeCommand, ServerId, ServerName};

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
    pub(super) fn changes_hosts(&self) -> bool {
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

/// Keeps the server's agent from undoing what follows.
pub(super) fn disable_agent(id: &ServerId, observed: &ObservedServer) -> Option<RuntimeCommand> {
    (observed.agent == AgentState::Enabled).then(|| RuntimeCommand::DisableAgent(id.clone()))
}
