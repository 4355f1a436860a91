//! `/services/{service}/servers` and `/servers/{service}/{server}`: each server, and its own story.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Query};
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{AdminState, ChangeId, Host, OperatorChoice, ServerName};
use proxymgr_actors::snapshot::{LeavingServer, RisingServer};
use serde::Serialize;

use super::known::{Known, KnownService};
use super::services::{clipped, no_such_service};
use super::{NoQuery, no_answer};
use crate::status::problem::Problem;
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
    state: Option<&'a str>,
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

/// What happened in one go, newest last: the event, the decision, the commands with HAProxy's answers, the result.
#[derive(Serialize)]
struct Chapter<'a> {
    /// The change; none where it belongs to none.
    change: Option<ChangeId>,
    /// When it began.
    at_unix_ms: u64,
    /// From the source's event until it was in force, in microseconds; none where it is not (yet).
    took_us: Option<u64>,
    /// Its entries in the journal.
    entries: Vec<&'a JournalEntry>,
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
    let hosts: BTreeMap<&str, &Host> = hosts.into_iter().flatten().map(|(name, host)| (name.as_str(), host)).collect();
    let states = known.haproxy.map(|haproxy| &*haproxy.servers);
    let states: BTreeMap<&str, &str> =
        states.into_iter().flatten().map(|(name, state)| (name.as_str(), state.as_str())).collect();
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

/// The story of one server: what the journal says of it, and of the changes that touched it without naming it.
/// `entries` are those of its service, oldest first.
fn story<'a>(entries: &'a [JournalEntry], server: &str) -> Vec<Chapter<'a>> {
    let is_about = |entry: &&JournalEntry| entry.server.as_ref().is_some_and(|name| name.as_str() == server);
    let changes: BTreeSet<ChangeId> = entries.iter().filter(is_about).filter_map(|entry| entry.change).collect();
    let belongs = |entry: &&JournalEntry| match (&entry.server, entry.change) {
        (Some(name), _) => name.as_str() == server,
        (None, Some(change)) => changes.contains(&change),
        (None, None) => false,
    };
    let mut chapters: Vec<Chapter> = Vec::new();
    for entry in entries.iter().filter(belongs) {
        let same = |chapter: &Chapter| entry.change.is_some() && chapter.change == entry.change;
        let at = chapters.iter().rposition(same).unwrap_or_else(|| {
            let (change, at_unix_ms) = (entry.change, entry.at_unix_ms);
            chapters.push(Chapter { change, at_unix_ms, took_us: None, entries: Vec::new() });
            chapters.len() - 1
        });
        let chapter = &mut chapters[at];
        if let Event::Applied { took_us, .. } = entry.event {
            chapter.took_us = Some(took_us);
        }
        chapter.entries.push(entry);
    }
    chapters
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{PlanClass, ServiceName};

    use super::*;

    #[test]
    fn a_story_has_its_own_steps_and_those_of_its_changes_and_the_time_taken() {
        let web = ServiceName::new("web").unwrap();
        let (a, b) = (ServerName::new("a").unwrap(), ServerName::new("b").unwrap());
        let entry = |event, change: u64| JournalEntry::new(event).service(&web).change(ChangeId(change));
        let decided = || Event::Decided { class: PlanClass::RuntimeDisable, reason: "it left".into() };
        let drift = || JournalEntry::new(Event::DriftFound { what: "x".into() }).service(&web).server(&a);
        let entries = [
            entry(Event::HostsChanged { added: 0, removed: 2, changed: 0 }, 1),
            entry(decided(), 1).server(&a),
            entry(decided(), 1).server(&b),
            entry(Event::Applied { class: PlanClass::RuntimeDisable, took_us: 430 }, 1),
            entry(Event::HostsChanged { added: 1, removed: 0, changed: 0 }, 2),
            drift(),
            drift(),
        ];
        let story = story(&entries, "a");
        let told: Vec<_> =
            story.iter().map(|chapter| (chapter.change, chapter.took_us, chapter.entries.len())).collect();
        assert_eq!(told, [(Some(ChangeId(1)), Some(430), 3), (None, None, 1), (None, None, 1)]);
    }
}
