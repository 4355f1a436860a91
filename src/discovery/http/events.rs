//! Streams of events (`text/event-stream`), read without the client's library: to it, an answer that gives no length has no
//! body, whereas the event streams of Jetty, which is in Marathon, last until the connection is closed.

use std::rc::Rc;
use std::sync::Arc;

use awc::http::Uri;
use proxymgr_actors::limits::{HTTP_ANSWER_BYTES_MAX, HTTP_CONNECT_TIMEOUT};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::{lost, status_failure};
use super::credentials::{Proof, without_secret};
use super::error::{Failure, HttpError, HttpFailure, excerpt};
use super::pulse::Pulse;
use super::request::Request;

/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 65_536;

trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

/// A stream of events. Dropping it closes the connection.
pub struct Events {
    pub(super) stream: Stream,
    pub(super) pulse: Option<Rc<Pulse>>,
    pub(super) asked: Rc<str>,
    pub(super) proof: Option<Proof>,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Events {
    /// The next line, without its end; none after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        let pulse = self.pulse.clone();
        let line = tokio::select! {
            line = self.stream.line() => line,
            failure = lost(pulse) => Err(failure),
        };
        line.map_err(|failure| {
            let text = format!("{}: {failure}", self.asked);
            HttpError::new(failure.kind, without_secret(self.proof.as_ref(), text))
        })
    }
}

/// A connection on which an answer comes.
pub(super) struct Stream {
    connection: Box<dyn Connection>,
    /// None where the body lasts until the end of the connection.
    chunk: Option<Chunk>,
    /// As it came, not yet looked at.
    raw: Vec<u8>,
    /// Of the body, not yet given away.
    body: Vec<u8>,
}

/// Where in a chunked body we are (RFC 9112, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size,
    Data(usize),
    End,
    Last,
}

impl Stream {
    /// Asks one server, and waits for the head of its answer, which must be 200.
    pub(super) async fn open(
        url: &Uri,
        request: &Request,
        proof: Option<&Proof>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Failure> {
        let connection = timeout(HTTP_CONNECT_TIMEOUT, connect(url, tls)).await;
        let connection = connection.unwrap_or_else(|_| Err(Failure::timed_out(HTTP_CONNECT_TIMEOUT.as_secs_f64())))?;
        let mut stream = Self { connection, chunk: None, raw: Vec::new(), body: Vec::new() };
        stream.connection.write_all(&head(url, request, proof)).await.map_err(broken)?;
        stream.connection.flush().await.map_err(broken)?;
        let head = stream.head().await?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok());
        let status: u16 = status.ok_or_else(|| malformed("what answers does not speak HTTP"))?;
        let headers = Vec::from_iter(lines.filter_map(|line| line.split_once(':')));
        let header = |name: &str| {
            let found = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        };
        if status != 200 {
            return Err(status_failure(status, header("location"), &stream.raw));
        }
        let kind = header("content-type").unwrap_or("no content type");
        if !kind.starts_with("text/event-stream") {
            return Err(malformed(&format!("the answer is no event stream, but {}", excerpt(kind.as_bytes()))));
        }
        let is_chunked = header("transfer-encoding").is_some_and(|coding| coding.to_lowercase().contains("chunked"));
        stream.chunk = is_chunked.then_some(Chunk::Size);
        Ok(stream)
    }

    async fn head(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.raw.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.raw.split_off(end + 4);
                let head = std::mem::replace(&mut self.raw, rest);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.raw.len() > HEAD_BYTES_MAX {
                return Err(malformed("the head of the answer has no end"));
            }
            if self.connection.read_buf(&mut self.raw).await.map_err(broken)? == 0 {
                return Err(Failure::new(HttpFailure::Unreachable, "the connection was closed without an answer"));
            }
        }
    }

    /// The next line of the body; none after the last.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            self.decode()?;
            if let Some(at) = self.body.iter().position(|byte| *byte == b'\n') {
                let rest = self.body.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.body, rest);
                line.pop();
                line.pop_if(|byte| *byte == b'\r');
                return Ok(Some(line));
            }
            if self.body.len() > HTTP_ANSWER_BYTES_MAX {
                return Err(malformed("a line of the event stream has no end"));
            }
            // What stands after the last line break is no event.
            if self.chunk == Some(Chunk::Last) || self.connection.read_buf(&mut self.raw).await.map_err(broken)? == 0 {
                return Ok(None);
            }
        }
    }

    /// Moves what belongs to the body there.
    fn decode(&mut self) -> Result<(), Failure> {
        let Some(mut chunk) = self.chunk else {
            self.body.append(&mut self.raw);
            return Ok(());
        };
        loop {
            match chunk {
                Chunk::Size | Chunk::End => {
                    let Some(at) = self.raw.iter().position(|byte| *byte == b'\n') else { break };
                    let line: Vec<u8> = self.raw.drain(..=at).collect();
                    chunk = if chunk == Chunk::End { Chunk::Size } else { sized(&line)? };
                }
                Chunk::Data(length) => {
                    let here = length.min(self.raw.len());
                    self.body.extend(self.raw.drain(..here));
                    chunk = if here == length { Chunk::End } else { Chunk::Data(length - here) };
                    if here < length {
                        break;
                    }
                }
                Chunk::Last => break,
            }
        }
        self.chunk = Some(chunk);
        Ok(())
    }
}

/// What the line with a chunk's size announces.
fn sized(line: &[u8]) -> Result<Chunk, Failure> {
    let text = String::from_utf8_lossy(line);
    let size = text.split(';').next().unwrap_or_default().trim();
    match usize::from_str_radix(size, 16) {
        Ok(0) => Ok(Chunk::Last),
        Ok(size) if size <= HTTP_ANSWER_BYTES_MAX => Ok(Chunk::Data(size)),
        _ => Err(malformed("a chunk of the event stream has no proper size")),
    }
}

async fn connect(url: &Uri, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Connection>, Failure> {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_https = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let tcp = TcpStream::connect((bare, port)).await;
    let tcp = tcp.map_err(|error| Failure::new(HttpFailure::Unreachable, error.to_string()))?;
    let Some(tls) = tls.filter(|_| is_https) else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(bare.to_owned());
    let name = name.map_err(|error| Failure::new(HttpFailure::Tls, error.to_string()))?;
    let secured = TlsConnector::from(tls).connect(name, tcp).await;
    Ok(Box::new(secured.map_err(|error| Failure::new(HttpFailure::Tls, error.to_string()))?))
}

fn head(url: &Uri, request: &Request, proof: Option<&Proof>) -> Vec<u8> {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let agent = concat!("proxymgr/", env!("CARGO_PKG_VERSION"));
    let mut head = format!("{} {target} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {agent}\r\n", request.method);
    head.push_str("accept: text/event-stream\r\n");
    let mut head = head.into_bytes();
    let proof = proof.map(|proof| (&proof.name, &proof.value));
    // A header's value cannot hold a line break.
    for (name, value) in request.headers.iter().map(|(name, value)| (name, value)).chain(proof) {
        head.extend_from_slice(format!("{name}: ").as_bytes());
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn broken(error: std::io::Error) -> Failure {
    Failure::new(HttpFailure::Unreachable, format!("the connection broke: {error}"))
}

fn malformed(what: &str) -> Failure {
    Failure::new(HttpFailure::Malformed, what)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// The lines of a body that comes in these pieces.
    async fn lines(chunk: Option<Chunk>, pieces: &[&str]) -> Result<Vec<String>, String> {
        let (mut server, connection) = duplex(16);
        let mut stream = Stream { connection: Box::new(connection), chunk, raw: Vec::new(), body: Vec::new() };
        let pieces = Vec::from_iter(pieces.iter().map(|piece| (*piece).to_owned()));
        let sending = tokio::spawn(async move {
            for piece in pieces {
                let _ = server.write_all(piece.as_bytes()).await;
            }
        });
        let mut lines = Vec::new();
        while let Some(line) = stream.line().await.map_err(|failure| failure.to_string())? {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        sending.await.expect("the sender does not panic");
        Ok(lines)
    }

    #[actix::test]
    async fn a_body_without_a_length_lasts_until_the_connection_ends() {
        let told = lines(None, &["event: a\r\n", "da", "ta: 1\n", "\n", "cut off"]).await;
        assert_eq!(told, Ok(vec!["event: a".into(), "data: 1".into(), String::new()]));
    }

    #[actix::test]
    async fn chunks_may_cut_lines_anywhere() {
        let told =
            lines(Some(Chunk::Size), &["9\r\nevent: a\n\r\n5;x=y\r\nevent\r\n4\r", "\n: b\n\r\n0\r\n\r\n"]).await;
        assert_eq!(told, Ok(vec!["event: a".into(), "event: b".into()]));
        let error = lines(Some(Chunk::Size), &["many\r\n"]).await.unwrap_err();
        assert!(error.contains("no proper size"), "{error}");
    }
}
