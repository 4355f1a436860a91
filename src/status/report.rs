//! The whole status in one value: the daemon, its readiness, its problems, and the snapshots of all actors.

use std::sync::Arc;

use proxymgr_actors::snapshot::{ActorState, HaproxyState};
use serde::{Deserialize, Serialize};

use super::certificate_report::CertificateStates;
use super::concern::{self, Concern};
use super::format::{counted, grouped};
use super::readiness::{self, Readiness};
use super::restarts::Restart;
use super::severity::Severity;
use super::view::{OwnProblem, States};

/// Answer of `/api/v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReport {
    /// The daemon.
    pub daemon: DaemonFacts,
    /// Whether HAProxy runs the desired state.
    pub readiness: Readiness,
    /// How urgently the daemon needs attention: the severity of its worst problem.
    #[serde(default)]
    pub severity: Severity,
    /// All problems, one per cause: first those that end readiness, then the critical ones.
    pub concerns: Vec<Concern>,
    /// Snapshots of all actors.
    pub actors: Arc<Vec<ActorState>>,
}

/// The daemon as a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// Its version.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// Time since its start, in seconds.
    pub uptime_s: u64,
    /// Path of the haproxy.cfg that it writes.
    pub config_path: String,
    /// The last restart in place, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Problems that no actor knows; they are among the concerns of the status.
    #[serde(skip)]
    pub problems: Vec<OwnProblem>,
    /// Records of the log that were dropped since the start.
    #[serde(skip)]
    pub dropped_records: u64,
    /// The problem of a log that lost records recently, one of the concerns of the status.
    #[serde(skip)]
    pub log_loss: Option<OwnProblem>,
    /// The operator's certificates; their problems are among the concerns of the status.
    #[serde(skip)]
    pub certificates: CertificateStates,
}

impl StatusReport {
    /// The report for these snapshots, or for an actor that does not answer.
    pub fn of(daemon: DaemonFacts, states: States) -> Self {
        let mut concerns = readiness::blockers(&states, Some(daemon.started_at_unix_ms));
        let actors = states.unwrap_or_default();
        let readiness = Readiness::from_blockers(&concerns, &actors);
        let blockers = concerns.len();
        concerns.extend(daemon.problems.iter().map(Concern::of_listener));
        concerns.extend(daemon.log_loss.iter().map(Concern::of_log));
        concerns.extend(daemon.restart.iter().filter_map(Concern::of_restart));
        concerns.extend(concern::of_certificates(&daemon.certificates));
        concerns.extend(concern::by_cause(concern::concerns(&actors)));
        concerns[blockers..].sort_by_key(|concern| std::cmp::Reverse(concern.severity));
        let severity = concerns.iter().map(|concern| concern.severity).max().unwrap_or_default();
        Self { daemon, readiness, severity, concerns, actors }
    }

    /// Snapshot of the HaproxyStateActor.
    pub fn haproxy(&self) -> Option<&HaproxyState> {
        self.actors.iter().find_map(|state| match state {
            ActorState::HaproxyState(state) => Some(state),
            _ => None,
        })
    }

    /// The number of services that HAProxy serves, as text: `3 services`, or `2 of 3 services`.
    pub fn services_served(&self) -> String {
        let (served, all) = self.haproxy().map_or((0, 0), |haproxy| (haproxy.served(), haproxy.services.len()));
        let all_services = counted(all, "service");
        if served == all { all_services } else { format!("{} of {all_services}", grouped(served as u64)) }
    }
}
