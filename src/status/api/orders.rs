//! Orders of operators.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, Query, ReqData};
use proxymgr_actors::limits::STATUS_REASON_CHARS_MAX;
use proxymgr_actors::model::{AdminState, Orderer, ServerName, ServiceName};
use proxymgr_actors::operator::{Order, OrderRefused, SetServer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{NoQuery, last_ready, no_answer};
use crate::status::problem::Problem;
use crate::status::view::{Identity, View};

/// Result of an order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// What was done, as a sentence.
    pub done: String,
}

/// The body of an order without parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The body of a reload order.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadBody {
    reason: Option<String>,
}

/// The body of an order for one server.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideBody {
    /// Duration of the override: `30m`, `2h`.
    duration: Option<String>,
    reason: Option<String>,
    /// Whether it may take the last server that takes traffic from a service.
    #[serde(default)]
    pub force: bool,
}

impl OverrideBody {
    /// The order for one server.
    pub fn order(
        &self,
        service: ServiceName,
        server: ServerName,
        state: AdminState,
        by: &By,
    ) -> Result<SetServer, Problem> {
        let for_ms = self.duration.as_deref().map(millis_of).transpose()?;
        let by = Some((**by).clone());
        Ok(SetServer { service, server, state, for_ms, reason: reason_of(self.reason.clone())?, by })
    }
}

/// Who gives an order, as the gate found out.
pub type By = ReqData<Orderer>;

/// The path of an order for one server: service and server.
type ServerPath = Path<(String, String)>;

/// The answer to an order.
pub type Answer = Result<HttpResponse, Problem>;

/// `POST /refresh`.
pub async fn refresh_all(_: Query<NoQuery>, view: Data<dyn View>, body: Bytes) -> Answer {
    read_body::<Nothing>(&body)?;
    execute(&view, Order::Refresh { service: None }).await
}

/// `POST /refresh/{service}`.
pub async fn refresh(_: Query<NoQuery>, view: Data<dyn View>, name: Path<String>, body: Bytes) -> Answer {
    read_body::<Nothing>(&body)?;
    execute(&view, Order::Refresh { service: Some(service_name(&name)?) }).await
}

/// `POST /reload`.
pub async fn reload(_: Query<NoQuery>, view: Data<dyn View>, body: Bytes) -> Answer {
    let ReloadBody { reason } = read_body(&body)?;
    execute(&view, Order::Reload { reason: reason_of(reason)? }).await
}

/// `POST /restart`. The result is in the status.
pub async fn restart(_: Query<NoQuery>, identity: Data<Identity>, body: Bytes) -> Answer {
    read_body::<Nothing>(&body)?;
    let ordered = identity.restarts.order(identity.clock.unix_ms());
    Ok(HttpResponse::Ok().json(ordered.map_err(|why| Problem::new(StatusCode::CONFLICT, why))?))
}

/// `POST /holds/accept`.
pub async fn accept_definitions(_: Query<NoQuery>, view: Data<dyn View>, body: Bytes) -> Answer {
    read_body::<Nothing>(&body)?;
    execute(&view, Order::Accept { service: None }).await
}

/// `POST /holds/reject`.
pub async fn reject_definitions(_: Query<NoQuery>, view: Data<dyn View>, body: Bytes) -> Answer {
    read_body::<Nothing>(&body)?;
    execute(&view, Order::Reject { service: None }).await
}

/// `POST /holds/{service}/accept`.
pub async fn accept(_: Query<NoQuery>, view: Data<dyn View>, name: Path<String>, body: Bytes) -> Answer {
    read_body::<Nothing>(&body)?;
    execute(&view, Order::Accept { service: Some(service_name(&name)?) }).await
}

/// `POST /holds/{service}/reject`.
pub async fn reject(_: Query<NoQuery>, view: Data<dyn View>, name: Path<String>, body: Bytes) -> Answer {
    read_body::<Nothing>(&body)?;
    execute(&view, Order::Reject { service: Some(service_name(&name)?) }).await
}

/// `POST /services/{service}/servers/{server}/ready`.
pub async fn ready(_: Query<NoQuery>, view: Data<dyn View>, path: ServerPath, by: By, body: Bytes) -> Answer {
    set_server(&view, &path, &by, AdminState::Ready, &body).await
}

/// `POST /services/{service}/servers/{server}/drain`.
pub async fn drain(_: Query<NoQuery>, view: Data<dyn View>, path: ServerPath, by: By, body: Bytes) -> Answer {
    set_server(&view, &path, &by, AdminState::Drain, &body).await
}

/// `POST /services/{service}/servers/{server}/maint`.
pub async fn maint(_: Query<NoQuery>, view: Data<dyn View>, path: ServerPath, by: By, body: Bytes) -> Answer {
    set_server(&view, &path, &by, AdminState::Maint, &body).await
}

async fn set_server(view: &Data<dyn View>, path: &(String, String), by: &By, state: AdminState, body: &[u8]) -> Answer {
    let terms = read_body::<OverrideBody>(body)?;
    let server = ServerName::new(&path.1).map_err(|error| Problem::bad_request(error.to_string()))?;
    let order = terms.order(service_name(&path.0)?, server, state, by)?;
    if !terms.force && state != AdminState::Ready {
        let states = view.states().await.map_err(|stuck| no_answer(&stuck))?;
        last_ready::check(&states, std::slice::from_ref(&order))?;
    }
    execute(view, Order::SetServer(order)).await
}

async fn execute(view: &Data<dyn View>, order: Order) -> Answer {
    let done = view.order(order).await.map_err(|refused| problem_of(&refused))?;
    Ok(HttpResponse::Ok().json(Done { done }))
}

/// Executes one of several orders.
pub async fn executed(view: &Data<dyn View>, order: SetServer) -> Result<String, Problem> {
    view.order(Order::SetServer(order)).await.map_err(|refused| problem_of(&refused))
}

fn problem_of(refused: &OrderRefused) -> Problem {
    let status = match refused {
        OrderRefused::UnknownService(_) | OrderRefused::UnknownServer { .. } => StatusCode::NOT_FOUND,
        OrderRefused::NothingBlocked(_) => StatusCode::CONFLICT,
        OrderRefused::Invalid(_) => StatusCode::BAD_REQUEST,
        OrderRefused::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, refused.to_string())
}

/// Parses the body; an empty body has only defaults.
pub fn read_body<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("invalid body: {error}")))
}

fn service_name(name: &str) -> Result<ServiceName, Problem> {
    ServiceName::new(name).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Checks a reason, which other operators see: one line of limited length.
fn reason_of(reason: Option<String>) -> Result<Option<String>, Problem> {
    let Some(reason) = reason else { return Ok(None) };
    if reason.chars().any(char::is_control) || reason.chars().count() > STATUS_REASON_CHARS_MAX {
        let detail = format!("the reason must be one line of at most {STATUS_REASON_CHARS_MAX} characters");
        return Err(Problem::bad_request(detail));
    }
    Ok(Some(reason).filter(|reason| !reason.trim().is_empty()))
}

/// Parses a duration, in milliseconds.
pub fn millis_of(text: &str) -> Result<u64, Problem> {
    let wrong = || Problem::bad_request("the duration must be positive, such as 30m or 2h");
    let duration = humantime::parse_duration(text).ok().filter(|duration| *duration >= Duration::from_millis(1));
    duration.and_then(|duration| u64::try_from(duration.as_millis()).ok()).ok_or_else(wrong)
}
