//! The entries of the journal: the recorded events.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{ChangeId, PlanClass, ReloadCause, ServerName, ServiceName};
use crate::operator::Order;

/// One event, and its cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The sequence number; assigned by the journal.
    pub sequence: u64,
    /// The time, in milliseconds since 1970; assigned by the journal.
    pub at_unix_ms: u64,
    /// The change that it belongs to, from the event to the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The target of `haproxy.targets`; `None` for the primary HAProxy, or where no HAProxy is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What happened.
    pub event: Event,
}

impl JournalEntry {
    /// Creates an entry without sequence number and time.
    pub fn new(event: Event) -> Self {
        Self { sequence: 0, at_unix_ms: 0, change: None, service: None, server: None, target: None, event }
    }

    /// Sets the change.
    #[must_use]
    pub fn change(mut self, change: ChangeId) -> Self {
        self.change = Some(change);
        self
    }

    /// Sets the target.
    #[must_use]
    pub fn of_target(mut self, target: String) -> Self {
        self.target = Some(target);
        self
    }

    /// Sets the service.
    #[must_use]
    pub fn service(mut self, service: &ServiceName) -> Self {
        self.service = Some(service.clone());
        self
    }

    /// Sets the server.
    #[must_use]
    pub fn server(mut self, server: &ServerName) -> Self {
        self.server = Some(server.clone());
        self
    }

    /// Returns the order of an operator that this entry records; `None` for other events.
    pub fn order(&self) -> Option<Order> {
        match &self.event {
            Event::Ordered { order, .. } => Some(order.clone()),
            Event::HeldAccepted { .. } => Some(Order::Accept { service: self.service.clone() }),
            Event::HeldRejected { .. } => Some(Order::Reject { service: self.service.clone() }),
            _ => None,
        }
    }
}

/// The events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A service appeared or its definition changed.
    ServiceDefined,
    /// A service disappeared.
    ServiceRemoved,
    /// A definition or an entry of a source is invalid.
    InputRefused {
        /// What is wrong with it.
        problem: String,
    },
    /// A source cannot be read.
    SourceLost {
        /// Why.
        error: String,
    },
    /// A source can be read again.
    SourceBack,
    /// The annotations of definitions cannot be read; the known ones stay.
    AnnotationsLost {
        /// Why.
        error: String,
    },
    /// The annotations can be read again.
    AnnotationsBack,
    /// Discovery returned a different list of hosts.
    HostsChanged {
        /// The servers that are new.
        added: usize,
        /// The servers that are gone.
        removed: usize,
        /// The servers that changed.
        changed: usize,
    },
    /// The watch of a source did not report a change; a confirmation found it.
    ChangeMissed,
    /// The guard blocked a change.
    ChangeHeld {
        /// The limit that it breaks.
        reason: String,
    },
    /// The source returned a list that passes: no change is pending any longer.
    HoldEnded,
    /// An operator accepted a blocked list.
    HeldAccepted {
        /// Why it was blocked.
        reason: String,
    },
    /// An operator rejected a blocked list; the list in service stays until the source returns another one.
    HeldRejected {
        /// Why it was blocked.
        reason: String,
    },
    /// An operator gave an order.
    Ordered {
        /// The order, as text.
        what: String,
        /// The order itself.
        order: Order,
    },
    /// An operator, or a stranger, sent an order to the status listener. An accepted one has further entries.
    OrderRequested {
        /// The name of the token, or the user of the process at the unix socket.
        who: String,
        /// The address, or the process.
        from: String,
        /// Method and path of the request.
        what: String,
        /// `done`, or why it was refused.
        result: String,
        /// Whether it was accepted.
        accepted: bool,
    },
    /// An operator set a level of the log for some time, or ended all of them.
    LogLevelSet {
        /// The level, and who set it.
        what: String,
    },
    /// An override expired, or ended with its host.
    ChoiceEnded {
        /// Why.
        why: String,
    },
    /// A change of one server was decided.
    Decided {
        /// `runtime-enable`, `runtime-disable`, or `reload`.
        class: PlanClass,
        /// The reason, as text.
        reason: String,
    },
    /// HAProxy answered a command.
    Commanded {
        /// The command, as sent.
        command: String,
        /// HAProxy's answer, which may be empty.
        answer: String,
        /// Whether HAProxy accepted it.
        accepted: bool,
    },
    /// A change was applied.
    Applied {
        /// How it was applied.
        class: PlanClass,
        /// From the source's event to HAProxy's answer, in microseconds.
        took_us: u64,
    },
    /// A change could not be applied; it is retried.
    Failed {
        /// What failed, and why.
        error: String,
    },
    /// HAProxy was started or reloaded.
    Reloaded {
        /// Why.
        reasons: Vec<String>,
        /// The causes.
        #[serde(default)]
        causes: BTreeSet<ReloadCause>,
        /// The new process.
        pid: u32,
        /// From the decision to the new process's answer, in milliseconds.
        took_ms: u64,
    },
    /// An output besides HAProxy was changed.
    OutputChanged {
        /// The output.
        output: String,
    },
    /// HAProxy exited unexpectedly.
    ProxyExited {
        /// The process.
        pid: u32,
        /// How it ended.
        how: String,
    },
    /// A replaced HAProxy process has finished draining.
    OldProxyEnded {
        /// The process.
        pid: u32,
        /// How it ended.
        how: String,
    },
    /// A draining process is ended, because it exceeds the limits.
    OldProxyStopped {
        /// The process.
        pid: u32,
        /// The exceeded limit.
        why: String,
        /// The connections it still had; `None` where they are not known.
        connections: Option<u64>,
    },
    /// HAProxy's check found a server up or down.
    HealthChanged {
        /// Whether it is up now.
        up: bool,
        /// The result of the check in HAProxy's words; empty where HAProxy reports none.
        check: String,
    },
    /// The daemon restarted in place, and is ready.
    Restarted {
        /// The version before.
        from: String,
        /// The version now.
        to: String,
    },
    /// A restart in place failed; the program from before runs.
    RestartFailed {
        /// Why.
        why: String,
    },
    /// The observed state differed from the applied one; it is repaired.
    DriftFound {
        /// The difference.
        what: String,
    },
}

impl Event {
    /// Returns the event's name, as used in all outputs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ServiceDefined => "service_defined",
            Self::ServiceRemoved => "service_removed",
            Self::InputRefused { .. } => "input_refused",
            Self::SourceLost { .. } => "source_lost",
            Self::SourceBack => "source_back",
            Self::AnnotationsLost { .. } => "annotations_lost",
            Self::AnnotationsBack => "annotations_back",
            Self::HostsChanged { .. } => "hosts_changed",
            Self::ChangeMissed => "change_missed",
            Self::ChangeHeld { .. } => "change_held",
            Self::HoldEnded => "hold_ended",
            Self::HeldAccepted { .. } => "held_accepted",
            Self::HeldRejected { .. } => "held_rejected",
            Self::Ordered { .. } => "ordered",
            Self::OrderRequested { .. } => "order_requested",
            Self::LogLevelSet { .. } => "log_level_set",
            Self::ChoiceEnded { .. } => "choice_ended",
            Self::Decided { .. } => "decided",
            Self::Commanded { .. } => "commanded",
            Self::Applied { .. } => "applied",
            Self::Failed { .. } => "failed",
            Self::Reloaded { .. } => "reloaded",
            Self::OutputChanged { .. } => "output_changed",
            Self::ProxyExited { .. } => "proxy_exited",
            Self::OldProxyStopped { .. } => "old_proxy_stopped",
            Self::OldProxyEnded { .. } => "old_proxy_ended",
            Self::HealthChanged { .. } => "health_changed",
            Self::Restarted { .. } => "restarted",
            Self::RestartFailed { .. } => "restart_failed",
            Self::DriftFound { .. } => "drift_found",
        }
    }
}
