//! `/healthz` and `/readyz`, for supervisors and load balancers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};

use super::readiness::Readiness;
use super::view::View;

/// Registers both.
pub fn register(config: &mut ServiceConfig) {
    config.service(web::resource("/healthz").get(healthz).head(healthz));
    config.service(web::resource("/readyz").get(readyz).head(readyz));
}

/// Whether every actor answers.
async fn healthz(view: Data<dyn View>) -> HttpResponse {
    match view.states().await {
        Ok(_) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(stuck) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")),
    }
}

/// Whether HAProxy runs the desired state; if not, why, one reason per line. Services without hosts follow.
async fn readyz(view: Data<dyn View>) -> HttpResponse {
    let readiness = Readiness::of(&view.states().await);
    let mut lines = if readiness.ready { vec!["ready".to_owned()] } else { readiness.reasons };
    lines.extend(readiness.without_hosts);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, lines.join("\n") + "\n")
}

fn text(status: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(text)
}
