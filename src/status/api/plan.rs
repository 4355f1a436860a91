//! `/plan`: what would be done now, and why.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use proxymgr_actors::message::PlanPiece;
use proxymgr_actors::model::{PlanClass, ReloadCause, ServiceName};
use proxymgr_actors::snapshot::ProxyPhase;
use serde::Serialize;

use super::{NoQuery, no_answer};
use crate::status::problem::Problem;
use crate::status::view::View;

/// What would be done.
#[derive(Serialize)]
struct Plan<'a> {
    /// Where the manager of HAProxy's state stands: only when it is `running`, what is planned here is done.
    phase: ProxyPhase,
    /// Whether there is nothing to do.
    is_empty: bool,
    /// What can be done at run time.
    steps: Vec<Step<'a>>,
    /// What the map of domains would be told.
    domains: Vec<DomainStep<'a>>,
    /// Why HAProxy must be reloaded; empty where it need not be.
    reload: Vec<Reason<'a>>,
    /// How long a reload still has to wait, so that there are not too many, in milliseconds.
    reload_not_before_ms: u64,
    /// How long HAProxy is left alone after it did not answer, in milliseconds.
    runtime_not_before_ms: u64,
    /// Services of which it is not known what HAProxy has: it is asked before anything is done.
    not_known: Vec<&'a str>,
}

/// One server's change at run time.
#[derive(Serialize)]
struct Step<'a> {
    service: &'a str,
    server: &'a str,
    class: PlanClass,
    reason: &'a str,
    commands: Vec<String>,
}

/// One change of the map of domains.
#[derive(Serialize)]
struct DomainStep<'a> {
    /// Which service is concerned; none where a line goes that names none.
    service: Option<&'a str>,
    reason: &'a str,
}

/// Why HAProxy must be reloaded.
#[derive(Serialize)]
struct Reason<'a> {
    /// For which service; none where it is for all.
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
            domains: Vec::new(),
            reload: Vec::new(),
            reload_not_before_ms: pieces.first().map_or(0, |piece| piece.reload_not_before_ms),
            runtime_not_before_ms: pieces.first().map_or(0, |piece| piece.runtime_not_before_ms),
            not_known: pieces.iter().flat_map(|piece| &piece.not_known).map(|name| name.as_str()).collect(),
        };
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
        let nothing_at_run_time = plan.steps.is_empty() && plan.domains.is_empty();
        plan.is_empty = nothing_at_run_time && plan.reload.is_empty() && plan.not_known.is_empty();
        plan
    }
}

/// `GET /plan`.
pub async fn now(_: Query<NoQuery>, view: Data<dyn View>) -> Result<HttpResponse, Problem> {
    let pieces = view.plan().await.map_err(|stuck| no_answer(&stuck))?;
    Ok(HttpResponse::Ok().json(Plan::of(&pieces)))
}
