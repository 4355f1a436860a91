//! The parts of the listener: who answers which paths.
//!
//! Other parts can register endpoints: a part is a function that adds its routes, made with [`Part::new`] and handed
//! to [`StatusListener::start`](super::listener::StatusListener::start), or named in [`own`] where it belongs to every
//! daemon. Paths are added as resources (`config.service(web::resource(path).get(handler))`), so that another method is
//! answered 405 and not 404. Its handlers find `Data<dyn View>`, `Data<Identity>` and whatever the part itself adds as `app_data`. All
//! that is true of every request (who may ask, how often, how large) is seen to by [`gate`](super::gate) before a
//! handler is called; a handler that refuses answers a [`Problem`](super::problem::Problem).

use std::sync::Arc;

use actix_web::web::ServiceConfig;

use super::{api, health};

/// Endpoints that belong together.
#[derive(Clone)]
pub struct Part {
    register: Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>,
}

impl Part {
    /// A part that adds its routes by this function. It may be called more than once.
    pub fn new(register: impl Fn(&mut ServiceConfig) + Send + Sync + 'static) -> Self {
        Self { register: Arc::new(register) }
    }

    /// Adds the part's routes.
    pub fn register(&self, config: &mut ServiceConfig) {
        (self.register)(config);
    }
}

/// The parts that every daemon has.
pub fn own() -> Vec<Part> {
    vec![Part::new(health::register), Part::new(api::register)]
}
