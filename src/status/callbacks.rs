//! `POST /callbacks/NAME/SECRET`: what others call when something happened, who cannot send a token.
//!
//! Each knows a secret that stands in its path, so that the [gate](super::gate) asks for no token below [`PREFIX`]; how
//! often, how much and under which name is asked is bounded as everywhere. A callback only says that something happened.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use subtle::ConstantTimeEq;

use super::part::Part;
use super::problem::Problem;

/// What the paths of all callbacks begin with.
pub const PREFIX: &str = "/callbacks/";

/// Where Marathon posts its events, before the secret.
pub const MARATHON: &str = "/callbacks/marathon";

/// Takes what was posted, or says why it is nothing that was asked for.
pub type Take = Arc<dyn Fn(&[u8]) -> Result<(), String> + Send + Sync>;

struct Callback {
    secret: String,
    take: Take,
}

/// A callback below `path`, for whoever knows `secret`.
pub fn part(path: &'static str, secret: &str, take: Take) -> Part {
    let callback = Data::new(Callback { secret: secret.to_owned(), take });
    Part::new(move |config: &mut ServiceConfig| {
        let resource = web::resource(format!("{path}/{{secret}}")).app_data(Data::clone(&callback));
        config.service(resource.post(called));
    })
}

async fn called(callback: Data<Callback>, secret: Path<String>, body: Bytes) -> Result<HttpResponse, Problem> {
    if !bool::from(callback.secret.as_bytes().ct_eq(secret.as_bytes())) {
        return Err(Problem::not_found("nobody was asked to call back under this path"));
    }
    (callback.take)(&body).map_err(Problem::bad_request)?;
    Ok(HttpResponse::NoContent().finish())
}
