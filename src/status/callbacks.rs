//! `POST /callbacks/NAME/SECRET`: notifications from programs that cannot send a token.
//!
//! The path contains a secret, so the [gate](super::gate) requires no token below [`PREFIX`]; its other limits apply. A
//! callback reports only that something has changed.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use subtle::ConstantTimeEq;

use super::part::Part;
use super::problem::Problem;

/// Prefix of the paths of all callbacks.
pub const PREFIX: &str = "/callbacks/";

/// Path for events of Marathon, without the secret.
pub const MARATHON: &str = "/callbacks/marathon";

/// Handles a body that was posted, or returns why it is not an expected notification.
pub type Handle = Arc<dyn Fn(&[u8]) -> Result<(), String> + Send + Sync>;

struct Callback {
    secret: String,
    handle: Handle,
}

/// A callback below `path`, protected by `secret`.
pub fn part(path: &'static str, secret: &str, handle: Handle) -> Part {
    let callback = Data::new(Callback { secret: secret.to_owned(), handle });
    Part::new(move |config: &mut ServiceConfig| {
        let resource = web::resource(format!("{path}/{{secret}}")).app_data(Data::clone(&callback));
        config.service(resource.post(called));
    })
}

async fn called(callback: Data<Callback>, secret: Path<String>, body: Bytes) -> Result<HttpResponse, Problem> {
    if !bool::from(callback.secret.as_bytes().ct_eq(secret.as_bytes())) {
        return Err(Problem::not_found("no callback is registered at this path"));
    }
    (callback.handle)(&body).map_err(Problem::bad_request)?;
    Ok(HttpResponse::NoContent().finish())
}
