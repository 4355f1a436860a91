//! The truth of the world: which services and hosts there really are, and what discovery shows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proxymgr_actors::message::{DefinitionsSeen, HostsSeen, SeenHost};
use proxymgr_actors::model::{Address, AdminState, Endpoint, Host, RawDefinition, ServiceDefinition, Word};
use tokio::time::Instant;

use super::annotations::Note;
use super::haproxy_model::NameTable;
use super::host_numbers::HostNumbers;
use super::plan::NAMED_FROM;
use super::slots::Slots;

/// A level that a source told: the hosts, none for a record that cannot be read.
pub(super) type Level = Result<Arc<BTreeMap<u8, Option<Shown>>>, String>;

/// What the source of the definitions told.
pub(super) struct ShownDefinitions {
    pub(super) services: Result<BTreeMap<String, RawDefinition>, String>,
    pub(super) annotations: Result<(), String>,
}

/// The port of the first service; each further one has the next.
const FIRST_PORT: u16 = 8001;

/// What the port of services with domains is, after the first.
const SHARED: u16 = 950;

/// How far away a service's other port is.
const OTHER_PORT: u16 = 1_000;

/// A host as its record describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) weight: u16,
    pub(super) state: AdminState,
}

/// The limits of a service that has none of its own: a list that leaves nothing of something is held back.
pub(super) const NO_LIMITS: Limits = Limits { min_hosts: 1, max_removal_percent: 100 };

/// How many hosts may leave a service at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) min_hosts: u8,
    /// A quarter, a half or all: shares that have no rounding.
    pub(super) max_removal_percent: u8,
}

/// One service as it really is.
#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    pub(super) defined: bool,
    /// Chooses between definitions that differ in an option.
    pub(super) variant: u8,
    /// Whether the definition holds an option that HAProxy refuses, and whether it names the line.
    pub(super) poison: Option<bool>,
    pub(super) broken_definition: bool,
    /// Its annotation as it is written, and as it was last read.
    pub(super) note: Note,
    pub(super) note_read: Note,
    /// Whether it listens on its other port.
    pub(super) moved: bool,
    pub(super) number: u16,
    /// The hosts with their weights.
    pub(super) hosts: BTreeMap<u8, u16>,
    /// The administrative states of those that ask for another than ready.
    pub(super) states: BTreeMap<u8, AdminState>,
    pub(super) limits: Option<Limits>,
    /// None where it is not updated by slots.
    pub(super) slots: Option<Slots>,
    /// The numbers of its domains.
    pub(super) domains: BTreeSet<u8>,
    pub(super) unreadable: BTreeSet<u8>,
    pub(super) shows_empty: bool,
    pub(super) lost: bool,
    pub(super) frozen: bool,
}

/// An option that HAProxy refuses and names the line of.
pub(super) const POISON_NAMED: &str = "timeout server 13s";

/// An option that makes HAProxy refuse the file without saying where.
pub(super) const POISON_UNNAMED: &str = "timeout server 17s";

/// Whether HAProxy refuses a definition.
pub(super) fn is_refused(definition: &ServiceDefinition) -> bool {
    let line = |words: &Vec<Word>| words.iter().map(Word::as_str).collect::<Vec<_>>().join(" ");
    definition.listen_options.iter().map(line).any(|line| line == POISON_NAMED || line == POISON_UNNAMED)
}

impl Service {
    pub(super) fn port(&self) -> u16 {
        let number = if self.domains.is_empty() { self.number } else { SHARED };
        FIRST_PORT + number + if self.moved { OTHER_PORT } else { 0 }
    }

    /// What it is called at the other end of its port.
    pub(super) fn definition(&self) -> RawDefinition {
        let text = if self.broken_definition {
            "{\"type\": ".to_owned()
        } else {
            let option = self.option();
            let limits = self.limits.map(|Limits { min_hosts, max_removal_percent }| {
                let max_removal = f64::from(max_removal_percent) / 100.0;
                format!(r#", "min_hosts": {min_hosts}, "max_removal": {max_removal}"#)
            });
            let limits = limits.unwrap_or_default();
            let slots = self.slots.map(Slots::keys).unwrap_or_default();
            let domains = self.domain_keys();
            let port = self.port();
            format!(
                r#"{{"type": "simulated", "port": {port}, "listen_options": ["{option}"]{limits}{slots}{domains}}}"#
            )
        };
        RawDefinition { annotation: self.note_read.annotation(), ..RawDefinition::new(text, "the simulated world") }
    }

    /// The option in its definition.
    pub(super) fn option(&self) -> String {
        match self.poison {
            Some(true) => POISON_NAMED.to_owned(),
            Some(false) => POISON_UNNAMED.to_owned(),
            None => format!("timeout server {}s", 30 + u16::from(self.variant)),
        }
    }

    /// What its source shows now.
    pub(super) fn level(&self, session_lost: bool) -> Level {
        if session_lost || self.lost {
            return Err("the session is lost".to_owned());
        }
        if self.shows_empty {
            return Ok(Arc::default());
        }
        let record = |(host, weight): (&u8, &u16)| {
            let shown = Shown { weight: *weight, state: self.state(*host) };
            (*host, (!self.unreadable.contains(host)).then_some(shown))
        };
        Ok(Arc::new(self.hosts.iter().map(record).collect()))
    }

    /// The administrative state that a host asks for.
    pub(super) fn state(&self, host: u8) -> AdminState {
        self.states.get(&host).copied().unwrap_or_default()
    }

    /// The hosts that ought to take traffic.
    pub(super) fn registered(&self) -> HostNumbers {
        self.hosts.keys().copied().filter(|_| self.defined).collect()
    }

    /// Everything that is wrong with it ends.
    pub(super) fn heal(&mut self) {
        self.poison = None;
        self.limits = None;
        self.broken_definition = false;
        self.note.heal();
        self.unreadable.clear();
        self.shows_empty = false;
        self.lost = false;
        self.frozen = false;
    }
}

thread_local! {
    /// The keys of the hosts' entries: each is told thousands of times.
    static KEYS: Vec<Arc<str>> = (0..=u8::MAX).map(|number| format!("host-{number:03}").into()).collect();
}

/// A level as a source tells it.
pub(super) fn hosts_seen(level: &Level) -> HostsSeen {
    let entry = |(number, shown): (&u8, &Option<Shown>)| SeenHost {
        key: KEYS.with(|keys| keys[usize::from(*number)].clone()),
        host: shown.map(|shown| host(*number, shown)).ok_or_else(|| "not JSON".to_owned()),
    };
    let result = level.as_ref().map(|hosts| hosts.iter().map(entry).collect()).map_err(Clone::clone);
    HostsSeen { result, seen_at: Instant::now() }
}

/// The definitions as their source tells them.
pub(super) fn definitions_seen(shown: &ShownDefinitions) -> DefinitionsSeen {
    let named = |(name, raw): (&String, &RawDefinition)| (Arc::from(name.as_str()), raw.clone());
    DefinitionsSeen {
        result: shown.services.as_ref().map(|services| services.iter().map(named).collect()).map_err(Clone::clone),
        annotations: Some(shown.annotations.clone()),
    }
}

fn host(number: u8, Shown { weight, state }: Shown) -> Host {
    let address = if number < NAMED_FROM {
        Address::Ip(Ipv4Addr::new(10, 0, 0, number).into())
    } else {
        Address::Name(name_of(number).into())
    };
    let port = 80.try_into().expect("80 is a port");
    Host { weight: Some(weight), state, ..Host::at(Endpoint { address, port }) }
}

/// What the hosts that are given by name resolve to.
pub(super) fn names() -> NameTable {
    let address = |number| IpAddr::from(Ipv4Addr::new(10, 0, 0, number));
    (NAMED_FROM..=u8::MAX).map(|number| (name_of(number), address(number))).collect()
}

/// The name of a host that is given by name.
fn name_of(number: u8) -> String {
    format!("{NAME_PREFIX}{number}{NAME_SUFFIX}")
}

const NAME_PREFIX: &str = "host-";
const NAME_SUFFIX: &str = ".example";

/// The name of the server that stands for a host.
pub(super) fn server_of(number: u8) -> String {
    if number < NAMED_FROM { format!("10.0.0.{number}:80") } else { format!("{}:80", name_of(number)) }
}

/// The number of the host at this address; none where it is not one of ours.
pub(super) fn number_of(address: &str) -> Option<u8> {
    address.strip_prefix("10.0.0.")?.parse().ok()
}

/// The number of the host that a server stands for, by the server's name.
pub(super) fn number_of_server(name: &str) -> Option<u8> {
    let host = name.strip_suffix(":80")?;
    let named = host.strip_prefix(NAME_PREFIX).and_then(|rest| rest.strip_suffix(NAME_SUFFIX));
    named.map_or_else(|| number_of(host), |number| number.parse().ok())
}
