//! Cache of answers that depend only on the snapshots: each is rendered once per set of snapshots, and concurrent readers
//! share the bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use proxymgr_actors::snapshot::ActorState;
use serde::Serialize;

use super::problem::Problem;

/// The cached answers by name; one per endpoint.
#[derive(Default)]
pub struct RenderedAnswers(Mutex<BTreeMap<&'static str, Rendered>>);

struct Rendered {
    of: Arc<Vec<ActorState>>,
    body: Bytes,
}

impl RenderedAnswers {
    /// The answer of this name as JSON; rendered again if the snapshots are new.
    pub fn json<T: Serialize>(
        &self,
        name: &'static str,
        states: &Arc<Vec<ActorState>>,
        make: impl FnOnce() -> T,
    ) -> HttpResponse {
        let body = match self.cached(name, states) {
            Some(body) => body,
            None => match serde_json::to_vec(&make()) {
                Ok(json) => self.store(name, states, json.into()),
                Err(error) => {
                    return Problem::unavailable(format!("the answer cannot be serialised: {error}")).answer();
                }
            },
        };
        HttpResponse::Ok().content_type("application/json").body(body)
    }

    fn cached(&self, name: &str, states: &Arc<Vec<ActorState>>) -> Option<Bytes> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(name).filter(|rendered| Arc::ptr_eq(&rendered.of, states)).map(|rendered| rendered.body.clone())
    }

    fn store(&self, name: &'static str, states: &Arc<Vec<ActorState>>, body: Bytes) -> Bytes {
        let rendered = Rendered { of: Arc::clone(states), body: body.clone() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, rendered);
        body
    }
}
