//! Random commands, most of them about one section and one server.

use proptest::prelude::*;
use proptest::sample::select;
use proxymgr_actors::model::{Address, Endpoint, RuntimeCommand, ServerId, ServerName, ServiceName, Word};

use super::{ADDRESSES, OPTIONS, SECTIONS, SERVERS};

/// A command without the number of its copy of the sections.
#[derive(Debug, Clone)]
pub struct Request {
    pub section: &'static str,
    pub server: &'static str,
    pub verb: Verb,
}

#[derive(Debug, Clone)]
pub enum Verb {
    Add(&'static str, u16, &'static str),
    EnableHealth,
    EnableAgent,
    DisableAgent,
    Ready,
    Drain,
    Maintenance,
    Weight(u16),
    Address(&'static str, u16),
    Delete,
}

impl Request {
    /// Returns the command for this copy.
    pub fn command(&self, copy: usize) -> RuntimeCommand {
        let server = ServerId {
            service: ServiceName::new(&format!("{}.{copy}", self.section)).unwrap(),
            server: ServerName::new(self.server).unwrap(),
        };
        let endpoint = |address, port: u16| Endpoint::Tcp {
            address: Address::parse(address).unwrap(),
            port: port.try_into().unwrap(),
        };
        match self.verb {
            Verb::Add(address, port, options) => {
                let options = options.split_whitespace().map(|word| Word::new(word).unwrap()).collect();
                RuntimeCommand::AddServer { server, endpoint: endpoint(address, port), id: None, options }
            }
            Verb::EnableHealth => RuntimeCommand::EnableHealth(server),
            Verb::EnableAgent => RuntimeCommand::EnableAgent(server),
            Verb::DisableAgent => RuntimeCommand::DisableAgent(server),
            Verb::Ready => RuntimeCommand::SetReady(server),
            Verb::Drain => RuntimeCommand::SetDrain(server),
            Verb::Maintenance => RuntimeCommand::SetMaintenance(server),
            Verb::Weight(weight) => RuntimeCommand::SetWeight(server, weight),
            Verb::Address(address, port) => RuntimeCommand::SetAddress(server, endpoint(address, port)),
            Verb::Delete => RuntimeCommand::DeleteServer(server),
        }
    }
}

/// Generates sequences of requests.
pub fn requests() -> impl Strategy<Value = Vec<Request>> {
    let port = || select(vec![1_u16, 8_080, 65_535]);
    let verb = prop_oneof![
        3 => (select(&ADDRESSES[..]), port(), select(&OPTIONS[..])).prop_map(|(a, p, o)| Verb::Add(a, p, o)),
        1 => Just(Verb::EnableHealth),
        1 => Just(Verb::EnableAgent),
        1 => Just(Verb::DisableAgent),
        2 => Just(Verb::Ready),
        2 => Just(Verb::Drain),
        3 => Just(Verb::Maintenance),
        2 => select(vec![0_u16, 1, 5, 7, 9, 100, 256, 257, 65_535]).prop_map(Verb::Weight),
        2 => (select(&ADDRESSES[..]), port()).prop_map(|(a, p)| Verb::Address(a, p)),
        3 => Just(Verb::Delete),
    ];
    // Most requests of a sequence are about one section, and many about one server, so that states are reached that
    // need several steps.
    let sections: Vec<&'static str> = SECTIONS.iter().map(|(name, _)| *name).chain(["nowhere"]).collect();
    let other_section = prop::option::weighted(0.2, select(sections.clone()));
    let other_server = prop::option::weighted(0.5, select(&SERVERS[..]));
    let requests = proptest::collection::vec((other_section, other_server, verb), 1..60);
    (select(sections), select(&SERVERS[..]), requests).prop_map(|(one_section, one_server, requests)| {
        let request = |(section, server, verb): (Option<_>, Option<_>, _)| Request {
            section: section.unwrap_or(one_section),
            server: server.unwrap_or(one_server),
            verb,
        };
        requests.into_iter().map(request).collect()
    })
}
