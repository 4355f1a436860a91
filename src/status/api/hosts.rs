//! `/hosts/{address}`: all servers at one address, in every service, and orders for all of them.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Path, Query};
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::STATUS_HOST_ENTRIES_MAX;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{AdminState, ServerName, ServiceName};
use proxymgr_actors::operator::SetServer;
use proxymgr_actors::snapshot::ActorState;
use serde::Serialize;

use super::known::Known;
use super::orders::{Answer, Done, OverrideBody, executed, read_body};
use super::servers::{Server, servers};
use super::services::clipped;
use super::{NoQuery, last_ready, no_answer};
use crate::status::format::counted;
use crate::status::problem::Problem;
use crate::status::view::View;

/// One address.
#[derive(Serialize)]
struct HostAnswer<'a> {
    address: &'a str,
    /// Its servers, by service.
    servers: Vec<Server<'a>>,
    /// The newest journal entries about these servers, oldest first.
    journal: Vec<JournalEntry>,
}

/// `GET /hosts/{address}`.
pub async fn one(_: Query<NoQuery>, view: Data<dyn View>, address: Path<String>) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let servers = servers_at(&states, &address);
    if servers.is_empty() {
        return Err(no_such_host(&address));
    }
    let journal = entries_about(&**view, &servers).await;
    Ok(HttpResponse::Ok().json(HostAnswer { address: &address, servers, journal }))
}

/// `POST /hosts/{address}/ready`.
pub async fn ready(_: Query<NoQuery>, view: Data<dyn View>, address: Path<String>, body: Bytes) -> Answer {
    set_all(&view, &address, AdminState::Ready, &body).await
}

/// `POST /hosts/{address}/drain`.
pub async fn drain(_: Query<NoQuery>, view: Data<dyn View>, address: Path<String>, body: Bytes) -> Answer {
    set_all(&view, &address, AdminState::Drain, &body).await
}

/// `POST /hosts/{address}/maint`.
pub async fn maint(_: Query<NoQuery>, view: Data<dyn View>, address: Path<String>, body: Bytes) -> Answer {
    set_all(&view, &address, AdminState::Maint, &body).await
}

/// Gives all servers at an address this state. Checked as a whole, then executed one by one.
async fn set_all(view: &Data<dyn View>, address: &str, state: AdminState, body: &[u8]) -> Answer {
    let terms = read_body::<OverrideBody>(body)?;
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let found = servers_at(&states, address);
    // Only what discovery lists, or an operator has overridden, can be ordered.
    let targets = found.iter().filter(|server| server.wanted.is_some() || server.operator.is_some());
    let targets =
        targets.map(|server| Some((ServiceName::new(server.service).ok()?, ServerName::new(server.name).ok()?)));
    let force = terms.force;
    let orders: Vec<SetServer> =
        targets.flatten().map(|(service, server)| terms.order(service, server, state)).collect::<Result<_, _>>()?;
    if orders.is_empty() {
        return Err(no_such_host(address));
    }
    if !force {
        last_ready::check(&states, &orders)?;
    }
    let services: BTreeSet<String> = orders.iter().map(|order| order.service.to_string()).collect();
    let count = orders.len();
    for (done, order) in orders.into_iter().enumerate() {
        executed(view, order).await.map_err(|problem| {
            let detail = format!("{} of {count} servers done, then: {}", done, problem.detail);
            Problem { detail, ..problem }
        })?;
    }
    let what = match state {
        AdminState::Ready => "follows discovery again",
        AdminState::Drain => "drains",
        AdminState::Maint => "is in maintenance",
    };
    let services: Vec<String> = services.into_iter().collect();
    let count = counted(services.len(), "service");
    let done = format!("{} {what} in {count}: {}", clipped(address), services.join(", "));
    Ok(HttpResponse::Ok().json(Done { done }))
}

/// All servers at this address: an IP address or host name with or without port, or the name of a server.
fn servers_at<'a>(states: &'a [ActorState], address: &str) -> Vec<Server<'a>> {
    let is_at = |server: &Server<'_>| {
        let endpoint = server.address.as_ref().zip(server.port).map(|(address, port)| format!("{address}:{port}"));
        server.name == address
            || server.address.as_deref() == Some(address)
            || endpoint.as_deref() == Some(address)
            || server.address.is_none() && server.name.rsplit_once(':').is_some_and(|(host, _)| host == address)
    };
    let known = Known::of(states);
    let all = known.services().flat_map(|(name, service)| servers(name, service).into_values());
    all.filter(is_at).collect()
}

/// The newest journal entries about these servers, oldest first.
async fn entries_about(view: &dyn View, servers: &[Server<'_>]) -> Vec<JournalEntry> {
    let names: BTreeSet<(&str, &str)> = servers.iter().map(|server| (server.service, server.name)).collect();
    let is_about = |entry: &JournalEntry| {
        let (Some(service), Some(server)) = (&entry.service, &entry.server) else { return false };
        names.contains(&(service.as_str(), server.as_str()))
    };
    let mut entries = view.journal(ReadJournal::default()).await;
    entries.retain(is_about);
    entries.split_off(entries.len().saturating_sub(STATUS_HOST_ENTRIES_MAX))
}

fn no_such_host(address: &str) -> Problem {
    Problem::not_found(format!("no service has a server at {}", clipped(address)))
}
