//! The leading master of Mesos as the one host of a service: `{"type": "mesos", "masters": ["http://m1:5050", ...]}`.
//!
//! Every master is asked for the leader (`/master/redirect`, or `/master/state` if that has none), and the majority
//! decides: a master that is cut off may report a former leader. Redirects are not followed, and only one with the status
//! of Mesos (307) names a leader: a proxy in front of a master may redirect to a login.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use futures_util::future::join_all;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::limits::{HTTP_RETRY_MAX, HTTP_RETRY_MIN};
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, HostRecord, SourceSpec};
use proxymgr_actors::port::OpenSource;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::http::{HttpClient, HttpOptions, Request, Servers};
use super::settings::{optional, required};

/// The default port of a master.
const PORT: u16 = 5050;

/// Options for Mesos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MesosOptions {
    /// TLS.
    pub http: HttpOptions,
    /// The polling interval.
    pub interval: Duration,
}

impl Default for MesosOptions {
    fn default() -> Self {
        Self { http: HttpOptions::default(), interval: Duration::from_secs(10) }
    }
}

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[DefinitionKey] =
    &[key("masters", "list of URLs", "All masters; the leading one is the host. Required.")];

/// Watches the masters that the definition names.
pub(super) fn open(
    spec: &SourceSpec,
    options: &MesosOptions,
    policy: &Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
) -> Result<MasterWatch, String> {
    const EXAMPLE: &str = "the masters, like [\"http://m1:5050\", \"http://m2:5050\"]";
    let texts: Vec<String> = match optional::<String>(spec, "masters") {
        Ok(Some(text)) => vec![text],
        _ => required(spec, "masters", EXAMPLE)?,
    };
    let masters = Servers::parse(texts.iter().map(String::as_str)).map_err(|error| format!("\"masters\": {error}"))?;
    let mut clients = Vec::new();
    for url in masters.urls() {
        let master: Servers = url.parse()?;
        let http = HttpOptions { product: "Mesos master", ..options.http.clone() };
        clients.push((url.clone(), HttpClient::new(master, http)));
    }
    let refresh = Rc::new(Notify::new());
    let masters =
        Masters { clients, interval: options.interval, policy: policy.clone(), watcher, leader: None, reported: None };
    Ok(MasterWatch { task: tokio::task::spawn_local(masters.run(refresh.clone())).abort_handle(), refresh })
}

/// A watch of masters, active until this is dropped.
pub(super) struct MasterWatch {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl OpenSource for MasterWatch {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for MasterWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Masters {
    clients: Vec<(Arc<str>, HttpClient)>,
    interval: Duration,
    policy: Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
    leader: Option<Leader>,
    reported: Option<Result<Vec<SeenHost>, String>>,
}

/// A host and a port.
pub(super) type Leader = (String, u16);

impl Masters {
    async fn run(mut self, refresh: Rc<Notify>) {
        let mut backoff = Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX);
        loop {
            let seen_at = Instant::now();
            let snapshot = self.snapshot().await;
            let pause = match &snapshot {
                Ok(_) => {
                    backoff.reset();
                    self.interval
                }
                Err(_) => backoff.pause().min(self.interval),
            };
            if self.reported.as_ref() != Some(&snapshot) {
                self.watcher.do_send(HostsSeen::watched(snapshot.clone(), seen_at));
                self.reported = Some(snapshot);
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = refresh.notified() => self.reported = None,
            }
        }
    }

    async fn snapshot(&mut self) -> Result<Vec<SeenHost>, String> {
        let asking = self.clients.iter().map(async |(_, client)| leader_according_to(client).await);
        let mut votes: BTreeMap<Leader, usize> = BTreeMap::new();
        let mut errors = Vec::new();
        for answer in join_all(asking).await {
            match answer {
                Ok(leader) => *votes.entry(leader).or_default() += 1,
                Err(error) => errors.push(error),
            }
        }
        let most = votes.values().max().copied().unwrap_or_default();
        let candidates = votes.into_iter().filter(|(_, count)| *count == most).map(|(leader, _)| leader);
        // In a tie, the previous leader stays.
        let candidates = Vec::from_iter(candidates);
        let previous = candidates.iter().find(|leader| Some(*leader) == self.leader.as_ref());
        let Some(leader) = previous.or(candidates.first()).cloned() else { return Err(errors.join("; ")) };
        self.leader = Some(leader.clone());
        let key = format!("{}:{}", leader.0, leader.1);
        let host = self.host(&leader).map_err(|error| format!("the leading master {key}: {error}"));
        Ok(vec![SeenHost::of_record(key, host)])
    }

    fn host(&self, (address, port): &Leader) -> Result<HostRecord, String> {
        host_record::from_json_value(&json!({"address": address, "port": port}), &self.policy)
    }
}

/// The leader, according to one master.
async fn leader_according_to(client: &HttpClient) -> Result<Leader, String> {
    let answer = client.send(&Request::get("/master/redirect")).await.map_err(|error| error.to_string())?;
    let location = answer.header("location").filter(|_| answer.status == 307);
    if let Some(leader) = location.and_then(authority) {
        return Ok(leader);
    }
    let answer = client.send(&Request::get("/master/state")).await.and_then(|answer| answer.success());
    let answer = answer.map_err(|error| error.to_string())?;
    let state: State = answer.json().await.map_err(|error| error.to_string())?;
    leader_in(state)
        .ok_or_else(|| format!("no quorum, the master reports no leader: Mesos master {}", client.servers()))
}

/// The leader in the state of a master.
pub(super) fn leader_in(state: State) -> Option<Leader> {
    let leader = state.leader_info.and_then(|info| Some((info.hostname?, info.port.unwrap_or(PORT))));
    // "master@10.0.0.1:5050"
    leader.or_else(|| authority(state.leader?.split_once('@')?.1))
}

#[derive(Deserialize)]
pub(super) struct State {
    #[serde(default)]
    leader: Option<String>,
    #[serde(default)]
    leader_info: Option<LeaderInfo>,
}

#[derive(Deserialize)]
struct LeaderInfo {
    #[serde(default)]
    hostname: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

/// The host and port of `//10.0.0.1:5050`, `http://m1:5050/path` or `m1:5050`.
pub(super) fn authority(location: &str) -> Option<Leader> {
    let rest = location.split_once("//").map_or(location, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_contain_a_host_and_a_port() {
        for (location, leader) in [
            ("//10.0.0.1:5050", Some(("10.0.0.1", 5050))),
            ("//10.0.0.1:5050/master/state", Some(("10.0.0.1", 5050))),
            ("http://m2.example:5051/", Some(("m2.example", 5051))),
            ("//[2001:db8::1]:5050", Some(("2001:db8::1", 5050))),
            ("//[2001:db8::1]", Some(("2001:db8::1", 5050))),
            ("m1", Some(("m1", 5050))),
            ("/master", None),
            ("//:5050", None),
            ("//m1:70000", None),
        ] {
            let expected = leader.map(|(host, port): (&str, u16)| (host.to_owned(), port));
            assert_eq!(authority(location), expected, "{location}");
        }
    }
}
