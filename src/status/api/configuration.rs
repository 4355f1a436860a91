//! `/config` and `/config/diff`: the haproxy.cfg that runs, and what is different in the one that would be written now.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Query};
use proxymgr_actors::message::ConfigState;
use serde::Serialize;

use super::{NoQuery, no_answer};
use crate::status::config_text::{self, DifferentLine};
use crate::status::problem::Problem;
use crate::status::view::{Asked, Identity, Paced, View};

/// Both answers, each made no more often than the listener can bear: of a thousand services they take a while.
#[derive(Default)]
pub struct KeptAnswers {
    running: Paced<Result<Bytes, String>>,
    diff: Paced<Result<Bytes, String>>,
}

/// What runs.
#[derive(Serialize)]
struct Running<'a> {
    /// Where the file is.
    config_path: &'a str,
    /// Its text without passwords; none before the first start.
    text: Option<String>,
}

/// What is different.
#[derive(Serialize)]
struct Differences {
    is_same: bool,
    differences: Vec<Difference>,
    /// Whether there are more than are told.
    is_cut: bool,
}

/// What is different in one section.
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
    kept: Data<KeptAnswers>,
) -> Result<HttpResponse, Problem> {
    let config_path = &identity.config_path;
    let make = |state: &ConfigState| json(&Running { config_path, text: config_text::whole(state) });
    answer(kept.running.get(|| made_of_config(&view, make)).await)
}

/// `GET /config/diff`.
pub async fn diff(_: Query<NoQuery>, view: Data<dyn View>, kept: Data<KeptAnswers>) -> Result<HttpResponse, Problem> {
    let make = |state: &ConfigState| {
        let (differences, is_cut) = config_text::differences(state);
        let told =
            |difference: config_text::Difference| Difference { section: difference.name, lines: difference.lines };
        let differences: Vec<_> = differences.into_iter().map(told).collect();
        json(&Differences { is_same: differences.is_empty(), differences, is_cut })
    };
    answer(kept.diff.get(|| made_of_config(&view, make)).await)
}

fn made_of_config<'a>(
    view: &'a Data<dyn View>,
    make: impl FnOnce(&ConfigState) -> Result<Bytes, String> + 'a,
) -> Asked<'a, Result<Bytes, String>> {
    Box::pin(async move { make(&view.config().await?) })
}

fn json(answer: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|error| format!("the answer cannot be written: {error}"))
}

fn answer(body: Result<Bytes, String>) -> Result<HttpResponse, Problem> {
    let body = body.map_err(|stuck| no_answer(&stuck))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}
