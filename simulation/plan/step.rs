//! One thing that happens to the world, as data.

use crate::haproxy_model::AgentReport;
use proxymgr_actors::model::AdminState;
use serde::{Deserialize, Serialize};

/// A kind of command that HAProxy refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// `add server`.
    Add,
    /// `set server ... state ready`.
    Ready,
    /// `set server ... state maint`.
    Maintenance,
    /// `set server ... weight`.
    Weight,
    /// `del server`.
    Delete,
}

/// How a start of HAProxy fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// There is no process at all.
    NotStarted,
    /// The process ends before it answers.
    EndsAtOnce,
    /// The process never answers.
    Silent,
}

/// What somebody does to a server behind the manager's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// An operator drains it, until all is healed.
    Drain,
    /// It is put into maintenance.
    Maintenance,
    /// It is given another weight.
    Weight,
    /// It is deleted, where HAProxy can.
    Delete,
}

/// One thing that happens to the world. Faults last until [`Step::Heal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "service, host and port are what they say")]
pub enum Step {
    /// A host registers.
    Join { service: String, host: u8 },
    /// A host is gone.
    Leave { service: String, host: u8 },
    /// A host is gone for a moment.
    Flap { service: String, host: u8, away_ms: u64 },
    /// The hosts of a service leave one after another.
    Vanish { service: String, every_ms: u64 },
    /// The services are removed one after another.
    ServicesVanish { every_ms: u64 },
    /// A host asks for another weight.
    Weight { service: String, host: u8, weight: u16 },
    /// The source shows no host at all.
    Empty { service: String },
    /// One host's record cannot be read. To the actors it is the same when Marathon, at the start, does not know the
    /// health of a task; after a change of leaders, its adapter keeps what was known, and reports nothing.
    BadJson { service: String, host: u8 },
    /// The source of one service cannot be read. To the actors it is the same when AWS refuses because it is asked too
    /// often: its adapter reports one error, and asks less often.
    SourceLost { service: String },
    /// The session is lost: no source can be read, that of the definitions included.
    SessionLost,
    /// The session is lost and replaced by a new one after a while; everything is read again.
    SessionExpired { away_ms: u64 },
    /// The ensemble's member is frozen: nothing is heard of one service.
    MemberFrozen { service: String },
    /// The running HAProxy does not answer any more. It may have done as asked, or not.
    SocketHang { obeys: bool },
    /// The running HAProxy's socket cannot be connected to.
    SocketDown,
    /// HAProxy refuses a kind of command.
    CommandRefused { what: Refused },
    /// The next start of HAProxy fails.
    ReloadFails { how: StartFailure },
    /// The service is given an option that HAProxy refuses, naming the line or not.
    ConfigRejected { service: String, names_line: bool },
    /// The HAProxy that serves dies.
    ProcessDies,
    /// Another program listens on the service's port as soon as it is free.
    PortTaken { service: String },
    /// Nothing can be written.
    DiskFull,
    /// The manager is killed; another starts from what was saved.
    ManagerKilled,
    /// A service is defined.
    DefineService { service: String },
    /// A service is removed.
    RemoveService { service: String },
    /// A service gets other options.
    ChangeOptions { service: String, variant: u8 },
    /// A service answers to these domains, by their numbers, on a port that it shares; to none, on its own. From 4 on they
    /// are those that any other may want, too.
    Domains { service: String, numbers: Vec<u8> },
    /// A service's definition is replaced by text that is not JSON.
    BadDefinition { service: String },
    /// Somebody annotates a service, which adds an option to its definition.
    Annotated { service: String, variant: u8 },
    /// A service's annotation is deleted.
    AnnotationRemoved { service: String },
    /// A service's annotation is replaced by what none may say, or by text that is not even JSON.
    BadAnnotation { service: String, is_json: bool },
    /// The ZooKeeper of the annotations is away: their last values stay.
    AnnotationsLost,
    /// A service moves to another port, or back.
    MovePort { service: String },
    /// A host asks for another administrative state.
    HostState { service: String, host: u8, state: AdminState },
    /// A service gets limits: the fewest hosts, and the largest share of them, in percent, that may go at once.
    Limits { service: String, min_hosts: u8, max_removal_percent: u8 },
    /// The source of the definitions shows none at all.
    DefinitionsGone,
    /// Somebody changes a server of the running HAProxy.
    ServerTampered { service: String, host: u8, how: Tampering },
    /// Somebody cuts haproxy.cfg short.
    FileTampered,
    /// The agent of a host reports this, again and again; where nothing else is said, it reports ready.
    AgentReports { service: String, host: u8, report: AgentReport },
    /// The manager's settings are changed while it runs; one variant is refused by HAProxy until healed.
    SettingsChanged { variant: u8 },
    /// The manager is stopped and started again.
    ManagerStopped,
    /// An operator chooses the state of a server, for a time where one is given.
    ServerOrdered {
        service: String,
        host: u8,
        state: AdminState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// An operator accepts the list of hosts that the guard blocks.
    HeldAccepted { service: String },
    /// An operator rejects it.
    HeldRejected { service: String },
    /// An operator accepts the definitions that the guard blocks.
    DefinitionsAccepted,
    /// An operator rejects them.
    DefinitionsRejected,
    /// An operator has HAProxy reloaded.
    ReloadOrdered,
    /// An operator has every source read again.
    RefreshOrdered,
    /// The external HAProxy does not answer any more. It may have obeyed, or not.
    TargetHang { obeys: bool },
    /// It cannot be connected to.
    TargetDown,
    /// The external HAProxy is restarted.
    TargetRestarted,
    /// An output besides HAProxy cannot be written.
    OutputFails,
    /// A check of a candidate never ends by itself.
    CheckHangs,
    /// Every write to the disk takes half a minute.
    DiskHangs,
    /// No host name resolves any more.
    NamesUnresolved,
    /// So many services are defined at once that HAProxy refuses, each with a host.
    ManyRejected { count: u8 },
    /// The service is given an option that HAProxy refuses, and its message names a line of another service.
    ConfigRejectedElsewhere { service: String },
    /// All faults end.
    Heal,
    /// Nothing, for a while.
    Wait { ms: u64 },
}

impl Step {
    /// The service that it is about, for those that are about one.
    pub fn service(&self) -> Option<String> {
        let written = serde_json::to_value(self).ok()?;
        let fields = written.as_object()?.values().next()?;
        fields.get("service")?.as_str().map(ToOwned::to_owned)
    }

    /// Whether it goes on until [`Step::Heal`].
    pub fn lasts(&self) -> bool {
        !matches!(
            self,
            Self::Join { .. }
                | Self::Leave { .. }
                | Self::Flap { .. }
                | Self::Vanish { .. }
                | Self::ServicesVanish { .. }
                | Self::Weight { .. }
                | Self::SessionExpired { .. }
                | Self::ReloadFails { .. }
                | Self::ProcessDies
                | Self::ManagerKilled
                | Self::DefineService { .. }
                | Self::RemoveService { .. }
                | Self::ChangeOptions { .. }
                | Self::Annotated { .. }
                | Self::AnnotationRemoved { .. }
                | Self::Domains { .. }
                | Self::MovePort { .. }
                | Self::HostState { .. }
                | Self::ManagerStopped
                | Self::TargetRestarted
                | Self::FileTampered
                | Self::ServerOrdered { .. }
                | Self::HeldAccepted { .. }
                | Self::HeldRejected { .. }
                | Self::DefinitionsAccepted
                | Self::DefinitionsRejected
                | Self::ReloadOrdered
                | Self::RefreshOrdered
                | Self::Heal
                | Self::Wait { .. }
        )
    }
}
