//! Why an ensemble gives no session, in the terms of its operators. The client only reports that no server gave one: the
//! servers are asked one by one, with the four-letter word `srvr`, which every version answers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::http::{TransportError, connect_cause};

/// The time for each of: the look-up of a name, the connection, and the answer.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// The time after which a server that sent nothing gets the end of an HTTP request, which makes an HTTP server answer.
const OTHER_PROTOCOL_AFTER: Duration = Duration::from_millis(500);

/// The time after which a session that is still being opened may be hopeless.
const HOPELESS_AFTER: Duration = Duration::from_secs(1);

/// What one server does, in the order of messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    /// It runs, and has no majority of members.
    NoQuorum,
    /// Something else answers.
    OtherProtocol,
    /// Its name has no address, or there is no connection, with the cause.
    NoConnection(String),
    /// It closes the connection without an answer.
    Closed,
    /// It accepts the connection and does not answer.
    Silent,
    /// It accepts a connection; what it does with a TLS session is not known.
    NoTlsSession,
    /// It serves clients.
    Serves,
}

impl Finding {
    fn cause(&self) -> &str {
        match self {
            Self::NoQuorum => "no quorum, the server has no majority of the ensemble",
            Self::OtherProtocol => "another protocol, the server is not ZooKeeper or expects TLS",
            Self::NoConnection(cause) => cause,
            Self::Closed => "the server closes the connection without an answer",
            Self::Silent => "no answer in time",
            Self::NoTlsSession => {
                "no TLS session; the port must expect TLS, and both sides accept the other's certificate"
            }
            Self::Serves => "the server runs and opens no session",
        }
    }

    /// Whether no session can be opened while this lasts.
    fn is_certain(&self) -> bool {
        matches!(self, Self::NoQuorum | Self::OtherProtocol | Self::NoConnection(_))
    }
}

/// Asks every server why there is no session. The same causes give the same text.
pub(super) async fn diagnose(servers: &str, uses_tls: bool) -> String {
    text(&findings(servers, uses_tls).await)
}

/// Ends with a message if no server can open a session; else never.
pub(super) async fn hopeless(servers: &str, uses_tls: bool) -> String {
    sleep(HOPELESS_AFTER).await;
    let findings = findings(servers, uses_tls).await;
    if findings.keys().all(Finding::is_certain) { text(&findings) } else { std::future::pending().await }
}

async fn findings(servers: &str, uses_tls: bool) -> BTreeMap<Finding, Vec<String>> {
    let asking = servers.split(',').map(async |server| (ask(server, uses_tls).await, server.to_owned()));
    let mut findings = BTreeMap::<Finding, Vec<String>>::new();
    for (finding, server) in join_all(asking).await {
        findings.entry(finding).or_default().push(server);
    }
    findings
}

fn text(findings: &BTreeMap<Finding, Vec<String>>) -> String {
    let each =
        findings.iter().map(|(finding, servers)| format!("{}: ZooKeeper {}", finding.cause(), servers.join(", ")));
    each.collect::<Vec<_>>().join("; ")
}

async fn ask(server: &str, uses_tls: bool) -> Finding {
    let (host, port) = server.rsplit_once(':').unwrap_or((server, "2181"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match timeout(STEP_TIMEOUT, lookup_host((host, port.parse().unwrap_or(2181)))).await {
        Ok(Ok(addresses)) => Vec::from_iter(addresses),
        Ok(Err(error)) => return Finding::NoConnection(TransportError::of_look_up(host, &error).to_string()),
        Err(_) => return Finding::NoConnection(TransportError::LookUp(host.to_owned()).to_string()),
    };
    let stream = match timeout(STEP_TIMEOUT, TcpStream::connect(&*addresses)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Finding::NoConnection(connect_cause(&error)),
        Err(_) => return Finding::NoConnection("no connection in time".to_owned()),
    };
    if uses_tls {
        return Finding::NoTlsSession;
    }
    match timeout(STEP_TIMEOUT, answer(stream)).await {
        Ok(answer) => finding_of(&answer),
        Err(_) => Finding::Silent,
    }
}

/// The beginning of what a server sends; nothing if it closes the connection.
async fn answer(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = vec![0; 1024];
    let mut length = 0;
    if stream.write_all(b"srvr").await.is_err() {
        return Vec::new();
    }
    loop {
        let read = match timeout(OTHER_PROTOCOL_AFTER, stream.read(&mut answer[length..])).await {
            Ok(read) => read,
            Err(_) if length > 0 => break,
            Err(_) => {
                let _ = stream.write_all(b"\r\n\r\n").await;
                stream.read(&mut answer).await
            }
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(read) => length += read,
        }
        if length == answer.len() {
            break;
        }
    }
    answer.truncate(length);
    answer
}

fn finding_of(answer: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(answer);
    if text.is_empty() {
        Finding::Closed
    } else if text.contains("not currently serving requests") {
        Finding::NoQuorum
    } else if text.starts_with("Zookeeper version") || text.contains("not executed because it is not in the whitelist")
    {
        Finding::Serves
    } else {
        Finding::OtherProtocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_zookeeper_are_told_from_others() {
        for (answer, finding) in [
            ("Zookeeper version: 3.8.0, built on\nMode: follower\n", Finding::Serves),
            ("srvr is not executed because it is not in the whitelist.\n", Finding::Serves),
            ("This ZooKeeper instance is not currently serving requests\n", Finding::NoQuorum),
            ("HTTP/1.1 400 Bad Request\r\n", Finding::OtherProtocol),
            ("SSH-2.0-OpenSSH_9.2\r\n", Finding::OtherProtocol),
            ("\u{15}\u{3}\u{3}", Finding::OtherProtocol),
            ("", Finding::Closed),
        ] {
            assert_eq!(finding_of(answer.as_bytes()), finding, "{answer:?}");
        }
    }

    #[test]
    fn causes_come_first_and_servers_with_one_cause_together() {
        let refused = || Finding::NoConnection("connection refused".to_owned());
        let findings =
            [(refused(), vec!["b:1".to_owned(), "c:1".to_owned()]), (Finding::NoQuorum, vec!["a:1".to_owned()])];
        assert_eq!(
            text(&findings.into()),
            "no quorum, the server has no majority of the ensemble: ZooKeeper a:1; connection refused: ZooKeeper b:1, c:1"
        );
    }
}
