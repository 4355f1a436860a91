//! The reason why a service does not run with its current definition.

use std::sync::Arc;

use super::{HostList, ListenAddress, ServiceDefinition};

/// The reason why a service does not run with its current definition. The definition is not retried until the cause
/// changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Blocker {
    /// Its port cannot be bound; the SocketHolderActor retries.
    PortTaken {
        /// The requested address.
        address: ListenAddress,
        /// Why it cannot be bound.
        error: String,
    },
    /// HAProxy refuses its section.
    Rejected {
        /// HAProxy's message.
        message: String,
        /// The refused definition.
        definition: Arc<ServiceDefinition>,
        /// The hosts that it was refused with.
        hosts: Arc<HostList>,
    },
}

impl Blocker {
    /// Returns the cause as text.
    pub fn text(&self) -> &str {
        match self {
            Self::PortTaken { error, .. } => error,
            Self::Rejected { message, .. } => message,
        }
    }
}
