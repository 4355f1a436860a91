//! Compares the model of HAProxy's map of domains with every installed HAProxy: the same commands must give the same
//! answers and the same map. If they differ, the model is wrong.

#[path = "support/mod.rs"]
mod support;

use std::cell::Cell;
use std::fmt::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr_actors::model::{ProxyVersion, RouteCommand, RouteKey, ServiceName};
use proxymgr_actors::port::RuntimeApi;
use proxymgr_simulation::route_map::RouteMap;
use slog::{Discard, Logger, o};
use support::dir::TestDir;
use support::haproxy::{HaproxyVersion, RunningHaproxy, versions};

/// Number of sequences for each version, each with an unchanged map.
const SEQUENCES: u32 = 200;

/// Content of the map's file.
const FILE: &str = "# A comment.\n0.0.0.0:80/a.example/ one\n0.0.0.0:80/*.b.example/ two\n[::1]:80/*/x/ three\n";

/// Keys that are in the file, keys that are not, and a key that begins with another.
const KEYS: [&str; 6] = [
    "0.0.0.0:80/a.example/",
    "0.0.0.0:80/*.b.example/",
    "[::1]:80/*/x/",
    "0.0.0.0:80/a.example/api/",
    "0.0.0.0:80/new.example/",
    "0.0.0.0:80/*/",
];

fn commands() -> impl Strategy<Value = Vec<RouteCommand>> {
    let key = || select(&KEYS[..]).prop_map(RouteKey::observed);
    let service = || select(vec!["one", "two", "four"]).prop_map(|name| ServiceName::new(name).unwrap());
    let command = prop_oneof![
        (key(), service()).prop_map(|(key, service)| RouteCommand::Add(key, service)),
        (key(), service()).prop_map(|(key, service)| RouteCommand::Set(key, service)),
        key().prop_map(RouteCommand::Delete),
    ];
    proptest::collection::vec(command, 1..25)
}

/// A HAProxy with many maps, and the number of used ones.
struct Ground {
    version: HaproxyVersion,
    dir: TestDir,
    _running: RunningHaproxy,
    socket: HaproxySocket,
    used: Cell<u32>,
}

impl Ground {
    async fn new(version: HaproxyVersion) -> Self {
        let dir = TestDir::new();
        let mut config = format!(
            "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n\
             frontend web\n    bind 127.0.0.1:{}\n",
            dir.port()
        );
        for number in 1..=SEQUENCES {
            let map = dir.write(format!("{number}.map"), FILE);
            let expression = format!("req.hdr(host),map_beg({})", map.display());
            writeln!(config, "    http-request set-var(txn.found) {expression}").expect("into a String");
        }
        let running = RunningHaproxy::start(&dir, &version, &config).await;
        let socket = HaproxySocket::new(&running.socket, Logger::root(Discard, o!()));
        Self { version, dir, _running: running, socket, used: Cell::new(0) }
    }

    /// Returns an unchanged map. When proptest minimizes a failure, used maps are restored.
    async fn fresh_map(&self) -> PathBuf {
        let used = self.used.get();
        let map = self.dir.join(format!("{}.map", used % SEQUENCES + 1));
        self.used.set(used + 1);
        if used >= SEQUENCES {
            // From 3.4 on, each command deletes one of several entries of a key.
            while let Some(shown) = self.socket.routes(map.clone()).await.expect("HAProxy answers")
                && !shown.is_empty()
            {
                let gone = shown.into_keys().map(RouteCommand::Delete).collect();
                self.socket.change_routes(map.clone(), gone).await.expect("HAProxy answers");
            }
            let entries = FILE.lines().filter_map(|line| line.split_once(' ')).filter(|(key, _)| *key != "#");
            let come = entries
                .map(|(key, service)| RouteCommand::Add(RouteKey::observed(key), ServiceName::new(service).unwrap()));
            self.socket.change_routes(map.clone(), come.collect()).await.expect("HAProxy answers");
        }
        map
    }

    /// Executes the same commands in the model and in HAProxy, and compares after each.
    async fn compare(&self, commands: &[RouteCommand]) -> Result<(), TestCaseError> {
        let (version, map) = (&self.version, self.fresh_map().await);
        let mut model = RouteMap::load(FILE, ProxyVersion { major: version.branch.0, minor: version.branch.1 });
        for command in commands {
            let answers = self.socket.change_routes(map.clone(), vec![command.clone()]).await;
            let (modelled, real) = (vec![model.run(command)], answers.expect("HAProxy answers"));
            prop_assert_eq!(modelled, real, "{}: {:?}", version, command);
            let shown = self.socket.routes(map.clone()).await.expect("HAProxy answers");
            prop_assert_eq!(Some(model.show()), shown, "{}: after {:?}", version, command);
        }
        Ok(())
    }
}

#[test]
fn random_commands_leave_the_same_map() {
    for version in versions() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ground = runtime.block_on(Ground::new(version));
        let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&commands(), |commands| runtime.block_on(ground.compare(&commands)));
        if let Err(error) = outcome {
            panic!("{error}");
        }
    }
}
