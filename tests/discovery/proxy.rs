//! An HTTP proxy in front of a server, which cuts, delays, replaces or repeats its answers.
//!
//! Each request is sent to the server on a connection of its own. A fault that is set while an answer is awaited, or
//! while a stream is open, applies to what the server sends from then on.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// A fault of the answers.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// None.
    #[default]
    None,
    /// The connection is closed after so many bytes, the header included.
    Cut(usize),
    /// The answer does not announce its length, and the connection is closed after so many bytes of the body.
    CutUnframed(usize),
    /// Nothing follows after so many bytes; the connection stays open.
    Stall(usize),
    /// This whole answer in place of the server's.
    Send(String),
    /// One more line in the header.
    Header(&'static str),
    /// The recorded answer to the same request, in place of the current one.
    Replay,
    /// What the server sends on an open stream is lost.
    Lose,
    /// What the server sends on an open stream arrives, and what it sent before arrives once more.
    Repeat,
}

#[derive(Default)]
struct State {
    fault: Fault,
    /// Whether the fault ends with the first answer that it applied to.
    is_once: bool,
    recorded: BTreeMap<String, Vec<u8>>,
    is_recording: bool,
}

/// A proxy on a free loopback port.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Starts a proxy of this port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind the proxy");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, port, shared.clone()));
            }
        });
        Self { address, state }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets a fault until it is replaced.
    pub fn set(&self, fault: Fault) {
        self.change(|state| (state.fault, state.is_once) = (fault, false));
    }

    /// Sets a fault for one answer.
    pub fn set_once(&self, fault: Fault) {
        self.change(|state| (state.fault, state.is_once) = (fault, true));
    }

    /// Ends the fault.
    pub fn heal(&self) {
        self.set(Fault::None);
    }

    /// Records the next answer to each request, except streams and probes.
    pub fn record(&self) {
        self.change(|state| {
            state.recorded.clear();
            state.is_recording = true;
        });
    }

    /// Waits for a recorded answer, ends the recording, and returns the size of the largest one.
    pub async fn recorded(&self) -> usize {
        loop {
            let size = self.change(|state| {
                let size = state.recorded.values().map(Vec::len).max();
                state.is_recording &= size.is_none();
                size
            });
            match size {
                Some(size) => return size,
                None => sleep(Duration::from_millis(3)).await,
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no holder of this lock panics"))
    }
}

/// The fault for the next bytes. A fault for one answer is spent unless it waits for something else.
fn take_fault(state: &Mutex<State>, is_stream: bool) -> Fault {
    let mut state = state.lock().expect("no holder of this lock panics");
    let applies = match state.fault {
        Fault::None => false,
        Fault::Lose | Fault::Repeat => is_stream,
        Fault::CutUnframed(_) | Fault::Send(_) | Fault::Header(_) | Fault::Replay => !is_stream,
        Fault::Cut(_) | Fault::Stall(_) => true,
    };
    if !applies {
        return Fault::None;
    }
    if state.is_once { std::mem::take(&mut state.fault) } else { state.fault.clone() }
}

async fn serve(client: TcpStream, port: u16, state: Arc<Mutex<State>>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    let mut body = vec![0; length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)];
    if client.read_exact(&mut body).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let request = head.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
    if server.write_all(request.as_bytes()).await.is_err() || server.write_all(&body).await.is_err() {
        return;
    }
    let key = key(&head, &body);
    let mut client = client.into_inner();
    // The source may give up the request.
    let (mut from_client, mut to_client) = client.split();
    let mut ignored = [0; 16];
    tokio::select! {
        () = answer(&mut server, &mut to_client, &key, &state) => {}
        _ = from_client.read(&mut ignored) => {}
    }
}

/// The request without what differs each time.
fn key(head: &str, body: &[u8]) -> String {
    let line = head.lines().next().unwrap_or_default();
    let target = line.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter(|part| !part.starts_with("index=") && !part.starts_with("wait="));
    format!("{path}?{} {}", Vec::from_iter(query).join("&"), String::from_utf8_lossy(body))
}

async fn answer(
    server: &mut (impl AsyncReadExt + Unpin),
    client: &mut (impl AsyncWriteExt + Unpin),
    key: &str,
    state: &Mutex<State>,
) {
    let is_stream = ["/v3/watch", "/v2/events"].iter().any(|path| key.starts_with(path));
    let mut buffer = vec![0; 64 * 1024];
    let Some(first) = read(server, &mut buffer).await else { return };
    let mut fault = take_fault(state, false);
    if is_stream && matches!(fault, Fault::CutUnframed(_) | Fault::Replay) {
        fault = Fault::None;
    }
    match fault {
        Fault::Send(text) => drop(client.write_all(text.as_bytes()).await),
        Fault::Header(line) => {
            let text = String::from_utf8_lossy(&first).replacen("\r\n", &format!("\r\n{line}\r\n"), 1);
            if client.write_all(text.as_bytes()).await.is_ok() {
                relay(server, client, Vec::new(), is_stream, state).await;
            }
        }
        Fault::CutUnframed(length) => {
            let whole = rest(server, first, &mut buffer).await;
            let (head, body) = unframed(&whole);
            let kept = &body[..body.len().min(length)];
            let _ = client.write_all(&[head.as_bytes(), kept].concat()).await;
        }
        Fault::Replay => {
            let recorded = state.lock().expect("no holder of this lock panics").recorded.get(key).cloned();
            let whole = match recorded {
                Some(recorded) => recorded,
                None => rest(server, first, &mut buffer).await,
            };
            let _ = client.write_all(&whole).await;
        }
        Fault::Cut(length) => drop(client.write_all(&first[..first.len().min(length)]).await),
        Fault::Stall(length) => stall(client, &first[..first.len().min(length)]).await,
        Fault::None | Fault::Lose | Fault::Repeat => {
            let is_probe = ["/ping", "/version", "/v1/status"].iter().any(|path| key.starts_with(path));
            if is_stream || is_probe || !state.lock().expect("no holder of this lock panics").is_recording {
                return relay(server, client, first, is_stream, state).await;
            }
            // Recorded before it is sent: the source may close the connection as soon as it has the answer.
            let whole = rest(server, first, &mut buffer).await;
            state.lock().expect("no holder of this lock panics").recorded.insert(key.to_owned(), whole.clone());
            let _ = client.write_all(&whole).await;
        }
    }
}

/// Relays the rest of an answer.
async fn relay(
    server: &mut (impl AsyncReadExt + Unpin),
    client: &mut (impl AsyncWriteExt + Unpin),
    first: Vec<u8>,
    is_stream: bool,
    state: &Mutex<State>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut last = Vec::new();
    if client.write_all(&first).await.is_err() {
        return;
    }
    while let Some(chunk) = read(server, &mut buffer).await {
        let fault = if is_stream { take_fault(state, true) } else { Fault::None };
        let sent = match fault {
            Fault::Cut(length) => {
                let _ = client.write_all(&chunk[..chunk.len().min(length)]).await;
                return;
            }
            Fault::Stall(length) => {
                stall(client, &chunk[..chunk.len().min(length)]).await;
                return;
            }
            Fault::Lose => Vec::new(),
            Fault::Repeat => [chunk.clone(), last].concat(),
            _ => chunk.clone(),
        };
        if client.write_all(&sent).await.is_err() {
            return;
        }
        last = chunk;
    }
}

async fn stall(client: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    if client.write_all(bytes).await.is_ok() {
        sleep(Duration::from_secs(600)).await;
    }
}

async fn read(server: &mut (impl AsyncReadExt + Unpin), buffer: &mut [u8]) -> Option<Vec<u8>> {
    match server.read(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(length) => Some(buffer[..length].to_vec()),
    }
}

async fn rest(server: &mut (impl AsyncReadExt + Unpin), first: Vec<u8>, buffer: &mut [u8]) -> Vec<u8> {
    let mut whole = first;
    while let Some(chunk) = read(server, buffer).await {
        whole.extend(chunk);
    }
    whole
}

/// The header without the length of the body, and the body without chunks.
fn unframed(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole header");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let is = |line: &str, name: &str| line.to_ascii_lowercase().starts_with(name);
    let is_chunked = head.lines().any(|line| is(line, "transfer-encoding:"));
    let kept = head.lines().filter(|line| !is(line, "transfer-encoding:") && !is(line, "content-length:"));
    let head = format!("{}\r\n\r\n", Vec::from_iter(kept).join("\r\n"));
    let mut rest = &answer[end + 4..];
    if !is_chunked {
        return (head, rest.to_vec());
    }
    let mut body = Vec::new();
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..at]), 16).expect("the size of a chunk");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 2 + size + 2..];
    }
    (head, body)
}
