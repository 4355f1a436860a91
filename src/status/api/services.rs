//! `/services`: what each service is and how it is.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Query};
use proxymgr_actors::model::{BlockedChange, ServerState, UpdateStrategy};
use serde::Serialize;

use super::known::{Known, KnownService};
use super::sources::Source;
use super::{NoQuery, no_answer};
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
    /// Its name, which is that of its section.
    name: &'a str,
    /// Where clients connect; none where it has no port, or is not known to HAProxy's actor yet.
    listen: Option<&'a str>,
    /// Where its hosts are from.
    source: Option<Source<'a>>,
    /// How many hosts the list in force has; none before the first.
    hosts: Option<usize>,
    /// How many servers HAProxy has in which state.
    servers: Counts,
    /// By which strategy its changes reach the running HAProxy; none where that is not known yet.
    update: Option<Update<'a>>,
    /// The newest list, where the guard blocks it.
    held: Option<&'a BlockedChange>,
    /// The newest list, where an operator rejected it.
    rejected: Option<&'a BlockedChange>,
    /// What is not as it should be; empty when all is well.
    problems: Vec<String>,
    /// How the last change was put in force.
    last_change: Option<LastChange<'a>>,
}

/// How a service's changes reach the running HAProxy.
#[derive(Serialize)]
struct Update<'a> {
    strategy: UpdateStrategy,
    /// Why by this one.
    reason: &'a str,
    /// Slots that stand for no host; none where its servers are not in slots.
    free_slots: Option<usize>,
}

/// Servers by the state HAProxy has them in.
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
    /// The service as it is.
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
            let class = service.last_class.as_deref()?;
            Some(LastChange { class, at_unix_ms: service.last_applied_unix_ms, took_us: service.last_took_us })
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

/// The refusal where there is no such service.
pub fn no_such_service(name: &str) -> Problem {
    Problem::not_found(format!("there is no service {}; see /api/v1/services for those there are", clipped(name)))
}

/// A name that somebody sent, short enough to be repeated.
pub fn clipped(name: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    name.chars().filter(|character| !character.is_control()).take(SHOWN_CHARS_MAX).collect()
}
