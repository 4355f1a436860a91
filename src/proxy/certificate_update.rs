//! Changes the certificates of a running HAProxy (management.txt 9.3: `set ssl cert`, `add ssl crt-list` and their kind).
//!
//! Each command has a connection of its own: with a payload, a connection with a prompt prints one per line. A change
//! that HAProxy has made before, and whose answer was lost, succeeds again.

use std::io;
use std::path::Path;
use std::time::Duration;

use proxymgr_actors::decide::listener_certificates::OCSP_UPDATE;
use proxymgr_actors::limits::RUNTIME_ANSWER_TIMEOUT;
use proxymgr_actors::model::CertificateChange;
use proxymgr_actors::port::{Answer, RuntimeError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::settings::RuntimeAddress;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1_024 * 1_024;

/// Makes a change. Where HAProxy refuses it, the certificates before stay.
///
/// # Errors
/// HAProxy cannot be reached, or does not answer in time.
pub(super) async fn change(address: &RuntimeAddress, change: &CertificateChange) -> Result<Answer, RuntimeError> {
    match change {
        CertificateChange::Replace { path, pem } => replace(address, path, &pem.0).await,
        CertificateChange::Add { list, path, pem, is_stapled } => {
            add(address, list, path, &pem.0, if *is_stapled { OCSP_UPDATE } else { "" }).await
        }
        CertificateChange::Remove { list, path } => remove(address, list, path).await,
    }
}

/// Replaces the certificate that HAProxy read from `file`.
async fn replace(address: &RuntimeAddress, file: &Path, pem: &str) -> Result<Answer, RuntimeError> {
    let file = file.display();
    // A blank line ends the payload.
    let set = ask(address, &format!("set ssl cert {file} <<\n{}\n\n", pem.trim_end())).await?;
    if !set.contains("Transaction created") && !set.contains("Transaction updated") {
        return Ok(refused(&set));
    }
    let committed = ask(address, &format!("commit ssl cert {file}\n")).await?;
    if committed.contains("Success!") {
        return Ok(accepted());
    }
    ask(address, &format!("abort ssl cert {file}\n")).await?;
    Ok(refused(&committed))
}

/// Adds a certificate, with these options in the list.
async fn add(
    address: &RuntimeAddress,
    list: &Path,
    path: &Path,
    pem: &str,
    options: &str,
) -> Result<Answer, RuntimeError> {
    let (list, file) = (list.display(), path.display());
    let listed = ask(address, &format!("show ssl crt-list {list}\n")).await?;
    // It has the certificate already where another listener has it.
    let created = ask(address, &format!("new ssl cert {file}\n")).await?;
    if !created.contains("New empty certificate store") && !created.contains("already exists") {
        return Ok(refused(&created));
    }
    let replaced = replace(address, path, pem).await?;
    let answer = match replaced.accepted {
        true if has_entry(&listed, path) => return Ok(replaced),
        true if options.is_empty() => ask(address, &format!("add ssl crt-list {list} {file}\n")).await?,
        true => ask(address, &format!("add ssl crt-list {list} <<\n{file}{options}\n\n")).await?,
        false => replaced.text,
    };
    if replaced.accepted && answer.contains("Success!") {
        return Ok(accepted());
    }
    // HAProxy keeps one that is in use.
    ask(address, &format!("del ssl cert {file}\n")).await?;
    Ok(refused(&answer))
}

async fn remove(address: &RuntimeAddress, list: &Path, path: &Path) -> Result<Answer, RuntimeError> {
    let (list, file) = (list.display(), path.display());
    if has_entry(&ask(address, &format!("show ssl crt-list {list}\n")).await?, path) {
        let removed = ask(address, &format!("del ssl crt-list {list} {file}\n")).await?;
        if !removed.contains("deleted in crtlist") {
            return Ok(refused(&removed));
        }
    }
    // HAProxy keeps one that another listener uses.
    ask(address, &format!("del ssl cert {file}\n")).await?;
    Ok(accepted())
}

/// Returns whether the answer to `show ssl crt-list` has an entry for this file.
fn has_entry(listed: &str, file: &Path) -> bool {
    let file = file.to_string_lossy();
    listed.lines().any(|line| line.split_whitespace().next() == Some(&*file))
}

fn accepted() -> Answer {
    Answer { accepted: true, text: String::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_a_whole_path() {
        let listed = "# /certs/web.list\n/certs/a.pem\n/certs/b.pem [alpn h2] b.example\n\n";
        for (path, is_listed) in [("/certs/a.pem", true), ("/certs/b.pem", true), ("/certs/b", false)] {
            assert_eq!(has_entry(listed, Path::new(path)), is_listed, "{path}");
        }
    }
}
