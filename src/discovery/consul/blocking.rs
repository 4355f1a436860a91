//! Blocking queries: <https://developer.hashicorp.com/consul/api-docs/features/blocking>.
//!
//! Each response has an index; a query with that index is answered when there is a newer one, or when its time is
//! over. The requirements of that page are implemented here: an index that goes backwards is reset, an index of zero
//! is not sent, a response with the same index is not a change, and frequent changes are rate limited.
//!
//! A list that may be wrong is never returned. The next query then has no index, and reads everything again:
//!
//! - An index is stored only after its response was decoded. A response that was cut would otherwise hide its change
//!   until the next one.
//! - A restored snapshot ends waiting queries with their old index and the old data. A query with that index would then
//!   wait for changes that the restored data may not have.
//! - A response with an index below the highest one comes from a cache, a server that lags behind, or restored data. It
//!   is believed if it is repeated.
//! - From 1.11 on Consul reports that the ACLs of the token hide a part of a list.
//!
//! An agent accepts 200 connections from one address (`limits.http_max_conns_per_client`) and silently closes further
//! ones. If more is watched, the queries take turns: each waits for a short time only. No change is missed between two
//! queries.

use std::cell::Cell;
use std::mem::take;
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::limits::{
    CONSUL_ANSWERS_AT_ONCE_MAX, CONSUL_ANSWERS_PER_SECOND_MAX, CONSUL_TURN, CONSUL_WAIT, HTTP_ANSWER_TIMEOUT,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::discovery::backoff::Backoff;
use crate::discovery::http::{Clients, FullResponse, HttpClient, HttpError, HttpFailure, Request, Servers};

/// The pauses before reads without an index after responses that had no news before their time was over. Consul may
/// send some for other reasons than a restored snapshot.
const EARLY_PAUSE_MIN: Duration = Duration::from_millis(100);
const EARLY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The agents of one or more datacenters, with the number of queries at them.
pub(super) struct Agents {
    clients: Clients,
    connections_max: usize,
    watching: Rc<Cell<usize>>,
}

impl Agents {
    pub(super) fn new(clients: Clients, connections_max: usize) -> Self {
        Self { clients, connections_max, watching: Rc::default() }
    }

    /// A blocking query for `path` at these agents, or at those of the settings.
    /// `permissions` are those that its token needs, for messages.
    pub(super) fn watch(
        &self,
        servers: Option<Servers>,
        path: String,
        query: Vec<(&'static str, String)>,
        permissions: &'static str,
    ) -> Blocking {
        Blocking {
            client: self.clients.of(servers),
            connections_max: self.connections_max,
            waiting: Waiting::new(&self.watching),
            path,
            query,
            permissions,
            index: 0,
            highest: 0,
            early: Backoff::new(EARLY_PAUSE_MIN, EARLY_PAUSE_MAX),
            pace: Pace::new(),
        }
    }
}

/// A blocking query of one path.
pub(super) struct Blocking {
    client: Rc<HttpClient>,
    connections_max: usize,
    waiting: Waiting,
    path: String,
    query: Vec<(&'static str, String)>,
    permissions: &'static str,
    /// The index of the last response; 0 requests a response at once.
    index: u64,
    /// The highest index so far; lower after a lower one was repeated.
    highest: u64,
    early: Backoff,
    pace: Pace,
}

/// Counts a query that waits at the agents.
struct Waiting {
    queries: Rc<Cell<usize>>,
    is_counted: bool,
}

impl Waiting {
    fn new(queries: &Rc<Cell<usize>>) -> Self {
        queries.set(queries.get() + 1);
        Self { queries: queries.clone(), is_counted: true }
    }

    /// For a query that never waits.
    fn uncounted(&self) -> Self {
        Self { queries: self.queries.clone(), is_counted: false }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_counted {
            self.queries.set(self.queries.get() - 1);
        }
    }
}

impl Blocking {
    /// The agents, for messages.
    pub(super) fn servers(&self) -> &Servers {
        self.client.servers()
    }

    /// The index of the last response, which grows with every change unless data is restored.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// A query of the same path that has read nothing yet, for single responses at once.
    pub(super) fn another(&self) -> Self {
        Self {
            client: self.client.clone(),
            connections_max: self.connections_max,
            waiting: self.waiting.uncounted(),
            path: self.path.clone(),
            query: self.query.clone(),
            permissions: self.permissions,
            index: 0,
            highest: 0,
            early: Backoff::new(EARLY_PAUSE_MIN, EARLY_PAUSE_MAX),
            pace: Pace::new(),
        }
    }

    /// Requests the next response at once.
    pub(super) fn start_over(&mut self) {
        self.index = 0;
    }

    /// Waits for a changed response, and decodes it: 2xx, or 404 if the path does not exist. After a failure everything
    /// is read again: the index has no meaning for a server that lost its data.
    pub(super) async fn next<T>(
        &mut self,
        decode: impl AsyncFn(FullResponse) -> Result<T, HttpError>,
    ) -> Result<(T, Instant), HttpError> {
        loop {
            self.pace.wait().await;
            let before = take(&mut self.index);
            let asked_at = Instant::now();
            let answer = match self.client.send(&self.request(before)).await {
                Ok(answer) => answer,
                // For another server the index may be in the future, and it would wait for it: start from 0.
                Err(_) if before > 0 && self.servers().urls().len() > 1 => continue,
                Err(error) => return Err(error),
            };
            let seen_at = Instant::now();
            let answer = if answer.status == 404 { answer } else { answer.success()? };
            let index = self.checked_index(&answer)?;
            if before > 0 && index == before {
                if asked_at.elapsed() >= self.wait() {
                    self.early.reset();
                    self.index = before;
                } else {
                    sleep(self.early.pause()).await;
                }
            } else if index < self.highest {
                self.highest = index;
            } else {
                let decoded = decode(answer).await?;
                if asked_at.elapsed() > EARLY_PAUSE_MAX {
                    self.early.reset();
                }
                self.highest = index;
                self.index = index;
                return Ok((decoded, seen_at));
            }
        }
    }

    /// The index of a response that shows the whole list; an error if it may not.
    fn checked_index(&self, answer: &FullResponse) -> Result<u64, HttpError> {
        if answer.header("x-consul-knownleader") == Some("false") {
            return Err(
                answer.error(HttpFailure::Status(500), "no quorum, the agent knows no leader and may be outdated")
            );
        }
        if answer.header("x-consul-results-filtered-by-acls") == Some("true") {
            let cause = format!("access denied to a part of the list, the token needs {}", self.permissions);
            return Err(answer.error(HttpFailure::Status(403), cause));
        }
        let index = answer.header("x-consul-index").and_then(|index| index.parse::<u64>().ok());
        let other = || answer.error(HttpFailure::Malformed, "not Consul, the answer has no header X-Consul-Index");
        // Zero would always be answered at once.
        Ok(index.ok_or_else(other)?.max(1))
    }

    /// Whether the token may read this path. Consul omits from lists what a token may not read, and refuses to read it
    /// alone.
    pub(super) async fn check_access(&self, path: String) -> Result<(), HttpError> {
        let request = self.query.iter().filter(|(name, _)| *name == "dc");
        let request = request.fold(Request::get(path), |request, (name, value)| request.query(name, value));
        let answer = self.client.send(&request).await?;
        if answer.status != 403 {
            return Ok(());
        }
        let cause = format!("access denied to a part of the list, the token needs {}", self.permissions);
        Err(answer.error(HttpFailure::Status(403), cause))
    }

    /// The time that a query waits for a change.
    fn wait(&self) -> Duration {
        let is_crowded = self.waiting.queries.get() > self.connections_max;
        if is_crowded { CONSUL_TURN } else { CONSUL_WAIT }
    }

    fn request(&self, index: u64) -> Request {
        let request = Request::get(&*self.path);
        let request = self.query.iter().fold(request, |request, (name, value)| request.query(name, value));
        if index == 0 {
            return request;
        }
        let wait = self.wait();
        let request = request.query("index", index.to_string()).query("wait", format!("{}s", wait.as_secs()));
        // Consul adds up to a sixteenth of the time as jitter.
        request.long(wait + wait / 16 + HTTP_ANSWER_TIMEOUT).for_one_server()
    }
}

/// A token bucket for responses: a burst at once, then a few per second.
struct Pace {
    /// When the bucket was or will be full.
    full_at: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { full_at: Instant::now() }
    }

    async fn wait(&mut self) {
        let each = Duration::from_secs(1) / CONSUL_ANSWERS_PER_SECOND_MAX;
        let ahead = each * CONSUL_ANSWERS_AT_ONCE_MAX;
        self.full_at = self.full_at.max(Instant::now()) + each;
        if let Some(until) = self.full_at.checked_sub(ahead) {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bursts_pass_and_streams_are_limited() {
        let mut pace = Pace::new();
        let start = Instant::now();
        for _ in 0..CONSUL_ANSWERS_AT_ONCE_MAX {
            pace.wait().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..3 * CONSUL_ANSWERS_PER_SECOND_MAX {
            pace.wait().await;
        }
        let elapsed = start.elapsed().as_secs_f64();
        assert!((2.9..3.2).contains(&elapsed), "{elapsed}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        for _ in 0..CONSUL_ANSWERS_AT_ONCE_MAX {
            pace.wait().await;
        }
        assert_eq!(later.elapsed(), Duration::ZERO);
    }
}
