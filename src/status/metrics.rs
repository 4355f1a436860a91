//! `/metrics`: figures for Prometheus and compatible tools.
//!
//! | file | families |
//! | --- | --- |
//! | `process` | the daemon as a process |
//! | `haproxy` | HAProxy: phase, changes, reloads, problems |
//! | `sources` | discovery: reachability, age, blocked changes |
//! | `services` | servers, of all services and of each |
//! | `certificates` | expiry and problems of the operator's certificates |
//! | `history` | counters of the journal |
//! | `exposition` | the text formats |
//!
//! All figures come from the snapshots at the time of the scrape. Label values have fixed sets, except the names of
//! services (at most [`METRICS_SERVICES_MAX`](proxymgr_actors::limits::METRICS_SERVICES_MAX)), outputs, targets and certificates.

mod certificates;
mod exposition;
mod haproxy;
mod history;
mod process;
#[cfg(test)]
pub mod reference;
mod services;
mod sources;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use proxymgr_actors::snapshot::ActorState;

use super::concern::ConcernKind;
use super::part::Part;
use super::problem::Problem;
use super::readiness::Readiness;
use super::report::{DaemonFacts, StatusReport};
use super::severity::Severity;
use super::view::{Identity, States, View};
use exposition::{Families, Format};

/// Whether each service has series of its own.
#[derive(Debug, Clone, Copy)]
struct PerService(bool);

/// The endpoint `/metrics`; with `per_service`, each service has series of its own.
pub fn part(per_service: bool) -> Part {
    Part::new(move |config: &mut ServiceConfig| {
        config.app_data(Data::new(PerService(per_service))).service(web::resource("/metrics").get(metrics));
    })
}

async fn metrics(
    request: HttpRequest,
    view: Data<dyn View>,
    identity: Data<Identity>,
    per_service: Data<PerService>,
) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let scrape = Scrape {
        daemon: identity.facts(),
        now_unix_ms: identity.clock.unix_ms(),
        states: view.states().await,
        per_service: per_service.0,
    };
    match exposition::text(scrape, format) {
        Ok(text) => HttpResponse::Ok()
            .content_type(format.content_type())
            .insert_header((header::VARY, header::ACCEPT.as_str()))
            .body(text),
        Err(error) => Problem::unavailable(format!("the metrics cannot be rendered: {error}")).answer(),
    }
}

/// Input of one answer.
#[derive(Debug)]
struct Scrape {
    daemon: DaemonFacts,
    now_unix_ms: u64,
    states: States,
    per_service: bool,
}

impl Scrape {
    fn write(&self, families: &mut Families<'_>) -> std::fmt::Result {
        process::write(families)?;
        let build = [("version", self.daemon.version.clone()), ("commit", self.daemon.commit.clone())];
        families.gauges("build_info", "The running build; always 1", [(build.into(), 1.0)])?;
        families.gauge("start_time_seconds", "When the daemon started", seconds(self.daemon.started_at_unix_ms))?;
        families.gauge("uptime_seconds", "Time since the daemon started", self.daemon.uptime_s as f64)?;
        let help = "Records of the log that were dropped because it could not be written fast enough";
        families.counter("log_records_dropped", help, self.daemon.dropped_records)?;
        let readiness = Readiness::of(&self.states);
        families.gauge("ready", "1 if HAProxy runs the desired state, as in /readyz", flag(readiness.ready))?;
        families.gauge("actors_answering", "1 if all actors answer, as in /healthz", flag(self.states.is_ok()))?;
        self.problems(families)?;
        let states: &[ActorState] = self.states.as_ref().map_or(&[], |states| states.as_slice());
        haproxy::write(families, states, self.now_unix_ms)?;
        sources::write(families, states, self.now_unix_ms)?;
        services::write(families, states, self.per_service)?;
        certificates::write(families, &self.daemon.certificates.certificates)?;
        history::write(families, states)
    }

    /// The problems by kind and severity, as in `/api/v1/status`.
    fn problems(&self, families: &mut Families<'_>) -> std::fmt::Result {
        let report = StatusReport::of(self.daemon.clone(), self.states.clone());
        let mut counts: BTreeMap<(ConcernKind, Severity), usize> = BTreeMap::new();
        report.concerns.iter().for_each(|it| *counts.entry((it.kind, it.severity)).or_default() += 1);
        let severities = [(Severity::Critical, "critical"), (Severity::Warning, "warning")];
        let samples = ConcernKind::all().flat_map(|kind| {
            let count = |severity| counts.get(&(kind, severity)).copied().unwrap_or_default() as f64;
            severities.map(|(severity, name)| {
                (vec![("kind", kind.as_str().to_owned()), ("severity", name.to_owned())], count(severity))
            })
        });
        let samples: Vec<_> = samples.collect();
        families.gauges("problems", "Problems by kind and severity, as `proxymgr status` lists them", samples)
    }
}

/// Milliseconds as seconds, the base unit of Prometheus.
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}
