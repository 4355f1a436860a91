//! `/certificates`: the operator's certificates.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};

use super::NoQuery;
use crate::status::view::Identity;

/// `GET /certificates`.
pub async fn list(_: Query<NoQuery>, identity: Data<Identity>) -> HttpResponse {
    HttpResponse::Ok().json(identity.certificates.at(identity.clock.unix_ms()))
}
