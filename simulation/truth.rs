//! The real state of the world: its services and hosts, and what discovery shows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proxymgr_actors::message::{DefinitionsSeen, HostsSeen, SeenHost};
use proxymgr_actors::model::{Address, AdminState, Endpoint, Host, RawDefinition, ServiceDefinition, Word};
use tokio::time::Instant;

use super::agents::SERVER_OPTIONS;
use super::annotations::Note;
use super::haproxy_model::NameTable;
use super::host_numbers::HostNumbers;
use super::hosts::{Hosts, Shown};
use super::plan::NAMED_FROM;
use super::slots::Slots;

/// Report of a source of hosts.
pub(super) type Snapshot = Result<ShownHosts, String>;

/// Hosts in a report.
#[derive(Debug, Clone, Default)]
pub(super) struct ShownHosts {
    pub(super) hosts: Arc<Hosts>,
    /// Hosts with unreadable records.
    pub(super) unreadable: HostNumbers,
}

/// Report of the source of the definitions.
#[derive(Clone)]
pub(super) struct ShownDefinitions {
    pub(super) services: Result<BTreeMap<String, RawDefinition>, String>,
    pub(super) annotations: Result<(), String>,
}

impl fmt::Display for ShownHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readable = self.hosts.iter().map(|(host, shown)| match shown {
            Shown { weight, state: AdminState::Ready } => format!("{host} (weight {weight})"),
            Shown { weight, state } => format!("{host} (weight {weight}, {state:?})"),
        });
        let unreadable = self.unreadable.iter().map(|host| format!("{host} (not JSON)"));
        write!(f, "[{}]", readable.chain(unreadable).collect::<Vec<_>>().join(", "))
    }
}

/// Port of the first service; each further service has the next one.
const FIRST_PORT: u16 = 8001;

/// Offset of the shared port of services with domains from the first port.
const SHARED: u16 = 950;

/// Offset of a service's other port.
const OTHER_PORT: u16 = 1_000;

/// Limits of a service without its own: one host must serve, and half of four or more.
pub(super) const NO_LIMITS: Limits = Limits { min_hosts: 1, max_removal_percent: None };

/// Limits of a service whose guard blocks nothing.
pub(super) const UNLIMITED: Limits = Limits { min_hosts: 0, max_removal_percent: Some(100) };

/// The limits of the definitions.
pub(super) const SERVICE_LIMITS: Limits = Limits { min_hosts: 0, max_removal_percent: Some(SERVICE_PERCENT) };

/// The largest percentage of the services that may be missing.
pub(super) const SERVICE_PERCENT: u8 = 50;

/// Limits of a guard: how many hosts, or services, may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) min_hosts: u8,
    /// A quarter, a half or all, so that no share is rounded; `None` where the definition has none.
    pub(super) max_removal_percent: Option<u8>,
}

/// Real state of one service.
#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    pub(super) defined: bool,
    /// Selects one of the definitions, which differ in an option.
    pub(super) variant: u8,
    /// Whether the definition has an option that HAProxy refuses; `true` if the message names the line.
    pub(super) poison: Option<bool>,
    pub(super) broken_definition: bool,
    /// Its annotation, and the value that was last read.
    pub(super) note: Note,
    pub(super) note_read: Note,
    /// Whether it listens on its other port.
    pub(super) moved: bool,
    pub(super) number: u16,
    pub(super) hosts: Arc<Hosts>,
    pub(super) limits: Option<Limits>,
    /// `None` if it is not updated by slots.
    pub(super) slots: Option<Slots>,
    /// The numbers of its domains.
    pub(super) domains: BTreeSet<u8>,
    /// Whether its requests are distributed by a consistent hash.
    pub(super) hashes: bool,
    /// Whether its servers have agents.
    pub(super) has_agents: bool,
    pub(super) unreadable: HostNumbers,
    pub(super) shows_empty: bool,
    pub(super) lost: bool,
    pub(super) frozen: bool,
}

/// An option that HAProxy refuses with the line.
pub(super) const POISON_NAMED: &str = "timeout server 13s";

/// An option that HAProxy refuses without a line.
pub(super) const POISON_UNNAMED: &str = "timeout server 17s";

/// Returns whether HAProxy refuses a definition.
pub(super) fn is_refused(definition: &ServiceDefinition) -> bool {
    let line = |words: &Vec<Word>| words.iter().map(Word::as_str).collect::<Vec<_>>().join(" ");
    definition.listen_options.iter().map(line).any(|line| line == POISON_NAMED || line == POISON_UNNAMED)
}

impl Service {
    pub(super) fn port(&self) -> u16 {
        let number = if self.domains.is_empty() { self.number } else { SHARED };
        FIRST_PORT + number + if self.moved { OTHER_PORT } else { 0 }
    }

    /// Returns its definition as its source shows it.
    pub(super) fn definition(&self) -> RawDefinition {
        let text = if self.broken_definition {
            "{\"type\": ".to_owned()
        } else {
            let option = self.option();
            let limits = self.limits.map(|Limits { min_hosts, max_removal_percent }| {
                let share = |percent: u8| format!(r#", "max_removal": {}"#, f64::from(percent) / 100.0);
                format!(r#", "min_hosts": {min_hosts}{}"#, max_removal_percent.map(share).unwrap_or_default())
            });
            let limits = limits.unwrap_or_default();
            let slots = self.slots.map(Slots::keys).unwrap_or_default();
            let domains = self.domain_keys();
            let port = self.port();
            let balance = if self.hashes { r#", "balance random""# } else { "" };
            let agents =
                if self.has_agents { format!(r#", "server_options": "{SERVER_OPTIONS}""#) } else { String::new() };
            let options = format!(r#""listen_options": ["{option}"{balance}]{agents}"#);
            format!(r#"{{"type": "simulated", "port": {port}, {options}{limits}{slots}{domains}}}"#)
        };
        RawDefinition { annotation: self.note_read.annotation(), ..RawDefinition::new(text, "the simulated world") }
    }

    /// Returns whether HAProxy accepts its definition.
    pub(super) fn is_accepted(&self) -> bool {
        self.poison.is_none() && !self.broken_definition
    }

    /// Returns the option in its definition.
    pub(super) fn option(&self) -> String {
        match self.poison {
            Some(true) => POISON_NAMED.to_owned(),
            Some(false) => POISON_UNNAMED.to_owned(),
            None => format!("timeout server {}s", 30 + u16::from(self.variant)),
        }
    }

    /// Returns the current report of its source.
    pub(super) fn snapshot(&self, session_lost: bool) -> Snapshot {
        if session_lost || self.lost {
            return Err("the session is lost".to_owned());
        }
        if self.shows_empty {
            return Ok(ShownHosts::default());
        }
        let unreadable = self.unreadable.iter().filter(|host| self.hosts.contains(*host));
        let mut shown = ShownHosts { hosts: self.hosts.clone(), unreadable: unreadable.collect() };
        for host in shown.unreadable.iter() {
            Arc::make_mut(&mut shown.hosts).remove(host);
        }
        Ok(shown)
    }

    /// Registers a host, unless it is present.
    pub(super) fn join(&mut self, host: u8, shown: Shown) {
        if !self.hosts.contains(host) {
            Arc::make_mut(&mut self.hosts).insert(host, shown);
        }
    }

    /// Changes how a registered host is shown.
    pub(super) fn show(&mut self, host: u8, change: impl FnOnce(&mut Shown)) {
        Arc::make_mut(&mut self.hosts).get_mut(host).map(change);
    }

    /// Removes a host.
    pub(super) fn leave(&mut self, host: u8) {
        if self.hosts.contains(host) {
            Arc::make_mut(&mut self.hosts).remove(host);
        }
    }

    /// Returns the hosts that should take traffic.
    pub(super) fn registered(&self) -> HostNumbers {
        if self.defined { self.hosts.numbers() } else { HostNumbers::default() }
    }

    /// Ends all its faults.
    pub(super) fn heal(&mut self) {
        self.poison = None;
        self.limits = None;
        self.broken_definition = false;
        self.note.heal();
        self.unreadable = HostNumbers::default();
        self.shows_empty = false;
        self.lost = false;
        self.frozen = false;
    }
}

thread_local! {
    /// Entries of plain hosts, cached because each is reported thousands of times.
    static PLAIN: Vec<SeenHost> = (0..=u8::MAX).map(plain_entry).collect();
}

fn plain_entry(number: u8) -> SeenHost {
    SeenHost::new(format!("host-{number:03}"), Ok(host(number, Shown::PLAIN)))
}

/// Converts a report of hosts into the message of its source.
pub(super) fn hosts_seen(snapshot: &Snapshot) -> HostsSeen {
    let entries = |ShownHosts { hosts, unreadable }: &ShownHosts| {
        PLAIN.with(|plain| {
            let readable = hosts.iter().map(|(number, shown)| match &plain[usize::from(number)] {
                entry if shown == Shown::PLAIN => entry.clone(),
                entry => SeenHost::new(entry.key.clone(), Ok(host(number, shown))),
            });
            let key = |number: u8| plain[usize::from(number)].key.clone();
            let mut entries = Vec::with_capacity(hosts.len());
            entries.extend(readable);
            entries.extend(unreadable.iter().map(|number| SeenHost::new(key(number), Err("not JSON".to_owned()))));
            entries
        })
    };
    let result = snapshot.as_ref().map(entries).map_err(Clone::clone);
    HostsSeen::watched(result, Instant::now())
}

/// Converts a report of the definitions into the message of their source.
pub(super) fn definitions_seen(shown: &ShownDefinitions) -> DefinitionsSeen {
    let named = |(name, raw): (&String, &RawDefinition)| (Arc::from(name.as_str()), raw.clone());
    DefinitionsSeen {
        result: shown.services.as_ref().map(|services| services.iter().map(named).collect()).map_err(Clone::clone),
        missed: false,
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
    Host { weight: Some(weight), state, ..Host::at(Endpoint::Tcp { address, port }) }
}

/// Returns the addresses of the hosts that are given by name.
pub(super) fn names() -> NameTable {
    let address = |number| IpAddr::from(Ipv4Addr::new(10, 0, 0, number));
    (NAMED_FROM..=u8::MAX).map(|number| (name_of(number), address(number))).collect()
}

/// Returns the name of a host that is given by name.
fn name_of(number: u8) -> String {
    format!("{NAME_PREFIX}{number}{NAME_SUFFIX}")
}

const NAME_PREFIX: &str = "host-";
const NAME_SUFFIX: &str = ".example";

/// Returns the name of the server of a host.
pub(super) fn server_of(number: u8) -> String {
    if number < NAMED_FROM { format!("10.0.0.{number}:80") } else { format!("{}:80", name_of(number)) }
}

/// Returns the number of the host at this address; `None` if it is no simulated host.
pub(super) fn number_of(address: IpAddr) -> Option<u8> {
    match address {
        IpAddr::V4(ip) if ip.octets().starts_with(&[10, 0, 0]) => Some(ip.octets()[3]),
        _ => None,
    }
}

/// Returns the number of a server's host, from the server's name.
pub(super) fn number_of_server(name: &str) -> Option<u8> {
    let host = name.strip_suffix(":80")?;
    let named = host.strip_prefix(NAME_PREFIX).and_then(|rest| rest.strip_suffix(NAME_SUFFIX));
    named.map_or_else(|| number_of(host.parse().ok()?), |number| number.parse().ok())
}
