//! HTTP backends that answer with their own name.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

use super::background;
use super::dir::TestDir;

/// A server on a loopback port: each `200` carries its name as the body and in `x-backend`.
#[derive(Debug)]
pub struct Backend {
    name: String,
    address: SocketAddr,
    counters: Arc<Counters>,
    /// Owns the listener and all connections; ending it closes them.
    server: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    connections: AtomicU64,
    delay_us: AtomicU64,
}

impl Backend {
    /// Starts a backend on a free port.
    pub fn start(dir: &TestDir, name: &str) -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, dir.port())), name)
    }

    /// Starts a backend on an address (which the caller has reserved).
    pub fn start_on(address: SocketAddr, name: &str) -> Self {
        let mut backend = Self { name: name.to_owned(), address, counters: Arc::default(), server: None };
        backend.resume();
        backend
    }

    /// The name it answers with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Requests answered so far.
    pub fn requests(&self) -> u64 {
        self.counters.requests.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::SeqCst)
    }

    /// Waits this long before each answer from now on.
    pub fn set_delay(&self, delay: Duration) {
        let delay_us = u64::try_from(delay.as_micros()).expect("a test's delay is short");
        self.counters.delay_us.store(delay_us, Ordering::SeqCst);
    }

    /// Closes its listener and its connections; new connections are refused.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // The result is always "cancelled"; the sockets are closed now.
            let _ = server.await;
        }
    }

    /// Listens again on the same port after [`Backend::stop`].
    pub fn resume(&mut self) {
        assert!(self.server.is_none(), "backend {} runs already", self.name);
        let listener = std::net::TcpListener::bind(self.address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .unwrap_or_else(|error| panic!("backend {}: listen on {}: {error}", self.name, self.address));
        let entered = background::runtime().enter();
        let listener = TcpListener::from_std(listener).expect("register a listener that does not block");
        drop(entered);
        self.server = Some(background::spawn(accept(listener, self.name.clone(), Arc::clone(&self.counters))));
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

async fn accept(listener: TcpListener, name: String, counters: Arc<Counters>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                counters.connections.fetch_add(1, Ordering::SeqCst);
                let (name, counters) = (name.clone(), Arc::clone(&counters));
                // A client may disconnect in the middle of a request.
                connections.spawn(async move {
                    stream.set_nodelay(true).is_ok() && serve(stream, &name, &counters).await.is_ok()
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves a unix socket for the rest of the test; each `200` carries the name.
pub fn on_unix_socket(path: &Path, name: &'static str) {
    let entered = background::runtime().enter();
    let listener = UnixListener::bind(path).unwrap_or_else(|error| panic!("listen on {}: {error}", path.display()));
    drop(entered);
    background::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            background::spawn(async move { serve(stream, name, &Counters::default()).await.is_ok() });
        }
    });
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, name: &str, counters: &Counters) -> io::Result<()> {
    let mut stream = BufStream::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let delay_us = counters.delay_us.load(Ordering::SeqCst);
        if delay_us > 0 {
            tokio::time::sleep(Duration::from_micros(delay_us)).await;
        }
        counters.requests.fetch_add(1, Ordering::SeqCst);
        let (connection, length) = (if request.keep_alive { "keep-alive" } else { "close" }, name.len());
        let body = if request.is_head { "" } else { name };
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             X-Backend: {name}\r\nConnection: {connection}\r\n\r\n{body}"
        );
        stream.write_all(response.as_bytes()).await?;
        stream.flush().await?;
        if !request.keep_alive {
            break;
        }
    }
    stream.shutdown().await
}

struct Request {
    is_head: bool,
    keep_alive: bool,
}

/// Reads one request with its body; none if the client has closed the connection.
async fn read_request(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut request = Request { is_head: line.starts_with("HEAD "), keep_alive: line.trim_end().ends_with("HTTP/1.1") };
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(':').map(|(name, value)| (name, value.trim())) {
            Some(("connection", value)) => request.keep_alive = value == "keep-alive",
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            Some(_) => {}
            None => break,
        }
    }
    tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await?;
    Ok(Some(request))
}
