//! Looks again when the answers expire, and tells the level.

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
use super::lookup::{LastKnown, LookedUp, Part, look_up};
use super::name_servers::NameServers;
use crate::discovery::backoff::Backoff;

/// Names that are being watched, until this is dropped.
pub(in crate::discovery) struct OpenNames {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl OpenNames {
    /// Watches, and looks again after as long as the answers live, within `pauses`.
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

impl OpenSource for OpenNames {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for OpenNames {
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
            let looks = self.backends.iter().map(|(backend, known)| async {
                let last = known.borrow().clone();
                look_up(backend, &last, &self.servers, &self.policy).await
            });
            let looked_up = join_all(looks).await;
            let pause = self.pause(&looked_up, &mut backoff);
            let level = self.level(looked_up);
            self.tell(level, seen_at);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.refresh.notified() => self.reported = None,
            }
        }
    }

    fn pause(&self, looked_up: &[LookedUp], backoff: &mut Backoff) -> Duration {
        let ttl = looked_up.iter().filter_map(|looked_up| looked_up.ttl).min();
        // Nobody said how long an answer holds where all backends are addresses: then it holds for good.
        let pause = ttl.unwrap_or(*self.pauses.end()).clamp(*self.pauses.start(), *self.pauses.end());
        if looked_up.iter().all(|looked_up| looked_up.failures.is_empty()) {
            backoff.reset();
            return pause;
        }
        backoff.pause().min(pause)
    }

    /// The list as it is now, or why it cannot be told: nothing was answered but that there is nothing.
    fn level(&self, looked_up: Vec<LookedUp>) -> Result<Vec<SeenHost>, String> {
        let mut seen = BTreeMap::new();
        let mut kept = Vec::new();
        let mut errors = BTreeSet::new();
        for ((_, known), LookedUp { mut hosts, failures, .. }) in self.backends.iter().zip(looked_up) {
            // Two names for one host are one entry; which is no matter where both say the same.
            for (_, entry) in &hosts {
                seen.entry(entry.key.clone()).or_insert_with(|| entry.host.clone());
            }
            let mut unknown: BTreeMap<Part, &String> =
                failures.iter().map(|(part, error)| (part.clone(), error)).collect();
            for (part, entry) in known.borrow().iter().filter(|(part, _)| failures.contains_key(part)) {
                unknown.remove(part);
                kept.push((entry.key.clone(), failures[part].clone()));
                hosts.push((part.clone(), entry.clone()));
            }
            kept.extend(unknown.into_iter().map(|(part, error)| (part, error.clone())));
            errors.extend(failures.into_values());
            known.replace(hosts);
        }
        if seen.is_empty() && !errors.is_empty() {
            return Err(Vec::from_iter(errors).join("; "));
        }
        // Its last good value stays: that is what an error means for an entry that was good before.
        for (key, error) in kept {
            seen.entry(key).or_insert(Err(error));
        }
        Ok(seen.into_iter().map(|(key, host)| SeenHost::of_record(key, host)).collect())
    }

    /// Tells what was not told yet.
    fn tell(&mut self, level: Result<Vec<SeenHost>, String>, seen_at: Instant) {
        if self.reported.as_ref() != Some(&level) {
            self.watcher.do_send(HostsSeen { result: level.clone(), seen_at });
            self.reported = Some(level);
        }
    }
}
