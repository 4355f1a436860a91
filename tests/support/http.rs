//! A small HTTP/1.1 client without retries, redirects or a pool.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

/// Failure of a request. Load reports count failures by these texts.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection could not be established.
    #[error("connect: {0}")]
    Connect(io::Error),
    /// The connection failed while writing or reading.
    #[error("connection broke: {0}")]
    Broke(io::Error),
    /// The server closed the connection before its answer.
    #[error("closed without an answer")]
    ClosedWithoutAnswer,
    /// The server closed the connection within its answer.
    #[error("closed within the answer")]
    ClosedWithinAnswer,
    /// The answer is not HTTP/1.1.
    #[error("malformed answer: {0}")]
    Malformed(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields in their order, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The decoded body.
    pub body: Vec<u8>,
}

impl Response {
    /// A header field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the server announced to close the connection after this answer.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufStream<TcpStream>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, HttpError> {
        let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
        stream.set_nodelay(true).map_err(HttpError::Connect)?;
        Ok(Self { stream: BufStream::new(stream) })
    }

    /// Sends `GET path` and reads the answer; `keep_alive` requests to keep the connection open.
    pub async fn get(&mut self, path: &str, keep_alive: bool) -> Result<Response, HttpError> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n")).await
    }

    /// Sends a raw request and reads the answer.
    pub async fn exchange(&mut self, request: &str) -> Result<Response, HttpError> {
        self.stream.write_all(request.as_bytes()).await.map_err(HttpError::Broke)?;
        self.stream.flush().await.map_err(HttpError::Broke)?;
        self.read_response(request.starts_with("HEAD ")).await
    }

    async fn read_response(&mut self, without_body: bool) -> Result<Response, HttpError> {
        let status_line = match self.read_line().await {
            Err(HttpError::ClosedWithinAnswer) => return Err(HttpError::ClosedWithoutAnswer),
            line => line?,
        };
        let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status = status.ok_or_else(|| HttpError::Malformed(status_line.clone()))?;
        let mut response = Response { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| HttpError::Malformed(line.clone()))?;
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if !without_body && status != 204 && status != 304 {
            response.body = self.read_body(&response).await?;
        }
        Ok(response)
    }

    async fn read_body(&mut self, response: &Response) -> Result<Vec<u8>, HttpError> {
        if response.header("transfer-encoding") == Some("chunked") {
            return self.read_chunks().await;
        }
        if let Some(length) = response.header("content-length") {
            return self.read_exactly(length, 10).await;
        }
        let mut body = Vec::new();
        self.stream.read_to_end(&mut body).await.map_err(HttpError::Broke)?;
        Ok(body)
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        loop {
            let size = self.read_line().await?;
            let chunk = self.read_exactly(&size, 16).await?;
            // The end of the (empty) trailer.
            self.read_line().await?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend(chunk);
        }
    }

    async fn read_exactly(&mut self, length: &str, radix: u32) -> Result<Vec<u8>, HttpError> {
        let length =
            usize::from_str_radix(length, radix).map_err(|_| HttpError::Malformed(format!("length {length}")))?;
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await.map_err(closed_or_broke)?;
        Ok(bytes)
    }

    async fn read_line(&mut self) -> Result<String, HttpError> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.map_err(closed_or_broke)?;
        let complete = line.strip_suffix('\n').ok_or(HttpError::ClosedWithinAnswer)?;
        Ok(complete.trim_end_matches('\r').to_owned())
    }
}

fn closed_or_broke(error: io::Error) -> HttpError {
    if error.kind() == io::ErrorKind::UnexpectedEof { HttpError::ClosedWithinAnswer } else { HttpError::Broke(error) }
}

/// `GET` on a new connection, with a time-out of 5 s.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response, HttpError> {
    let limit = Duration::from_secs(5);
    let exchange = async { Connection::open(address).await?.get(path, false).await };
    tokio::time::timeout(limit, exchange).await.map_err(|_| HttpError::TimedOut(limit))?
}

/// Sends a request with a body on a new connection, with a time-out of 10 s. Headers are `name: value`.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Result<Response, HttpError> {
    request_bytes(address, method, path, headers, body.as_bytes()).await
}

/// The same with a body that need not be text.
pub async fn request_bytes(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Result<Response, HttpError> {
    let limit = Duration::from_secs(10);
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        connection.stream.write_all(&[head.as_bytes(), body].concat()).await.map_err(HttpError::Broke)?;
        connection.stream.flush().await.map_err(HttpError::Broke)?;
        connection.read_response(method == "HEAD").await
    };
    tokio::time::timeout(limit, exchange).await.map_err(|_| HttpError::TimedOut(limit))?
}
