//! Slow, silent or many clients do not delay other clients and cost little.

use std::time::{Duration, Instant};

use proxymgr_actors::limits::{STATUS_ANSWERS_BYTES_MAX, STATUS_BODY_TIMEOUT, STATUS_HEAD_TIMEOUT};
use proxymgr_actors::snapshot::WatcherState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::status::access::TokenSource;
use crate::token::Token;

/// A daemon with a status of 8 MB.
#[derive(Clone)]
struct Large(Arc<Vec<ActorState>>);

impl Large {
    fn new() -> Self {
        let problem = "x".repeat(1_024);
        let problems = (0..8_000).map(|n| (n.to_string(), problem.clone())).collect();
        let state = ActorState::Watcher(WatcherState { service: "web".into(), problems, ..WatcherState::default() });
        Self(Arc::new(vec![state]))
    }
}

impl View for Large {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(async { Ok(Arc::clone(&self.0)) })
    }

    fn journal(&self, _: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        Box::pin(async { Vec::new() })
    }

    fn order(&self, _: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(async { Ok(String::new()) })
    }
}

async fn connect(listener: &StatusListener) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(listener.tcp_address().unwrap()).await.unwrap()
}

async fn ask(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1_024
}

#[actix::test]
async fn silent_clients_do_not_delay_others() {
    let listener = listen_with(Large::new(), Access::default(), part::own());
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(connect(&listener).await);
    }
    for stream in held.iter_mut().take(100) {
        ask(stream, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    }
    for stream in held.iter_mut().skip(100).take(100) {
        ask(stream, "GET /healthz HTTP/1.1\r\nHost: loc").await;
    }
    // All of them are in progress; other clients are answered nevertheless.
    for _ in 0..20 {
        for path in ["/healthz", "/api/v1/status"] {
            let begun = Instant::now();
            assert_eq!(get(&listener, path, None).await.0, 200);
            assert!(begun.elapsed() < Duration::from_secs(3), "{path} took {:?}", begun.elapsed());
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < STATUS_ANSWERS_BYTES_MAX * 2, "{} MB for 300 connections", grown / 1_024 / 1_024);
    drop(held);
    listener.stop().await;
}

#[actix::test]
async fn endless_request_is_closed() {
    let token = TokenSource::Given(Token::new("correct-horse-battery").unwrap());
    let listener = listen_with(Large::new(), Access { token, ..Access::default() }, part::own());
    let begun = Instant::now();
    let mut head = connect(&listener).await;
    ask(&mut head, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await;
    let mut body = connect(&listener).await;
    ask(
        &mut body,
        "POST /nothing HTTP/1.1\r\nHost: localhost\r\nX-Proxymgr-Token: correct-horse-battery\r\nContent-Length: 9\r\n\r\n{",
    )
    .await;
    let closed = async |stream: &mut TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer, begun.elapsed())
    };
    let ((answer, after), (late, late_after)) = tokio::join!(closed(&mut head), closed(&mut body));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(after >= STATUS_HEAD_TIMEOUT / 2 && after < STATUS_HEAD_TIMEOUT * 4, "{after:?}");
    assert!(late.starts_with("HTTP/1.1 408"), "{late}");
    assert!(late_after >= STATUS_BODY_TIMEOUT / 2, "{late_after:?}");
    listener.stop().await;
}
