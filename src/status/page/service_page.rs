//! The page of one service with its servers.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::limits::STATUS_TRAFFIC_PATIENCE;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{OperatorChoice, ServerName, ServerTraffic, ServiceName, UpdateStrategy};
use proxymgr_actors::snapshot::{ActorState, ServiceState, WatcherState};
use serde::Serialize;
use tokio::time::timeout;

use super::board::Board;
use super::lines::{self, Line};
use super::overview::BlockedEntry;
use super::service_row::ServiceRow;
use crate::status::report::StatusReport;
use crate::status::server_counts::ServerCounts;

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
    /// Current sessions; none if not known.
    pub sessions: Option<u64>,
    /// Sessions opened within the last second; none if not known.
    pub rate: Option<u64>,
    /// Result of its last health check; none if it is not checked.
    pub check: Option<String>,
    /// Since when it has its state, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
}

/// One service.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServiceView {
    /// Its row of the overview.
    pub row: ServiceRow,
    /// Its domains.
    pub domains: Vec<String>,
    /// Least number of hosts that the guard allows.
    pub min_hosts: usize,
    /// Why its source cannot be read.
    pub source_error: Option<String>,
    /// When its source was last read, in milliseconds since 1970.
    pub read_unix_ms: Option<u64>,
    /// When the source last confirmed the current list, in milliseconds since 1970.
    pub confirmed_unix_ms: Option<u64>,
    /// The change that the guard blocks, pending or rejected.
    pub blocked: Option<BlockedEntry>,
    /// Invalid entries of the source: entry and problem.
    pub problems: Vec<(String, String)>,
    /// HAProxy's warnings about its running section.
    pub warnings: Vec<String>,
    /// Update strategy, its reason, and the number of free slots if it uses slots.
    pub update: (UpdateStrategy, String, Option<usize>),
    /// The desired servers.
    pub servers: Vec<ServerLine>,
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
    let traffic = traffic(board, service_name).await;
    let query = ReadJournal { service: Some(name.to_owned()), limit: Some(LINES), ..ReadJournal::default() };
    let entries = board.view.journal(query).await;
    let hosts = watcher.and_then(|watcher| watcher.hosts.as_deref());
    let counts = ServerCounts::of(&service.servers, hosts);
    let is_desired = |name: &ServerName| hosts.is_none_or(|hosts| hosts.contains_key(name));
    let names: BTreeSet<&ServerName> =
        service.servers.keys().chain(hosts.into_iter().flat_map(|hosts| hosts.keys())).collect();
    let now = board.identity.clock.unix_ms();
    let lines = names.iter().filter(|name| is_desired(name));
    Some(ServiceView {
        row: ServiceRow::of(name, service, watcher, counts),
        domains: service.defined.domains.clone(),
        min_hosts: service.defined.min_hosts,
        source_error: watcher.and_then(|watcher| watcher.source.error.clone()),
        read_unix_ms: watcher.and_then(|watcher| watcher.source.read_at_unix_ms),
        confirmed_unix_ms: watcher.and_then(|watcher| watcher.confirmed_unix_ms),
        blocked: watcher.and_then(|watcher| BlockedEntry::of(watcher.held.as_ref(), watcher.rejected.as_ref())),
        problems: watcher.map(|watcher| watcher.problems.clone().into_iter().collect()).unwrap_or_default(),
        warnings: service.warnings.clone(),
        update: (service.update, service.update_reason.clone(), service.free_slots),
        servers: lines.map(|name| server_line(name, service, watcher, &traffic, now)).collect(),
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

async fn traffic(board: &Board, service: &ServiceName) -> BTreeMap<ServerName, ServerTraffic> {
    let Some(reader) = &board.traffic else { return BTreeMap::new() };
    // The actors report a HAProxy that does not answer; unknown figures are not shown.
    timeout(STATUS_TRAFFIC_PATIENCE, reader.servers(service)).await.ok().and_then(Result::ok).unwrap_or_default()
}

fn state_of(name: &ServerName, service: &ServiceState) -> String {
    service.servers.get(name).map_or("missing", |state| state.as_str()).to_owned()
}

fn server_line(
    name: &ServerName,
    service: &ServiceState,
    watcher: Option<&WatcherState>,
    traffic: &BTreeMap<ServerName, ServerTraffic>,
    now_unix_ms: u64,
) -> ServerLine {
    let host = watcher.and_then(|watcher| watcher.hosts.as_ref()?.get(name));
    // HAProxy knows a server in a slot by the name of the slot.
    let traffic = traffic.get(service.slots.get(name).unwrap_or(name));
    let unchanged_s = traffic.and_then(|traffic| traffic.unchanged_s);
    ServerLine {
        name: name.to_string(),
        address: host.map(|host| host.endpoint.to_string()).unwrap_or_default(),
        weight: host.and_then(|host| host.weight),
        backup: host.is_some_and(|host| host.backup),
        state: state_of(name, service),
        operator: service.exceptions.operator.get(name).cloned(),
        drained_on_socket: service.exceptions.drained_on_socket.contains(name),
        agent_weight: service.exceptions.agent_weights.get(name).copied(),
        sessions: traffic.map(|traffic| traffic.traffic.sessions),
        rate: traffic.map(|traffic| traffic.traffic.rate),
        check: traffic.and_then(|traffic| traffic.check.clone()),
        since_unix_ms: unchanged_s.map(|seconds| now_unix_ms.saturating_sub(seconds * 1_000)),
    }
}
