//! `/services/{service}/servers` and `/servers/{service}/{server}`: each server, and its own story.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Query};
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{AdminState, Host, OperatorChoice, ServerName, ServerState};
use proxymgr_actors::snapshot::{LeavingServer, RisingServer};
use serde::Serialize;

use super::known::{Known, KnownService};
use super::services::{clipped, no_such_service};
use super::{NoQuery, no_answer};
use crate::status::problem::Problem;
use crate::status::story::{Chapter, story};
use crate::status::view::View;

/// The servers of one service.
#[derive(Serialize)]
struct Servers<'a> {
    servers: Vec<Server<'a>>,
}

/// One server, as discovery wants it and as HAProxy has it.
#[derive(Serialize)]
struct Server<'a> {
    /// Its service.
    service: &'a str,
    /// Its name within the service.
    name: &'a str,
    /// Where it is; none where discovery does not have it any more.
    address: Option<String>,
    /// Its port.
    port: Option<u16>,
    /// `ready`, `down` (its checks fail), `drain` or `maint`; none where HAProxy does not have it.
    state: Option<ServerState>,
    /// What discovery wants: `ready`, `drain` or `maint`; none where discovery does not have it any more.
    wanted: Option<AdminState>,
    /// The weight discovery gives it; none where it gives none.
    weight: Option<u16>,
    /// Whether it takes traffic only when no other can.
    backup: bool,
    /// What an operator chose, whatever discovery says.
    operator: Option<&'a OperatorChoice>,
    /// Since when and until when it finishes what it has, its host being gone.
    leaving: Option<&'a LeavingServer>,
    /// How much of its weight it has, being new.
    rising: Option<&'a RisingServer>,
    /// Whether somebody put it into drain on HAProxy's own socket.
    drained_on_socket: bool,
}

/// One server, with what happened to it.
#[derive(Serialize)]
struct ServerWithStory<'a> {
    #[serde(flatten)]
    server: Server<'a>,
    story: Vec<Chapter<'a>>,
}

/// `GET /services/{service}/servers`.
pub async fn list(_: Query<NoQuery>, view: Data<dyn View>, name: Path<String>) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let known = Known::of(&states);
    let service = known.service(&name).ok_or_else(|| no_such_service(&name))?;
    Ok(HttpResponse::Ok().json(Servers { servers: servers(&name, service).into_values().collect() }))
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
    Ok(HttpResponse::Ok().json(ServerWithStory { server: found, story: story(&entries, &server) }))
}

fn no_such_server(service: &str, server: &str) -> Problem {
    let servers = format!("/api/v1/services/{service}/servers");
    Problem::not_found(format!("the service {service} has no server {}; see {servers}", clipped(server)))
}

/// Every server that discovery or HAProxy has.
fn servers<'a>(service: &'a str, known: KnownService<'a>) -> BTreeMap<&'a str, Server<'a>> {
    let hosts = known.watcher.and_then(|watcher| watcher.hosts.as_deref());
    let hosts: BTreeMap<&str, &Host> =
        hosts.into_iter().flatten().map(|(name, host)| (name.as_str(), host.as_ref())).collect();
    let states = known.haproxy.map(|haproxy| &*haproxy.servers);
    let states: BTreeMap<&str, ServerState> =
        states.into_iter().flatten().map(|(name, state)| (name.as_str(), *state)).collect();
    let haproxy = |name: &str| Some((known.haproxy?, ServerName::new(name).ok()?));
    let drained_on_socket = |name: &str| {
        let drained: &[ServerName] = known.haproxy.map_or(&[], |haproxy| &haproxy.drained_on_socket);
        drained.iter().any(|server| server.as_str() == name)
    };
    let names: BTreeSet<&str> = hosts.keys().chain(states.keys()).copied().collect();
    let server = |name: &'a str| {
        let host = hosts.get(name);
        Server {
            service,
            name,
            address: host.map(|host| host.endpoint.address.to_string()),
            port: host.map(|host| host.endpoint.port.get()),
            state: states.get(name).copied(),
            wanted: host.map(|host| host.state),
            weight: host.and_then(|host| host.weight),
            backup: host.is_some_and(|host| host.backup),
            operator: haproxy(name).and_then(|(service, server)| service.operator.get(&server)),
            leaving: haproxy(name).and_then(|(service, server)| service.leaving.get(&server)),
            rising: haproxy(name).and_then(|(service, server)| service.rising.get(&server)),
            drained_on_socket: drained_on_socket(name),
        }
    };
    names.into_iter().map(|name| (name, server(name))).collect()
}
