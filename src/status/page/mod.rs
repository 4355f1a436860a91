//! The status page: readable without scripts, live with them.
//!
//! | file | what |
//! | --- | --- |
//! | [`board`] | what the page shows, kept once for all readers |
//! | [`overview`], [`service_row`] | the sentence, the facts, the services, from the actors' snapshots |
//! | [`service_page`] | one service with its servers |
//! | [`lines`] | the journal, and one server's own story, in words |
//! | [`picture`] | the last hours as SVG |
//! | [`stream`] | the event stream |
//! | [`pages`] | who answers which path |
//! | [`templates`], [`assets`], [`words`] | the text around it, style and script, numbers and times |

pub mod assets;
pub mod board;
pub mod lines;
pub mod overview;
pub mod pages;
pub mod picture;
pub mod service_page;
pub mod service_row;
pub mod stream;
pub mod templates;
pub mod words;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use proxymgr_actors::port::TrafficReader;

use super::part::Part;
use super::view::{Identity, View};

/// Makes what tells how busy HAProxy is, on the listener's own thread.
pub type OpenTraffic = Arc<dyn Fn() -> Rc<dyn TrafficReader> + Send + Sync>;

/// What the page needs besides the actors.
#[derive(Clone, Default)]
pub struct PageSettings {
    /// How busy HAProxy is; without it the page does not say.
    pub traffic: Option<OpenTraffic>,
    /// Whether an operator may change anything: whether there is a `status.token`.
    pub has_token: bool,
}

/// The page as a part of the listener.
pub fn part(view: Arc<dyn View>, identity: Identity, settings: PageSettings) -> Part {
    Part::new(move |config| pages::register(config, Arc::clone(&view), identity.clone(), &settings))
}
