//! Why a service is not served as its definition asks.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{HostList, ServiceDefinition};

/// Why a service is not served as its definition asks. It is left alone until what is named here changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Blocker {
    /// Its port cannot be had; the holder of the sockets goes on trying.
    PortTaken {
        /// The address that was asked for.
        address: SocketAddr,
        /// Why it cannot be had.
        error: String,
    },
    /// HAProxy refuses its section.
    Rejected {
        /// HAProxy's message.
        message: String,
        /// The definition that was refused.
        definition: Arc<ServiceDefinition>,
        /// The hosts it was refused with.
        hosts: Arc<HostList>,
    },
}

impl Blocker {
    /// The cause in words.
    pub fn text(&self) -> &str {
        match self {
            Self::PortTaken { error, .. } => error,
            Self::Rejected { message, .. } => message,
        }
    }
}
