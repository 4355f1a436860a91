//! `/sources` and `/holds`: sources of definitions and hosts, and changes that are not applied.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use proxymgr_actors::model::BlockedChange;
use proxymgr_actors::snapshot::{SourceHealth, WatcherState};
use serde::Serialize;

use super::{NoQuery, no_answer};
use crate::status::evidence::Evidence;
use crate::status::known::Known;
use crate::status::problem::Problem;
use crate::status::rendered::RenderedAnswers;
use crate::status::source_state::SourceState;
use crate::status::view::View;

/// Kind of the source of annotations.
const ANNOTATIONS: &str = "annotations";

/// All sources; that of the definitions first.
#[derive(Serialize)]
struct Sources<'a> {
    sources: Vec<Source<'a>>,
}

/// One source.
#[derive(Serialize)]
pub struct Source<'a> {
    /// The service; none for the source of definitions.
    service: Option<&'a str>,
    /// Its kind; none for the source of definitions, [`ANNOTATIONS`] for that of annotations.
    kind: Option<&'a str>,
    /// `good`, `away`, `held`, `saved` (the list in use is from an earlier run) or `waiting` (for the first list).
    state: &'static str,
    /// Why it cannot be read.
    error: Option<&'a str>,
    /// Since when it can, or cannot, be read.
    since_unix_ms: u64,
    /// When it was last read.
    read_at_unix_ms: Option<u64>,
    /// When it last confirmed the current list.
    confirmed_unix_ms: Option<u64>,
}

impl<'a> Source<'a> {
    /// The source of the hosts of a service.
    pub fn of(service: Option<&'a str>, watcher: &'a WatcherState) -> Self {
        Self {
            kind: Some(&watcher.source_kind),
            state: SourceState::of(watcher).as_str(),
            confirmed_unix_ms: watcher.confirmed_unix_ms,
            ..Self::with_health(service, &watcher.source)
        }
    }

    fn with_health(service: Option<&'a str>, health: &'a SourceHealth) -> Self {
        Self {
            service,
            kind: None,
            state: match (&health.error, health.read_at_unix_ms) {
                (Some(_), _) => SourceState::Away.as_str(),
                (None, None) => SourceState::Waiting.as_str(),
                (None, Some(_)) => SourceState::Good.as_str(),
            },
            error: health.error.as_deref(),
            since_unix_ms: health.since_unix_ms,
            read_at_unix_ms: health.read_at_unix_ms,
            confirmed_unix_ms: health.read_at_unix_ms.filter(|_| health.error.is_none()),
        }
    }
}

/// `GET /sources`.
pub async fn list(
    _: Query<NoQuery>,
    view: Data<dyn View>,
    rendered: Data<RenderedAnswers>,
) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    Ok(rendered.json("sources", &states, || {
        let known = Known::of(&states);
        let definitions = known.definitions.map(|state| {
            let source = Source::with_health(None, &state.source);
            let held = state.blocked().is_some() && state.source.error.is_none();
            Source { state: if held { SourceState::Held.as_str() } else { source.state }, ..source }
        });
        let annotations = known.definitions.and_then(|state| state.annotations.as_ref());
        let annotations =
            annotations.map(|health| Source { kind: Some(ANNOTATIONS), ..Source::with_health(None, health) });
        let hosts = known.services().filter_map(|(name, service)| Some(Source::of(Some(name), service.watcher?)));
        Sources { sources: definitions.into_iter().chain(annotations).chain(hosts).collect() }
    }))
}

/// All changes that are not applied.
#[derive(Serialize)]
struct Holds<'a> {
    holds: Vec<Hold<'a>>,
}

/// A change that is not applied.
#[derive(Serialize)]
struct Hold<'a> {
    /// The service; none for the service definitions.
    service: Option<&'a str>,
    /// `held` (blocked by the guard) or `rejected` (by an operator).
    state: &'static str,
    #[serde(flatten)]
    change: &'a BlockedChange,
    /// What HAProxy knows of what would be removed.
    evidence: Evidence,
}

/// `GET /holds`.
pub async fn holds(
    _: Query<NoQuery>,
    view: Data<dyn View>,
    rendered: Data<RenderedAnswers>,
) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    Ok(rendered.json("holds", &states, || {
        let known = Known::of(&states);
        let mut holds = Vec::new();
        if let Some(state) = known.definitions {
            for (state, change) in blocked(&state.held, &state.rejected) {
                let evidence = Evidence::of_definitions(change, known.haproxy);
                holds.push(Hold { service: None, state, change, evidence });
            }
        }
        for (name, service) in known.services() {
            let Some(watcher) = service.watcher else { continue };
            for (state, change) in blocked(&watcher.held, &watcher.rejected) {
                let evidence = Evidence::of_hosts(change, service.haproxy);
                holds.push(Hold { service: Some(name), state, change, evidence });
            }
        }
        Holds { holds }
    }))
}

/// The pending and the rejected change, each with its state.
fn blocked<'a>(
    held: &'a Option<BlockedChange>,
    rejected: &'a Option<BlockedChange>,
) -> impl Iterator<Item = (&'static str, &'a BlockedChange)> {
    held.iter().map(|change| ("held", change)).chain(rejected.iter().map(|change| ("rejected", change)))
}
