//! `/config` and `/config/diff`: the running haproxy.cfg and its differences from the desired one.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Query};
use proxymgr_actors::message::ConfigState;
use serde::Serialize;

use super::{NoQuery, no_answer};
use crate::status::config_text;
use crate::status::problem::Problem;
use crate::status::view::{Asked, Cached, Identity, View};
use crate::text_difference::DifferentLine;

/// Both answers, cached: for a thousand services they are expensive.
#[derive(Default)]
pub struct CachedAnswers {
    running: Cached<Result<Bytes, String>>,
    diff: Cached<Result<Bytes, String>>,
}

/// The running configuration.
#[derive(Serialize)]
struct Running<'a> {
    /// Path of the file.
    config_path: &'a str,
    /// Its text with secrets hidden; none before the first start.
    text: Option<String>,
}

/// Differences from the desired configuration.
#[derive(Serialize)]
struct Differences {
    is_same: bool,
    differences: Vec<Difference>,
    /// Whether more exist than are returned.
    is_cut: bool,
}

/// Differences of one section.
#[derive(Serialize)]
struct Difference {
    section: String,
    lines: Vec<DifferentLine>,
}

/// `GET /config`.
pub async fn running(
    _: Query<NoQuery>,
    view: Data<dyn View>,
    identity: Data<Identity>,
    cached: Data<CachedAnswers>,
) -> Result<HttpResponse, Problem> {
    let config_path = &identity.config_path;
    let make = |state: &ConfigState| json(&Running { config_path, text: config_text::whole(state) });
    answer(cached.running.get(|| from_config(&view, make)).await)
}

/// `GET /config/diff`.
pub async fn diff(
    _: Query<NoQuery>,
    view: Data<dyn View>,
    cached: Data<CachedAnswers>,
) -> Result<HttpResponse, Problem> {
    let make = |state: &ConfigState| {
        let (differences, is_cut) = config_text::differences(state);
        let section =
            |difference: config_text::Difference| Difference { section: difference.name, lines: difference.lines };
        let differences: Vec<_> = differences.into_iter().map(section).collect();
        json(&Differences { is_same: differences.is_empty(), differences, is_cut })
    };
    answer(cached.diff.get(|| from_config(&view, make)).await)
}

fn from_config<'a>(
    view: &'a Data<dyn View>,
    make: impl FnOnce(&ConfigState) -> Result<Bytes, String> + 'a,
) -> Asked<'a, Result<Bytes, String>> {
    Box::pin(async move { make(&view.config().await?) })
}

fn json(answer: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|error| format!("the answer cannot be serialised: {error}"))
}

fn answer(body: Result<Bytes, String>) -> Result<HttpResponse, Problem> {
    let body = body.map_err(|stuck| no_answer(&stuck))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}
