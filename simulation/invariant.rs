//! The invariants of every run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A property that must hold under all faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// Once all faults are healed, the servers that are ready in HAProxy are the hosts that discovery shows, in bounded time.
    Converges,
    /// No host that discovery shows, or showed last before it failed, is taken out of service.
    NothingIsTakenAway,
    /// No host that the guard keeps in service, because too many are missing of the most within its window, is taken out
    /// of service.
    GuardLimitsHold,
    /// A service that was served and is still defined is in the file of every later process.
    ServicesStay,
    /// No command names a server that HAProxy does not have, and none is added twice.
    ServersAreKnown,
    /// HAProxy is started or reloaded only for one of the causes in the rules.
    ReloadsHaveACause,
    /// A required listening socket that was opened stays open.
    SocketsStayOpen,
    /// A serving process is only ever asked to drain: a reload cuts no connection.
    ConnectionsAreNotCut,
    /// Every process of HAProxy is known to its supervisor until it has ended.
    NoProcessIsForgotten,
    /// A service's revision never falls.
    RevisionsGrow,
    /// The journal and the reasons of a reload stay within their bounds.
    BoundsHold,
    /// Every message that has reached an actor's mailbox is handled at once: none accumulates.
    MailIsRead,
    /// At rest the file describes what runs: a restart of HAProxy would change nothing.
    TheFileFollows,
    /// At rest the saved state is the desired state.
    TheSavedStateFollows,
    /// A service that HAProxy accepts is served within half a minute, however many others it refuses.
    GoodServicesAreServed,
    /// A removed host gets no requests later than 50 ms after its source reported the removal, regardless of
    /// deployments, disk and observations; from a new process, none later than 50 ms after its first answer.
    RemovedHostsGetNoRequests,
    /// A change that the watch of a source did not report is found within one interval of confirmations.
    ListsAreConfirmed,
    /// An operator's override survives reloads, restarts and changes of discovery.
    OperatorsDecide,
    /// Every ready server gets some of the requests.
    ReadyServersGetTraffic,
    /// A domain leads to a backend that gets requests, in the mode of its frontend.
    RoutesLeadToBackends,
    /// A server's agent is respected, and never ends what discovery or an operator ordered.
    AgentsKeepToOrders,
    /// No actor stops unexpectedly, and none panics.
    ActorsLive,
    /// The same seed gives the same run.
    RunsRepeat,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Converges => "HAProxy converges to what discovery shows",
            Self::NothingIsTakenAway => "no host that discovery shows is taken out of service",
            Self::GuardLimitsHold => "the limits of the guard hold over its window",
            Self::ServicesStay => "a service that is served stays served",
            Self::ServersAreKnown => "commands name servers that HAProxy has",
            Self::ReloadsHaveACause => "a reload has a cause",
            Self::SocketsStayOpen => "a required socket stays open",
            Self::ConnectionsAreNotCut => "a reload cuts no connection",
            Self::NoProcessIsForgotten => "no process is forgotten",
            Self::RevisionsGrow => "revisions only grow",
            Self::BoundsHold => "retained state stays within its bounds",
            Self::MailIsRead => "no mailbox fills up",
            Self::TheFileFollows => "the file describes what runs",
            Self::TheSavedStateFollows => "the saved state is the desired state",
            Self::GoodServicesAreServed => "a valid service is served, however many others are refused",
            Self::RemovedHostsGetNoRequests => "a removed host gets no requests",
            Self::ListsAreConfirmed => "no list stays wrong longer than one interval of confirmations",
            Self::OperatorsDecide => "an operator's override stays",
            Self::ReadyServersGetTraffic => "every ready server gets requests",
            Self::RoutesLeadToBackends => "a domain leads to a backend that gets requests",
            Self::AgentsKeepToOrders => "agents end no order",
            Self::ActorsLive => "no actor stops unexpectedly",
            Self::RunsRepeat => "the same seed gives the same run",
        })
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// What was observed instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}
