//! Clients that send requests all the time, and what became of their requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::RECOVERY;
use crate::support::background;
use crate::support::http::{Connection, HttpError};
use crate::support::https::Client;

/// Clients of each service.
const CLIENTS: usize = 3;

/// Where requests go, each on a new connection.
#[derive(Clone)]
pub enum Front {
    /// HTTP.
    Http(SocketAddr),
    /// HTTPS.
    Https(Client),
}

/// What becomes of the requests to one service.
#[derive(Default)]
pub struct Requests {
    /// The number of answers.
    pub answered: u64,
    /// The requests without an answer.
    pub failures: Vec<Failure>,
}

/// A request without an answer.
#[derive(Debug)]
pub struct Failure {
    began: Instant,
    ended: Instant,
    reason: String,
}

/// When a process was killed: from the signal until it was gone.
#[derive(Clone, Copy, Debug)]
pub struct Killed {
    /// Before the signal.
    pub from: Instant,
    /// After the end of the process.
    pub until: Instant,
}

/// The running clients of a service.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Requests>>,
}

impl Front {
    async fn request(&self) -> Result<(), String> {
        match self {
            Self::Http(address) => {
                let answer = async { Connection::open(*address).await?.get("/", false).await };
                let status = answer.await.map_err(|error: HttpError| error.to_string())?.status;
                if status == 200 { Ok(()) } else { Err(format!("status {status}")) }
            }
            Self::Https(client) => client.request().await.map(drop),
        }
    }

    async fn requests(self, stop: Arc<AtomicBool>) -> Requests {
        let mut requests = Requests::default();
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let answer = tokio::time::timeout(RECOVERY, self.request()).await;
            match answer.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(()) => requests.answered += 1,
                Err(reason) => requests.failures.push(Failure { began, ended: Instant::now(), reason }),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        requests
    }
}

impl Load {
    /// Starts the clients, on a separate runtime.
    pub fn start(front: &Front) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| background::spawn(front.clone().requests(Arc::clone(&stop)));
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, clients }
    }

    /// Waits until all clients have completed their request.
    pub async fn stop(self) -> Requests {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Requests::default();
        for client in self.clients {
            let requests = client.await.expect("a client does not panic");
            total.answered += requests.answered;
            total.failures.extend(requests.failures);
        }
        total
    }
}

impl Failure {
    /// Returns whether the connection was refused.
    pub fn was_refused(&self) -> bool {
        self.reason.contains("refused")
    }

    /// Returns whether the request was in progress while a process was killed.
    pub fn was_in_flight(&self, kills: &[Killed]) -> bool {
        kills.iter().any(|killed| self.began <= killed.until && self.ended >= killed.from)
    }
}
