//! The HTTP client of the sources, against servers that answer, fail, stall and lie.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxymgr::discovery::http::{Credentials, HttpClient, HttpFailure, HttpOptions, Request, Servers};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// What a server does with a request.
type Script = fn(&str) -> Reply;

enum Reply {
    /// Sends this and keeps the connection.
    Send(String),
    /// Sends this, then nothing, and keeps the connection.
    Stall(String),
    /// Closes the connection.
    Close,
}

fn ok(body: &str) -> Reply {
    Reply::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn status(line: &str, more: &str, body: &str) -> Reply {
    Reply::Send(format!("HTTP/1.1 {line}\r\n{more}content-length: {}\r\n\r\n{body}", body.len()))
}

#[derive(Clone)]
struct TestServer {
    url: String,
    /// The head of each request, and how many connections there were.
    seen: Arc<Mutex<(Vec<String>, usize)>>,
}

impl TestServer {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self { url: format!("http://{}", listener.local_addr().unwrap()), seen: Arc::default() };
        let seen = server.seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.lock().unwrap().1 += 1;
                tokio::spawn(serve(stream, script, seen.clone()));
            }
        });
        server
    }

    fn heads(&self) -> Vec<String> {
        self.seen.lock().unwrap().0.clone()
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().1
    }
}

async fn serve(stream: TcpStream, script: Script, seen: Arc<Mutex<(Vec<String>, usize)>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        seen.lock().unwrap().0.push(head.clone());
        match script(&head) {
            Reply::Send(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Reply::Stall(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            }
            Reply::Close => return,
        }
    }
}

/// A URL at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn client(urls: &[&str], options: HttpOptions) -> HttpClient {
    HttpClient::new(Servers::parse(urls.iter().copied()).unwrap(), options)
}

fn token(value: &str) -> HttpOptions {
    let credentials = Credentials::Header { name: "x-consul-token", value: value.to_owned() };
    HttpOptions { credentials, ..HttpOptions::default() }
}

#[actix::test]
async fn one_connection_serves_many_requests() {
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
async fn the_servers_are_tried_in_an_order_of_its_own_and_a_dead_one_is_passed_over() {
    let (one, two) = (TestServer::start(|_| ok("1")).await, TestServer::start(|_| ok("2")).await);
    let dead = nobody().await;
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let client = client(&[&dead, &one.url, &two.url], HttpOptions::default());
        let first = client.send(&Request::get("/")).await.unwrap().body;
        for _ in 0..3 {
            let again = client.send(&Request::get("/")).await.unwrap().body;
            assert_eq!(again, first, "the server that answered is asked again");
        }
        firsts.insert(first);
    }
    assert_eq!(firsts.len(), 2, "forty clients began with the same server");
}

#[actix::test]
async fn a_servers_own_trouble_is_passed_over_and_told_where_no_other_helps() {
    let ill = TestServer::start(|_| status("500 No", "", "No cluster leader\nsecond line")).await;
    let full = TestServer::start(|_| status("429 Too Many", "", "Your IP is issuing too many")).await;
    let well = TestServer::start(|_| ok("")).await;
    for _ in 0..10 {
        let client = client(&[&ill.url, &full.url, &well.url], HttpOptions::default());
        assert_eq!(client.send(&Request::get("/")).await.unwrap().status, 200);
    }
    let error = client(&[&ill.url], HttpOptions::default()).send(&Request::get("/v1/x")).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::Status(500));
    let expected = format!("no answer to GET /v1/x: {}: status 500: No cluster leader", ill.url);
    assert_eq!(error.to_string(), expected);
}

#[actix::test]
async fn when_all_are_away_each_is_named_with_its_cause() {
    let (gone, closing) = (nobody().await, TestServer::start(|_| Reply::Close).await);
    let client = client(&[&gone, &closing.url], token("s3cret"));
    let error = client.send(&Request::get("/v1/x").query("index", "7")).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::Unreachable);
    let error = error.to_string();
    assert!(error.contains(&format!("{gone}: cannot connect: Connection refused")), "{error}");
    assert!(error.contains(&format!("{}: it closed the connection", closing.url)), "{error}");
    assert!(!error.contains("s3cret") && !error.contains("index"), "{error}");
}

#[actix::test]
async fn a_refusal_does_not_repeat_the_token() {
    let server = TestServer::start(|_| status("500 No", "", "rpc error: token s3cret not found")).await;
    let error = client(&[&server.url], token("s3cret")).send(&Request::get("/")).await.unwrap_err().to_string();
    assert!(error.contains("token *** not found"), "{error}");
    assert!(server.heads()[0].contains("x-consul-token: s3cret\r\n"), "{:?}", server.heads());
}

#[actix::test]
async fn a_token_file_is_read_again_after_a_refusal() {
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
    assert!(error.to_string().contains("token file"), "{error}");
    std::fs::write(&path, "old\n").unwrap();
    let error = client.send(&Request::get("/")).await.unwrap().success().unwrap_err().to_string();
    assert!(error.contains("status 403: Permission denied; the credentials are missing"), "{error}");
    std::fs::write(&path, "new\n").unwrap();
    client.send(&Request::get("/")).await.unwrap().success().unwrap();
}

#[actix::test]
async fn a_redirect_is_followed_where_wished_and_takes_no_token_elsewhere() {
    let elsewhere = TestServer::start(|_| ok("leader")).await;
    static TARGET: Mutex<String> = Mutex::new(String::new());
    *TARGET.lock().unwrap() = elsewhere.url.clone();
    let server = TestServer::start(|_| {
        let location = format!("location: //{}/master\r\n", TARGET.lock().unwrap().trim_start_matches("http://"));
        status("307 Elsewhere", &location, "")
    })
    .await;
    let stranger = client(&[&server.url], token("s3cret"));
    let refused = stranger.send(&Request::get("/")).await.unwrap().success().unwrap_err().to_string();
    assert!(refused.contains("status 307: it points to //127.0.0.1:"), "{refused}");
    let answer = stranger.send(&Request::get("/").following(2)).await.unwrap();
    assert_eq!(answer.body, b"leader");
    let head = elsewhere.heads().pop().unwrap();
    assert!(head.starts_with("GET /master ") && !head.contains("s3cret"), "{head}");

    let member = client(&[&elsewhere.url], token("s3cret"));
    member.send(&Request::get("/")).await.unwrap();
    assert!(elsewhere.heads().pop().unwrap().contains("s3cret"), "a configured server gets the token");
}

#[actix::test]
async fn an_answer_that_is_too_long_in_coming_or_too_large_is_a_failure() {
    let stalling = TestServer::start(|_| Reply::Stall("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".into())).await;
    let impatient = client(&[&stalling.url], HttpOptions::default());
    let error = impatient.send(&Request::get("/").long(Duration::from_millis(200))).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::TimedOut);
    assert!(error.to_string().contains("no answer within 0.2 s"), "{error}");

    let endless = TestServer::start(|_| {
        let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
        Reply::Send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(40)))
    })
    .await;
    let error = client(&[&endless.url], HttpOptions::default()).send(&Request::get("/")).await.unwrap_err();
    assert_eq!(error.failure, HttpFailure::Malformed);
    let error = client(&[&endless.url], HttpOptions::default()).open(&Request::get("/")).await.unwrap().next().await;
    assert_eq!(error.unwrap_err().failure, HttpFailure::Malformed, "one endless line");
}

#[actix::test]
async fn lines_come_as_they_are_sent() {
    let server = TestServer::start(|_| {
        let chunks = "5\r\na\nb\r\n\r\n4\r\n\nc\n!\r\n";
        Reply::Stall(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"))
    })
    .await;
    let mut lines = client(&[&server.url], HttpOptions::default()).open(&Request::get("/")).await.unwrap();
    for expected in ["a", "b", "", "c"] {
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(expected.as_bytes()));
    }
    assert!(timeout(Duration::from_millis(50), lines.next()).await.is_err(), "half a line is not told");
}

#[actix::test]
async fn a_server_that_freezes_while_a_request_waits_is_left_for_another() {
    let frozen = TestServer::start(|_| Reply::Stall(String::new())).await;
    let well = TestServer::start(|_| ok("well")).await;
    let options = HttpOptions { pulse: Some("/alive"), ..HttpOptions::default() };
    let started = Instant::now();
    // The first server asked may be the one that is well.
    for _ in 0..20 {
        let client = client(&[&frozen.url, &well.url], options.clone());
        let answer = client.send(&Request::get("/wait").long(Duration::from_secs(300))).await.unwrap();
        assert_eq!(answer.body, b"well");
        if frozen.heads().iter().any(|head| head.starts_with("GET /wait")) {
            assert!(frozen.heads().iter().any(|head| head.starts_with("GET /alive")));
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
            return;
        }
    }
    panic!("the frozen server was never asked first");
}

#[actix::test]
async fn a_server_with_a_pulse_is_waited_for() {
    let patient = TestServer::start(|head| {
        if head.starts_with("GET /alive") { status("503 Busy", "", "") } else { Reply::Stall(String::new()) }
    })
    .await;
    let options = HttpOptions { pulse: Some("/alive"), ..HttpOptions::default() };
    let waiting = client(&[&patient.url], options);
    let error = waiting.send(&Request::get("/wait").long(Duration::from_secs(9))).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 9 s"), "not before its own time: {error}");
}

#[actix::test]
async fn what_is_beyond_the_connections_allowed_waits_its_turn() {
    let server = TestServer::start(|_| ok("")).await;
    let client = client(&[&server.url], HttpOptions { connections_max: Some(2), ..HttpOptions::default() });
    let request = Request::get("/");
    let answers = futures_util::future::join_all((0..20).map(|_| client.send(&request))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(server.connections() <= 2, "{} connections", server.connections());
}

#[actix::test]
async fn a_last_line_without_an_end_is_told_and_nothing_after_it() {
    let scripts: [(Script, &[&str]); 3] = [(|_| ok("a\nb"), &["a", "b"]), (|_| ok("a\n"), &["a"]), (|_| ok(""), &[])];
    for (script, lines) in scripts {
        let server = TestServer::start(script).await;
        let mut answer = client(&[&server.url], HttpOptions::default()).open(&Request::get("/")).await.unwrap();
        for line in lines {
            assert_eq!(answer.next().await.unwrap().as_deref(), Some(line.as_bytes()));
        }
        // More than once: after its end the library would panic.
        assert_eq!(answer.next().await.unwrap(), None);
        assert_eq!(answer.next().await.unwrap(), None);
    }
}
