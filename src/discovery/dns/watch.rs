//! Repeats look-ups when their answers expire, and reports snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use futures_util::future::join_all;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::limits::{DNS_RETRY_MAX, DNS_RETRY_MIN};
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::port::OpenSource;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::backends::Backend;
use super::lookup::{LastKnown, LookUp, Part, look_up};
use super::name_servers::NameServers;
use crate::discovery::backoff::Backoff;

/// A watch of names, active until this is dropped.
pub(in crate::discovery) struct NameWatch {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl NameWatch {
    /// Starts to look up; repeats it after the TTL of the answers, within `pauses`.
    pub(super) fn start(
        backends: Vec<Backend>,
        known: Vec<Rc<LastKnown>>,
        servers: Rc<NameServers>,
        pauses: RangeInclusive<Duration>,
        policy: Arc<OptionPolicy>,
        watcher: Recipient<HostsSeen>,
    ) -> Self {
        let refresh = Rc::new(Notify::new());
        let backends = backends.into_iter().zip(known).collect();
        let names = Names { backends, servers, pauses, policy, watcher, refresh: refresh.clone(), reported: None };
        Self { task: tokio::task::spawn_local(names.run()).abort_handle(), refresh }
    }
}

impl OpenSource for NameWatch {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for NameWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Names {
    backends: Vec<(Backend, Rc<LastKnown>)>,
    servers: Rc<NameServers>,
    pauses: RangeInclusive<Duration>,
    policy: Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
    refresh: Rc<Notify>,
    reported: Option<Result<Vec<SeenHost>, String>>,
}

impl Names {
    async fn run(mut self) {
        let mut backoff = Backoff::new(DNS_RETRY_MIN, DNS_RETRY_MAX);
        loop {
            let seen_at = Instant::now();
            let look_ups =
                self.backends.iter().map(|(backend, known)| look_up(backend, known, &self.servers, &self.policy));
            let looked_up = join_all(look_ups).await;
            let pause = self.pause(&looked_up, &mut backoff);
            let snapshot = self.snapshot(looked_up);
            self.report(snapshot, seen_at);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.refresh.notified() => self.reported = None,
            }
        }
    }

    fn pause(&self, looked_up: &[LookUp], backoff: &mut Backoff) -> Duration {
        let ttl = looked_up.iter().filter_map(|looked_up| looked_up.ttl).min();
        // Without a TTL, all backends are addresses, which do not change.
        let pause = ttl.unwrap_or(*self.pauses.end()).clamp(*self.pauses.start(), *self.pauses.end());
        if looked_up.iter().all(|looked_up| looked_up.failures.is_empty()) {
            backoff.reset();
            return pause;
        }
        backoff.pause().min(pause)
    }

    /// The current hosts; an error if no query returned hosts and some failed.
    fn snapshot(&self, looked_up: Vec<LookUp>) -> Result<Vec<SeenHost>, String> {
        let mut seen = BTreeMap::new();
        let mut kept = Vec::new();
        let mut errors = BTreeSet::new();
        for ((_, known), LookUp { mut hosts, failures, rotating, .. }) in self.backends.iter().zip(looked_up) {
            // Two names of one host are one entry.
            for (_, entry) in &hosts {
                seen.entry(entry.key.clone()).or_insert_with(|| entry.host.clone());
            }
            let mut unknown: BTreeMap<Part, &String> =
                failures.iter().map(|(part, error)| (part.clone(), error)).collect();
            for (part, entry) in known.hosts.borrow().iter().filter(|(part, _)| failures.contains_key(part)) {
                unknown.remove(part);
                kept.push((entry.key.clone(), failures[part].clone()));
                hosts.push((part.clone(), entry.clone()));
            }
            kept.extend(rotating);
            kept.extend(unknown.into_iter().map(|(part, error)| (part, error.clone())));
            errors.extend(failures.into_values());
            known.hosts.replace(hosts);
        }
        if seen.is_empty() && !errors.is_empty() {
            return Err(Vec::from_iter(errors).join("; "));
        }
        // An error means that the last good host stays.
        for (key, error) in kept {
            seen.entry(key).or_insert(Err(error));
        }
        Ok(seen.into_iter().map(|(key, host)| SeenHost::of_record(key, host)).collect())
    }

    /// Reports a snapshot that differs from the last one.
    fn report(&mut self, snapshot: Result<Vec<SeenHost>, String>, seen_at: Instant) {
        if self.reported.as_ref() != Some(&snapshot) {
            self.watcher.do_send(HostsSeen::watched(snapshot.clone(), seen_at));
            self.reported = Some(snapshot);
        }
    }
}
