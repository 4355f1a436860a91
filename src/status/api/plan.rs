//! `/plan`: the current plan with its reasons.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use proxymgr_actors::message::PlanPiece;
use proxymgr_actors::model::{PlanClass, ReloadCause, ServiceName};
use proxymgr_actors::snapshot::ProxyPhase;
use serde::Serialize;

use super::{NoQuery, no_answer};
use crate::status::problem::Problem;
use crate::status::view::View;

/// The plan.
#[derive(Serialize)]
struct Plan<'a> {
    /// Phase of HAProxy; the plan is applied in phase `running` only.
    phase: ProxyPhase,
    /// Whether there is nothing to do.
    is_empty: bool,
    /// Runtime changes.
    steps: Vec<Step<'a>>,
    /// Changes of whole backends, at run time.
    backends: Vec<BackendChange<'a>>,
    /// Changes of the map of domains.
    domains: Vec<DomainStep<'a>>,
    /// Reasons for a reload; empty if none is needed.
    reload: Vec<Reason<'a>>,
    /// Time until the next reload is allowed, in milliseconds.
    reload_not_before_ms: u64,
    /// Time until the Runtime API is retried, in milliseconds.
    runtime_not_before_ms: u64,
    /// Services whose state in HAProxy is not known; it is read before any change.
    not_known: Vec<&'a str>,
}

/// A runtime change of one server.
#[derive(Serialize)]
struct Step<'a> {
    service: &'a str,
    server: &'a str,
    class: PlanClass,
    reason: &'a str,
    commands: Vec<String>,
}

/// A backend that comes or goes at run time.
#[derive(Serialize)]
struct BackendChange<'a> {
    service: &'a str,
    class: PlanClass,
    reason: &'a str,
    command: String,
}

/// A change of the map of domains.
#[derive(Serialize)]
struct DomainStep<'a> {
    /// The service; none for a removed line without a service.
    service: Option<&'a str>,
    reason: &'a str,
}

/// A reason for a reload.
#[derive(Serialize)]
struct Reason<'a> {
    /// The service; none if it concerns all.
    service: Option<&'a str>,
    cause: Option<ReloadCause>,
    reason: &'a str,
}

impl<'a> Plan<'a> {
    fn of(pieces: &'a [PlanPiece]) -> Self {
        let mut plan = Self {
            phase: pieces.first().map(|piece| piece.phase).unwrap_or_default(),
            is_empty: true,
            steps: Vec::new(),
            backends: Vec::new(),
            domains: Vec::new(),
            reload: Vec::new(),
            reload_not_before_ms: pieces.first().map_or(0, |piece| piece.reload_not_before_ms),
            runtime_not_before_ms: pieces.first().map_or(0, |piece| piece.runtime_not_before_ms),
            not_known: pieces.iter().flat_map(|piece| &piece.not_known).map(|name| name.as_str()).collect(),
        };
        let backends = pieces.iter().flat_map(|piece| &piece.backends);
        plan.backends.extend(backends.map(|step| BackendChange {
            service: step.command.service().as_str(),
            class: step.class(),
            reason: &step.reason,
            command: step.command.to_string(),
        }));
        plan.domains.extend(
            pieces.iter().flat_map(|piece| &piece.routes).map(|step| DomainStep {
                service: step.service.as_ref().map(ServiceName::as_str),
                reason: &step.reason,
            }),
        );
        let forced = pieces.first().map_or(&[][..], |piece| &piece.reload);
        plan.reload.extend(forced.iter().map(|reason| Reason { service: None, cause: None, reason }));
        for (service, planned) in pieces.iter().flat_map(|piece| &piece.services) {
            let service = service.as_str();
            plan.steps.extend(planned.steps.iter().map(|step| Step {
                service,
                server: step.known_as().as_str(),
                class: step.class,
                reason: &step.reason,
                commands: step.commands.iter().map(ToString::to_string).collect(),
            }));
            plan.reload.extend(planned.reload.iter().map(|reason| Reason {
                service: Some(service),
                cause: Some(reason.cause),
                reason: &reason.text,
            }));
        }
        let nothing_at_run_time = plan.steps.is_empty() && plan.backends.is_empty() && plan.domains.is_empty();
        plan.is_empty = nothing_at_run_time && plan.reload.is_empty() && plan.not_known.is_empty();
        plan
    }
}

/// `GET /plan`.
pub async fn now(_: Query<NoQuery>, view: Data<dyn View>) -> Result<HttpResponse, Problem> {
    let pieces = view.plan().await.map_err(|stuck| no_answer(&stuck))?;
    Ok(HttpResponse::Ok().json(Plan::of(&pieces)))
}
