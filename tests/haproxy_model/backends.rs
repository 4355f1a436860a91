//! Compares backends that come and go at run time, in the versions that have them.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr_actors::model::{
    Address, BackendCommand, Endpoint, RuntimeCommand, ServerId, ServerName, ServiceName, Word,
};
use proxymgr_actors::port::RuntimeApi;
use slog::{Discard, Logger, o};

use super::{DEFAULTS, is_same, model_of, runtime};
use crate::support::dir::TestDir;
use crate::support::haproxy::{RunningHaproxy, versions};

const NAMED_DEFAULTS: &str = "defaults plain\n    mode http\n    timeout connect 1s\n    timeout server 5s\n\
                              defaults derived from plain\n    balance leastconn\n    default-server weight 7\n\
                              defaults tcp\n    mode tcp\n    timeout connect 1s\n    timeout server 5s\n\
                              defaults static from plain\n    balance static-rr\n";

/// The number of sequences, each with sections of its own in one HAProxy.
const SEQUENCES: usize = 96;

/// Sections in the file, and names that are free.
const SECTIONS: [&str; 5] = ["old", "empty", "whole", "new", "more"];

fn copy_text(copy: usize, port: u16) -> String {
    format!(
        "backend old.{copy} from plain\n    server a 127.0.0.1:1\nbackend empty.{copy} from derived\n\
         listen whole.{copy} from plain\n    bind 127.0.0.1:{port}\n    timeout client 5s\n"
    )
}

/// A command without the number of its copy of the sections.
#[derive(Debug, Clone)]
struct Request {
    section: &'static str,
    verb: Verb,
}

#[derive(Debug, Clone)]
enum Verb {
    Add(&'static str),
    Publish,
    Unpublish,
    Delete,
    AddServer(&'static str),
    Ready,
    Maintenance,
    DeleteServer(&'static str),
}

enum Command {
    Backend(BackendCommand),
    Server(RuntimeCommand),
}

impl Request {
    fn command(&self, copy: usize) -> Command {
        let service = ServiceName::new(&format!("{}.{copy}", self.section)).unwrap();
        let server = |name: &str| ServerId { service: service.clone(), server: ServerName::new(name).unwrap() };
        let add = |name: &str| RuntimeCommand::AddServer {
            server: server(name),
            endpoint: Endpoint::Tcp { address: Address::parse("127.0.0.9").unwrap(), port: 9.try_into().unwrap() },
            id: None,
            options: vec![Word::new("weight").unwrap(), Word::new("3").unwrap()],
        };
        match self.verb {
            Verb::Add(from) => Command::Backend(BackendCommand::Add { service, from: from.into(), guid: None }),
            Verb::Publish => Command::Backend(BackendCommand::Publish(service)),
            Verb::Unpublish => Command::Backend(BackendCommand::Unpublish(service)),
            Verb::Delete => Command::Backend(BackendCommand::Delete(service)),
            Verb::AddServer(name) => Command::Server(add(name)),
            Verb::Ready => Command::Server(RuntimeCommand::SetReady(server("a"))),
            Verb::Maintenance => Command::Server(RuntimeCommand::SetMaintenance(server("a"))),
            Verb::DeleteServer(name) => Command::Server(RuntimeCommand::DeleteServer(server(name))),
        }
    }
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let defaults = || select(&["plain", "plain", "derived", "tcp", "static", "nowhere"][..]);
    let server = || select(&["a", "b"][..]);
    let verb = prop_oneof![
        2 => defaults().prop_map(Verb::Add),
        2 => Just(Verb::Publish),
        2 => Just(Verb::Unpublish),
        3 => Just(Verb::Delete),
        2 => server().prop_map(Verb::AddServer),
        1 => Just(Verb::Ready),
        2 => Just(Verb::Maintenance),
        2 => server().prop_map(Verb::DeleteServer),
    ];
    let other_section = prop::option::weighted(0.2, select(&SECTIONS[..]));
    let requests = proptest::collection::vec((other_section, verb), 1..30);
    (select(&SECTIONS[..]), requests).prop_map(|(one_section, requests)| {
        let request = |(section, verb): (Option<_>, _)| Request { section: section.unwrap_or(one_section), verb };
        requests.into_iter().map(request).collect()
    })
}

#[test]
fn backends_come_and_go_with_the_same_answers() {
    for version in versions().into_iter().filter(|version| version.branch >= (3, 4)) {
        let runtime = runtime();
        let dir = TestDir::new();
        let port = dir.port();
        let copies: String = (0..SEQUENCES).map(|copy| copy_text(copy, port)).collect();
        let (haproxy, socket) = runtime.block_on(async {
            let haproxy = RunningHaproxy::start(&dir, &version, &format!("{DEFAULTS}{NAMED_DEFAULTS}{copies}")).await;
            let socket = HaproxySocket::new(&haproxy.socket, Logger::root(Discard, o!()));
            (haproxy, socket)
        });
        let next_copy = std::cell::Cell::new(0);
        let compare = async |requests: Vec<Request>| {
            let copy = next_copy.replace(next_copy.get() + 1);
            let mut model = model_of(&version, &format!("{DEFAULTS}{NAMED_DEFAULTS}{}", copy_text(copy, port)));
            for request in requests {
                let (shown, modelled, real) = match request.command(copy) {
                    Command::Backend(command) => {
                        let real = socket.change_backends(vec![command.clone()]).await.expect("HAProxy answers");
                        (command.to_string(), model.change_backend(&command), real)
                    }
                    Command::Server(command) => {
                        let real = socket.run(vec![command.clone()]).await.expect("HAProxy answers");
                        (command.to_string(), model.run(&command), real)
                    }
                };
                prop_assert!(is_same(&modelled, &real[0]), "{version}: {shown}\nmodel {modelled:?}\nHAProxy {real:?}");
                let suffix = format!(".{copy}");
                let mut real = socket.observe(None).await.expect("HAProxy answers");
                real.services.retain(|name, _| name.as_str().ends_with(&suffix));
                prop_assert_eq!(&model.observe(None), &real, "{}: after `{}`", &version, shown);
            }
            Ok::<(), TestCaseError>(())
        };
        let cases = u32::try_from(SEQUENCES).expect("few");
        let config = Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&requests(), |requests| runtime.block_on(compare(requests)));
        drop(haproxy);
        if let Err(error) = outcome {
            panic!("{error}");
        }
    }
}
