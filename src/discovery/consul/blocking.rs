//! Blocking queries: <https://developer.hashicorp.com/consul/api-docs/features/blocking>.
//!
//! Each response has an index; a query with that index is answered when there is a newer one, or when its time is
//! over. The requirements of that page are implemented here: an index that goes backwards is reset, an index of zero
//! is not sent, a response with the same index is not a change, and frequent changes are rate limited.
//!
//! An agent accepts 200 connections from one address (`limits.http_max_conns_per_client`) and silently closes further
//! ones. If more is watched, the queries take turns: each waits for a short time only. No change is missed between two
//! queries.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::limits::{
    CONSUL_ANSWERS_AT_ONCE_MAX, CONSUL_ANSWERS_PER_SECOND_MAX, CONSUL_TURN, CONSUL_WAIT, HTTP_ANSWER_TIMEOUT,
};
use tokio::time::{Instant, sleep_until};

use crate::discovery::http::{Clients, FullResponse, HttpClient, HttpError, HttpFailure, Request, Servers};

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
    pub(super) fn watch(&self, servers: Option<Servers>, path: String, query: Vec<(&'static str, String)>) -> Blocking {
        self.watching.set(self.watching.get() + 1);
        Blocking {
            client: self.clients.of(servers),
            connections_max: self.connections_max,
            watching: self.watching.clone(),
            path,
            query,
            index: 0,
            pace: Pace::new(),
        }
    }
}

/// A blocking query of one path.
pub(super) struct Blocking {
    client: Rc<HttpClient>,
    connections_max: usize,
    watching: Rc<Cell<usize>>,
    path: String,
    query: Vec<(&'static str, String)>,
    /// The index of the last response; 0 requests a response at once.
    index: u64,
    pace: Pace,
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.watching.set(self.watching.get() - 1);
    }
}

impl Blocking {
    /// The agents, for messages.
    pub(super) fn servers(&self) -> &Servers {
        self.client.servers()
    }

    /// The index of the last response, which grows with every change; 0 after it went backwards.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Requests the next response at once.
    pub(super) fn start_over(&mut self) {
        self.index = 0;
    }

    /// Waits for a changed response: 2xx, or 404 if the path does not exist. After a failure everything is read again:
    /// the index has no meaning for a server that lost its data.
    pub(super) async fn next(&mut self) -> Result<(FullResponse, Instant), HttpError> {
        loop {
            self.pace.wait().await;
            let before = self.index;
            self.index = 0;
            let answer = match self.client.send(&self.request(before)).await {
                Ok(answer) => answer,
                // For another server the index may be in the future, and it would wait for it: start from 0.
                Err(_) if before > 0 && self.servers().urls().len() > 1 => continue,
                Err(error) => return Err(error),
            };
            let seen_at = Instant::now();
            let answer = if answer.status == 404 { answer } else { answer.success()? };
            if answer.header("x-consul-knownleader") == Some("false") {
                let text = format!("the Consul agent {} has no leader; its data may be stale", self.servers());
                return Err(HttpError::new(HttpFailure::Status(500), text));
            }
            let index = answer.header("x-consul-index").and_then(|index| index.parse::<u64>().ok());
            let Some(index) = index else {
                let text =
                    format!("{} does not answer like Consul: the header X-Consul-Index is missing", self.servers());
                return Err(HttpError::new(HttpFailure::Malformed, text));
            };
            self.index = next_index(before, index);
            if self.index != before {
                return Ok((answer, seen_at));
            }
        }
    }

    fn request(&self, index: u64) -> Request {
        let request = Request::get(&*self.path);
        let request = self.query.iter().fold(request, |request, (name, value)| request.query(name, value));
        if index == 0 {
            return request;
        }
        let is_crowded = self.watching.get() > self.connections_max;
        let wait = if is_crowded { CONSUL_TURN } else { CONSUL_WAIT };
        let request = request.query("index", index.to_string()).query("wait", format!("{}s", wait.as_secs()));
        // Consul adds up to a sixteenth of the time as jitter.
        request.long(wait + wait / 16 + HTTP_ANSWER_TIMEOUT).for_one_server()
    }
}

/// The index of the next query.
fn next_index(before: u64, received: u64) -> u64 {
    match received {
        // It went backwards: the data was restored, or this is another server.
        lower if lower < before => 0,
        // Zero would always be answered at once.
        0 => 1,
        index => index,
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

    #[test]
    fn index_is_reset_when_it_goes_backwards() {
        assert_eq!(next_index(0, 12), 12);
        assert_eq!(next_index(12, 15), 15);
        assert_eq!(next_index(12, 12), 12);
        assert_eq!(next_index(12, 11), 0);
        assert_eq!(next_index(12, 0), 0);
        assert_eq!(next_index(0, 0), 1);
    }

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
