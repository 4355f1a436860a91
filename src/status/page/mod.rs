//! The status page: complete without scripts, live with them.
//!
//! | file | what |
//! | --- | --- |
//! | [`board`] | the state of the page, kept once for all readers |
//! | [`overview`], [`facts`], [`service_row`] | headline and problems, facts, rows of services |
//! | [`certificate_row`] | the operator's certificates |
//! | [`override_rows`] | overrides of all services |
//! | [`service_page`], [`host_page`] | one service with its servers, one host with its servers |
//! | [`find`] | search by hosts |
//! | [`lines`] | journal entries and the history of one server |
//! | [`picture`] | the last hours as SVG |
//! | [`stream`] | the event stream |
//! | [`pages`] | the handler of each path |
//! | [`templates`], [`assets`] | HTML templates; style, script and icon |

pub mod assets;
pub mod board;
pub mod certificate_row;
pub mod facts;
pub mod find;
pub mod host_page;
pub mod lines;
pub mod override_rows;
pub mod overview;
pub mod pages;
pub mod picture;
pub mod service_page;
pub mod service_row;
pub mod stream;
pub mod templates;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use proxymgr_actors::port::TrafficReader;

use super::part::Part;
use super::view::{Identity, View};

/// Creates the reader of traffic figures, on the listener's thread.
pub type OpenTraffic = Arc<dyn Fn() -> Rc<dyn TrafficReader> + Send + Sync>;

/// What the page needs besides snapshots.
#[derive(Clone, Default)]
pub struct PageSettings {
    /// Source of traffic figures; without it none are shown.
    pub traffic: Option<OpenTraffic>,
    /// Whether `status.token` is set, so that operators can make changes on the page.
    pub has_token: bool,
}

/// The page as a part of the listener.
pub fn part(view: Arc<dyn View>, identity: Identity, settings: PageSettings) -> Part {
    Part::new(move |config| pages::register(config, Arc::clone(&view), identity.clone(), &settings))
}
