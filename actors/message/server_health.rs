//! Messages about changes of server health.

use actix::Message;

use crate::model::{ServerName, ServiceName};

/// HAProxy's processes -> ProcessSupervisorActor -> HaproxyStateActor: HAProxy logged that a health check changed the
/// state of a server. This only triggers an observation: log lines can be lost, and forged where an operator's
/// `log-format` begins with text from clients.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ServerHealthReported {
    /// The process that checks it; reports of draining processes are not forwarded.
    pub pid: u32,
    /// The backend.
    pub service: ServiceName,
    /// The server, by its name in HAProxy.
    pub server: ServerName,
    /// Whether it is up now.
    pub up: bool,
    /// The result of the check in HAProxy's words, printable and short; empty where HAProxy reports none.
    pub check: String,
}
