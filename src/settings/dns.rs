//! Settings of DNS.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::Reader;
use crate::name_server;

/// Settings of DNS. Definitions can override them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The servers; if empty, those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// The least time between two look-ups of a name.
    pub interval: Duration,
    /// The longest time between two look-ups of a name.
    pub interval_max: Duration,
}

/// Reads the section `dns`.
pub fn read(reader: &mut Reader) -> Option<DnsSettings> {
    let mut servers = Vec::new();
    for text in reader.servers("dns.servers").iter().flat_map(|texts| texts.split(',')) {
        match name_server::parse(text) {
            Ok(address) => servers.push(address),
            Err(problem) => reader.refuse("dns.servers", problem),
        }
    }
    let interval = reader.duration("dns.interval");
    let interval_max = reader.duration("dns.interval_max");
    if let (Some(least), Some(longest)) = (interval, interval_max)
        && least > longest
    {
        // The mistake is in the key that was set.
        let set = if reader.is_set("dns.interval_max") { "dns.interval_max" } else { "dns.interval" };
        reader.refuse(set, "dns.interval must not be longer than dns.interval_max");
    }
    Some(DnsSettings { servers, interval: interval?, interval_max: interval_max? })
}
