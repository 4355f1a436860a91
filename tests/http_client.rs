//! The HTTP client of the sources, against servers that answer, fail, stall and send invalid data.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxymgr::discovery::http::{Credentials, HttpClient, HttpFailure, HttpOptions, Request, Servers};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// Time-out for events that must happen.
const LIMIT: Duration = Duration::from_secs(30);

/// Reaction of a server to a request.
type Script = fn(&str) -> Reply;

enum Reply {
    /// Sends this and keeps the connection.
    Send(String),
    /// Sends this, then nothing, and keeps the connection.
    Stall(String),
    /// Sends this and closes the connection.
    SendAndClose(String),
    /// Closes the connection.
    Close,
}

fn ok(body: &str) -> Reply {
    status("200 OK", "", body)
}

fn status(line: &str, more: &str, body: &str) -> Reply {
    Reply::Send(format!("HTTP/1.1 {line}\r\n{more}content-length: {}\r\n\r\n{body}", body.len()))
}

/// Observations of a server.
#[derive(Default)]
struct Seen {
    heads: Vec<String>,
    connections: usize,
    closed: usize,
}

#[derive(Clone)]
struct TestServer {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

impl TestServer {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self { url: format!("http://{}", listener.local_addr().unwrap()), seen: Arc::default() };
        let seen = server.seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, script, seen.clone()));
            }
        });
        server
    }

    fn heads(&self) -> Vec<String> {
        self.seen.lock().unwrap().heads.clone()
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Waits until the client has closed a connection.
    async fn until_closed(&self) {
        let closed = async {
            while self.seen.lock().unwrap().closed == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, closed).await.expect("the client closes the connection");
    }
}

async fn serve(stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        seen.lock().unwrap().heads.push(head.clone());
        match script(&head) {
            Reply::Send(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Reply::Stall(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                seen.lock().unwrap().closed += 1;
                return;
            }
            Reply::SendAndClose(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                return;
            }
            Reply::Close => return,
        }
    }
}

/// Returns a URL at which no server listens.
async fn unused_url() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn client(urls: &[&str], options: HttpOptions) -> HttpClient {
    HttpClient::new(Servers::parse(urls.iter().copied()).unwrap(), options)
}

fn token(value: &str) -> HttpOptions {
    let credentials = Credentials::Header { name: "x-consul-token", value: value.into() };
    HttpOptions { credentials, ..HttpOptions::default() }
}

#[actix::test]
async fn connection_is_reused() {
    let server = TestServer::start(|_| ok("[1, 2]")).await;
    let client = client(&[&server.url], HttpOptions::default());
    for _ in 0..5 {
        let answer = client.send(&Request::get("/v1/x").query("dc", "a b")).await.unwrap().success().unwrap();
        assert_eq!(answer.json::<Vec<u8>>().await.unwrap(), [1, 2]);
    }
    assert_eq!(server.connections(), 1);
    let head = &server.heads()[4];
    assert!(head.starts_with("GET /v1/x?dc=a%20b HTTP/1.1\r\n"), "{head}");
}

#[actix::test]
async fn servers_are_tried_in_random_order() {
    let (one, two) = (TestServer::start(|_| ok("1")).await, TestServer::start(|_| ok("2")).await);
    let unreachable = unused_url().await;
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let client = client(&[&unreachable, &one.url, &two.url], HttpOptions::default());
        let first = client.send(&Request::get("/")).await.unwrap().body;
        for _ in 0..3 {
            let again = client.send(&Request::get("/")).await.unwrap().body;
            assert_eq!(again, first, "the server that answered stays first");
        }
        firsts.insert(first);
    }
    assert_eq!(firsts.len(), 2, "all clients started with the same server");
}

#[actix::test]
async fn server_errors_lead_to_the_next_server() {
    let failing = TestServer::start(|_| status("500 No", "", "No cluster leader\nsecond line")).await;
    let limiting = TestServer::start(|_| status("429 Too Many", "", "Your IP is issuing too many")).await;
    let healthy = TestServer::start(|_| ok("")).await;
    for _ in 0..10 {
        let client = client(&[&failing.url, &limiting.url, &healthy.url], HttpOptions::default());
        assert_eq!(client.send(&Request::get("/")).await.unwrap().status, 200);
    }
    let error = client(&[&failing.url], HttpOptions::default()).send(&Request::get("/v1/x")).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::Status(500));
    let expected = format!("no quorum, status 500: No cluster leader: {} (GET /v1/x)", failing.url);
    assert_eq!(error.to_string(), expected);
}

#[actix::test]
async fn error_lists_every_server() {
    let (gone, closing) = (unused_url().await, TestServer::start(|_| Reply::Close).await);
    let client = client(&[&gone, &closing.url], token("s3cret"));
    let error = client.send(&Request::get("/v1/x").query("index", "7")).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::Unreachable);
    let error = error.to_string();
    assert!(error.contains(&gone) && error.contains(&closing.url), "{error}");
    assert!(!error.contains("s3cret") && !error.contains("index"), "{error}");
}

#[actix::test]
async fn errors_do_not_repeat_the_token() {
    let server = TestServer::start(|_| status("500 No", "", "rpc error: token s3cret not found")).await;
    let error = client(&[&server.url], token("s3cret")).send(&Request::get("/")).await.unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
    assert!(server.heads()[0].contains("x-consul-token: s3cret\r\n"), "{:?}", server.heads());
}

#[actix::test]
async fn token_file_is_read_again_after_a_rejection() {
    let server = TestServer::start(|head| {
        if head.contains("x-consul-token: new\r\n") { ok("") } else { status("403 Forbidden", "", "Permission denied") }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let credentials = Credentials::HeaderFromFile { name: "x-consul-token", path: path.clone() };
    let client = client(&[&server.url], HttpOptions { credentials, ..HttpOptions::default() });
    let error = client.send(&Request::get("/")).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::Local);
    std::fs::write(&path, "old\n").unwrap();
    let error = client.send(&Request::get("/")).await.unwrap().success().unwrap_err();
    assert_eq!(error.failure, HttpFailure::Status(403));
    std::fs::write(&path, "new\n").unwrap();
    client.send(&Request::get("/")).await.unwrap().success().unwrap();
}

#[actix::test]
async fn redirects_are_followed_on_request_without_the_token() {
    let elsewhere = TestServer::start(|_| ok("leader")).await;
    static TARGET: Mutex<String> = Mutex::new(String::new());
    *TARGET.lock().unwrap() = elsewhere.url.clone();
    let server = TestServer::start(|_| {
        let location = format!("location: //{}/master\r\n", TARGET.lock().unwrap().trim_start_matches("http://"));
        status("307 Elsewhere", &location, "")
    })
    .await;
    let stranger = client(&[&server.url], token("s3cret"));
    let refused = stranger.send(&Request::get("/")).await.unwrap().success().unwrap_err();
    assert_eq!(refused.failure, HttpFailure::Status(307));
    let answer = stranger.send(&Request::get("/").following(2)).await.unwrap();
    assert_eq!(answer.body, b"leader");
    let head = elsewhere.heads().pop().unwrap();
    assert!(head.starts_with("GET /master ") && !head.contains("s3cret"), "{head}");

    let member = client(&[&elsewhere.url], token("s3cret"));
    member.send(&Request::get("/")).await.unwrap();
    assert!(elsewhere.heads().pop().unwrap().contains("s3cret"), "a configured server gets the token");
}

#[actix::test]
async fn slow_and_large_responses_are_errors() {
    let stalling = TestServer::start(|_| Reply::Stall("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".into())).await;
    let client_of_stalling = client(&[&stalling.url], HttpOptions::default());
    let error = client_of_stalling.send(&Request::get("/").long(Duration::from_millis(200))).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::TimedOut);

    let endless = TestServer::start(|_| {
        let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
        Reply::Send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(40)))
    })
    .await;
    let error = client(&[&endless.url], HttpOptions::default()).send(&Request::get("/")).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::Malformed);
    let error = client(&[&endless.url], HttpOptions::default()).open(&Request::get("/")).await.unwrap().next().await;
    assert_eq!(error.unwrap_err().failure, HttpFailure::Malformed, "one long line");
}

#[actix::test]
async fn lines_arrive_as_they_are_sent() {
    let server = TestServer::start(|_| {
        let chunks = "5\r\na\nb\r\n\r\n4\r\n\nc\n!\r\n";
        Reply::Stall(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"))
    })
    .await;
    let mut lines = client(&[&server.url], HttpOptions::default()).open(&Request::get("/")).await.unwrap();
    for expected in ["a", "b", "", "c"] {
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(expected.as_bytes()));
    }
    assert!(timeout(Duration::from_millis(50), lines.next()).await.is_err(), "the line is incomplete");
}

#[actix::test]
async fn frozen_server_is_replaced_while_a_request_waits() {
    let frozen = TestServer::start(|_| Reply::Stall(String::new())).await;
    let healthy = TestServer::start(|_| ok("healthy")).await;
    let options = HttpOptions { probe_path: Some("/alive"), ..HttpOptions::default() };
    let started = Instant::now();
    // The healthy server may be tried first.
    for _ in 0..20 {
        let client = client(&[&frozen.url, &healthy.url], options.clone());
        let answer = client.send(&Request::get("/wait").long(Duration::from_secs(300))).await.unwrap();
        assert_eq!(answer.body, b"healthy");
        if frozen.heads().iter().any(|head| head.starts_with("GET /wait")) {
            assert!(frozen.heads().iter().any(|head| head.starts_with("GET /alive")));
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
            return;
        }
    }
    panic!("the frozen server was never tried first");
}

#[actix::test]
async fn probed_server_may_take_its_time() {
    let patient = TestServer::start(|head| {
        if head.starts_with("GET /alive") { status("503 Busy", "", "") } else { Reply::Stall(String::new()) }
    })
    .await;
    let options = HttpOptions { probe_path: Some("/alive"), ..HttpOptions::default() };
    let waiting = client(&[&patient.url], options);
    let started = Instant::now();
    let error = waiting.send(&Request::get("/wait").long(Duration::from_secs(9))).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::TimedOut);
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
}

#[actix::test]
async fn connections_are_limited() {
    let server = TestServer::start(|_| ok("")).await;
    let client = client(&[&server.url], HttpOptions { connections_max: Some(2), ..HttpOptions::default() });
    let request = Request::get("/");
    let answers = futures_util::future::join_all((0..20).map(|_| client.send(&request))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(server.connections() <= 2, "{} connections", server.connections());
}

#[actix::test]
async fn last_line_may_lack_its_end() {
    let scripts: [(Script, &[&str]); 3] = [(|_| ok("a\nb"), &["a", "b"]), (|_| ok("a\n"), &["a"]), (|_| ok(""), &[])];
    for (script, lines) in scripts {
        let server = TestServer::start(script).await;
        let mut answer = client(&[&server.url], HttpOptions::default()).open(&Request::get("/")).await.unwrap();
        for line in lines {
            assert_eq!(answer.next().await.unwrap().as_deref(), Some(line.as_bytes()));
        }
        assert_eq!(answer.next().await.unwrap(), None);
        assert_eq!(answer.next().await.unwrap(), None);
    }
}

fn event_stream(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}")
}

#[actix::test]
async fn event_stream_may_lack_a_length() {
    let server = TestServer::start(|_| Reply::SendAndClose(event_stream("event: a\r\ndata: 1\n\n"))).await;
    let mut events = client(&[&server.url], HttpOptions::default()).open_events(&Request::get("/")).await.unwrap();
    for line in ["event: a", "data: 1", ""] {
        assert_eq!(events.next().await.unwrap().as_deref(), Some(line.as_bytes()));
    }
    assert_eq!(events.next().await.unwrap(), None);
}

#[actix::test]
async fn other_responses_are_not_event_streams() {
    let page = TestServer::start(|_| ok("<html>")).await;
    let redirect = TestServer::start(|_| status("307 Elsewhere", "location: http://127.0.0.1:1/\r\n", "")).await;
    let events = TestServer::start(|_| Reply::Stall(event_stream(""))).await;
    let failure = async |url: &str| {
        let client = client(&[url], HttpOptions::default());
        client.open_events(&Request::get("/")).await.err().map(|error| error.failure)
    };
    assert_eq!(failure(&page.url).await, Some(HttpFailure::Malformed));
    assert_eq!(failure(&redirect.url).await, Some(HttpFailure::Status(307)));
    for _ in 0..10 {
        let client = client(&[&page.url, &redirect.url, &events.url], HttpOptions::default());
        assert_eq!(client.open_events(&Request::get("/")).await.unwrap().status(), 200);
    }
}

#[actix::test]
async fn dropped_streams_and_requests_close_their_connections() {
    let server = TestServer::start(|_| Reply::Stall(event_stream("event: a\n"))).await;
    let reading = client(&[&server.url], HttpOptions::default());
    let mut events = reading.open_events(&Request::get("/")).await.unwrap();
    assert!(events.next().await.unwrap().is_some());
    drop(events);
    server.until_closed().await;

    let silent = TestServer::start(|_| Reply::Stall(String::new())).await;
    let waiting = client(&[&silent.url], HttpOptions::default());
    let request = Request::get("/").long(Duration::from_millis(100));
    assert_eq!(waiting.send(&request).await.unwrap_err().failure, HttpFailure::TimedOut);
    silent.until_closed().await;
}

#[actix::test]
async fn invalid_responses_are_errors() {
    let replies: [(Script, HttpFailure); 6] = [
        (|_| Reply::SendAndClose("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".into()), HttpFailure::Unreachable),
        (
            |_| Reply::SendAndClose("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nab".into()),
            HttpFailure::Unreachable,
        ),
        (
            |_| Reply::Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nmany\r\n".into()),
            HttpFailure::Unreachable,
        ),
        (|_| Reply::SendAndClose("HTTP/1.1 200 OK\r\ncontent-len".into()), HttpFailure::Unreachable),
        (|_| Reply::Send("SSH-2.0-OpenSSH_9.2\r\n\r\n".into()), HttpFailure::Malformed),
        (|_| Reply::Send("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".into()), HttpFailure::Malformed),
    ];
    for (script, failure) in replies {
        let server = TestServer::start(script).await;
        let request = Request::get("/").long(LIMIT);
        let error = client(&[&server.url], HttpOptions::default()).send(&request).await.unwrap_err();
        assert_eq!(error.failure, failure, "{error}");
    }
}

#[actix::test]
async fn closed_idle_connection_is_replaced() {
    let reply = |_: &str| Reply::SendAndClose("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1".into());
    let server = TestServer::start(reply).await;
    let client = client(&[&server.url], HttpOptions::default());
    for _ in 0..5 {
        assert_eq!(client.send(&Request::get("/")).await.unwrap().body, b"1");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.connections(), 5);
}
