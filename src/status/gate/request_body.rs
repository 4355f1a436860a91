//! Reads the body of a request with limits on size and time, so that no handler waits for a slow sender.

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, BytesMut};
use futures_util::StreamExt;
use proxymgr_actors::limits::{STATUS_BODY_BYTES_MAX, STATUS_BODY_TIMEOUT};
use tokio::time::timeout;

use crate::status::problem::Problem;

/// Reads the body and puts it back as a whole.
pub async fn read_body(request: &mut ServiceRequest) -> Result<(), Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > STATUS_BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let stream = request.take_payload();
    let body = timeout(STATUS_BODY_TIMEOUT, read(stream)).await.map_err(|_| {
        let detail = format!("the body was not received within {} s", STATUS_BODY_TIMEOUT.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    })??;
    request.set_payload(Payload::from(body));
    Ok(())
}

async fn read(mut stream: Payload) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| Problem::bad_request(format!("the body is incomplete: {error}")))?;
        if body.len() + piece.len() > STATUS_BODY_BYTES_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn too_large() -> Problem {
    let detail = format!("the body may have at most {STATUS_BODY_BYTES_MAX} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}
