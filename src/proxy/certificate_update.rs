//! Loads a certificate into a running HAProxy (management.txt 9.3, `set ssl cert` and `commit ssl cert`).
//!
//! Each command has a connection of its own: with a payload, a connection with a prompt prints one per line.

use std::io;
use std::path::Path;
use std::time::Duration;

use proxymgr_actors::limits::RUNTIME_ANSWER_TIMEOUT;
use proxymgr_actors::port::{Answer, RuntimeError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::settings::RuntimeAddress;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;

/// Replaces the certificate that HAProxy read from `file`. One that HAProxy refuses is discarded, and the one before
/// stays.
///
/// # Errors
/// HAProxy cannot be reached, or does not answer in time.
pub(super) async fn load(address: &RuntimeAddress, file: &Path, pem: &str) -> Result<Answer, RuntimeError> {
    let file = file.display();
    // A blank line ends the payload.
    let set = ask(address, &format!("set ssl cert {file} <<\n{}\n\n", pem.trim_end())).await?;
    if !set.contains("Transaction created") && !set.contains("Transaction updated") {
        return Ok(refused(&set));
    }
    let committed = ask(address, &format!("commit ssl cert {file}\n")).await?;
    if committed.contains("Success!") {
        return Ok(Answer { accepted: true, text: String::new() });
    }
    ask(address, &format!("abort ssl cert {file}\n")).await?;
    Ok(refused(&committed))
}

fn refused(answer: &str) -> Answer {
    let lines: Vec<&str> = answer.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Answer { accepted: false, text: lines.join("; ") }
}

async fn ask(address: &RuntimeAddress, request: &str) -> Result<String, RuntimeError> {
    let limit: Duration = RUNTIME_ANSWER_TIMEOUT;
    let answer = timeout(limit, async {
        match address {
            RuntimeAddress::Unix(path) => exchange(UnixStream::connect(path).await?, request).await,
            RuntimeAddress::Tcp(server) => exchange(TcpStream::connect(server).await?, request).await,
        }
    });
    match answer.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(RuntimeError::Broken { path: address.to_string(), error: error.to_string() }),
        Err(_) => {
            let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            Err(RuntimeError::TimedOut { path: address.to_string(), timeout_ms })
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}
