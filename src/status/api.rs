//! The HTTP API below `/api/v1`.

use actix_web::HttpResponse;
use actix_web::web::{self, Data, Query, ServiceConfig};
use proxymgr_actors::limits::JOURNAL_ENTRIES_MAX;
use proxymgr_actors::message::ReadJournal;

use super::rendered::RenderedAnswers;
use super::report::StatusReport;
use super::view::{Identity, View};

/// Journal entries in an answer to a question that names no limit.
const JOURNAL_ENTRIES_DEFAULT: usize = 200;

/// Adds every endpoint.
pub fn register(config: &mut ServiceConfig) {
    config.service(web::resource("/api/v1/status").get(status)).service(web::resource("/api/v1/journal").get(journal));
}

async fn status(view: Data<dyn View>, identity: Data<Identity>, rendered: Data<RenderedAnswers>) -> HttpResponse {
    let states = view.states().await;
    rendered.json("status", &states, |states| StatusReport::of(identity.facts(), states.clone()))
}

async fn journal(view: Data<dyn View>, query: Query<ReadJournal>) -> HttpResponse {
    let mut query = query.into_inner();
    query.limit = Some(query.limit.unwrap_or(JOURNAL_ENTRIES_DEFAULT).min(JOURNAL_ENTRIES_MAX));
    HttpResponse::Ok().json(view.journal(query).await)
}
