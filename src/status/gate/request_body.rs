//! Takes in the body of a request, within a bound of size and time, so that no handler waits for a slow sender.

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, BytesMut};
use futures_util::StreamExt;
use proxymgr_actors::limits::{STATUS_BODY_BYTES_MAX, STATUS_BODY_TIMEOUT};
use tokio::time::timeout;

use crate::status::problem::Problem;

/// Replaces the body that is still to come by the whole body.
pub async fn take_in(request: &mut ServiceRequest) -> Result<(), Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > STATUS_BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let coming = request.take_payload();
    let body = timeout(STATUS_BODY_TIMEOUT, read(coming)).await.map_err(|_| {
        let detail = format!("the body did not come within {} s", STATUS_BODY_TIMEOUT.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    })??;
    request.set_payload(Payload::from(body));
    Ok(())
}

async fn read(mut coming: Payload) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(piece) = coming.next().await {
        let piece = piece.map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
        if body.len() + piece.len() > STATUS_BODY_BYTES_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn too_large() -> Problem {
    let detail = format!("a body may have {STATUS_BODY_BYTES_MAX} bytes at the most");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}
