//! Changes of whole backends at run time.

use serde::{Deserialize, Serialize};

use crate::model::{BackendCommand, PlanClass};

/// One change of a backend, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStep {
    /// The command.
    pub command: BackendCommand,
    /// The reason, as text.
    pub reason: String,
}

impl BackendStep {
    /// Creates a step.
    pub fn new(command: BackendCommand, reason: impl Into<String>) -> Self {
        Self { command, reason: reason.into() }
    }

    /// Returns the class of the change.
    pub fn class(&self) -> PlanClass {
        match self.command {
            BackendCommand::Add { .. } | BackendCommand::Publish(_) => PlanClass::RuntimeEnable,
            BackendCommand::Unpublish(_) | BackendCommand::Delete(_) => PlanClass::RuntimeDisable,
        }
    }
}
