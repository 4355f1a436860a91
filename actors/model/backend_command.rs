//! Runtime commands for whole backends, which HAProxy has from version 3.4 on.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ServiceName;

/// A command for the backend of a service.
///
/// <https://docs.haproxy.org/3.4/management.html#9.3-add%20backend>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendCommand {
    /// `add backend`: a backend without servers, which gets no requests before it is published.
    Add {
        /// The service.
        service: ServiceName,
        /// The `defaults` section that it derives from.
        from: Arc<str>,
        /// The global unique id by which HAProxy keeps its counters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guid: Option<Arc<str>>,
    },
    /// `publish backend`: it may get requests.
    Publish(ServiceName),
    /// `unpublish backend`: it gets no new requests.
    Unpublish(ServiceName),
    /// `del backend`: only unpublished and without servers.
    Delete(ServiceName),
}

impl BackendCommand {
    /// Returns the service.
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Add { service, .. } | Self::Publish(service) | Self::Unpublish(service) | Self::Delete(service) => {
                service
            }
        }
    }
}

impl fmt::Display for BackendCommand {
    /// Writes the command as the Runtime API reads it: names need no escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { service, from, guid: None } => write!(f, "add backend {service} from {from}"),
            Self::Add { service, from, guid: Some(guid) } => write!(f, "add backend {service} from {from} guid {guid}"),
            Self::Publish(service) => write!(f, "publish backend {service}"),
            Self::Unpublish(service) => write!(f, "unpublish backend {service}"),
            Self::Delete(service) => write!(f, "del backend {service}"),
        }
    }
}
