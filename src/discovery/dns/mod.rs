//! Hosts from DNS: `{"type": "dns", "backends": [{"name": "a.example", "port": 80}, {"srv": "_http._tcp.b.example"}]}`.
//!
//! - `backends`: the keys of a definition.
//! - `name_servers`: queries to DNS servers. The only file that uses the resolver's crate.
//! - `cut_answers`: names that must be queried by TCP, because a server sends only a part of the records by UDP.
//! - `rotation`: answers that have other hosts each time.
//! - `lookup`: the hosts of one backend, also when a part of it cannot be looked up.
//! - `watch`: repeats the look-up when the answers expire, and reports snapshots.
//!
//! A name that does not exist or has no addresses is an empty list, which the guard blocks. If no server answers, or it
//! refuses or fails, the last list stays.

mod backends;
mod cut_answers;
mod lookup;
mod name_servers;
#[cfg(any(test, fuzzing))]
pub(super) mod properties;
mod rotation;
mod watch;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, SourceSpec};

use super::settings::optional;
use crate::name_server;
use lookup::LastKnown;
use name_servers::NameServers;
use watch::NameWatch;

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[DefinitionKey] = &[
    key(
        "backends",
        "list of maps",
        "Names with a port, `{\"name\": \"a.example\", \"port\": 80}`, or SRV records, `{\"srv\": \"_http._tcp.a.example\"}`. Required.",
    ),
    key("family", "`ipv4`, `ipv6` or `any`", "Which addresses of names are used."),
    key("servers", "list of addresses", "DNS servers. Default: `dns.servers`."),
    key("interval", "duration", "The least time between two look-ups of a name. Default: `dns.interval`."),
];

/// The default options for DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsOptions {
    /// The servers; if empty, those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// The least time between two look-ups of a name, even if its TTL is shorter.
    pub interval: Duration,
    /// The longest time between two look-ups of a name, even if its TTL is longer.
    pub interval_max: Duration,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self { servers: Vec::new(), interval: Duration::from_secs(5), interval_max: Duration::from_secs(60) }
    }
}

/// The state that all DNS sources share.
pub(super) struct Dns {
    options: DnsOptions,
    /// By addresses. Sources with the same servers share them.
    servers: RefCell<BTreeMap<Vec<SocketAddr>, Weak<NameServers>>>,
    /// By servers and backend, so that a source that is opened again has the last known hosts.
    known: RefCell<BTreeMap<String, Weak<LastKnown>>>,
}

impl Dns {
    /// Sends no query before a source is opened.
    pub(super) fn new(options: DnsOptions) -> Self {
        Self { options, servers: RefCell::default(), known: RefCell::default() }
    }

    /// Watches the names of a definition.
    pub(super) fn open(
        &self,
        spec: &SourceSpec,
        policy: &Arc<OptionPolicy>,
        watcher: Recipient<HostsSeen>,
    ) -> Result<NameWatch, String> {
        let backends = backends::read(spec, policy)?;
        let servers = match optional::<Vec<String>>(spec, "servers")? {
            None => self.options.servers.clone(),
            Some(texts) => texts
                .iter()
                .map(|text| name_server::parse(text).map_err(|error| format!("\"servers\": {error}")))
                .collect::<Result<_, _>>()?,
        };
        let interval = match optional::<String>(spec, "interval")? {
            None => self.options.interval,
            Some(text) => interval(&text)?,
        };
        let longest = self.options.interval_max.max(interval);
        let known = backends.iter().map(|backend| {
            let key = format!("{servers:?} {}", backend.text);
            share(&self.known, key, LastKnown::default)
        });
        let known = known.collect();
        let servers = share(&self.servers, servers.clone(), || NameServers::new(servers));
        Ok(NameWatch::start(backends, known, servers, interval..=longest, policy.clone(), watcher))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    let interval = humantime::parse_duration(text);
    let interval = interval.ok().filter(|interval| *interval >= LEAST);
    interval.ok_or_else(|| format!("\"interval\" is {text:?}; expected a duration of at least 100ms, like \"5s\""))
}

/// The value of this key that is still in use, or a new one.
fn share<K: Ord, V>(values: &RefCell<BTreeMap<K, Weak<V>>>, key: K, new: impl FnOnce() -> V) -> Rc<V> {
    let mut values = values.borrow_mut();
    if let Some(value) = values.get(&key).and_then(Weak::upgrade) {
        return value;
    }
    values.retain(|_, value| value.strong_count() > 0);
    let value = Rc::new(new());
    values.insert(key, Rc::downgrade(&value));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_has_a_unit_and_a_minimum() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        for text in ["2", "99ms", "soon"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
