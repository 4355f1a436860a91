//! An HTTP server with scripted answers: valid ones, none, or garbage.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

/// Reaction of the server to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer: status line, headers (each with its line end), body.
    Send(&'static str, String, String),
    /// A header, followed by the data of [`ScriptedServer::push`] until the script changes; without a length, like Jetty,
    /// or in chunks.
    Stream {
        /// Whether in chunks.
        is_chunked: bool,
    },
    /// Reads the request and sends nothing.
    Stall,
    /// Closes the connection.
    Close,
}

impl Reply {
    /// `200 OK` with this body.
    pub fn ok(body: impl Into<String>) -> Self {
        Self::Send("200 OK", String::new(), body.into())
    }

    /// This status without a body.
    pub fn status(line: &'static str) -> Self {
        Self::Send(line, String::new(), String::new())
    }

    /// A redirect to this URL.
    pub fn redirect(location: &str) -> Self {
        Self::Send("307 Temporary Redirect", format!("Location: {location}\r\n"), String::new())
    }
}

/// The answer to a request, by its path with the query.
pub type Script = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// A server on a free loopback port.
pub struct ScriptedServer {
    address: SocketAddr,
    script: watch::Sender<Script>,
    pushed: broadcast::Sender<String>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ScriptedServer {
    /// Starts a server.
    pub async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind the scripted server");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (script, scripts) = watch::channel::<Script>(Arc::new(script));
        let (pushed, _) = broadcast::channel(1_000);
        let heads = Arc::default();
        let server = Self { address, script, pushed: pushed.clone(), heads: Arc::clone(&heads) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, scripts.clone(), pushed.clone(), heads.clone()));
            }
        });
        server
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the script; stalled and streaming connections are closed.
    pub fn follow(&self, script: impl Fn(&str) -> Reply + Send + Sync + 'static) {
        self.script.send_replace(Arc::new(script));
    }

    /// Sends data on all streams.
    pub fn push(&self, text: &str) {
        // There may be no streams.
        let _ = self.pushed.send(text.to_owned());
    }

    /// Number of open streams.
    pub fn streams(&self) -> usize {
        self.pushed.receiver_count()
    }

    /// Headers of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no holder of this lock panics").clone()
    }
}

async fn serve(
    stream: TcpStream,
    mut script: watch::Receiver<Script>,
    pushed: broadcast::Sender<String>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let length =
            head.to_ascii_lowercase().split_once("content-length:").map(|(_, rest)| rest.trim_start().to_owned());
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok()).unwrap_or(0);
        if stream.read_exact(&mut vec![0; length]).await.is_err() {
            return;
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let closes = head.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
        heads.lock().expect("no holder of this lock panics").push(head);
        let reply = script.borrow_and_update()(&path);
        let text = match reply {
            Reply::Send(status, headers, body) => {
                format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
            }
            Reply::Stream { is_chunked } => {
                let how = if is_chunked { "transfer-encoding: chunked" } else { "connection: close" };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{how}\r\n\r\n");
                let mut receiver = pushed.subscribe();
                if stream.write_all(head.as_bytes()).await.is_err() {
                    return;
                }
                loop {
                    tokio::select! {
                        _ = script.changed() => return,
                        text = receiver.recv() => {
                            let Ok(mut text) = text else { return };
                            if is_chunked {
                                text = format!("{:x}\r\n{text}\r\n", text.len());
                            }
                            if stream.write_all(text.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
            Reply::Stall => {
                let _ = script.changed().await;
                return;
            }
            Reply::Close => return,
        };
        if stream.write_all(text.as_bytes()).await.is_err() || closes {
            return;
        }
    }
}
