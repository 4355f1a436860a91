//! The number of connections per client address. A connection beyond the limit is closed at once, so that no client takes
//! all of them.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use nix::sys::socket::{Shutdown, shutdown};
use proxymgr_actors::limits::STATUS_CONNECTIONS_PER_CLIENT_MAX;

use super::rate::network;

/// The open connections of each client.
#[derive(Debug, Default)]
pub struct Clients(Mutex<BTreeMap<IpAddr, usize>>);

/// One connection, counted until it is dropped with the data of its connection.
#[derive(Debug)]
pub struct Counted {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    /// Counts a new TCP connection, with or without TLS. For `HttpServer::on_connect`.
    pub fn count(self: &Arc<Self>, connection: &dyn Any, data: &mut Extensions) {
        let plain = connection.downcast_ref::<TcpStream>();
        let secured = || connection.downcast_ref::<actix_tls::accept::rustls_0_23::TlsStream<TcpStream>>();
        let stream = plain.or_else(|| Some(secured()?.get_ref().0));
        let Some((stream, address)) = stream.and_then(|stream| Some((stream, stream.peer_addr().ok()?))) else {
            return;
        };
        match self.counted(address.ip()) {
            Some(counted) => drop(data.insert(counted)),
            // The server reads its end, and closes it.
            None => drop(shutdown(stream.as_raw_fd(), Shutdown::Both)),
        }
    }

    /// Counts a connection; none beyond the limit.
    fn counted(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let address = network(address);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= STATUS_CONNECTIONS_PER_CLIENT_MAX {
            return None;
        }
        *count += 1;
        Some(Counted { clients: Arc::clone(self), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_per_client() {
        let clients = Arc::new(Clients::default());
        let from = |last: u8| clients.counted(IpAddr::from([10, 0, 0, last]));
        let mut open: Vec<Counted> = (0..STATUS_CONNECTIONS_PER_CLIENT_MAX).filter_map(|_| from(1)).collect();
        assert_eq!(open.len(), STATUS_CONNECTIONS_PER_CLIENT_MAX);
        assert!(from(1).is_none());
        assert!(from(2).is_some());
        open.pop();
        assert!(from(1).is_some(), "a closed connection makes room");
        open.clear();
        assert!(clients.0.lock().unwrap().is_empty());
    }
}
