//! One connection to HAProxy's Runtime API in `prompt` mode.
//!
//! Commands are lines. Each answer ends with a prompt, `> ` at the start of a line, which is the only delimiter that is
//! reliable on every version (2.6 omits the blank line after some answers). Lines are pipelined: reading continues
//! while writing, so neither side blocks the other, and HAProxy accepts more than its `tune.bufsize` at once as long as
//! no single line is larger.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use proxymgr_actors::limits::RUNTIME_ANSWER_LINE_BYTES_MAX;
use tokio::io::Interest;
use tokio::io::Ready;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;

use crate::settings::RuntimeAddress;

/// Sent before the first command. Without the second line 3.x closes an idle connection after ten seconds, and the next
/// change would need a new one.
const OPENING: &[u8] = b"prompt\nset timeout cli 3600s\n";
const OPENING_ANSWERS: usize = 2;

/// The number of bytes read at once.
const READ_BYTES: usize = 65_536;

/// After this many bytes read without waiting, the task yields the actors' thread.
const BUSY_BYTES_MAX: usize = 262_144;

/// A part of HAProxy's answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AnswerPart<'a> {
    /// A line of the current answer, including the blank one before a prompt.
    Line(&'a str),
    /// The current answer is complete.
    End,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) struct ExchangeError {
    /// Nothing was sent, so HAProxy has executed nothing.
    pub(super) nothing_sent: bool,
    /// What went wrong.
    pub(super) error: io::Error,
}

/// The stream to a Runtime API.
pub(super) enum RuntimeStream {
    /// On this machine.
    Unix(UnixStream),
    /// On any machine.
    Tcp(TcpStream),
}

impl RuntimeStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }

    fn try_read_buf(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read_buf(buffer),
            Self::Tcp(stream) => stream.try_read_buf(buffer),
        }
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tcp(stream) => stream.ready(interest).await,
        }
    }

    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tcp(stream) => stream.as_raw_fd(),
        }
    }
}

/// A connection that is open until dropped.
pub(super) struct RuntimeConnection {
    stream: RuntimeStream,
    answers: AnswerFramer,
    opened: bool,
    /// The most bytes of the answers to one request.
    bytes_max: usize,
}

impl RuntimeConnection {
    /// Wraps a stream that was just connected. Answers of more than `bytes_max` bytes are not read.
    pub(super) fn new(stream: RuntimeStream, bytes_max: usize) -> Self {
        Self { stream, answers: AnswerFramer::default(), opened: false, bytes_max }
    }

    /// Whether HAProxy's end is still open. Uses a system call, because tokio's readiness may lag behind the kernel's.
    pub(super) fn is_open(&self) -> bool {
        let peeked = recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        peeked == Err(Errno::EAGAIN)
    }

    /// Sends `request`, which consists of `answers` lines, and passes on HAProxy's answers until all have ended. After
    /// an error the connection is unusable.
    pub(super) async fn exchange<F>(&mut self, request: &[u8], answers: usize, mut on: F) -> Result<(), ExchangeError>
    where
        F: FnMut(AnswerPart<'_>),
    {
        if self.opened {
            return self.converse(request, answers, &mut on).await;
        }
        let request = [OPENING, request].concat();
        let mut to_skip = OPENING_ANSWERS;
        let past_opening = |part: AnswerPart<'_>| match part {
            _ if to_skip == 0 => on(part),
            AnswerPart::End => to_skip -= 1,
            AnswerPart::Line(_) => {}
        };
        self.opened = true;
        self.converse(&request, answers + OPENING_ANSWERS, past_opening).await
    }

    async fn converse<F>(&mut self, request: &[u8], mut missing: usize, mut on: F) -> Result<(), ExchangeError>
    where
        F: FnMut(AnswerPart<'_>),
    {
        let mut sent = 0;
        let mut busy_bytes = 0;
        let mut all_bytes = 0;
        while missing > 0 {
            if sent < request.len() {
                match self.stream.try_write(&request[sent..]) {
                    Ok(written) => sent += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(ExchangeError { nothing_sent: sent == 0, error }),
                }
            }
            let failed = |error| ExchangeError { nothing_sent: false, error };
            self.answers.input.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.answers.input) {
                Ok(0) => return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by HAProxy"))),
                Ok(read) => {
                    self.answers.parts(|part| {
                        missing = missing.saturating_sub(usize::from(part == AnswerPart::End));
                        on(part);
                    })?;
                    all_bytes += read;
                    if all_bytes > self.bytes_max {
                        let text = format!("the answer is longer than {} bytes", self.bytes_max);
                        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
                    }
                    busy_bytes += read;
                    if busy_bytes > BUSY_BYTES_MAX {
                        busy_bytes = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writing = if sent < request.len() { Interest::WRITABLE } else { Interest::READABLE };
                    self.stream.ready(Interest::READABLE | writing).await.map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

/// The pause before the next attempt to connect to a socket whose queue of connections is full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// Connects to a Runtime API.
pub(super) async fn connected(address: &RuntimeAddress) -> io::Result<RuntimeStream> {
    match address {
        RuntimeAddress::Unix(path) => connect_when_not_full(path).await.map(RuntimeStream::Unix),
        RuntimeAddress::Tcp(server) => {
            let stream = TcpStream::connect(server).await?;
            // A batch is one write, and the caller waits for its answers.
            stream.set_nodelay(true)?;
            Ok(RuntimeStream::Tcp(stream))
        }
    }
}

/// Connects, and retries while the queue of connections is full, at which a unix socket, unlike TCP, fails at once.
async fn connect_when_not_full(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL_QUEUE_PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// Splits what HAProxy sends into lines and answers.
#[derive(Debug, Default)]
pub(super) struct AnswerFramer {
    pub(super) input: Vec<u8>,
    /// A prompt counts only after a line feed within the same answer.
    after_line_feed: bool,
}

impl AnswerFramer {
    /// Passes on all parts that are complete and keeps the rest.
    pub(super) fn parts(&mut self, mut on: impl FnMut(AnswerPart<'_>)) -> Result<(), ExchangeError> {
        let mut start = 0;
        loop {
            let rest = &self.input[start..];
            if self.after_line_feed && rest.starts_with(b"> ") {
                self.after_line_feed = false;
                start += 2;
                on(AnswerPart::End);
            } else if self.after_line_feed && rest == b">" {
                break;
            } else if let Some(length) = rest.iter().position(|&byte| byte == b'\n') {
                self.after_line_feed = true;
                start += length + 1;
                on(AnswerPart::Line(&String::from_utf8_lossy(&rest[..length])));
            } else {
                break;
            }
        }
        self.input.drain(..start);
        if self.input.len() > RUNTIME_ANSWER_LINE_BYTES_MAX {
            let error = io::Error::new(io::ErrorKind::InvalidData, "a line of the answer has no end");
            return Err(ExchangeError { nothing_sent: false, error });
        }
        Ok(())
    }
}

/// Returns why the connection failed, and what to do about it.
pub(super) fn unreachable_in_words(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "HAProxy is not running, or its `stats socket` has another path",
        io::ErrorKind::ConnectionRefused => "no HAProxy listens on it any more",
        io::ErrorKind::PermissionDenied => "run proxymgr as the socket's owner or change its mode",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(pieces: &[&str]) -> Vec<String> {
        let mut framer = AnswerFramer::default();
        let mut parts = Vec::new();
        for piece in pieces {
            framer.input.extend_from_slice(piece.as_bytes());
            framer
                .parts(|part| match part {
                    AnswerPart::Line(line) => parts.push(line.to_owned()),
                    AnswerPart::End => parts.push("END".to_owned()),
                })
                .unwrap();
        }
        parts
    }

    #[test]
    fn prompt_separates_answers() {
        let parts = framed(&["\n> Server deleted.\n> New server registered.\n\n> \n> "]);
        assert_eq!(parts, ["", "END", "Server deleted.", "END", "New server registered.", "", "END", "", "END"]);
    }

    #[test]
    fn answers_may_arrive_in_any_pieces() {
        let whole = "\n> Server deleted.\n> a > b\n\n> ";
        let bytes: Vec<String> = whole.chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(framed(&bytes), framed(&[whole]));
    }

    #[tokio::test]
    async fn answer_without_end_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let endless = tokio::spawn(async move {
            loop {
                theirs.writable().await.unwrap();
                let _ = theirs.try_write(&b"1 web 1 s 127.0.0.1 2 0 1 1\n".repeat(1_000));
            }
        });
        let mut connection = RuntimeConnection::new(RuntimeStream::Unix(ours), 1024 * 1024);
        let outcome = connection.exchange(b"show servers state\n", 1, |_| {}).await;
        assert!(outcome.is_err_and(|failed| failed.error.to_string().contains("longer than 1048576 bytes")));
        endless.abort();
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let mut framer = AnswerFramer { input: vec![b'x'; RUNTIME_ANSWER_LINE_BYTES_MAX + 1], after_line_feed: false };
        assert!(framer.parts(|_| {}).is_err());
    }
}
