//! Blocking queries: <https://developer.hashicorp.com/consul/api-docs/features/blocking>.
//!
//! Each answer bears an index; a query that names it is answered when there is a newer one, or when its time is over.
//! What the page demands of a client is here: an index that goes backwards starts anew, one of zero is not sent, an
//! answer without news is not news, and what changes all the time is not asked for all the time.
//!
//! An agent takes 200 connections of one address (`limits.http_max_conns_per_client`) and closes each further one
//! without a word. Where more is watched than may wait at once, the queries take turns: each waits a short time only,
//! and what changed meanwhile is told at its next turn, for nothing is missed between two queries.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::limits::{
    CONSUL_ANSWERS_AT_ONCE_MAX, CONSUL_ANSWERS_PER_SECOND_MAX, CONSUL_TURN, CONSUL_WAIT, HTTP_ANSWER_TIMEOUT,
};
use tokio::time::{Instant, sleep_until};

use crate::discovery::http::{Answer, Clients, HttpClient, HttpError, HttpFailure, Request, Servers};

/// The agents of one or more datacenters, with the number of those who wait at them.
pub(super) struct Agents {
    clients: Clients,
    connections_max: usize,
    watching: Rc<Cell<usize>>,
}

impl Agents {
    pub(super) fn new(clients: Clients, connections_max: usize) -> Self {
        Self { clients, connections_max, watching: Rc::default() }
    }

    /// Prepares to ask for `path` at these agents, or at those of the settings.
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

/// One path that is asked again and again.
pub(super) struct Blocking {
    client: Rc<HttpClient>,
    connections_max: usize,
    watching: Rc<Cell<usize>>,
    path: String,
    query: Vec<(&'static str, String)>,
    /// That of the last answer; 0 asks for an answer at once.
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

    /// The index of the last answer, which grows with every change; 0 where it went backwards.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Has the next answer come at once.
    pub(super) fn start_over(&mut self) {
        self.index = 0;
    }

    /// Waits for an answer with news: 2xx, or 404 where nothing is at the path. After a failure everything is read anew:
    /// an index means nothing to a server that lost its data.
    pub(super) async fn next(&mut self) -> Result<(Answer, Instant), HttpError> {
        loop {
            self.pace.wait().await;
            let before = self.index;
            self.index = 0;
            let answer = match self.client.send(&self.request(before)).await {
                Ok(answer) => answer,
                // To another server the index may be one that is yet to come, for which it would wait: ask it anew.
                Err(_) if before > 0 && self.servers().urls().len() > 1 => continue,
                Err(error) => return Err(error),
            };
            let seen_at = Instant::now();
            let answer = if answer.status == 404 { answer } else { answer.success()? };
            if answer.header("x-consul-knownleader") == Some("false") {
                let text = format!("the Consul agent {} has lost its leader; what it says may be old", self.servers());
                return Err(HttpError::new(HttpFailure::Status(500), text));
            }
            let index = answer.header("x-consul-index").and_then(|index| index.parse::<u64>().ok());
            let Some(index) = index else {
                let text = format!("{} does not answer as Consul does: no X-Consul-Index", self.servers());
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
        // Consul adds up to a sixteenth of the time, so that not all come back at once.
        request.long(wait + wait / 16 + HTTP_ANSWER_TIMEOUT).for_one_server()
    }
}

/// What to ask with after an answer.
fn next_index(before: u64, answered: u64) -> u64 {
    match answered {
        // It went backwards: a server was restored, or is another one.
        lower if lower < before => 0,
        // Zero would be answered at once, again and again.
        0 => 1,
        index => index,
    }
}

/// Lets some answers through at once, and no more than a few each second in the long run.
struct Pace {
    /// When the allowance was or will be full.
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
    fn an_index_that_goes_backwards_starts_anew_and_zero_is_never_asked_with() {
        assert_eq!(next_index(0, 12), 12);
        assert_eq!(next_index(12, 15), 15);
        assert_eq!(next_index(12, 12), 12);
        assert_eq!(next_index(12, 11), 0);
        assert_eq!(next_index(12, 0), 0);
        assert_eq!(next_index(0, 0), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_a_stream_is_slowed_down() {
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
