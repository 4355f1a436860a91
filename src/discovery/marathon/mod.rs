//! Marathon as a source of hosts (`{"type": "marathon", "app": "/shop/web", "port_index": 0}`) and of definitions.
//!
//! - `cluster`: one reader of apps and tasks for all who need them, triggered by events, with polling in addition.
//! - `events`: the event stream; `callback`: events that Marathon posts, for versions without a stream.
//! - `app`: the relevant part of Marathon's JSON, and the addresses of tasks.
//! - `health`: the health of tasks, also after a change of leaders.
//! - `app_watch`: reports what a decoder makes of the apps; `hosts` and `definitions` are the decoders.

mod app;
mod app_watch;
mod callback;
mod cluster;
mod definitions;
mod events;
mod health;
mod hosts;
#[cfg(any(test, fuzzing))]
pub(super) mod properties;

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, SourceSpec};
use slog::{Logger, o};
use tokio::sync::Notify;

use super::http::{HttpClient, HttpOptions, Servers};
use super::settings::{optional, required};
use app::PortChoice;
use app_watch::AppWatch;
pub use callback::Callback;
use cluster::{Cluster, ClusterOptions};
pub use definitions::MarathonDefinitions;
pub use events::is_relevant;

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[DefinitionKey] = &[
    key("app", "id of an app", "The app, such as `/shop/web`; its tasks with passing checks are the hosts. Required."),
    key("port_index", "whole number", "Which of its ports, counted from 0. Default: `0`."),
    key("port_name", "name", "Which of its ports, by name."),
];

/// Options for one Marathon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarathonOptions {
    /// All of its servers; any of them forwards requests to the leader.
    pub servers: Servers,
    /// TLS and credentials.
    pub http: HttpOptions,
    /// The polling interval, in addition to events.
    pub interval: Duration,
    /// Where Marathon posts its events; none: they are read from its event stream.
    pub callback: Option<Callback>,
    /// The ports that tasks on the host's network listen on.
    pub host_ports: HostPorts,
}

impl Default for MarathonOptions {
    fn default() -> Self {
        Self {
            servers: "http://127.0.0.1:8080".parse().expect("it is a URL with a host and a port"),
            http: HttpOptions::default(),
            interval: Duration::from_secs(30),
            callback: None,
            host_ports: HostPorts::default(),
        }
    }
}

/// The ports that tasks on the host's network listen on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostPorts {
    /// Those that Marathon assigned to the task, in `$PORT0` and so on.
    #[default]
    Assigned,
    /// The service ports of the app, as in proxym.
    Service,
}

/// One Marathon, read once for all who need it. Clones share it.
#[derive(Clone)]
pub struct Marathon {
    inner: Rc<Inner>,
}

struct Inner {
    options: MarathonOptions,
    cluster: RefCell<Weak<Cluster>>,
    changed: Arc<Notify>,
    log: Logger,
}

impl Marathon {
    /// Sends no request before something is opened.
    pub fn new(options: MarathonOptions, log: &Logger) -> Self {
        let log = log.new(o!("component" => "marathon"));
        Self { inner: Rc::new(Inner { options, cluster: RefCell::default(), changed: Arc::default(), log }) }
    }

    /// A notification of this, from any thread, has the apps read again.
    pub fn changed(&self) -> Arc<Notify> {
        self.inner.changed.clone()
    }

    /// Removes the registration of the callback, if there is one. Ends in bounded time.
    pub async fn leave(&self) {
        let Inner { options, cluster, log, .. } = &*self.inner;
        let cluster = cluster.borrow().upgrade();
        if let (Some(callback), Some(cluster)) = (&options.callback, cluster) {
            cluster.stop_events();
            let client =
                HttpClient::new(options.servers.clone(), HttpOptions { product: "Marathon", ..options.http.clone() });
            callback::deregister(&client, callback, log).await;
        }
    }

    fn join(&self) -> Rc<Cluster> {
        let mut cluster = self.inner.cluster.borrow_mut();
        if let Some(cluster) = cluster.upgrade() {
            return cluster;
        }
        let Inner { options, changed, log, .. } = &*self.inner;
        let MarathonOptions { servers, http, interval, callback, .. } = options.clone();
        let options = ClusterOptions { servers, http, interval, callback };
        let joined = Rc::new(Cluster::start(options, changed.clone(), log.clone()));
        *cluster = Rc::downgrade(&joined);
        joined
    }

    /// Watches the app that the definition names.
    pub(super) fn open(
        &self,
        spec: &SourceSpec,
        policy: &Arc<OptionPolicy>,
        watcher: Recipient<HostsSeen>,
    ) -> Result<AppWatch, String> {
        let id: String = required(spec, "app", "the id of an app, like \"/shop/web\"")?;
        let index: Option<usize> = optional(spec, "port_index")?;
        let port = match (index, optional::<String>(spec, "port_name")?) {
            (index, None) => PortChoice::Index(index.unwrap_or(0)),
            (None, Some(name)) => PortChoice::Name(name),
            (Some(_), Some(_)) => return Err("\"port_name\": give either it or \"port_index\"".to_owned()),
        };
        // Marathon itself accepts ids without the first slash.
        let id = if id.starts_with('/') { id } else { format!("/{id}") };
        let host_ports = self.inner.options.host_ports;
        let decoder = hosts::AppHosts { id, port, host_ports, policy: policy.clone(), watcher };
        Ok(AppWatch::start(self.join(), decoder))
    }
}
