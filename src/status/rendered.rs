//! Answers that are made of the actors' states alone, rendered once for each collection of them: all who ask meanwhile
//! share the same bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use proxymgr_actors::snapshot::ActorState;
use serde::Serialize;

use super::problem::Problem;

/// Answers kept, each under its own name. Every endpoint has one, so that there are few.
#[derive(Default)]
pub struct RenderedAnswers(Mutex<BTreeMap<&'static str, Rendered>>);

struct Rendered {
    of: Arc<Vec<ActorState>>,
    body: Bytes,
}

impl RenderedAnswers {
    /// The answer of this name as JSON, made anew where the states are others than last time.
    pub fn json<T: Serialize>(
        &self,
        name: &'static str,
        states: &Arc<Vec<ActorState>>,
        make: impl FnOnce() -> T,
    ) -> HttpResponse {
        let body = match self.known(name, states) {
            Some(body) => body,
            None => match serde_json::to_vec(&make()) {
                Ok(json) => self.keep(name, states, json.into()),
                Err(error) => return Problem::unavailable(format!("the answer cannot be written: {error}")).answer(),
            },
        };
        HttpResponse::Ok().content_type("application/json").body(body)
    }

    fn known(&self, name: &str, states: &Arc<Vec<ActorState>>) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).filter(|rendered| Arc::ptr_eq(&rendered.of, states)).map(|rendered| rendered.body.clone())
    }

    fn keep(&self, name: &'static str, states: &Arc<Vec<ActorState>>, body: Bytes) -> Bytes {
        let rendered = Rendered { of: Arc::clone(states), body: body.clone() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, rendered);
        body
    }
}
