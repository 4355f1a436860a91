//! A step of a plan, as data.

use crate::haproxy_model::AgentReport;
use crate::mishaps::Mishap;
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

/// Kind of failure when HAProxy starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// No process is created.
    NotStarted,
    /// The process ends before it answers.
    EndsAtOnce,
    /// The process never answers.
    Silent,
}

/// External change of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// An operator drains it, until the world is healed.
    Drain,
    /// It is put into maintenance.
    Maintenance,
    /// Its weight is changed.
    Weight,
    /// It is deleted, if HAProxy supports that.
    Delete,
}

/// A step of a plan. Faults last until [`Step::Heal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "service, host and port are what they say")]
pub enum Step {
    /// A host registers.
    Join { service: String, host: u8 },
    /// A host is removed.
    Leave { service: String, host: u8 },
    /// A host is removed for a moment.
    Flap { service: String, host: u8, away_ms: u64 },
    /// The hosts of a service leave one after another.
    Vanish { service: String, every_ms: u64 },
    /// The services are removed one after another.
    ServicesVanish { every_ms: u64 },
    /// The weight of a host changes in discovery.
    Weight { service: String, host: u8, weight: u16 },
    /// The source shows no host at all.
    Empty { service: String },
    /// The record of one host is unreadable. For the actors this equals a start of Marathon without known health of a
    /// task; after a change of leaders, its adapter keeps the known hosts and reports nothing.
    BadJson { service: String, host: u8 },
    /// The source of one service is unreadable. For the actors this equals AWS throttling requests: its adapter reports
    /// one error and queries less often.
    SourceLost { service: String },
    /// The session is lost: all sources are unreadable, including that of the definitions.
    SessionLost,
    /// The session is lost and replaced by a new one after a while; then everything is read again.
    SessionExpired { away_ms: u64 },
    /// The ensemble's member is frozen: the source of one service reports nothing.
    MemberFrozen { service: String },
    /// The next event of the source of one service is lost, comes twice, or shows an older list.
    EventMishap { service: String, mishap: Mishap },
    /// The next event of the source of the definitions is lost, comes twice, or shows older ones.
    DefinitionsMishap { mishap: Mishap },
    /// The running HAProxy stops answering. It may still execute commands.
    SocketHang { obeys: bool },
    /// The running HAProxy's socket refuses connections.
    SocketDown,
    /// HAProxy refuses a kind of command.
    CommandRefused { what: Refused },
    /// The next start of HAProxy fails.
    ReloadFails { how: StartFailure },
    /// The definition gets an option that HAProxy refuses; its message may name the line.
    ConfigRejected { service: String, names_line: bool },
    /// The serving HAProxy crashes.
    ProcessDies,
    /// Another program listens on the service's port as soon as it is free.
    PortTaken { service: String },
    /// Every write fails.
    DiskFull,
    /// The manager is killed; another one starts with the saved state.
    ManagerKilled,
    /// A service is defined.
    DefineService { service: String },
    /// A service is removed.
    RemoveService { service: String },
    /// The options of a service change.
    ChangeOptions { service: String, variant: u8 },
    /// The domains of a service change, by their numbers. With domains it uses a shared port, without any its own.
    /// Domains from 4 on may belong to any service.
    Domains { service: String, numbers: Vec<u8> },
    /// A service's definition is replaced by text that is not JSON.
    BadDefinition { service: String },
    /// A service gets an annotation, which adds an option to its definition.
    Annotated { service: String, variant: u8 },
    /// A service's annotation is deleted.
    AnnotationRemoved { service: String },
    /// A service's annotation is replaced by one that is not allowed, or by text that is not JSON.
    BadAnnotation { service: String, is_json: bool },
    /// The ZooKeeper of the annotations is unreachable: their last values stay.
    AnnotationsLost,
    /// A service moves to another port, or back.
    MovePort { service: String },
    /// The administrative state of a host changes in discovery.
    HostState { service: String, host: u8, state: AdminState },
    /// The limits of a service change: the minimum of hosts, and the largest percentage that may be removed at once.
    Limits { service: String, min_hosts: u8, max_removal_percent: u8 },
    /// The source of the definitions shows none.
    DefinitionsGone,
    /// Another program changes a server of the running HAProxy.
    ServerTampered { service: String, host: u8, how: Tampering },
    /// Another program truncates haproxy.cfg.
    FileTampered,
    /// The agent of a host reports this repeatedly; by default agents report ready.
    AgentReports { service: String, host: u8, report: AgentReport },
    /// The manager reads changed settings at run time; HAProxy refuses one variant until the world is healed.
    SettingsChanged { variant: u8 },
    /// The manager is stopped and started again.
    ManagerStopped,
    /// An operator sets the state of a server, optionally for a duration.
    ServerOrdered {
        service: String,
        host: u8,
        state: AdminState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// An operator accepts the blocked list of hosts.
    HeldAccepted { service: String },
    /// An operator rejects the blocked list of hosts.
    HeldRejected { service: String },
    /// An operator accepts the blocked definitions.
    DefinitionsAccepted,
    /// An operator rejects the blocked definitions.
    DefinitionsRejected,
    /// An operator orders a reload.
    ReloadOrdered,
    /// An operator orders a refresh of every source.
    RefreshOrdered,
    /// The external HAProxy stops answering. It may still execute commands.
    TargetHang { obeys: bool },
    /// The external HAProxy refuses connections.
    TargetDown,
    /// The external HAProxy is restarted.
    TargetRestarted,
    /// Every write of an output fails.
    OutputFails,
    /// A check of a candidate hangs.
    CheckHangs,
    /// Every write to the disk takes half a minute.
    DiskHangs,
    /// Host names stop resolving.
    NamesUnresolved,
    /// Many services that HAProxy refuses are defined at once, each with one host.
    ManyRejected { count: u8 },
    /// The definition gets an option that HAProxy refuses with a message about a line of another service.
    ConfigRejectedElsewhere { service: String },
    /// All faults end.
    Heal,
    /// Time passes.
    Wait { ms: u64 },
}

impl Step {
    /// Returns the service of the step, if it has one.
    pub fn service(&self) -> Option<String> {
        let written = serde_json::to_value(self).ok()?;
        let fields = written.as_object()?.values().next()?;
        fields.get("service")?.as_str().map(ToOwned::to_owned)
    }

    /// Returns whether it lasts until [`Step::Heal`].
    pub fn lasts(&self) -> bool {
        !matches!(
            self,
            Self::Join { .. }
                | Self::Leave { .. }
                | Self::Flap { .. }
                | Self::Vanish { .. }
                | Self::ServicesVanish { .. }
                | Self::EventMishap { .. }
                | Self::DefinitionsMishap { .. }
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
