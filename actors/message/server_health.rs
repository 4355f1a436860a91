//! What HAProxy reports of the health of its servers.

use actix::Message;

use crate::model::{ServerName, ServiceName};

/// HAProxy's processes -> ProcessSupervisorActor -> HaproxyStateActor: HAProxy logged that a server came up or went down
/// by its check. A hint to look at the server: lines can be lost, and where an operator's `log-format` puts the text of
/// clients first, forged.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ServerHealthReported {
    /// The process that checks it; of those that drain nothing is passed on.
    pub pid: u32,
    /// The backend.
    pub service: ServiceName,
    /// The server, by its name in HAProxy.
    pub server: ServerName,
    /// Whether it is up now.
    pub up: bool,
    /// The result of the check in HAProxy's words, printable and short; empty where HAProxy gives none.
    pub check: String,
}
