//! `/services/{service}/servers` and `/servers/{service}/{server}`: servers, and the history of one server.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Query};
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{AdminState, Host, OperatorChoice, ServerName, ServerState};
use proxymgr_actors::snapshot::{LeavingServer, RisingServer};
use serde::Serialize;

use super::services::{clipped, no_such_service};
use super::{NoQuery, no_answer};
use crate::status::known::{Known, KnownService};
use crate::status::natural_order;
use crate::status::problem::Problem;
use crate::status::server_history::{ChangeHistory, server_history};
use crate::status::view::View;

/// The servers of one service.
#[derive(Serialize)]
struct Servers<'a> {
    servers: Vec<Server<'a>>,
}

/// One server: desired state and state in HAProxy.
#[derive(Serialize)]
pub struct Server<'a> {
    /// Its service.
    pub service: &'a str,
    /// Its name within the service.
    pub name: &'a str,
    /// Its address; none if discovery no longer lists it.
    pub address: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// `ready`, `down` (health checks fail), `drain` or `maint`; none if it is not in HAProxy.
    state: Option<ServerState>,
    /// Since when its health checks fail, in milliseconds since 1970; none if they do not, or if that is not known.
    down_since_unix_ms: Option<u64>,
    /// Desired state: `ready`, `drain` or `maint`; none if discovery no longer lists it.
    pub wanted: Option<AdminState>,
    /// Its weight; none if discovery sets none.
    weight: Option<u16>,
    /// Whether it is a backup server.
    backup: bool,
    /// Override by an operator.
    pub operator: Option<&'a OperatorChoice>,
    /// Draining because its host is gone: since and until when.
    leaving: Option<&'a LeavingServer>,
    /// Ramp-up of its weight.
    rising: Option<&'a RisingServer>,
    /// Whether it was set to drain on HAProxy's own socket.
    drained_on_socket: bool,
    /// The weight that its agent sets, with its state; `None` if no agent is queried.
    agent_weight: Option<u16>,
}

/// One server with its history.
#[derive(Serialize)]
struct ServerWithHistory<'a> {
    #[serde(flatten)]
    server: Server<'a>,
    story: Vec<ChangeHistory<'a>>,
}

/// `GET /services/{service}/servers`.
pub async fn list(_: Query<NoQuery>, view: Data<dyn View>, name: Path<String>) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let known = Known::of(&states);
    let service = known.service(&name).ok_or_else(|| no_such_service(&name))?;
    let mut servers: Vec<_> = servers(&name, service).into_values().collect();
    servers.sort_by(|a, b| natural_order::compare(a.name, b.name));
    Ok(HttpResponse::Ok().json(Servers { servers }))
}

/// `GET /servers/{service}/{server}`.
pub async fn one(
    _: Query<NoQuery>,
    view: Data<dyn View>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (service, server) = path.into_inner();
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let known = Known::of(&states);
    let known = known.service(&service).ok_or_else(|| no_such_service(&service))?;
    let found = servers(&service, known).remove(server.as_str()).ok_or_else(|| no_such_server(&service, &server))?;
    let query = ReadJournal { service: Some(service.clone()), ..ReadJournal::default() };
    let entries = view.journal(query).await;
    Ok(HttpResponse::Ok().json(ServerWithHistory { server: found, story: server_history(&entries, &server) }))
}

fn no_such_server(service: &str, server: &str) -> Problem {
    let servers = format!("/api/v1/services/{service}/servers");
    Problem::not_found(format!("service {service} has no server {}; see {servers}", clipped(server)))
}

/// All servers that discovery or HAProxy knows.
pub fn servers<'a>(service: &'a str, known: KnownService<'a>) -> BTreeMap<&'a str, Server<'a>> {
    let hosts = known.watcher.and_then(|watcher| watcher.hosts.as_deref());
    let hosts: BTreeMap<&str, &Host> =
        hosts.into_iter().flatten().map(|(name, host)| (name.as_str(), host.as_ref())).collect();
    let states = known.haproxy.map(|haproxy| &*haproxy.servers);
    let states: BTreeMap<&str, ServerState> =
        states.into_iter().flatten().map(|(name, state)| (name.as_str(), *state)).collect();
    let haproxy = |name: &str| Some((known.haproxy?, ServerName::new(name).ok()?));
    let drained_on_socket = |name: &str| {
        let drained: &[ServerName] = known.haproxy.map_or(&[], |haproxy| &haproxy.exceptions.drained_on_socket);
        drained.iter().any(|server| server.as_str() == name)
    };
    let names: BTreeSet<&str> = hosts.keys().chain(states.keys()).copied().collect();
    let server = |name: &'a str| {
        let host = hosts.get(name);
        Server {
            service,
            name,
            address: host.map(|host| host.endpoint.address()),
            port: host.and_then(|host| host.endpoint.port()).map(NonZeroU16::get),
            state: states.get(name).copied(),
            down_since_unix_ms: haproxy(name)
                .and_then(|(service, server)| service.exceptions.down_since_unix_ms.get(&server))
                .copied(),
            wanted: host.map(|host| host.state),
            weight: host.and_then(|host| host.weight),
            backup: host.is_some_and(|host| host.backup),
            operator: haproxy(name).and_then(|(service, server)| service.exceptions.operator.get(&server)),
            leaving: haproxy(name).and_then(|(service, server)| service.exceptions.leaving.get(&server)),
            rising: haproxy(name).and_then(|(service, server)| service.exceptions.rising.get(&server)),
            drained_on_socket: drained_on_socket(name),
            agent_weight: haproxy(name)
                .and_then(|(service, server)| service.exceptions.agent_weights.get(&server))
                .copied(),
        }
    };
    names.into_iter().map(|name| (name, server(name))).collect()
}
