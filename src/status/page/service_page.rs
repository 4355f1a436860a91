//! One service with its servers.

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
use super::service_row::{ServerCounts, ServiceRow};
use crate::status::report::StatusReport;

/// What happened last, in entries.
const LINES: usize = 60;

/// One server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerLine {
    /// Its name.
    pub name: String,
    /// Where it listens, where discovery says so.
    pub address: String,
    /// HAProxy's weight, where discovery says so.
    pub weight: Option<u16>,
    /// Takes traffic only when no other can.
    pub backup: bool,
    /// `ready`, `drain`, `maint`, `down`, or `missing` where HAProxy does not have it.
    pub state: String,
    /// What an operator chose for it.
    pub operator: Option<OperatorChoice>,
    /// Somebody put it into drain on HAProxy's own socket.
    pub drained_on_socket: bool,
    /// Its sessions; none where HAProxy did not say.
    pub sessions: Option<u64>,
    /// Sessions opened within the last second.
    pub rate: Option<u64>,
    /// What its last check said.
    pub check: Option<String>,
    /// Since when its state has been what it is, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
}

/// One service.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServiceView {
    /// As on the first page.
    pub row: ServiceRow,
    /// The domains that it wants to be asked for.
    pub domains: Vec<String>,
    /// The guard blocks a list that shrinks below so many hosts.
    pub min_hosts: usize,
    /// Why its source cannot be read.
    pub source_error: Option<String>,
    /// When its source was last read, in milliseconds since 1970.
    pub read_unix_ms: Option<u64>,
    /// When the source last showed the list in force.
    pub confirmed_unix_ms: Option<u64>,
    /// The list that the guard blocks.
    pub blocked: Option<BlockedEntry>,
    /// What is wrong with which entry of the source.
    pub problems: Vec<(String, String)>,
    /// By which strategy its changes reach the running HAProxy, why, and how many slots it has left where it has any.
    pub update: (UpdateStrategy, String, Option<usize>),
    /// The servers that are wanted.
    pub servers: Vec<ServerLine>,
    /// Those that are not, with their states: they finish what they have, and wait in maintenance to be deleted.
    pub leaving: Vec<(String, String)>,
    /// What happened last, newest first.
    pub lines: Vec<Line>,
}

/// All that is known of one service; none where there is no such service.
pub async fn gather(board: &Board, name: &str) -> Option<ServiceView> {
    let report = board.read(|shown| shown.report.clone())?;
    let (service_name, service) = report.haproxy()?.services.iter().find(|(known, _)| known.as_str() == name)?;
    let watcher = watcher(&report, name);
    let traffic = traffic(board, service_name).await;
    let query = ReadJournal { service: Some(name.to_owned()), limit: Some(LINES), ..ReadJournal::default() };
    let entries = board.view.journal(query).await;
    let hosts = watcher.and_then(|watcher| watcher.hosts.as_deref());
    let counts = ServerCounts::of(&service.servers, hosts);
    let is_wanted = |name: &ServerName| hosts.is_none_or(|hosts| hosts.contains_key(name));
    let names: BTreeSet<&ServerName> =
        service.servers.keys().chain(hosts.into_iter().flat_map(|hosts| hosts.keys())).collect();
    let now = board.identity.clock.unix_ms();
    let lines = names.iter().filter(|name| is_wanted(name));
    Some(ServiceView {
        row: ServiceRow::of(name, service, watcher, counts),
        domains: service.domains.clone(),
        min_hosts: service.min_hosts,
        source_error: watcher.and_then(|watcher| watcher.source.error.clone()),
        read_unix_ms: watcher.and_then(|watcher| watcher.source.read_at_unix_ms),
        confirmed_unix_ms: watcher.and_then(|watcher| watcher.confirmed_unix_ms),
        blocked: watcher.and_then(|watcher| BlockedEntry::of(watcher.held.as_ref(), watcher.rejected.as_ref())),
        problems: watcher.map(|watcher| watcher.problems.clone().into_iter().collect()).unwrap_or_default(),
        update: (service.update, service.update_reason.clone(), service.free_slots),
        servers: lines.map(|name| server_line(name, service, watcher, &traffic, now)).collect(),
        leaving: names
            .iter()
            .filter(|name| !is_wanted(name))
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
    // A HAProxy that does not say is named by the actors; what is not known is not shown.
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
    // HAProxy itself calls it by its slot, where it is in one.
    let traffic = traffic.get(service.slots.get(name).unwrap_or(name));
    let unchanged_s = traffic.and_then(|traffic| traffic.unchanged_s);
    ServerLine {
        name: name.to_string(),
        address: host.map(|host| host.endpoint.to_string()).unwrap_or_default(),
        weight: host.and_then(|host| host.weight),
        backup: host.is_some_and(|host| host.backup),
        state: state_of(name, service),
        operator: service.operator.get(name).cloned(),
        drained_on_socket: service.drained_on_socket.contains(name),
        sessions: traffic.map(|traffic| traffic.traffic.sessions),
        rate: traffic.map(|traffic| traffic.traffic.rate),
        check: traffic.and_then(|traffic| traffic.check.clone()),
        since_unix_ms: unchanged_s.map(|seconds| now_unix_ms.saturating_sub(seconds * 1_000)),
    }
}
