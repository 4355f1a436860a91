//! Compares the model of HAProxy's Runtime API with every installed HAProxy: the same commands must give the same
//! answers and the same servers. If they differ, the model is wrong.

#[path = "../support/mod.rs"]
mod support;

mod backends;
mod requests;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr_actors::model::{
    Address, Endpoint, Observation, ProxyVersion, RuntimeCommand, ServerId, ServerName, ServiceName, Word,
};
use proxymgr_actors::port::{Answer, RuntimeApi};
use proxymgr_simulation::haproxy_model::{HaproxyModel, NameTable};
use requests::{Request, Verb, requests};
use slog::{Discard, Logger, o};
use support::backend::Backend;
use support::dir::TestDir;
use support::eventually::eventually;
use support::haproxy::{HaproxyVersion, RunningHaproxy, versions};
use support::http;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::Instant;

const DEFAULTS: &str = "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n    \
                        default-server init-addr libc,last,none\n";

/// Sections that differ in what can change at run time, each with servers in various states. `init-addr none` stands
/// for a name that does not resolve, without a query.
const SECTIONS: [(&str, &str); 7] = [
    (
        "rr",
        "balance roundrobin
        use-server used if FALSE
        server a 127.0.0.1:1 weight 5
        server b 127.0.0.1:2 disabled
        server c 127.0.0.1:3 check inter 1h
        server n localhost:4 init-addr none
        server l localhost:5
        server used [::1]:6
        server g 127.0.0.1:7 id 70000 agent-check agent-port 1 agent-inter 1h",
    ),
    (
        "lc",
        "mode tcp
        balance leastconn
        default-server weight 9 disabled
        server a 127.0.0.1:1
        server b 127.0.0.1:2 enabled weight 0
        server n localhost:4 init-addr none",
    ),
    ("static", "balance static-rr\n server a 127.0.0.1:1 weight 5\n server b 127.0.0.1:2 weight 0 disabled"),
    ("hash", "balance source\n server a 127.0.0.1:1"),
    ("consistent", "balance uri\n hash-type consistent\n server a 127.0.0.1:1\n server b 127.0.0.1:2"),
    ("first", "balance first\n server a 127.0.0.1:1"),
    ("empty", "balance random(3)"),
];

/// Names of servers in the file, of missing ones, and of servers to add.
const SERVERS: [&str; 10] = ["a", "b", "c", "g", "n", "l", "used", "x", "y", "z"];

/// Options of added servers. Another test tries every option that a version knows.
const OPTIONS: [&str; 26] = [
    "",
    "",
    "",
    "weight 7",
    "weight 0",
    "weight 256",
    "weight 257",
    "weight -1",
    "check inter 1h",
    "disabled",
    "enabled",
    "backup maxconn 3",
    "cookie a",
    "cookie disabled weight 3",
    "ssl",
    "ssl verify none",
    "stick",
    "no-check",
    "inter 0",
    "observe layer7",
    "such-an-option-is-not",
    "pool-max-conn -1 pool-purge-delay 5s",
    "id 70000",
    "id 1 weight 3",
    "weight 3 id 99999",
    "agent-check agent-port 1 agent-inter 1h",
];

const ADDRESSES: [&str; 8] =
    ["127.0.0.1", "127.0.0.1", "10.1.2.3", "::1", "2001:db8:0:0:1::", "::ffff:10.1.2.3", "::10.1.2.3", "host.example"];

/// Number of copies of the sections in one HAProxy: each sequence of commands needs an unchanged copy.
const COPIES: usize = 150;

/// Number of sequences for each version.
const SEQUENCES: u32 = 256;

const SETTLING_LIMIT: Duration = Duration::from_secs(2);

fn section_text(name: &str, copy: usize, lines: &str) -> String {
    let mut text = format!("backend {name}.{copy}\n");
    for line in lines.lines() {
        writeln!(text, "    {}", line.trim()).expect("writing to a String cannot fail");
    }
    text
}

fn copy_text(copy: usize) -> String {
    SECTIONS.iter().map(|(name, lines)| section_text(name, copy, lines)).collect()
}

fn model_of(version: &HaproxyVersion, text: &str) -> HaproxyModel {
    let names = NameTable::from([("localhost".to_owned(), [127, 0, 0, 1].into())]);
    let (major, minor) = version.branch;
    let started = HaproxyModel::start_resolving(ProxyVersion { major, minor }, text, &names);
    started.unwrap_or_else(|messages| panic!("the model of {version} refuses {text}: {messages:?}"))
}

/// A HAProxy with many copies of the sections, and the number of the next unchanged copy.
struct Ground {
    version: HaproxyVersion,
    dir: TestDir,
    running: Option<(RunningHaproxy, HaproxySocket, usize)>,
}

impl Ground {
    fn new(version: HaproxyVersion) -> Self {
        Self { version, dir: TestDir::new(), running: None }
    }

    /// Returns a socket, and the number of an unchanged copy.
    async fn fresh_copy(&mut self) -> (&HaproxySocket, usize) {
        if self.running.as_ref().is_none_or(|(.., next)| *next == COPIES) {
            self.running = None;
            let copies: String = (0..COPIES).map(copy_text).collect();
            let config = format!("{DEFAULTS}listen probe\n    bind 127.0.0.1:{}\n{copies}", self.dir.port());
            let haproxy = RunningHaproxy::start(&self.dir, &self.version, &config).await;
            let socket = HaproxySocket::new(&haproxy.socket, Logger::root(Discard, o!()));
            self.running = Some((haproxy, socket, 0));
        }
        let (_, socket, next) = self.running.as_mut().expect("it was started above");
        *next += 1;
        (socket, *next - 1)
    }

    /// Executes the same requests in the model and in HAProxy, and compares.
    async fn compare(&mut self, requests: &[Request]) -> Result<(), TestCaseError> {
        let version = self.version.clone();
        let (socket, copy) = self.fresh_copy().await;
        let mut model = model_of(&version, &format!("{DEFAULTS}{}", copy_text(copy)));
        let sections: Vec<ServiceName> =
            SECTIONS.iter().map(|(name, _)| ServiceName::new(&format!("{name}.{copy}")).unwrap()).collect();
        let commands: Vec<RuntimeCommand> = requests.iter().map(|request| request.command(copy)).collect();
        let checked = checked_servers(&commands, copy);
        // From 3.0 on HAProxy shows a new address only a moment after its answer, and later answers depend on it.
        for batch in commands.split_inclusive(|command| matches!(command, RuntimeCommand::SetAddress(..))) {
            let answers = socket.run(batch.to_vec()).await.expect("HAProxy answers");
            for (command, real) in batch.iter().zip(&answers) {
                let modelled = model.run(command);
                prop_assert!(is_same(&modelled, real), "{version}: {command}\nmodel   {modelled:?}\nHAProxy {real:?}");
            }
            let modelled = without_health(model.observe(Some(&sections)), &checked);
            let last = batch.last();
            let may_lag = matches!(last, Some(RuntimeCommand::SetAddress(..))) && version.branch >= (3, 0);
            let deadline = Instant::now() + if may_lag { SETTLING_LIMIT } else { Duration::ZERO };
            loop {
                let real = socket.observe(Some(sections.clone())).await.expect("HAProxy answers");
                let real = without_health(real, &checked);
                if real == modelled {
                    break;
                }
                prop_assert!(Instant::now() < deadline, "{version}: {}", difference(&modelled, &real, last));
            }
        }
        Ok(())
    }
}

/// Returns the servers whose health depends on time and on listeners.
fn checked_servers(commands: &[RuntimeCommand], copy: usize) -> BTreeSet<ServerId> {
    let static_one =
        ServerId { service: ServiceName::new(&format!("rr.{copy}")).unwrap(), server: ServerName::new("c").unwrap() };
    let has_check = |command: &&RuntimeCommand| match command {
        RuntimeCommand::AddServer { options, .. } => options.iter().any(|word| word.as_str() == "check"),
        _ => false,
    };
    commands.iter().filter(has_check).map(|command| command.server().clone()).chain([static_one]).collect()
}

fn without_health(mut observation: Observation, checked: &BTreeSet<ServerId>) -> Observation {
    for id in checked {
        let section = observation.services.get_mut(&id.service).map(Arc::make_mut);
        let server = section.and_then(|section| section.get_mut(&id.server));
        if let Some(server) = server {
            server.operational_state = 0;
        }
    }
    observation
}

/// Returns whether the outcome is the same, and the text too if the model claims to know it.
fn is_same(modelled: &Answer, real: &Answer) -> bool {
    const NOT_IN_THESE_WORDS: [&str; 6] =
        ["not sent", " has to be > 0", "' expects ", "unexpected character", "timer overflow", " already used"];
    let same_words = if NOT_IN_THESE_WORDS.iter().any(|words| modelled.text.contains(words)) {
        true
    } else if modelled.text.starts_with("unknown keyword") {
        // HAProxy may add a suggestion.
        real.text.starts_with(modelled.text.trim_end_matches('.'))
    } else {
        modelled.text == real.text
    };
    modelled.accepted == real.accepted && same_words
}

fn difference(modelled: &Observation, real: &Observation, after: Option<&RuntimeCommand>) -> String {
    let mut text = String::new();
    let last = after.map(ToString::to_string).unwrap_or_default();
    for (name, section) in &modelled.services {
        if real.services.get(name) != Some(section) {
            let real = real.services.get(name);
            write!(text, "{name} after `{last}`:\nmodel   {section:?}\nHAProxy {real:?}\n").expect("into a String");
        }
    }
    text
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread")
}

#[test]
fn random_commands_have_the_same_outcome() {
    for version in versions() {
        let runtime = runtime();
        let ground = std::cell::RefCell::new(Ground::new(version));
        let config = Config { cases: SEQUENCES, max_shrink_iters: 400, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config)
            .run(&requests(), |requests| runtime.block_on(ground.borrow_mut().compare(&requests)));
        if let Err(error) = outcome {
            panic!("{error}");
        }
    }
}

#[test]
fn add_server_accepts_the_same_options() {
    for version in versions() {
        let mut ground = Ground::new(version);
        let verb = |option| Verb::Add("127.0.0.9", 9, option);
        let request = |option| [Request { section: "rr", server: "x", verb: verb(option) }];
        runtime().block_on(async {
            for option in ALL_OPTIONS.iter().flat_map(|line| line.split(", ")) {
                if let Err(error) = ground.compare(&request(option)).await {
                    panic!("{option}: {error}");
                }
            }
        });
    }
}

/// Every option with a valid value, and some with invalid ones.
const ALL_OPTIONS: [&str; 13] = [
    "id 1, id 70000, id 70001, id 0, id x, id, agent-check agent-port 5 agent-inter 1h",
    "check, no-check, inter 2s, fastinter 2s, downinter 2s, rise 2, fall 2, port 80, addr 127.0.0.1, check-ssl",
    "no-check-ssl, check-send-proxy, no-check-send-proxy, check-reuse-pool, no-check-reuse-pool, check-sni a",
    "check-alpn h2, check-proto h2, check-pool-conn-name a, check-sni-auto, agent-check agent-port 5, agent-check",
    "no-agent-check, agent-inter 2s, agent-port 5, agent-addr 127.0.0.1, agent-send x, on-error fastinter",
    "on-marked-down shutdown-sessions, on-marked-up shutdown-backup-sessions, observe layer4, observe layer7, \
     error-limit 3, init-state up, weight 3, backup, no-backup, maxconn 3, minconn 3, maxqueue 3, strict-maxconn",
    "slowstart 3s, shard 1, cookie a, stick, non-stick, redir /a, hash-key addr, max-reuse 3, pool-max-conn -1, \
     pool-low-conn 3, pool-min-conn 3, pool-purge-delay 3s, idle-ping 3s, tcp-ut 3s, tfo, no-tfo, proto h2, ws auto",
    "send-proxy, no-send-proxy, send-proxy-v2, no-send-proxy-v2, send-proxy-v2-ssl, no-send-proxy-v2-ssl, \
     send-proxy-v2-ssl-cn, no-send-proxy-v2-ssl-cn, proxy-v2-options crc32c, init-addr none, resolvers x",
    "resolve-opts allow-dup-ip, resolve-prefer ipv4, resolve-net 10.0.0.0/8, ssl, ssl verify none, no-ssl, \
     verify none, verify required, verifyhost a, no-verifyhost, sni str(a), sni-auto, no-sni-auto, alpn h2, npn h2",
    "allow-0rtt, ciphers ALL, ciphersuites TLS_AES_128_GCM_SHA256, curves X25519, sigalgs RSA+SHA256, \
     client-sigalgs RSA+SHA256, ssl-min-ver TLSv1.2, ssl-max-ver TLSv1.2, ssl-reuse, no-ssl-reuse, tls-tickets",
    "no-tls-tickets, no-sslv3, no-tlsv10, no-tlsv11, no-tlsv12, no-tlsv13, force-sslv3, force-tlsv10, force-tlsv11, \
     force-tlsv12, force-tlsv13, disabled, enabled, id 77, guid abc, namespace x, socks4 127.0.0.1:1, log-bufsize 3",
    "log-proto octet-count, weight x, weight, weight 300 chekc, chekc, maxconn, cookie, inter, inter 0, inter 2x, \
     inter 30d, inter 24d, inter 9us, rise 0, rise x, error-limit 0, slowstart x, on-error foo, verify foo",
    "disabled enabled, cookie enabled, weight 4 weight 9 cookie stick, ssl verify none no-such-word",
];

/// Further lines of sections, valid and invalid.
const LINES: [&str; 30] = [
    "balance roundrobin",
    "balance no-such-algorithm",
    "balance random(0)",
    "balance hash src",
    "balance sticky",
    "balance hdr(host)",
    "balance",
    "hash-type consistent",
    "hash-type no-such-type",
    "option idle-close-on-response",
    "option forwarded",
    "option http-drop-request-trailers",
    "option httplog",
    "timeout client-hs 5s",
    "timeout tunnel 5s",
    "error-log-format x",
    "hash-preserve-affinity always",
    "default-server weight 257",
    "default-server weight 7 no-such-option",
    "server a 127.0.0.1:9",
    "server x localhost:9",
    "server x [::1]:9 curves X25519 ssl verify none",
    "server x 127.0.0.1:9 check-ssl",
    "server x 127.0.0.1:9 agent-check",
    "server x 127.0.0.1:9 strict-maxconn maxconn 5",
    "server x no-such-name.invalid:9 init-addr last,10.0.0.1",
    "server x 127.0.0.1:9 id 70000",
    "server x 127.0.0.1:9 id 0",
    "server x 127.0.0.1:9 id 70000\n    server y 127.0.0.1:9 id 70000",
    "default-server hash-key addr-port",
];

#[test]
fn configuration_is_refused_for_the_same_line() {
    let dir = TestDir::new();
    for version in versions() {
        for line in LINES {
            let text = format!("{DEFAULTS}listen web\n    bind 127.0.0.1:1\n    server a 127.0.0.1:1\n    {line}\n");
            let file = dir.write("haproxy.cfg", &text);
            let output = Command::new(&version.path).arg("-c").arg("-f").arg(&file).output().expect("run haproxy -c");
            let said = String::from_utf8_lossy(&output.stderr);
            let names = NameTable::from([("localhost".to_owned(), [127, 0, 0, 1].into())]);
            let (major, minor) = version.branch;
            let modelled = HaproxyModel::start_resolving(ProxyVersion { major, minor }, &text, &names);
            assert_eq!(modelled.is_ok(), output.status.success(), "{version}: {line}: {said}\n{modelled:?}");
            for message in modelled.err().into_iter().flatten() {
                let place = format!("haproxy.cfg:{}]", message.line.expect("every message has its line"));
                assert!(said.contains(&place), "{version}: {line}: {message:?}: {said}");
            }
        }
    }
}

#[test]
fn server_with_connection_cannot_be_deleted() {
    for version in versions() {
        runtime().block_on(async {
            let dir = TestDir::new();
            let backend = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = dir.port();
            let text = format!(
                "{DEFAULTS}listen web\n    mode tcp\n    bind 127.0.0.1:{port}\n    server a {}\n",
                backend.local_addr().expect("it is bound")
            );
            let mut model = model_of(&version, &text);
            let haproxy = RunningHaproxy::start(&dir, &version, &text).await;
            let socket = HaproxySocket::new(&haproxy.socket, Logger::root(Discard, o!()));
            let id = ServerId { service: ServiceName::new("web").unwrap(), server: ServerName::new("a").unwrap() };
            let client = TcpStream::connect(("127.0.0.1", port)).await.expect("HAProxy accepts");
            let attached = backend.accept().await.expect("HAProxy connects to the server");
            assert!(model.set_connections(&id, true));
            let commands = vec![RuntimeCommand::SetMaintenance(id.clone()), RuntimeCommand::DeleteServer(id)];
            let modelled: Vec<Answer> = commands.iter().map(|command| model.run(command)).collect();
            assert_eq!(socket.run(commands).await.expect("HAProxy answers"), modelled, "{version}");
            drop((client, attached));
        });
    }
}

#[test]
fn addresses_lag_on_request_in_new_versions() {
    for (major, minor, late) in [(2, 6, false), (3, 2, true)] {
        let version = ProxyVersion { major, minor };
        let mut model = HaproxyModel::start(version, "listen web\n    server a 127.0.0.1:1\n").unwrap();
        let (web, a) = (ServiceName::new("web").unwrap(), ServerName::new("a").unwrap());
        let id = ServerId { service: web.clone(), server: a.clone() };
        let endpoint = Endpoint::Tcp { address: Address::parse("127.0.0.2").unwrap(), port: 2.try_into().unwrap() };
        let port = |model: &HaproxyModel| model.observe(None).services[&web][&a].port.map_or(0, NonZeroU16::get);
        model.let_addresses_lag(true);
        assert!(model.run(&RuntimeCommand::SetAddress(id, endpoint)).accepted);
        assert_eq!(port(&model), if late { 1 } else { 2 }, "{version}");
        model.settle();
        assert_eq!(port(&model), 2, "{version}");
    }
}

#[test]
fn server_is_up_after_maintenance_until_checked() {
    for version in versions() {
        runtime().block_on(async {
            let dir = TestDir::new();
            let (dead, port) = (dir.port(), dir.port());
            let text = format!(
                "{DEFAULTS}listen web\n    mode tcp\n    bind 127.0.0.1:{port}\n    \
                 server a 127.0.0.1:{dead} check inter 1h\n"
            );
            let mut model = model_of(&version, &text);
            let haproxy = RunningHaproxy::start(&dir, &version, &text).await;
            let socket = HaproxySocket::new(&haproxy.socket, Logger::root(Discard, o!()));
            let id = ServerId { service: ServiceName::new("web").unwrap(), server: ServerName::new("a").unwrap() };
            assert!(model.set_health(&id, false));
            let down = model.observe(None);
            eventually(Duration::from_secs(5), "the check has failed", async || {
                let real = socket.observe(None).await.expect("HAProxy answers");
                if real == down { Ok(()) } else { Err(format!("{real:?}")) }
            })
            .await;
            for command in [RuntimeCommand::SetDrain, RuntimeCommand::SetMaintenance, RuntimeCommand::SetReady] {
                let command = command(id.clone());
                assert_eq!(socket.run(vec![command.clone()]).await.unwrap(), [model.run(&command)], "{version}");
                assert_eq!(socket.observe(None).await.unwrap(), model.observe(None), "{version}: after `{command}`");
            }
        });
    }
}

/// Added servers without ids (HAProxy's issue 3413): they are ready, but some get no request.
#[test]
fn starving_servers_match_the_model() {
    for version in versions() {
        for (balance, id) in [("random", ""), ("uri", ""), ("roundrobin", ""), ("random", " id"), ("uri", " id")] {
            if !version.adds_servers() {
                continue;
            }
            runtime().block_on(async {
                let dir = TestDir::new();
                let port = dir.port();
                let backends: Vec<Backend> = (0..6).map(|n| Backend::start(&dir, &format!("s{n}"))).collect();
                let id_of = |n: usize| if id.is_empty() { String::new() } else { format!("id {}", 70_000 + n) };
                let text = format!(
                    "{DEFAULTS}listen web\n    bind 127.0.0.1:{port}\n    balance {balance}\n    \
                     hash-type consistent\n    server s0 {} {}\n",
                    backends[0].address(),
                    id_of(0)
                );
                let mut model = model_of(&version, &text);
                let haproxy = RunningHaproxy::start(&dir, &version, &text).await;
                let socket = HaproxySocket::new(&haproxy.socket, Logger::root(Discard, o!()));
                for (n, backend) in backends.iter().enumerate().skip(1) {
                    let server = ServerId {
                        service: ServiceName::new("web").unwrap(),
                        server: ServerName::new(backend.name()).unwrap(),
                    };
                    let options = id_of(n).split_whitespace().map(|word| Word::new(word).unwrap()).collect();
                    let address = Address::Ip(backend.address().ip());
                    let endpoint = Endpoint::Tcp { address, port: backend.port().try_into().unwrap() };
                    let added = RuntimeCommand::AddServer { server: server.clone(), endpoint, id: None, options };
                    let commands = vec![added, RuntimeCommand::SetReady(server)];
                    let modelled: Vec<Answer> = commands.iter().map(|command| model.run(command)).collect();
                    assert_eq!(socket.run(commands).await.expect("HAProxy answers"), modelled, "{version}");
                }
                for number in 0..2_000 {
                    let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
                    http::get(address, &format!("/{number}")).await.expect("an answer");
                }
                let starving: Vec<&str> =
                    backends.iter().filter(|backend| backend.requests() == 0).map(Backend::name).collect();
                let modelled = model.starving();
                let mut modelled: Vec<&str> = modelled.iter().map(|id| id.server.as_str()).collect();
                modelled.sort_unstable();
                assert_eq!(starving, modelled, "{version}: balance {balance}{id}");
            });
        }
    }
}

#[test]
fn static_algorithm_accepts_only_two_weights() {
    for version in versions() {
        let mut ground = Ground::new(version);
        let weights = [0, 5, 6, 0, 1, 5, 257];
        let requests = weights.map(|weight| Request { section: "static", server: "a", verb: Verb::Weight(weight) });
        if let Err(error) = runtime().block_on(ground.compare(&requests)) {
            panic!("{error}");
        }
    }
}
