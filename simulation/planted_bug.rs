//! Planted bugs, which show that each invariant can fail. Each bug alters the messages between actors and world, as an
//! actor with that bug would. The actors themselves contain no switch for them.

use std::fmt;
use std::str::FromStr;

use super::invariant::Invariant;

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// A change of hosts is lost on its way to the watcher.
    LosesAChange,
    /// A failed source counts as one that has lost its first host.
    FailureTakesAHost,
    /// A guard compares a list only with the previous one.
    ForgetsTheWindow,
    /// A guard counts hosts in maintenance as capacity.
    CountsMaintenance,
    /// A confirmation repeats the last list instead of reading the source.
    ConfirmsFromMemory,
    /// A service is left out of the file of a reload.
    LeavesAServiceOut,
    /// A command names a server that HAProxy does not have.
    NamesAStranger,
    /// HAProxy is reloaded although a change was made at run time.
    ReloadsInVain,
    /// HAProxy is reloaded although a slot is free.
    SpurnsASlot,
    /// A host of a service without slots has two servers, and one of them is disabled.
    TwinsAServer,
    /// A socket is closed at a reload.
    ClosesASocket,
    /// The old process is killed at a reload instead of asked to drain.
    CutsConnections,
    /// The end of a process is not noticed.
    MissesAnExit,
    /// A revision is given twice and then falls.
    RevisionFalls,
    /// The journal keeps everything.
    JournalGrows,
    /// An actor no longer reads its mailbox once HAProxy was reloaded.
    StopsReading,
    /// A write of the file is skipped and reported as done.
    SkipsTheFile,
    /// A save is skipped and reported as done.
    SkipsTheSave,
    /// Operators' overrides are missing in the saved state.
    ForgetsAChoice,
    /// A runtime command waits for the end of a check.
    WaitsForTheCheck,
    /// A server that is disabled while a new process begins to serve is disabled only in the old one.
    ForgetsTheSuccessor,
    /// Valid services are given up if too many others are refused.
    GivesUpIsolating,
    /// A backend that the base configuration refers to is left out of the file, since no service has its name.
    DropsAReference,
    /// A server is added without its id.
    OmitsTheId,
    /// A backend that was added at run time is not published.
    ForgetsToPublish,
    /// The backend of a removed service is not deleted.
    KeepsABackend,
    /// The agent of a server that is disabled stays enabled.
    ForgetsTheAgent,
    /// An actor panics when a source is opened a second time.
    Panics,
    /// A latency does not depend on the seed.
    Dice,
}

/// Every bug, with its name on the command line and the invariant that finds it.
const ALL: [(PlantedBug, &str, Invariant); 29] = [
    (PlantedBug::LosesAChange, "loses-a-change", Invariant::RemovedHostsGetNoRequests),
    (PlantedBug::FailureTakesAHost, "failure-takes-a-host", Invariant::NothingIsTakenAway),
    (PlantedBug::ForgetsTheWindow, "forgets-the-window", Invariant::GuardLimitsHold),
    (PlantedBug::CountsMaintenance, "counts-maintenance", Invariant::GuardLimitsHold),
    (PlantedBug::ConfirmsFromMemory, "confirms-from-memory", Invariant::ListsAreConfirmed),
    (PlantedBug::LeavesAServiceOut, "leaves-a-service-out", Invariant::ServicesStay),
    (PlantedBug::NamesAStranger, "names-a-stranger", Invariant::ServersAreKnown),
    (PlantedBug::ReloadsInVain, "reloads-in-vain", Invariant::ReloadsHaveACause),
    (PlantedBug::SpurnsASlot, "spurns-a-slot", Invariant::ReloadsHaveACause),
    (PlantedBug::TwinsAServer, "twins-a-server", Invariant::NothingIsTakenAway),
    (PlantedBug::ClosesASocket, "closes-a-socket", Invariant::SocketsStayOpen),
    (PlantedBug::CutsConnections, "cuts-connections", Invariant::ConnectionsAreNotCut),
    (PlantedBug::MissesAnExit, "misses-an-exit", Invariant::NoProcessIsForgotten),
    (PlantedBug::RevisionFalls, "revision-falls", Invariant::RevisionsGrow),
    (PlantedBug::JournalGrows, "journal-grows", Invariant::BoundsHold),
    (PlantedBug::StopsReading, "stops-reading", Invariant::MailIsRead),
    (PlantedBug::SkipsTheFile, "skips-the-file", Invariant::TheFileFollows),
    (PlantedBug::SkipsTheSave, "skips-the-save", Invariant::TheSavedStateFollows),
    (PlantedBug::ForgetsAChoice, "forgets-a-choice", Invariant::OperatorsDecide),
    (PlantedBug::WaitsForTheCheck, "waits-for-the-check", Invariant::RemovedHostsGetNoRequests),
    (PlantedBug::ForgetsTheSuccessor, "forgets-the-successor", Invariant::RemovedHostsGetNoRequests),
    (PlantedBug::GivesUpIsolating, "gives-up-isolating", Invariant::GoodServicesAreServed),
    (PlantedBug::DropsAReference, "drops-a-reference", Invariant::Converges),
    (PlantedBug::OmitsTheId, "omits-the-id", Invariant::ReadyServersGetTraffic),
    (PlantedBug::ForgetsToPublish, "forgets-to-publish", Invariant::RoutesLeadToBackends),
    (PlantedBug::KeepsABackend, "keeps-a-backend", Invariant::Converges),
    (PlantedBug::ForgetsTheAgent, "forgets-the-agent", Invariant::AgentsKeepToOrders),
    (PlantedBug::Panics, "panics", Invariant::ActorsLive),
    (PlantedBug::Dice, "dice", Invariant::RunsRepeat),
];

impl PlantedBug {
    /// Iterates over all bugs.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter().map(|(bug, _, _)| bug)
    }

    /// Returns the invariant that finds it.
    pub fn breaks(self) -> Invariant {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, Invariant) {
        ALL.into_iter().find(|(bug, _, _)| *bug == self).expect("every bug has a row in the table")
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl FromStr for PlantedBug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ALL.into_iter().find(|(_, name, _)| *name == text).map(|(bug, _, _)| bug).ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|(_, name, _)| *name).collect();
            format!("{text:?} is none of {}", names.join(", "))
        })
    }
}
