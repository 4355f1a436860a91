//! How DNS is asked.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::Reader;
use crate::discovery::dns::server;

/// How DNS is asked, by every definition that says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The servers; those of `/etc/resolv.conf` where there are none.
    pub servers: Vec<SocketAddr>,
    /// The least time between two looks at a name.
    pub interval: Duration,
    /// The longest time between two looks at a name.
    pub interval_max: Duration,
}

/// Reads the section `dns`.
pub fn read(reader: &mut Reader) -> Option<DnsSettings> {
    let mut servers = Vec::new();
    for text in reader.servers("dns.servers").iter().flat_map(|texts| texts.split(',')) {
        match server(text) {
            Ok(address) => servers.push(address),
            Err(problem) => reader.refuse("dns.servers", problem),
        }
    }
    let interval = reader.duration("dns.interval");
    let interval_max = reader.duration("dns.interval_max");
    if let (Some(least), Some(longest)) = (interval, interval_max)
        && least > longest
    {
        // The one that was written is the one to mend.
        let written = if reader.is_set("dns.interval_max") { "dns.interval_max" } else { "dns.interval" };
        reader.refuse(written, "dns.interval must not be longer than dns.interval_max");
    }
    Some(DnsSettings { servers, interval: interval?, interval_max: interval_max? })
}
