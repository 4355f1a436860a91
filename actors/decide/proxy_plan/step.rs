//! The steps of a plan.

use std::mem::discriminant;

use crate::decide::applied_service::{AppliedServer, DisabledBy};
use crate::model::{AgentState, ObservedServer, PlanClass, RuntimeCommand, ServerId, ServerName};

/// The change of one server, and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The server.
    pub server: ServerName,
    /// The server's name in discovery, where HAProxy has it in a slot.
    pub in_slot: Option<ServerName>,
    /// The class of the change.
    pub class: PlanClass,
    /// The reason, as text.
    pub reason: String,
    /// The commands, in order.
    pub commands: Vec<RuntimeCommand>,
    /// The applied state of the server after the commands; `None` where it does not change. Stored with the step,
    /// because the desired state may have changed again when HAProxy answers.
    pub applies: Option<AppliedServer>,
    /// Why it disables the server, where it does.
    pub disabled_by: Option<DisabledBy>,
}

impl Step {
    /// Returns the server's name for discovery and operators.
    pub fn known_as(&self) -> &ServerName {
        self.in_slot.as_ref().unwrap_or(&self.server)
    }

    /// Returns whether it only deletes a server that is no longer used: a refusal is not a failure, and is retried.
    pub fn is_clearance(&self) -> bool {
        self.class == PlanClass::RuntimeDisable && matches!(*self.commands, [RuntimeCommand::DeleteServer(_)])
    }

    /// Returns whether it gives the server another address.
    pub(super) fn moves(&self) -> bool {
        self.commands.iter().any(|command| matches!(command, RuntimeCommand::SetAddress(..)))
    }

    /// Returns whether it changes the set of hosts or their addresses. Changes of state and weight do not count: the
    /// file cannot contain them, or they are temporary.
    pub(super) fn changes_hosts(&self) -> bool {
        self.commands.iter().any(|command| match command {
            RuntimeCommand::AddServer { .. } | RuntimeCommand::DeleteServer(_) | RuntimeCommand::SetAddress(..) => true,
            RuntimeCommand::SetMaintenance(_) => self.disabled_by == Some(DisabledBy::Removal),
            _ => false,
        })
    }
}

/// A runtime change that HAProxy refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The refused commands.
    pub commands: Vec<RuntimeCommand>,
    /// HAProxy's answer.
    pub words: String,
}

impl Refusal {
    /// Returns whether the step requests the same kind of change again. A drain differs from a refused addition that a
    /// reload has applied since.
    pub fn meets(&self, step: &Step) -> bool {
        let is_same = |one: &RuntimeCommand, other: &RuntimeCommand| discriminant(one) == discriminant(other);
        step.commands.iter().any(|command| self.commands.iter().any(|refused| is_same(refused, command)))
    }
}

/// Returns the command that disables the server's agent, so that it cannot revert the next commands.
pub(super) fn disable_agent(id: &ServerId, observed: &ObservedServer) -> Option<RuntimeCommand> {
    (observed.agent == AgentState::Enabled).then(|| RuntimeCommand::DisableAgent(id.clone()))
}
