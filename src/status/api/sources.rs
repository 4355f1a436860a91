//! `/sources` and `/holds`: where services and hosts are from, and what of it is not in force.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use proxymgr_actors::model::BlockedChange;
use proxymgr_actors::snapshot::{SourceHealth, WatcherState};
use serde::Serialize;

use super::known::Known;
use super::{NoQuery, no_answer};
use crate::status::problem::Problem;
use crate::status::rendered::RenderedAnswers;
use crate::status::standing::SourceStanding;
use crate::status::view::View;

/// What stands for a kind where no host is from.
const ANNOTATIONS: &str = "annotations";

/// All sources, that of the definitions first.
#[derive(Serialize)]
struct Sources<'a> {
    sources: Vec<Source<'a>>,
}

/// One source.
#[derive(Serialize)]
pub struct Source<'a> {
    /// Whose hosts it has; none for that of the definitions.
    service: Option<&'a str>,
    /// Its kind; none for that of the definitions, [`ANNOTATIONS`] for that of the annotations laid over them.
    kind: Option<&'a str>,
    /// `good`, `away`, `held`, `saved` (what is served is of an earlier run), `waiting` (for its first list).
    state: &'static str,
    /// Why it cannot be read.
    error: Option<&'a str>,
    /// Since when it has been readable, or not.
    since_unix_ms: u64,
    /// When it was last read.
    read_at_unix_ms: Option<u64>,
    /// When it last showed the list in force.
    confirmed_unix_ms: Option<u64>,
}

impl<'a> Source<'a> {
    /// The source of a service's hosts.
    pub fn of(service: Option<&'a str>, watcher: &'a WatcherState) -> Self {
        Self {
            kind: Some(&watcher.source_kind),
            state: SourceStanding::of(watcher).as_str(),
            confirmed_unix_ms: watcher.confirmed_unix_ms,
            ..Self::with_health(service, &watcher.source)
        }
    }

    fn with_health(service: Option<&'a str>, health: &'a SourceHealth) -> Self {
        Self {
            service,
            kind: None,
            state: match (&health.error, health.read_at_unix_ms) {
                (Some(_), _) => SourceStanding::Away.as_str(),
                (None, None) => SourceStanding::Waiting.as_str(),
                (None, Some(_)) => SourceStanding::Good.as_str(),
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
            Source { state: if held { SourceStanding::Held.as_str() } else { source.state }, ..source }
        });
        let annotations = known.definitions.and_then(|state| state.annotations.as_ref());
        let annotations =
            annotations.map(|health| Source { kind: Some(ANNOTATIONS), ..Source::with_health(None, health) });
        let hosts = known.services().filter_map(|(name, service)| Some(Source::of(Some(name), service.watcher?)));
        Sources { sources: definitions.into_iter().chain(annotations).chain(hosts).collect() }
    }))
}

/// Every list that is not in force.
#[derive(Serialize)]
struct Holds<'a> {
    holds: Vec<Hold<'a>>,
}

/// A list that is not in force.
#[derive(Serialize)]
struct Hold<'a> {
    /// Whose hosts; none for the definitions.
    service: Option<&'a str>,
    /// `held` until it is accepted or rejected, or the source shows a list that passes; or `rejected`.
    state: &'static str,
    #[serde(flatten)]
    change: &'a BlockedChange,
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
        let definitions = known.definitions.into_iter().map(|state| (None, &state.held, &state.rejected));
        let watchers = known.services().filter_map(|(name, service)| Some((Some(name), service.watcher?)));
        let hosts = watchers.map(|(name, watcher)| (name, &watcher.held, &watcher.rejected));
        let holds = definitions.chain(hosts).flat_map(|(service, held, rejected)| {
            let hold = move |state, change| Hold { service, state, change };
            let held = held.iter().map(move |change| hold("held", change));
            held.chain(rejected.iter().map(move |change| hold("rejected", change)))
        });
        Holds { holds: holds.collect() }
    }))
}
