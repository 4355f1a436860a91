//! Request rate per client and purpose: a token bucket each, refilled at a constant rate. Health checks and proven callers
//! have their own, so that no other client behind the same address takes their share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use proxymgr_actors::limits::{STATUS_RATE_CLIENTS_MAX, STATUS_REQUESTS_BURST_MAX, STATUS_REQUESTS_PER_SECOND_MAX};
use tokio::time::Instant;

/// The buckets of all clients.
#[derive(Debug, Default)]
pub struct Rates {
    buckets: Mutex<BTreeMap<Client, Bucket>>,
}

/// Who shares a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Anyone at this address.
    Address(IpAddr),
    /// The health checks from this address.
    Health(IpAddr),
    /// A proven caller, by name.
    Caller(String),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Rates {
    /// Takes a token from the bucket of a client; false if it is empty.
    pub fn allow(&self, client: Client) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match client {
            Client::Address(address) => Client::Address(network(address)),
            Client::Health(address) => Client::Health(network(address)),
            caller @ Client::Caller(_) => caller,
        };
        if !buckets.contains_key(&client) && buckets.len() >= STATUS_RATE_CLIENTS_MAX {
            let longest_unseen =
                buckets.iter().min_by_key(|(_, bucket)| bucket.filled_at).map(|(client, _)| client.clone());
            longest_unseen.map(|client| buckets.remove(&client));
        }
        let full = Bucket { tokens: f64::from(STATUS_REQUESTS_BURST_MAX), filled_at: now };
        let bucket = buckets.entry(client).or_insert(full);
        let gained = (now - bucket.filled_at).as_secs_f64() * f64::from(STATUS_REQUESTS_PER_SECOND_MAX);
        bucket.tokens = (bucket.tokens + gained).min(f64::from(STATUS_REQUESTS_BURST_MAX));
        bucket.filled_at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

/// The unit that counts as one client: an IPv4 address, or an IPv6 /64 network.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn client_has_burst_then_rate() {
        let rates = Rates::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let greedy = Client::Address(address);
        for n in 0..STATUS_REQUESTS_BURST_MAX {
            assert!(rates.allow(greedy.clone()), "request {n}");
        }
        assert!(!rates.allow(greedy.clone()));
        for other in [Client::Address([10, 0, 0, 2].into()), Client::Health(address), Client::Caller("o".to_owned())] {
            assert!(rates.allow(other.clone()), "{other:?} has a bucket of its own");
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let allowed = (0..STATUS_REQUESTS_PER_SECOND_MAX * 2).filter(|_| rates.allow(greedy.clone())).count();
        assert_eq!(allowed, STATUS_REQUESTS_PER_SECOND_MAX as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_limited_for_many_clients() {
        let rates = Rates::default();
        for n in 0..STATUS_RATE_CLIENTS_MAX as u32 * 2 {
            assert!(rates.allow(Client::Address(Ipv4Addr::from_bits(n).into())));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(rates.buckets.lock().unwrap().len(), STATUS_RATE_CLIENTS_MAX);
    }

    #[test]
    fn ipv6_network_is_one_client() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:1")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }
}
