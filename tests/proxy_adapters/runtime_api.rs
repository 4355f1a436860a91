//! `HaproxySocket`: commands, answers, and faults of HAProxy.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, listen};
use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr_actors::limits::RUNTIME_ANSWER_TIMEOUT;
use proxymgr_actors::model::RuntimeCommand::{
    AddServer, DeleteServer, EnableHealth, SetAddress, SetDrain, SetMaintenance, SetReady, SetWeight,
};
use proxymgr_actors::model::{Observation, ObservedServer, RuntimeCommand, ServerName, Word};
use proxymgr_actors::port::{RuntimeApi, RuntimeError};
use slog::{Drain, Logger, Never, OwnedKVList, Record, o};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::dir::TestDir;
use crate::support::eventually::eventually;
use crate::support::haproxy::{HaproxyVersion, RunningHaproxy, installed, versions};
use crate::{DEFAULTS, endpoint, quiet, server, service};

/// Starts a HAProxy with the section `web` of three servers, and `empty` without servers.
async fn started(dir: &TestDir, version: &HaproxyVersion) -> (RunningHaproxy, HaproxySocket) {
    let servers: String =
        (0..3).map(|n| format!("    server s{n} 127.0.0.1:{} check inter 60s\n", 1_000 + n)).collect();
    let config = format!(
        "{DEFAULTS}listen web\n    bind 127.0.0.1:{}\n    balance roundrobin\n{servers}\
         listen empty\n    bind 127.0.0.1:{}\n    balance roundrobin\n",
        dir.port(),
        dir.port()
    );
    let haproxy = RunningHaproxy::start(dir, version, &config).await;
    let socket = HaproxySocket::new(&haproxy.socket, quiet());
    (haproxy, socket)
}

fn words(options: &[&str]) -> Vec<Word> {
    options.iter().map(|word| Word::new(word).unwrap()).collect()
}

fn add(name: &str, options: &[&str]) -> RuntimeCommand {
    let (server, endpoint, options) = (server("web", name), endpoint("127.0.0.9", 9), words(options));
    AddServer { server, endpoint, id: None, options }
}

fn of<'a>(observation: &'a Observation, service_name: &str, name: &str) -> &'a ObservedServer {
    &observation.services[&service(service_name)][&ServerName::new(name).unwrap()]
}

/// Runs the commands. Returns for each whether it was accepted.
async fn accepted(socket: &HaproxySocket, commands: Vec<RuntimeCommand>) -> Vec<bool> {
    let answers = socket.run(commands).await.unwrap();
    answers.into_iter().map(|answer| answer.accepted).collect()
}

#[tokio::test]
async fn server_follows_commands_on_every_version() {
    for version in versions() {
        let dir = TestDir::new();
        let (_haproxy, socket) = started(&dir, &version).await;
        let s = |n: u8| server("web", &format!("s{n}"));
        let commands = vec![
            SetMaintenance(s(0)),
            SetDrain(s(1)),
            SetWeight(s(2), 77),
            SetAddress(s(0), endpoint("::1", 8_080)),
            SetAddress(s(0), endpoint("::1", 8_080)),
            EnableHealth(s(2)),
        ];
        assert_eq!(accepted(&socket, commands).await, [true; 6], "{version}");

        let seen = socket.observe(Some(vec![service("web"), service("nowhere"), service("empty")])).await.unwrap();
        assert_eq!(seen.services.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["empty", "web"], "{version}");
        assert!(seen.services[&service("empty")].is_empty());
        assert!(of(&seen, "web", "s0").in_maintenance() && of(&seen, "web", "s1").in_drain(), "{version}: {seen:?}");
        assert!(of(&seen, "web", "s0").is_at(&endpoint("::1", 8_080)), "{version}");
        assert_eq!(of(&seen, "web", "s2").weight, 77, "{version}");
        assert_eq!(socket.observe(None).await.unwrap(), seen, "{version}: these two are all sections");

        assert_eq!(accepted(&socket, vec![SetReady(s(0)), SetReady(s(1))]).await, [true; 2], "{version}");
        let seen = socket.observe(Some(vec![service("web")])).await.unwrap();
        assert!(!of(&seen, "web", "s0").in_maintenance() && !of(&seen, "web", "s1").in_drain(), "{version}: {seen:?}");
    }
}

#[tokio::test]
async fn refusals_differ_from_successes_on_every_version() {
    for version in versions() {
        let dir = TestDir::new();
        let (_haproxy, socket) = started(&dir, &version).await;
        let nobody = server("web", "nobody");
        let commands = vec![
            SetReady(nobody.clone()),
            SetWeight(nobody.clone(), 1),
            SetWeight(server("web", "s0"), 257),
            SetAddress(nobody.clone(), endpoint("10.0.0.1", 1)),
            SetDrain(server("nowhere", "s0")),
            EnableHealth(nobody.clone()),
            DeleteServer(nobody),
            // An accepted command in between: each answer must belong to its command.
            SetWeight(server("web", "s1"), 9),
            add("new", &["no-such-option"]),
            SetAddress(server("web", "s0"), endpoint("host.example", 1)),
        ];
        let answers = socket.run(commands).await.unwrap();
        let expected = [false, false, false, false, false, false, false, true, false, false];
        assert_eq!(
            answers.iter().map(|answer| answer.accepted).collect::<Vec<_>>(),
            expected,
            "{version}: {answers:#?}"
        );
        assert_eq!(answers[0].text, "No such server.", "{version}");
        assert!(answers.iter().all(|answer| answer.accepted || !answer.text.is_empty()), "{version}: {answers:#?}");
        assert!(answers.iter().all(|answer| answer.text.len() < 1_100), "{version}: {answers:#?}");
    }
}

#[tokio::test]
async fn server_is_added_and_deleted_if_supported() {
    for version in versions() {
        let dir = TestDir::new();
        let (_haproxy, socket) = started(&dir, &version).await;
        let new = server("web", "new");
        let commands = vec![
            add("new", &["weight", "5", "check", "inter", "60s"]),
            EnableHealth(new.clone()),
            SetReady(new.clone()),
            add("new", &[]),
            DeleteServer(new.clone()),
            SetMaintenance(new.clone()),
            DeleteServer(new),
        ];
        let can = version.adds_servers();
        // A duplicate name and a deletion outside of maintenance are refused.
        let expected = [can, can, can, false, false, can, can];
        assert_eq!(accepted(&socket, commands).await, expected, "{version}");
        assert_eq!(socket.observe(None).await.unwrap().services[&service("web")].len(), 3, "{version}");
    }
}

#[tokio::test]
async fn option_cannot_contain_another_command() {
    let hostile = [
        "a b",
        "a;shutdown",
        "a\\",
        "\\",
        "'a",
        "\"a b\"",
        "#a",
        "<<",
        "a<<",
        "$HOME",
        "${HOME}",
        "ü",
        "a\\ b;c#d",
        ";set server web/s0 weight 99",
        "<<payload",
    ];
    for version in versions().into_iter().filter(HaproxyVersion::adds_servers) {
        let dir = TestDir::new();
        let (_haproxy, socket) = started(&dir, &version).await;
        for word in hostile {
            let answers = socket.run(vec![add("new", &[word]), SetWeight(server("web", "s1"), 5)]).await.unwrap();
            // HAProxy quotes the unknown word as it read it.
            assert_eq!(answers[0].text, format!("unknown keyword '{word}'."), "{version}");
            assert!(answers[1].accepted, "{version}: after {word:?}");
        }
        assert_eq!(of(&socket.observe(None).await.unwrap(), "web", "s0").weight, 1, "{version}");
    }
}

#[tokio::test]
async fn large_batch_gets_one_answer_per_command() {
    const COMMANDS: usize = 5_000;
    for version in versions() {
        let dir = TestDir::new();
        let (_haproxy, socket) = started(&dir, &version).await;
        let commands = (0..COMMANDS).map(|n| match n % 3 {
            0 => SetWeight(server("web", "s0"), u16::try_from(n % 200).unwrap()),
            1 => SetReady(server("web", "nobody")),
            _ if version.adds_servers() => add(&format!("n{n}"), &["weight", "3"]),
            _ => SetMaintenance(server("web", "s1")),
        });
        let accepted = accepted(&socket, commands.collect()).await;
        let expected: Vec<bool> = (0..COMMANDS).map(|n| n % 3 != 1).collect();
        assert_eq!(accepted, expected, "{version}");
        let servers = socket.observe(None).await.unwrap().services[&service("web")].len();
        let added = if version.adds_servers() { COMMANDS / 3 } else { 0 };
        assert_eq!(servers, 3 + added, "{version}");
    }
}

#[tokio::test]
async fn concurrent_calls_are_all_answered() {
    let dir = TestDir::new();
    let (_haproxy, socket) = started(&dir, &installed()).await;
    let many = (0..500).map(|n| SetWeight(server("web", "s0"), n % 200)).collect();
    let (ran, observed, process) = tokio::join!(socket.run(many), socket.observe(None), socket.process());
    assert!(ran.unwrap().iter().all(|answer| answer.accepted));
    // Reads have a connection of their own: this one may see any state of the batch.
    assert!(observed.unwrap().services.contains_key(&service("web")));
    assert_eq!(of(&socket.observe(None).await.unwrap(), "web", "s0").weight, 499 % 200);
    assert!(!process.unwrap().stopping);
}

#[tokio::test]
async fn process_is_known_by_pid_and_version() {
    for version in versions() {
        let dir = TestDir::new();
        let (haproxy, socket) = started(&dir, &version).await;
        let process = socket.process().await.unwrap();
        assert_eq!(i64::from(process.pid), i64::from(haproxy.pid().as_raw()), "{version}");
        assert_eq!((process.version.major, process.version.minor), version.branch);
        assert!(process.version_text.starts_with(&version.label) && !process.stopping, "{process:?}");
    }
}

#[tokio::test]
async fn restarted_haproxy_is_found_again() {
    for version in versions() {
        let dir = TestDir::new();
        let (mut haproxy, socket) = started(&dir, &version).await;
        assert_eq!(accepted(&socket, vec![SetWeight(server("web", "s0"), 7)]).await, [true]);
        haproxy.process().kill();
        let gone = socket.run(vec![SetWeight(server("web", "s0"), 8)]).await.unwrap_err();
        assert!(matches!(gone, RuntimeError::Unreachable { .. }), "{gone}");

        let (_again, _) = started(&dir, &version).await;
        assert_eq!(accepted(&socket, vec![SetWeight(server("web", "s0"), 9)]).await, [true], "{version}");
        assert_eq!(of(&socket.observe(None).await.unwrap(), "web", "s0").weight, 9, "{version}");
    }
}

#[tokio::test]
async fn closed_socket_error_has_advice() {
    let socket = HaproxySocket::new("/nonexistent/haproxy.sock", quiet());
    let error = socket.process().await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/haproxy.sock") && error.contains("not running"), "{error}");
}

#[tokio::test]
async fn frozen_haproxy_times_out_and_recovers() {
    let dir = TestDir::new();
    let (mut haproxy, socket) = started(&dir, &installed()).await;
    let weight = |weight| vec![SetWeight(server("web", "s0"), weight)];
    assert_eq!(accepted(&socket, weight(7)).await, [true]);
    haproxy.signal(Signal::SIGSTOP);
    let before = tokio::time::Instant::now();
    let error = socket.run(weight(8)).await.unwrap_err();
    haproxy.signal(Signal::SIGCONT);
    assert!(matches!(error, RuntimeError::TimedOut { .. }), "{error}");
    assert!(before.elapsed() < RUNTIME_ANSWER_TIMEOUT + Duration::from_secs(2), "after {:?}", before.elapsed());
    assert_eq!(accepted(&socket, weight(9)).await, [true]);
    if of(&socket.observe(None).await.unwrap(), "web", "s0").weight == 8 {
        // It executes commands from its frozen time once, possibly after later commands.
        assert_eq!(accepted(&socket, weight(9)).await, [true]);
    }
    assert_eq!(of(&socket.observe(None).await.unwrap(), "web", "s0").weight, 9);
}

#[tokio::test]
async fn disconnect_lets_a_soft_stop_end() {
    for version in versions() {
        let dir = TestDir::new();
        let (mut haproxy, socket) = started(&dir, &version).await;
        socket.observe(None).await.unwrap();
        socket.disconnect();
        // Also during a call.
        let observing = socket.observe(None);
        tokio::join!(async { observing.await.unwrap() }, async {
            tokio::task::yield_now().await;
            socket.disconnect();
        });
        haproxy.signal(Signal::SIGUSR1);
        let status = haproxy.process().wait_exit(Duration::from_secs(5)).await;
        assert!(status.success(), "{version}: {status}");
    }
}

#[tokio::test]
async fn idle_connection_outlives_haproxys_timeout() {
    let dir = TestDir::new();
    let version = versions().pop().unwrap();
    let config = format!("    stats timeout 200ms\n{DEFAULTS}listen web\n    bind 127.0.0.1:{}\n", dir.port());
    let haproxy = RunningHaproxy::start(&dir, &version, &config).await;
    let connections = Connections::default();
    let socket = HaproxySocket::new(&haproxy.socket, Logger::root(connections.clone(), o!()));
    socket.observe(None).await.unwrap();
    // HAProxy closes a connection without `set timeout cli` after 200 ms; after that, the adapter's must still be open.
    let mut plain = UnixStream::connect(&haproxy.socket).await.unwrap();
    plain.write_all(b"prompt\n").await.unwrap();
    let mut said = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut said)).await;
    closed.expect("the idle connection is closed").unwrap();

    socket.observe(None).await.unwrap();
    assert_eq!(connections.0.load(Ordering::SeqCst), 1, "{version}");
}

/// Counts connections from the adapter's log records.
#[derive(Clone, Default)]
struct Connections(Arc<AtomicUsize>);

impl Drain for Connections {
    type Ok = ();
    type Err = Never;
    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        if record.msg().to_string().starts_with("connected") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[tokio::test]
async fn request_without_an_answer_is_not_repeated() {
    let dir = TestDir::new();
    let path = dir.join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = std::thread::spawn(move || {
        // Reads one request and closes the connection; further data would be a repetition.
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let read = std::io::Read::read(&mut stream, &mut request).unwrap();
        drop(stream);
        listener.set_nonblocking(true).unwrap();
        (String::from_utf8_lossy(&request[..read]).into_owned(), listener)
    });
    let socket = HaproxySocket::new(&path, quiet());
    let error = socket.run(vec![SetReady(server("web", "s0"))]).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Broken { .. }), "{error}");
    let (request, listener) = served.join().unwrap();
    assert!(request.ends_with("set server web/s0 state ready\n"), "{request}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nothing was sent again");
}

#[tokio::test]
async fn full_connection_queue_is_an_error() {
    let dir = TestDir::new();
    let path = dir.join("full.sock");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(3).unwrap()).unwrap();
    let mut waiting = Vec::new();
    // Fills the queue of a listener that never accepts. On a non-blocking socket a full queue is an error at once.
    eventually(Duration::from_secs(10), "the queue is full", async || match UnixStream::connect(&path).await {
        Ok(stream) => {
            waiting.push(stream);
            Err("room")
        }
        Err(_) => Ok(()),
    })
    .await;
    let error = HaproxySocket::new(&path, quiet()).process().await.unwrap_err();
    assert!(matches!(error, RuntimeError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("queue of connections"), "{error}");
}
