//! What the journal remembers of each thing that happened.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{ChangeId, PlanClass, ReloadCause, ServerName, ServiceName};
use crate::operator::Order;

/// One thing that happened, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Orders the entries; given by the journal.
    pub sequence: u64,
    /// When, in milliseconds since 1970; given by the journal.
    pub at_unix_ms: u64,
    /// The change it belongs to, from its event to its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// The service it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The server it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The one of `haproxy.targets` it is about; none where it is about the first HAProxy, or about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What happened.
    pub event: Event,
}

impl JournalEntry {
    /// An entry that the journal has yet to number and date.
    pub fn new(event: Event) -> Self {
        Self { sequence: 0, at_unix_ms: 0, change: None, service: None, server: None, target: None, event }
    }

    /// The entry, of this change.
    #[must_use]
    pub fn change(mut self, change: ChangeId) -> Self {
        self.change = Some(change);
        self
    }

    /// The entry, about this target.
    #[must_use]
    pub fn of_target(mut self, target: String) -> Self {
        self.target = Some(target);
        self
    }

    /// The entry, about this service.
    #[must_use]
    pub fn service(mut self, service: &ServiceName) -> Self {
        self.service = Some(service.clone());
        self
    }

    /// The entry, about this server.
    #[must_use]
    pub fn server(mut self, server: &ServerName) -> Self {
        self.server = Some(server.clone());
        self
    }

    /// The order of an operator that this entry tells of; none where it tells of something else.
    pub fn order(&self) -> Option<Order> {
        match &self.event {
            Event::Ordered { order, .. } => Some(order.clone()),
            Event::HeldAccepted { .. } => Some(Order::Accept { service: self.service.clone() }),
            Event::HeldRejected { .. } => Some(Order::Reject { service: self.service.clone() }),
            _ => None,
        }
    }
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A service appeared or its definition changed.
    ServiceDefined,
    /// A service disappeared.
    ServiceRemoved,
    /// A definition or an entry of a source could not be used.
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
    /// The annotations of definitions cannot be read; those known so far stay.
    AnnotationsLost {
        /// Why.
        error: String,
    },
    /// The annotations can be read again.
    AnnotationsBack,
    /// Discovery showed a different list of hosts.
    HostsChanged {
        /// The servers that are new.
        added: usize,
        /// The servers that are gone.
        removed: usize,
        /// The servers that changed.
        changed: usize,
    },
    /// The guard blocked a change.
    ChangeHeld {
        /// The limit that it breaks.
        reason: String,
    },
    /// The source shows a list that passes again: no change is pending any longer.
    HoldEnded,
    /// An operator accepted a blocked list.
    HeldAccepted {
        /// Why it was blocked.
        reason: String,
    },
    /// An operator rejected a blocked list; what is in service stays until the source shows another one.
    HeldRejected {
        /// Why it was blocked.
        reason: String,
    },
    /// An operator gave an order.
    Ordered {
        /// What was asked for, in words.
        what: String,
        /// The order itself.
        order: Order,
    },
    /// An operator's choice about a server ended by itself.
    ChoiceEnded {
        /// Why.
        why: String,
    },
    /// It was decided what to do with one server.
    Decided {
        /// `runtime-enable`, `runtime-disable`, or `reload`.
        class: PlanClass,
        /// Why, in words.
        reason: String,
    },
    /// HAProxy answered a command.
    Commanded {
        /// The command, as sent.
        command: String,
        /// HAProxy's answer; empty where it had nothing to say.
        answer: String,
        /// Whether it did as asked.
        accepted: bool,
    },
    /// A change is in force.
    Applied {
        /// By what means.
        class: PlanClass,
        /// From the source's event to HAProxy's answer, in microseconds.
        took_us: u64,
    },
    /// Something could not be applied; it is tried again.
    Failed {
        /// What, and why.
        error: String,
    },
    /// HAProxy was started or reloaded.
    Reloaded {
        /// Why.
        reasons: Vec<String>,
        /// What kinds of causes these are.
        #[serde(default)]
        causes: BTreeSet<ReloadCause>,
        /// The new process.
        pid: u32,
        /// From the decision to the new process's answer, in milliseconds.
        took_ms: u64,
    },
    /// An output besides HAProxy now says something else.
    OutputChanged {
        /// The output.
        output: String,
    },
    /// HAProxy ended, unasked.
    ProxyExited {
        /// The process.
        pid: u32,
        /// How it ended.
        how: String,
    },
    /// A HAProxy process that had been replaced has finished what it had.
    OldProxyEnded {
        /// The process.
        pid: u32,
        /// How it ended.
        how: String,
    },
    /// A process that only finished what it had is ended, because it is beyond the limits.
    OldProxyStopped {
        /// The process.
        pid: u32,
        /// Which limit, and by how much.
        why: String,
        /// The connections it still had; none where that is not known.
        connections: Option<u64>,
    },
    /// HAProxy's check found a server up or down.
    HealthChanged {
        /// Whether it is up now.
        up: bool,
        /// The result of the check in HAProxy's words; empty where HAProxy gives none.
        check: String,
    },
    /// The running state was not what it should have been; it is repaired.
    DriftFound {
        /// What was different.
        what: String,
    },
}

impl Event {
    /// The event's name, as it is written everywhere.
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
            Self::ChangeHeld { .. } => "change_held",
            Self::HoldEnded => "hold_ended",
            Self::HeldAccepted { .. } => "held_accepted",
            Self::HeldRejected { .. } => "held_rejected",
            Self::Ordered { .. } => "ordered",
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
            Self::DriftFound { .. } => "drift_found",
        }
    }
}
