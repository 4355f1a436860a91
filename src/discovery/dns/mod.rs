//! Hosts from DNS: `{"type": "dns", "backends": [{"name": "a.example", "port": 80}, {"srv": "_http._tcp.b.example"}]}`.
//!
//! - `backends`: what a definition may say.
//! - `name_servers`: who is asked, and what an answer is. The only file that names the resolver's package.
//! - `lookup`: the hosts of one backend, and what becomes of them when a part of it cannot be looked up.
//! - `watch`: looks again when the answers expire, and tells the level.
//!
//! That a name does not exist, or has no addresses, is an answer: the list is empty, and meets the guard. A server that
//! is silent, refuses or fails has not answered: what it showed before stays.

mod backends;
mod lookup;
mod name_servers;
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
use proxymgr_actors::model::SourceSpec;

use super::settings::optional;
use lookup::LastKnown;
use name_servers::NameServers;
use watch::OpenNames;

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[&str] = &["backends", "family", "servers", "interval"];

/// How DNS is asked, where a definition says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsOptions {
    /// The servers; those of `/etc/resolv.conf` where there are none.
    pub servers: Vec<SocketAddr>,
    /// The least time between two looks at a name, however short its time to live.
    pub interval: Duration,
    /// The longest time between two looks at a name, however long its time to live.
    pub interval_max: Duration,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self { servers: Vec::new(), interval: Duration::from_secs(5), interval_max: Duration::from_secs(60) }
    }
}

/// What all sources that ask DNS share.
pub(super) struct Dns {
    options: DnsOptions,
    /// By the servers that are asked. One set serves all sources that name the same.
    servers: RefCell<BTreeMap<Vec<SocketAddr>, Weak<NameServers>>>,
    /// By servers and backend: a source that is opened anew still knows what the one before was told.
    known: RefCell<BTreeMap<String, Weak<LastKnown>>>,
}

impl Dns {
    /// Nothing is asked until a source is opened.
    pub(super) fn new(options: DnsOptions) -> Self {
        Self { options, servers: RefCell::default(), known: RefCell::default() }
    }

    /// Watches the names of a definition.
    pub(super) fn open(
        &self,
        spec: &SourceSpec,
        policy: &Arc<OptionPolicy>,
        watcher: Recipient<HostsSeen>,
    ) -> Result<OpenNames, String> {
        let backends = backends::read(spec, policy)?;
        let servers = match optional::<Vec<String>>(spec, "servers")? {
            None => self.options.servers.clone(),
            Some(texts) => texts
                .iter()
                .map(|text| server(text).map_err(|error| format!("\"servers\": {error}")))
                .collect::<Result<_, _>>()?,
        };
        let interval = match optional::<String>(spec, "interval")? {
            None => self.options.interval,
            Some(text) => interval(&text)?,
        };
        let longest = self.options.interval_max.max(interval);
        let known = backends.iter().map(|backend| {
            let key = format!("{servers:?} {}", backend.text);
            join(&self.known, key, LastKnown::default)
        });
        let known = known.collect();
        let servers = join(&self.servers, servers.clone(), || NameServers::new(servers));
        Ok(OpenNames::start(backends, known, servers, interval..=longest, policy.clone(), watcher))
    }
}

/// `address`, or `address:port`: an IP address, because nobody could look up the name of a name server.
pub fn server(text: &str) -> Result<SocketAddr, String> {
    const PORT: u16 = 53;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    let address = bare.parse().map(|ip| SocketAddr::new(ip, PORT)).ok().or_else(with_port);
    address.ok_or_else(|| format!("{text:?} is not the IP address of a name server, like 10.0.0.2 or 10.0.0.2:5353"))
}

fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    let interval = humantime::parse_duration(text);
    let interval = interval.ok().filter(|interval| *interval >= LEAST);
    interval.ok_or_else(|| format!("\"interval\" is {text:?}, which is not a duration from 100ms, like \"5s\""))
}

/// The value of this key that somebody still holds, or a new one.
fn join<K: Ord, V>(held: &RefCell<BTreeMap<K, Weak<V>>>, key: K, new: impl FnOnce() -> V) -> Rc<V> {
    let mut held = held.borrow_mut();
    if let Some(value) = held.get(&key).and_then(Weak::upgrade) {
        return value;
    }
    held.retain(|_, value| value.strong_count() > 0);
    let value = Rc::new(new());
    held.insert(key, Rc::downgrade(&value));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        for (text, address) in [
            ("10.0.0.2", "10.0.0.2:53"),
            ("10.0.0.2:5353", "10.0.0.2:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ] {
            assert_eq!(server(text).map(|address| address.to_string()), Ok(address.to_owned()));
        }
        for text in ["", "ns.example", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:65536"] {
            assert!(server(text).unwrap_err().contains("is not the IP address of a name server"), "{text}");
        }
    }

    #[test]
    fn an_interval_has_a_unit_and_a_least_value() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        for text in ["2", "99ms", "soon"] {
            assert!(interval(text).unwrap_err().starts_with(&format!("\"interval\" is {text:?}")));
        }
    }
}
