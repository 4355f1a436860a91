//! `/hosts/{address}`: all servers at one address, in every service, and orders for all of them.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Path, Query};
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::model::{AdminState, ServerName, ServiceName};
use proxymgr_actors::operator::SetServer;
use serde::Serialize;

use super::orders::{Answer, By, Done, OverrideBody, executed, read_body};
use super::servers::{Server, servers};
use super::services::clipped;
use super::{NoQuery, last_ready, no_answer};
use crate::status::format::counted;
use crate::status::known::{Known, entries_about};
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
    let known = Known::of(&states);
    let names = known.servers_at(&address);
    if names.is_empty() {
        return Err(no_such_host(&address));
    }
    let servers = servers_of(&known, &names);
    let journal = entries_about(&**view, &names).await;
    Ok(HttpResponse::Ok().json(HostAnswer { address: &address, servers, journal }))
}

/// `POST /hosts/{address}/ready`.
pub async fn ready(_: Query<NoQuery>, view: Data<dyn View>, address: Path<String>, by: By, body: Bytes) -> Answer {
    set_all(&view, &address, by, AdminState::Ready, &body).await
}

/// `POST /hosts/{address}/drain`.
pub async fn drain(_: Query<NoQuery>, view: Data<dyn View>, address: Path<String>, by: By, body: Bytes) -> Answer {
    set_all(&view, &address, by, AdminState::Drain, &body).await
}

/// `POST /hosts/{address}/maint`.
pub async fn maint(_: Query<NoQuery>, view: Data<dyn View>, address: Path<String>, by: By, body: Bytes) -> Answer {
    set_all(&view, &address, by, AdminState::Maint, &body).await
}

/// Gives all servers at an address this state. Checked as a whole, then executed one by one.
async fn set_all(view: &Data<dyn View>, address: &str, by: By, state: AdminState, body: &[u8]) -> Answer {
    let terms = read_body::<OverrideBody>(body)?;
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let known = Known::of(&states);
    let found = servers_of(&known, &known.servers_at(address));
    // Only what discovery lists, or an operator has overridden, can be ordered.
    let targets = found.iter().filter(|server| server.wanted.is_some() || server.operator.is_some());
    let targets =
        targets.map(|server| Some((ServiceName::new(server.service).ok()?, ServerName::new(server.name).ok()?)));
    let force = terms.force;
    let order = |(service, server)| terms.order(service, server, state, &by);
    let orders: Vec<SetServer> = targets.flatten().map(order).collect::<Result<_, _>>()?;
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

/// These servers, pairs of service and server.
fn servers_of<'a>(known: &Known<'a>, names: &[(&'a str, &'a str)]) -> Vec<Server<'a>> {
    let services: BTreeSet<&str> = names.iter().map(|(service, _)| *service).collect();
    let of_service = |service: &'a str| {
        let mut all = known.service(service).map(|known| servers(service, known)).unwrap_or_default();
        names
            .iter()
            .filter(|(of, _)| *of == service)
            .filter_map(move |(_, server)| all.remove(server))
            .collect::<Vec<_>>()
    };
    services.into_iter().flat_map(of_service).collect()
}

fn no_such_host(address: &str) -> Problem {
    Problem::not_found(format!("no service has a server at {}", clipped(address)))
}
