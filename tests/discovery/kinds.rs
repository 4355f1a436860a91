//! Kinds of sources behind one trait, which lets a test change the data of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use proxymgr::discovery::zookeeper::{Ensembles, ZookeeperOptions};
use proxymgr::discovery::{FileRoots, Sources};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::model::SourceSpec;
use proxymgr_actors::port::{HostSources, OpenSource};
use serde_json::{Value, json};
use slog::{Logger, o};
use zookeeper::Client;

use super::gate::Gate;
use super::inbox::Inbox;
use crate::support::consul::Consul;
use crate::support::dir::TestDir;
use crate::support::etcd::Etcd;
use crate::support::znodes;
use crate::support::zookeeper::Ensemble;

/// Creates a source spec like that of a definition.
pub fn spec(kind: &str, settings: Value) -> SourceSpec {
    SourceSpec::new(kind, settings.as_object().expect("an object").clone())
}

/// Sources without a default ensemble, with a short session time-out.
pub fn sources() -> (Sources, Ensembles) {
    sources_with(ZookeeperOptions { session_timeout: Duration::from_secs(4), ..ZookeeperOptions::default() })
}

/// Sources without a default ensemble.
pub fn sources_with(options: ZookeeperOptions) -> (Sources, Ensembles) {
    let log = Logger::root(slog::Discard, o!());
    let ensembles = Ensembles::new(options, &log);
    let roots = FileRoots::new(vec![std::env::temp_dir()]);
    (Sources::new(ensembles.clone(), None, OptionPolicy::default(), &log).with_file_roots(roots), ensembles)
}

/// Opens a source for a service named `web`.
pub fn open(sources: &Sources, spec: &SourceSpec, inbox: &Inbox<HostsSeen>) -> Result<Box<dyn OpenSource>, String> {
    let service = proxymgr_actors::model::ServiceName::new("web").expect("a good name");
    sources.open(&service, spec, inbox.recipient.clone())
}

/// A kind of source, with the server or files that it reads.
#[allow(async_fn_in_trait)]
pub trait Kind {
    /// Whether its hosts have weights.
    const HAS_WEIGHTS: bool = true;
    /// Starts the server or creates the files, with an empty list of hosts.
    async fn start(dir: &TestDir) -> Self;
    /// Returns what opens sources of this kind.
    fn sources(&self) -> Sources {
        sources().0
    }
    /// Returns the spec of this source.
    fn spec(&self) -> SourceSpec;
    /// Registers a host, or changes its weight.
    async fn put(&mut self, endpoint: &str, weight: Option<u16>);
    /// Registers an invalid entry.
    async fn put_bad(&mut self);
    /// Removes a host.
    async fn remove(&mut self, endpoint: &str);
    /// Returns the key under which a host is reported.
    fn key(endpoint: &str) -> String {
        endpoint.to_owned()
    }
    /// Returns the key under which [`Kind::put_bad`]'s entry is reported.
    fn bad_key() -> &'static str;
    /// Makes the list unreadable. Changes can still be made.
    async fn go_away(&mut self);
    /// Makes it readable again.
    async fn come_back(&mut self);
}

/// A kind of source that is read over HTTP.
pub trait OverHttp: Kind {
    /// Whether an answer shows how old it is: by an index or a revision.
    const SHOWS_AGE: bool = true;
    /// The port of the server.
    fn port(&self) -> u16;
    /// Returns what opens this source through a proxy, and its spec.
    fn through(&self, proxy: SocketAddr) -> (Sources, SourceSpec);
}

/// A kind of source in ZooKeeper.
pub trait InZookeeper: Kind {
    /// The gate in front of its member.
    fn gate(&self) -> &Gate;
}

/// A ZooKeeper member behind a gate, and a client that bypasses the gate.
struct Registry {
    _ensemble: Ensemble,
    client: Client,
    gate: Gate,
}

impl Registry {
    async fn start(dir: &TestDir) -> Self {
        let ensemble = Ensemble::start(dir, 1).await;
        let (_, port) = ensemble.connect_string().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
        let gate = Gate::to(port.parse().unwrap()).await;
        let client = ensemble.client().await;
        znodes::put_bytes(&client, "/chroot/services/web", b"").await;
        Self { _ensemble: ensemble, client, gate }
    }

    fn server(&self) -> String {
        format!("{}/chroot", self.gate.address())
    }
}

fn path(child: &str) -> String {
    format!("/chroot/services/web/{child}")
}

/// `zookeeper`.
pub struct InData(Registry);

impl Kind for InData {
    async fn start(dir: &TestDir) -> Self {
        Self(Registry::start(dir).await)
    }

    fn spec(&self) -> SourceSpec {
        spec("zookeeper", json!({"server": self.0.server(), "path": "/services/web"}))
    }

    async fn put(&mut self, endpoint: &str, weight: Option<u16>) {
        let (address, port) = endpoint.rsplit_once(':').unwrap();
        let mut record = json!({"address": address, "port": port.parse::<u16>().unwrap()});
        if let Some(weight) = weight {
            record["weight"] = weight.into();
        }
        znodes::put(&self.0.client, &path(&Self::key(endpoint)), &record).await;
    }

    async fn put_bad(&mut self) {
        znodes::put_bytes(&self.0.client, &path("bad"), b"{\"address\":").await;
    }

    async fn remove(&mut self, endpoint: &str) {
        znodes::delete(&self.0.client, &path(&Self::key(endpoint))).await;
    }

    fn key(endpoint: &str) -> String {
        format!("host-{endpoint}")
    }

    fn bad_key() -> &'static str {
        "bad"
    }

    async fn go_away(&mut self) {
        self.0.gate.shut();
    }

    async fn come_back(&mut self) {
        self.0.gate.open();
    }
}

impl InZookeeper for InData {
    fn gate(&self) -> &Gate {
        &self.0.gate
    }
}

/// `campanjazk`.
pub struct InName(Registry);

impl Kind for InName {
    async fn start(dir: &TestDir) -> Self {
        Self(Registry::start(dir).await)
    }

    fn spec(&self) -> SourceSpec {
        spec("campanjazk", json!({"server": self.0.server(), "path": "/services/web", "remote_port": 80}))
    }

    async fn put(&mut self, endpoint: &str, weight: Option<u16>) {
        let data = weight.map(|weight| json!({"weight": weight}).to_string()).unwrap_or_default();
        znodes::put_bytes(&self.0.client, &path(&Self::key(endpoint)), data.as_bytes()).await;
    }

    async fn put_bad(&mut self) {
        znodes::put_bytes(&self.0.client, &path("10.0.0.300"), b"").await;
    }

    async fn remove(&mut self, endpoint: &str) {
        znodes::delete(&self.0.client, &path(&Self::key(endpoint))).await;
    }

    fn key(endpoint: &str) -> String {
        endpoint.strip_suffix(":80").unwrap_or(endpoint).to_owned()
    }

    fn bad_key() -> &'static str {
        "10.0.0.300"
    }

    async fn go_away(&mut self) {
        self.0.gate.shut();
    }

    async fn come_back(&mut self) {
        self.0.gate.open();
    }
}

impl InZookeeper for InName {
    fn gate(&self) -> &Gate {
        &self.0.gate
    }
}

/// `consul`.
pub struct Instances {
    consul: Consul,
    gate: Gate,
}

impl Kind for Instances {
    async fn start(dir: &TestDir) -> Self {
        let consul = Consul::start(dir).await;
        let gate = Gate::to(consul.address().port()).await;
        Self { consul, gate }
    }

    fn spec(&self) -> SourceSpec {
        spec("consul", json!({"service": "web", "server": format!("http://{}", self.gate.address())}))
    }

    async fn put(&mut self, endpoint: &str, weight: Option<u16>) {
        let (address, port) = endpoint.rsplit_once(':').unwrap();
        let mut more = json!({"Address": address, "Port": port.parse::<u16>().unwrap()});
        match weight {
            None => {}
            // Consul itself refuses a weight of zero.
            Some(0) => more["Meta"] = json!({"proxymgr_weight": "0"}),
            Some(weight) => more["Weights"] = json!({"Passing": weight, "Warning": 1}),
        }
        self.consul.register("web", endpoint, more, &[("serf", "passing")]).await;
    }

    async fn put_bad(&mut self) {
        self.consul.register("web", "bad", json!({"Port": 0}), &[]).await;
    }

    async fn remove(&mut self, endpoint: &str) {
        self.consul.deregister(endpoint).await;
    }

    fn key(endpoint: &str) -> String {
        format!("n/{endpoint}")
    }

    fn bad_key() -> &'static str {
        "n/bad"
    }

    async fn go_away(&mut self) {
        self.gate.shut();
    }

    async fn come_back(&mut self) {
        self.gate.open();
    }
}

impl OverHttp for Instances {
    fn port(&self) -> u16 {
        self.consul.address().port()
    }

    fn through(&self, proxy: SocketAddr) -> (Sources, SourceSpec) {
        (self.sources(), spec("consul", json!({"service": "web", "server": format!("http://{proxy}")})))
    }
}

/// `etcd`.
pub struct Keys {
    etcd: Etcd,
    gate: Gate,
}

impl Kind for Keys {
    async fn start(dir: &TestDir) -> Self {
        let etcd = Etcd::start(dir, 1).await;
        let gate = Gate::to(etcd.address(0).port()).await;
        etcd.put("/services/web2/10.0.0.9:80", "10.0.0.9:80").await;
        Self { etcd, gate }
    }

    fn spec(&self) -> SourceSpec {
        spec("etcd", json!({"prefix": "/services/web", "server": format!("http://{}", self.gate.address())}))
    }

    async fn put(&mut self, endpoint: &str, weight: Option<u16>) {
        let (address, port) = endpoint.rsplit_once(':').unwrap();
        let value = match weight {
            // A value may have either of two forms.
            None => endpoint.to_owned(),
            Some(weight) => json!({"address": address, "port": port, "weight": weight}).to_string(),
        };
        self.etcd.put(&format!("/services/web/{endpoint}"), &value).await;
    }

    async fn put_bad(&mut self) {
        self.etcd.put("/services/web/bad", "").await;
    }

    async fn remove(&mut self, endpoint: &str) {
        self.etcd.delete(&format!("/services/web/{endpoint}")).await;
    }

    fn bad_key() -> &'static str {
        "bad"
    }

    async fn go_away(&mut self) {
        self.gate.shut();
    }

    async fn come_back(&mut self) {
        self.gate.open();
    }
}

impl OverHttp for Keys {
    fn port(&self) -> u16 {
        self.etcd.address(0).port()
    }

    fn through(&self, proxy: SocketAddr) -> (Sources, SourceSpec) {
        (self.sources(), spec("etcd", json!({"prefix": "/services/web", "server": format!("http://{proxy}")})))
    }
}

/// `file`.
pub struct FlatFile {
    directory: TestDir,
    path: PathBuf,
    lines: BTreeMap<String, String>,
    away: bool,
}

impl FlatFile {
    fn write(&self) {
        if self.away {
            return;
        }
        let text: String = self.lines.values().map(|line| format!("{line}\n")).collect();
        self.directory.write("web.hosts", format!("# the hosts of web\n{text}"));
    }
}

impl Kind for FlatFile {
    async fn start(dir: &TestDir) -> Self {
        let directory = dir.subdir("files");
        let kind = Self { path: directory.join("web.hosts"), directory, lines: BTreeMap::new(), away: false };
        kind.write();
        kind
    }

    fn spec(&self) -> SourceSpec {
        spec("file", json!({"path": self.path}))
    }

    async fn put(&mut self, endpoint: &str, weight: Option<u16>) {
        let line = weight.map_or(endpoint.to_owned(), |weight| format!("{endpoint} weight={weight}"));
        self.lines.insert(endpoint.to_owned(), line);
        self.write();
    }

    async fn put_bad(&mut self) {
        // The first in the order of keys, so that its number stays.
        self.lines.insert(String::new(), "10.0.0.300:80".to_owned());
        self.write();
    }

    async fn remove(&mut self, endpoint: &str) {
        self.lines.remove(endpoint);
        self.write();
    }

    fn bad_key() -> &'static str {
        "line 2"
    }

    async fn go_away(&mut self) {
        self.away = true;
        std::fs::remove_file(&self.path).unwrap();
    }

    async fn come_back(&mut self) {
        self.away = false;
        self.write();
    }
}
