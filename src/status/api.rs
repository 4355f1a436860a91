//! The HTTP API below `/api/v1` and `/annotations`, documented by `openapi.json` next to this file.
//!
//! Answers are JSON with stable field names; errors are [problem objects](super::problem). Times are milliseconds since
//! 1970. Changes require the token, which the [gate](super::gate) checks.

mod certificates;
mod configuration;
mod hosts;
mod journal;
mod last_ready;
mod log;
mod orders;
mod plan;
mod processes;
mod servers;
mod services;
mod sources;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpResponse, Resource, Route};
use serde::Deserialize;

use super::annotations;
use super::problem::Problem;
use super::rendered::RenderedAnswers;
use super::report::StatusReport;
use super::view::{Identity, View};

pub use journal::Entries;
pub use orders::Done;

/// The documentation of the API.
const OPENAPI: &str = include_str!("api/openapi.json");

/// One method of one path.
struct Endpoint {
    method: Method,
    path: &'static str,
    route: fn() -> Route,
}

fn get(path: &'static str, route: fn() -> Route) -> Endpoint {
    Endpoint { method: Method::GET, path, route }
}

fn delete(path: &'static str, route: fn() -> Route) -> Endpoint {
    Endpoint { method: Method::DELETE, path, route }
}

fn post(path: &'static str, route: fn() -> Route) -> Endpoint {
    Endpoint { method: Method::POST, path, route }
}

/// All endpoints, in the order of the documentation.
fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/api/v1/openapi.json", || web::to(openapi)),
        get("/api/v1/status", || web::to(status)),
        get("/api/v1/services", || web::to(services::list)),
        get("/api/v1/services/{service}", || web::to(services::one)),
        get("/api/v1/services/{service}/servers", || web::to(servers::list)),
        get("/api/v1/servers/{service}/{server}", || web::to(servers::one)),
        get("/api/v1/hosts/{address}", || web::to(hosts::one)),
        get("/api/v1/journal", || web::to(journal::read)),
        get("/api/v1/plan", || web::to(plan::now)),
        get("/api/v1/processes", || web::to(processes::list)),
        get("/api/v1/sources", || web::to(sources::list)),
        get("/api/v1/holds", || web::to(sources::holds)),
        get("/api/v1/certificates", || web::to(certificates::list)),
        get("/api/v1/config", || web::to(configuration::running)),
        get("/api/v1/config/diff", || web::to(configuration::diff)),
        get("/api/v1/log", || web::to(log::read)),
        post("/api/v1/log", || web::to(log::set)),
        delete("/api/v1/log", || web::to(log::reset)),
        post("/api/v1/refresh", || web::to(orders::refresh_all)),
        post("/api/v1/refresh/{service}", || web::to(orders::refresh)),
        post("/api/v1/reload", || web::to(orders::reload)),
        post("/api/v1/restart", || web::to(orders::restart)),
        post("/api/v1/holds/accept", || web::to(orders::accept_definitions)),
        post("/api/v1/holds/reject", || web::to(orders::reject_definitions)),
        post("/api/v1/holds/{service}/accept", || web::to(orders::accept)),
        post("/api/v1/holds/{service}/reject", || web::to(orders::reject)),
        post("/api/v1/services/{service}/servers/{server}/ready", || web::to(orders::ready)),
        post("/api/v1/services/{service}/servers/{server}/drain", || web::to(orders::drain)),
        post("/api/v1/services/{service}/servers/{server}/maint", || web::to(orders::maint)),
        post("/api/v1/hosts/{address}/ready", || web::to(hosts::ready)),
        post("/api/v1/hosts/{address}/drain", || web::to(hosts::drain)),
        post("/api/v1/hosts/{address}/maint", || web::to(hosts::maint)),
        get("/annotations", || web::to(annotations::list)),
        get("/annotations/{service}", || web::to(annotations::one)),
        post("/annotations/{service}", || web::to(annotations::write)),
        delete("/annotations/{service}", || web::to(annotations::delete)),
    ]
}

/// Registers all endpoints.
pub fn register(config: &mut ServiceConfig) {
    config.app_data(Data::new(configuration::CachedAnswers::default()));
    let mut resources: BTreeMap<&str, Resource> = BTreeMap::new();
    for Endpoint { method, path, route } in endpoints() {
        let resource = resources.remove(path).unwrap_or_else(|| web::resource(path));
        resources.insert(path, resource.route(route().method(method)));
    }
    resources.into_values().for_each(|resource| {
        config.service(resource);
    });
}

/// The query of an endpoint without parameters; any parameter is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

async fn openapi(_: Query<NoQuery>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(OPENAPI)
}

async fn status(
    _: Query<NoQuery>,
    view: Data<dyn View>,
    identity: Data<Identity>,
    rendered: Data<RenderedAnswers>,
) -> HttpResponse {
    match view.states().await {
        Ok(states) => rendered.json("status", &states, || StatusReport::of(identity.facts(), Ok(Arc::clone(&states)))),
        // The status reports silent actors, too.
        stuck => HttpResponse::Ok().json(StatusReport::of(identity.facts(), stuck)),
    }
}

/// The error answer if actors do not answer.
fn no_answer(stuck: &str) -> Problem {
    Problem::unavailable(format!("{stuck}; retry, and if it persists check the log and restart proxymgr"))
}
