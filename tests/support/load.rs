//! A load generator that counts every failure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::background;
use super::http::{Connection, HttpError, Response};

/// Description of a load.
///
/// Strict: each request is sent once. On a kept-alive connection that the server has closed, the next
/// request fails, unless the server *announced* the close.
#[derive(Clone, Debug)]
pub struct Load {
    address: SocketAddr,
    path: String,
    clients: usize,
    keep_alive: bool,
    pause: Duration,
    timeout: Duration,
}

impl Load {
    /// One client that requests `/`, with a new connection for each request.
    pub fn new(address: SocketAddr) -> Self {
        let timeout = Duration::from_secs(5);
        Self { address, path: "/".into(), clients: 1, keep_alive: false, pause: Duration::ZERO, timeout }
    }

    /// Number of clients, each with one request in flight.
    pub fn clients(self, clients: usize) -> Self {
        Self { clients, ..self }
    }

    /// One connection per client instead of one per request.
    pub fn keep_alive(self, keep_alive: bool) -> Self {
        Self { keep_alive, ..self }
    }

    /// Path of the requests.
    pub fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// Pause of each client between two requests; none by default.
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Time-out of a request; 5 s by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Starts all clients on a separate runtime.
    pub fn start(self) -> RunningLoad {
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let clients = (0..self.clients)
            .map(|_| {
                let client = Client { load: self.clone(), start, stop: Arc::clone(&stop), connection: None };
                background::spawn(client.run())
            })
            .collect();
        RunningLoad { start, stop, clients }
    }

    /// Runs for a while and reports.
    pub async fn run_for(self, duration: Duration) -> LoadReport {
        let running = self.start();
        tokio::time::sleep(duration).await;
        running.stop().await
    }
}

/// Running load, until it is stopped or dropped.
#[derive(Debug)]
pub struct RunningLoad {
    start: Instant,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<LoadReport>>,
}

impl RunningLoad {
    /// Waits until all clients have completed their request, and reports.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.store(true, Ordering::SeqCst);
        let mut total = LoadReport::default();
        for client in std::mem::take(&mut self.clients) {
            total.add(client.await.expect("a client of the load does not panic"));
        }
        total.elapsed = self.start.elapsed();
        total.latencies_us.sort_unstable();
        total
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Result of a load.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Requests answered with 200.
    pub ok: u64,
    /// Failed requests by reason.
    pub failures: BTreeMap<String, u64>,
    /// First failures of each client: time since the start, and reason.
    pub first_failures: Vec<(Duration, String)>,
    /// Answers by their `x-backend` header.
    pub answered_by: BTreeMap<String, u64>,
    /// Time from the start until the last client ended.
    pub elapsed: Duration,
    latencies_us: Vec<u32>,
}

impl LoadReport {
    /// Number of failed requests.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Latency at this quantile (0.0 to 1.0) of the answered requests.
    pub fn latency(&self, share: f64) -> Duration {
        let Some(last) = self.latencies_us.len().checked_sub(1) else { return Duration::ZERO };
        let rank = (last as f64 * share).round() as usize;
        Duration::from_micros(u64::from(self.latencies_us[rank.min(last)]))
    }

    /// Answered requests per second.
    pub fn rate(&self) -> f64 {
        self.ok as f64 / self.elapsed.as_secs_f64()
    }

    /// Panics if any request failed, or none was sent.
    #[track_caller]
    pub fn assert_nothing_failed(&self) {
        assert!(self.ok > 0 && self.failed() == 0, "{self}\nfirst failures: {:#?}", self.first_failures);
    }

    fn count(&mut self, response: &Response, latency: Duration) {
        self.ok += 1;
        self.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        if let Some(backend) = response.header("x-backend") {
            match self.answered_by.get_mut(backend) {
                Some(count) => *count += 1,
                None => drop(self.answered_by.insert(backend.to_owned(), 1)),
            }
        }
    }

    fn count_failure(&mut self, at: Duration, reason: String) {
        const KEPT: usize = 10;
        if self.first_failures.len() < KEPT {
            self.first_failures.push((at, reason.clone()));
        }
        *self.failures.entry(reason).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.latencies_us.extend(other.latencies_us);
        self.first_failures.extend(other.first_failures);
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        for (backend, count) in other.answered_by {
            *self.answered_by.entry(backend).or_default() += count;
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, max) = (self.latency(0.5), self.latency(0.99), self.latency(1.0));
        write!(f, "{} ok, {} failed in {:.1?}", self.ok, self.failed(), self.elapsed)?;
        write!(f, " ({:.0} a second; p50 {p50:?}, p99 {p99:?}, max {max:?})", self.rate())?;
        self.failures.iter().try_for_each(|(reason, count)| write!(f, "\n  {count} x {reason}"))
    }
}

struct Client {
    load: Load,
    start: Instant,
    stop: Arc<AtomicBool>,
    connection: Option<Connection>,
}

impl Client {
    async fn run(mut self) -> LoadReport {
        let mut report = LoadReport::default();
        while !self.stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            match self.request().await {
                Ok(response) if response.status == 200 => report.count(&response, sent.elapsed()),
                Ok(response) => report.count_failure(self.start.elapsed(), format!("status {}", response.status)),
                Err(error) => {
                    report.count_failure(self.start.elapsed(), error.to_string());
                    // A port that refuses connections would otherwise keep a core busy.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            if !self.load.pause.is_zero() {
                tokio::time::sleep(self.load.pause).await;
            }
        }
        report
    }

    async fn request(&mut self) -> Result<Response, HttpError> {
        let limit = self.load.timeout;
        // Taken out, so that a failure closes the connection.
        let connection = self.connection.take();
        let exchange = async {
            let mut connection = match connection {
                Some(kept) => kept,
                None => Connection::open(self.load.address).await?,
            };
            let response = connection.get(&self.load.path, self.load.keep_alive).await?;
            Ok((connection, response))
        };
        let (connection, response) =
            tokio::time::timeout(limit, exchange).await.unwrap_or(Err(HttpError::TimedOut(limit)))?;
        if self.load.keep_alive && !response.closes() {
            self.connection = Some(connection);
        }
        Ok(response)
    }
}
