//! Registration of endpoints.
//!
//! A part is a function that adds routes. It is created with [`Part::new`] and passed to
//! [`StatusListener::start`](super::listener::StatusListener::start), or listed in [`own`] if every daemon has it. Paths are
//! added as resources (`config.service(web::resource(path).get(handler))`), so that other methods get 405 and not 404.
//! Handlers can use `Data<dyn View>`, `Data<Identity>` and the `app_data` of their part. The [`gate`](super::gate) checks
//! every request before its handler; handlers return errors as [`Problem`](super::problem::Problem).

use std::sync::Arc;

use actix_web::web::ServiceConfig;

use super::{api, health};

/// A group of endpoints.
#[derive(Clone)]
pub struct Part {
    register: Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>,
}

impl Part {
    /// A part that adds its routes with this function, which may be called several times.
    pub fn new(register: impl Fn(&mut ServiceConfig) + Send + Sync + 'static) -> Self {
        Self { register: Arc::new(register) }
    }

    /// Adds the routes.
    pub fn register(&self, config: &mut ServiceConfig) {
        (self.register)(config);
    }
}

/// The parts of every daemon.
pub fn own() -> Vec<Part> {
    vec![Part::new(health::register), Part::new(api::register)]
}
