//! `/processes`: the serving and the draining HAProxy processes.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use proxymgr_actors::model::ProcessInfo;
use proxymgr_actors::snapshot::{DrainingProcess, ProxyPhase};
use serde::Serialize;

use super::{NoQuery, no_answer};
use crate::status::known::Known;
use crate::status::problem::Problem;
use crate::status::view::View;

/// HAProxy processes.
#[derive(Serialize)]
struct Processes<'a> {
    /// `waiting` (for the first lists), `launching`, `running`, `down` or `stopping`.
    phase: ProxyPhase,
    /// The serving process, if any.
    current: Option<&'a ProcessInfo>,
    /// Draining processes, oldest first.
    draining: &'a [DrainingProcess],
    /// Number of unexpected exits.
    crashes: u64,
    /// Pause before the next start, in milliseconds; 0 if HAProxy runs normally.
    backoff_ms: u64,
    /// Reasons of the last reload.
    last_reload: &'a [String],
    /// When it happened, in milliseconds since 1970.
    last_reload_unix_ms: Option<u64>,
}

/// `GET /processes`.
pub async fn list(_: Query<NoQuery>, view: Data<dyn View>) -> Result<HttpResponse, Problem> {
    let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
    let known = Known::of(&states);
    let supervisor = known.processes;
    Ok(HttpResponse::Ok().json(Processes {
        phase: known.haproxy.map(|haproxy| haproxy.phase).unwrap_or_default(),
        current: known.haproxy.and_then(|haproxy| haproxy.process.as_ref()),
        draining: supervisor.map_or(&[], |supervisor| &supervisor.draining),
        crashes: supervisor.map_or(0, |supervisor| supervisor.crashes),
        backoff_ms: supervisor.map_or(0, |supervisor| supervisor.backoff_ms),
        last_reload: known.haproxy.map_or(&[], |haproxy| &haproxy.last_reload),
        last_reload_unix_ms: known.haproxy.and_then(|haproxy| haproxy.last_reload_unix_ms),
    }))
}
