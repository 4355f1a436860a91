//! The page of one service with its servers.

use proxymgr_actors::limits::STATUS_TRAFFIC_PATIENCE;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{OperatorChoice, SectionTraffic, ServerName, ServerTraffic, ServiceName, UpdateStrategy};
use proxymgr_actors::snapshot::{ActorState, DefinitionFacts, ServiceState, WatcherState};
use serde::Serialize;
use tokio::time::timeout;

use super::board::Board;
use super::certificate_row::{self, CertificateRow};
use super::lines::{self, Line};
use super::overview::{BlockedEntry, Concerns};
use super::service_row::ServiceRow;
use crate::status::natural_order;
use crate::status::report::StatusReport;

/// Journal entries on the page.
const LINES: usize = 60;

/// One server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerLine {
    /// Its name.
    pub name: String,
    /// Its address; empty if discovery does not know it.
    pub address: String,
    /// Its weight; none if discovery sets none.
    pub weight: Option<u16>,
    /// Whether it is a backup server.
    pub backup: bool,
    /// `ready`, `drain`, `maint`, `down`, or `missing` if it is not in HAProxy.
    pub state: String,
    /// Override by an operator.
    pub operator: Option<OperatorChoice>,
    /// Whether it was set to drain on HAProxy's own socket.
    pub drained_on_socket: bool,
    /// Weight that its agent sets, and its state with it; `None` if no agent is queried.
    pub agent_weight: Option<u16>,
    /// Its traffic and health checks; none if not known.
    pub traffic: Option<ServerTraffic>,
    /// Since when it has its state, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
}

/// One service.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServiceView {
    /// Its row of the overview.
    pub row: ServiceRow,
    /// What its definition says.
    pub defined: DefinitionFacts,
    /// Its problems, without its blocked change.
    pub concerns: Concerns,
    /// The certificates of its listeners.
    pub certificates: Vec<CertificateRow>,
    /// When its source was last read, in milliseconds since 1970.
    pub read_unix_ms: Option<u64>,
    /// When the source last confirmed the current list, in milliseconds since 1970.
    pub confirmed_unix_ms: Option<u64>,
    /// The change that the guard blocks, pending or rejected.
    pub blocked: Option<BlockedEntry>,
    /// HAProxy's warnings about its running section.
    pub warnings: Vec<String>,
    /// Update strategy, its reason, and the number of free slots if it uses slots.
    pub update: (UpdateStrategy, String, Option<usize>),
    /// The desired servers.
    pub servers: Vec<ServerLine>,
    /// The traffic of all of them; none if not known.
    pub total: Option<ServerTraffic>,
    /// Servers whose host is gone, with their states: they drain and are then deleted.
    pub leaving: Vec<(String, String)>,
    /// Journal entries, newest first.
    pub lines: Vec<Line>,
}

/// Collects the page of one service; none if no such service is known.
pub async fn gather(board: &Board, name: &str) -> Option<ServiceView> {
    let report = board.read(|shown| shown.report.clone())?;
    let (service_name, service) = report.haproxy()?.services.iter().find(|(known, _)| known.as_str() == name)?;
    let watcher = watcher(&report, name);
    let row = board.read(|shown| shown.row(name).cloned())?;
    let traffic = traffic(board, service_name).await;
    let query = ReadJournal { service: Some(name.to_owned()), limit: Some(LINES), ..ReadJournal::default() };
    let entries = board.view.journal(query).await;
    let hosts = watcher.and_then(|watcher| watcher.hosts.as_deref());
    let is_desired = |name: &ServerName| hosts.is_none_or(|hosts| hosts.contains_key(name));
    let mut names: Vec<&ServerName> =
        service.servers.keys().chain(hosts.into_iter().flat_map(|hosts| hosts.keys())).collect();
    names.sort_unstable_by(|a, b| natural_order::compare(a.as_str(), b.as_str()));
    names.dedup();
    let now = board.identity.clock.unix_ms();
    let lines = names.iter().filter(|name| is_desired(name));
    Some(ServiceView {
        row,
        defined: service.defined.clone(),
        concerns: board.read(|shown| shown.concerns_of(name)),
        certificates: certificate_row::rows(&report, |name| service.defined.certificates.iter().any(|it| it == name)),
        read_unix_ms: watcher.and_then(|watcher| watcher.source.read_at_unix_ms),
        confirmed_unix_ms: watcher.and_then(|watcher| watcher.confirmed_unix_ms),
        blocked: watcher.and_then(|watcher| BlockedEntry::of_hosts(watcher, Some(service))),
        warnings: service.warnings.clone(),
        update: (service.update, service.update_reason.clone(), service.free_slots),
        servers: lines
            .map(|name| {
                // HAProxy knows a server in a slot by the name of the slot.
                let traffic = traffic.as_ref().and_then(|all| all.servers.get(service.slots.get(name).unwrap_or(name)));
                ServerLine::of(name, service, watcher).with(traffic.cloned(), now)
            })
            .collect(),
        total: traffic.as_ref().map(|traffic| traffic.total.clone()),
        leaving: names
            .iter()
            .filter(|name| !is_desired(name))
            .map(|name| (name.to_string(), state_of(name, service)))
            .collect(),
        lines: entries.iter().rev().map(lines::line).collect(),
    })
}

fn watcher<'a>(report: &'a StatusReport, name: &str) -> Option<&'a WatcherState> {
    report.actors.iter().find_map(|state| match state {
        ActorState::Watcher(watcher) if watcher.service == name => Some(watcher),
        _ => None,
    })
}

async fn traffic(board: &Board, service: &ServiceName) -> Option<SectionTraffic> {
    // The actors report a HAProxy that does not answer; unknown figures are not shown.
    timeout(STATUS_TRAFFIC_PATIENCE, board.traffic.as_ref()?.section(service)).await.ok()?.ok()
}

fn state_of(name: &ServerName, service: &ServiceState) -> String {
    service.servers.get(name).map_or("missing", |state| state.as_str()).to_owned()
}

impl ServerLine {
    /// The server, without its traffic.
    pub fn of(name: &ServerName, service: &ServiceState, watcher: Option<&WatcherState>) -> Self {
        let host = watcher.and_then(|watcher| watcher.hosts.as_ref()?.get(name));
        Self {
            name: name.to_string(),
            address: host.map(|host| host.endpoint.to_string()).unwrap_or_default(),
            weight: host.and_then(|host| host.weight),
            backup: host.is_some_and(|host| host.backup),
            state: state_of(name, service),
            operator: service.exceptions.operator.get(name).cloned(),
            drained_on_socket: service.exceptions.drained_on_socket.contains(name),
            agent_weight: service.exceptions.agent_weights.get(name).copied(),
            traffic: None,
            since_unix_ms: service.exceptions.down_since_unix_ms.get(name).copied(),
        }
    }

    /// The server with its traffic.
    fn with(self, traffic: Option<ServerTraffic>, now_unix_ms: u64) -> Self {
        let unchanged_s = traffic.as_ref().and_then(|traffic| traffic.unchanged_s);
        let since_unix_ms = unchanged_s.map(|seconds| now_unix_ms.saturating_sub(seconds * 1_000));
        Self { traffic, since_unix_ms, ..self }
    }
}
