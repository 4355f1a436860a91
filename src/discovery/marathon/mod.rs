//! Marathon as a source of hosts (`{"type": "marathon", "app": "/shop/web", "port_index": 0}`) and of definitions.
//!
//! - `cluster`: one reader of apps and tasks for all that need them, woken by the event stream, with polling behind it.
//! - `callback`: events that Marathon posts to us, in the place of the stream.
//! - `app`: the part of Marathon's JSON that matters, and where a task can be reached.
//! - `health`: which tasks pass their checks, and that a new leader has yet to find out.
//! - `hosts`, `definitions`: what the apps mean.

mod app;
mod callback;
mod cluster;
mod definitions;
mod health;
mod hosts;

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::model::SourceSpec;
use slog::{Logger, o};
use tokio::sync::Notify;

use super::http::{HttpClient, HttpOptions, Servers};
use super::settings::{optional, required};
use app::PortChoice;
pub use callback::{Callback, is_news};
use cluster::{Cluster, OpenApps};
pub use definitions::MarathonDefinitions;

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[&str] = &["app", "port_index", "port_name"];

/// How Marathon is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarathonOptions {
    /// All of its servers; any of them passes a question on to the leader.
    pub servers: Servers,
    /// TLS and credentials.
    pub http: HttpOptions,
    /// How often everything is read without an event.
    pub interval: Duration,
    /// Where Marathon posts its events to; none: they are read from its stream.
    pub callback: Option<Callback>,
    /// Which ports the tasks of apps on the host's network listen on.
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

/// Which ports the tasks of apps on the host's network listen on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostPorts {
    /// Those that Marathon assigned to the task, and told it in `$PORT0`.
    #[default]
    Assigned,
    /// The service ports of the app, whatever was assigned: what proxym took.
    Service,
}

/// A Marathon, read once for all that need it. Clones share it.
#[derive(Clone)]
pub struct Marathon {
    inner: Rc<Inner>,
}

struct Inner {
    options: MarathonOptions,
    cluster: RefCell<Weak<Cluster>>,
    happened: Arc<Notify>,
    log: Logger,
}

impl Marathon {
    /// Nothing is asked before something is opened.
    pub fn new(options: MarathonOptions, log: &Logger) -> Self {
        let log = log.new(o!("component" => "marathon"));
        Self { inner: Rc::new(Inner { options, cluster: RefCell::default(), happened: Arc::default(), log }) }
    }

    /// Notified of an event, it has the apps read again, by whatever thread.
    pub fn happened(&self) -> Arc<Notify> {
        self.inner.happened.clone()
    }

    /// Has Marathon post no further events to us, where it ever was asked to. Ends in bounded time.
    pub async fn leave(&self) {
        let Inner { options, cluster, log, .. } = &*self.inner;
        let cluster = cluster.borrow().upgrade();
        if let (Some(callback), Some(cluster)) = (&options.callback, cluster) {
            cluster.hear_no_more();
            let client = HttpClient::new(options.servers.clone(), options.http.clone());
            callback::deregister(&client, callback, log).await;
        }
    }

    fn join(&self) -> Rc<Cluster> {
        let mut cluster = self.inner.cluster.borrow_mut();
        if let Some(cluster) = cluster.upgrade() {
            return cluster;
        }
        let Inner { options, happened, log, .. } = &*self.inner;
        let joined = Rc::new(Cluster::start(options.clone(), happened.clone(), log.clone()));
        *cluster = Rc::downgrade(&joined);
        joined
    }

    /// Watches the app that the definition names.
    pub(super) fn open(
        &self,
        spec: &SourceSpec,
        policy: &Arc<OptionPolicy>,
        watcher: Recipient<HostsSeen>,
    ) -> Result<OpenApps, String> {
        let id: String = required(spec, "app", "the id of an app, like \"/shop/web\"")?;
        let index: Option<usize> = optional(spec, "port_index")?;
        let port = match (index, optional::<String>(spec, "port_name")?) {
            (index, None) => PortChoice::Index(index.unwrap_or(0)),
            (None, Some(name)) => PortChoice::Name(name),
            (Some(_), Some(_)) => return Err("\"port_name\": give either it or \"port_index\"".to_owned()),
        };
        // Marathon itself takes ids without the first slash.
        let id = if id.starts_with('/') { id } else { format!("/{id}") };
        let host_ports = self.inner.options.host_ports;
        let meaning = hosts::AppHosts { id, port, host_ports, policy: policy.clone(), watcher };
        Ok(OpenApps::start(self.join(), meaning))
    }
}
