//! The model of HAProxy's map of domains against every HAProxy on this machine: the same commands, the same answers, the
//! same map afterwards. Where the two differ, the model is wrong.

#[path = "support/mod.rs"]
mod support;

use std::cell::Cell;
use std::fmt::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr_actors::model::{RouteCommand, RouteKey, ServiceName};
use proxymgr_actors::port::RuntimeApi;
use proxymgr_simulation::route_map::RouteMap;
use slog::{Discard, Logger, o};
use support::dir::TestDir;
use support::haproxy::{HaproxyVersion, RunningHaproxy, versions};

/// Sequences for each version, each with a map that nothing has changed yet.
const SEQUENCES: u32 = 200;

/// What a map's file says.
const FILE: &str = "# A comment.\n0.0.0.0:80/a.example/ one\n0.0.0.0:80/*.b.example/ two\n[::1]:80/*/x/ three\n";

/// Keys of the file, of none, and such that another begins with them.
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

/// A HAProxy with so many maps, and which was used last.
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

    /// A map that nothing has changed yet. While a failure is made smaller, one that was used is loaded anew.
    async fn fresh_map(&self) -> PathBuf {
        let used = self.used.get();
        let map = self.dir.join(format!("{}.map", used % SEQUENCES + 1));
        self.used.set(used + 1);
        if used >= SEQUENCES {
            let shown = self.socket.routes(map.clone()).await.expect("HAProxy answers").expect("it has the map");
            let gone = shown.into_keys().map(RouteCommand::Delete);
            let entries = FILE.lines().filter_map(|line| line.split_once(' ')).filter(|(key, _)| *key != "#");
            let come = entries
                .map(|(key, service)| RouteCommand::Add(RouteKey::observed(key), ServiceName::new(service).unwrap()));
            self.socket.change_routes(map.clone(), gone.chain(come).collect()).await.expect("HAProxy answers");
        }
        map
    }

    /// Has the model and HAProxy obey the same commands, and compares after each.
    async fn compare(&self, commands: &[RouteCommand]) -> Result<(), TestCaseError> {
        let (version, map) = (&self.version, self.fresh_map().await);
        let mut model = RouteMap::load(FILE);
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
fn any_sequence_of_commands_leaves_the_same_map_on_every_version() {
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
