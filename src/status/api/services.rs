//! `/services`: services and their state.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Query};
use proxymgr_actors::model::{BlockedChange, ServerState, UpdateStrategy};
use serde::Serialize;

use super::sources::Source;
use super::{NoQuery, no_answer};
use crate::status::known::{Known, KnownService};
use crate::status::problem::Problem;
use crate::status::rendered::RenderedAnswers;
use crate::status::view::View;

/// All services.
#[derive(Serialize)]
struct Services<'a> {
    services: Vec<Service<'a>>,
}

/// One service.
#[derive(Serialize)]
pub struct Service<'a> {
    /// Its name, and that of its section.
    name: &'a str,
    /// Address for clients; none if it has no port or is not known to the HaproxyStateActor yet.
    listen: Option<&'a str>,
    /// Its source of hosts.
    source: Option<Source<'a>>,
    /// Number of hosts in the current list; none before the first list.
    hosts: Option<usize>,
    /// Servers in HAProxy by state.
    servers: Counts,
    /// Its update strategy; none if not known yet.
    update: Option<Update<'a>>,
    /// The change that the guard blocks.
    held: Option<&'a BlockedChange>,
    /// The change that an operator rejected.
    rejected: Option<&'a BlockedChange>,
    /// Its problems.
    problems: Vec<String>,
    /// The last applied change.
    last_change: Option<LastChange<'a>>,
}

/// Update strategy of a service.
#[derive(Serialize)]
struct Update<'a> {
    strategy: UpdateStrategy,
    /// Why it was chosen.
    reason: &'a str,
    /// Free slots; none if it does not use slots.
    free_slots: Option<usize>,
}

/// Servers in HAProxy by state.
#[derive(Default, Serialize)]
struct Counts {
    ready: usize,
    down: usize,
    drain: usize,
    maint: usize,
}

/// The last change.
#[derive(Serialize)]
struct LastChange<'a> {
    class: &'a str,
    at_unix_ms: Option<u64>,
    took_us: Option<u64>,
}

impl<'a> Service<'a> {
    /// The service with its state.
    pub fn of(name: &'a str, KnownService { watcher, haproxy }: KnownService<'a>) -> Self {
        let mut problems: Vec<String> = haproxy.and_then(|service| service.problem.clone()).into_iter().collect();
        if let Some(watcher) = watcher {
            problems.extend(watcher.source.error.iter().map(|error| format!("hosts cannot be read: {error}")));
            problems.extend(watcher.held.iter().map(|change| format!("change blocked by guard: {}", change.reason)));
            let rejected = watcher.rejected.iter();
            problems.extend(rejected.map(|change| format!("change rejected by an operator: {}", change.reason)));
            problems.extend(watcher.problems.iter().map(|(entry, problem)| format!("{entry}: {problem}")));
        }
        let last_change = haproxy.and_then(|service| {
            let class = service.last.class.as_deref()?;
            Some(LastChange { class, at_unix_ms: service.last.applied_unix_ms, took_us: service.last.took_us })
        });
        Self {
            name,
            listen: haproxy.and_then(|service| service.listen.as_deref()),
            source: watcher.map(|watcher| Source::of(Some(name), watcher)),
            hosts: watcher.and_then(|watcher| Some(watcher.hosts.as_ref()?.len())),
            servers: haproxy.map(|service| Counts::of(service.servers.values())).unwrap_or_default(),
            update: haproxy.map(|service| Update {
                strategy: service.update,
                reason: &service.update_reason,
                free_slots: service.free_slots,
            }),
            held: watcher.and_then(|watcher| watcher.held.as_ref()),
            rejected: watcher.and_then(|watcher| watcher.rejected.as_ref()),
            problems,
            last_change,
        }
    }
}

impl Counts {
    fn of<'a>(states: impl Iterator<Item = &'a ServerState>) -> Self {
        let mut counts = Self::default();
        for state in states {
            match state {
                ServerState::Ready => counts.ready += 1,
                ServerState::Down => counts.down += 1,
                ServerState::Drain => counts.drain += 1,
                ServerState::Maint => counts.maint += 1,
            }
        }
        counts
    }
}

/// `GET /services`.
pub async fn list(
    _: Query<NoQuery>,
    view: Data<dyn View>,
    rendered: Data<RenderedAnswers>,
) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    Ok(rendered.json("services", &states, || {
        let known = Known::of(&states);
        Services { services: known.services().map(|(name, service)| Service::of(name, service)).collect() }
    }))
}

/// `GET /services/{service}`.
pub async fn one(_: Query<NoQuery>, view: Data<dyn View>, name: Path<String>) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let known = Known::of(&states);
    let service = known.service(&name).ok_or_else(|| no_such_service(&name))?;
    Ok(HttpResponse::Ok().json(Service::of(&name, service)))
}

/// The error for an unknown service.
pub fn no_such_service(name: &str) -> Problem {
    Problem::not_found(format!("no service {}; see /api/v1/services for all services", clipped(name)))
}

/// A name from a request, shortened for an error message.
pub fn clipped(name: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    name.chars().filter(|character| !character.is_control()).take(SHOWN_CHARS_MAX).collect()
}
