//! Loopback ports that no other test has, in this process or in another one.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which Linux picks the ports of outgoing connections (32768 and up), so that
/// a port which is free now is not some connection's own a moment later.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// A port, reserved for as long as this value lives.
///
/// The reservation is an abstract unix socket named after the port: it has the same scope as the
/// port (the network namespace), leaves no file behind, and ends with the process, however that
/// ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UnixListener,
}

impl Port {
    /// Reserves a port on which nothing listens.
    pub fn reserve() -> Self {
        // Each process begins somewhere else, so that they rarely meet.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let offset = (u32::from(start) + u32::from(step)) % u32::from(COUNT);
            if let Some(port) = Self::try_reserve(FIRST + offset as u16) {
                return port;
            }
        }
        panic!("none of the ports {FIRST} to {} is free", FIRST + COUNT - 1);
    }

    fn try_reserve(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("proxymgr-test-port-{number}"))
            .expect("the name is short and has no NUL");
        let reservation = UnixListener::bind_addr(&name).ok()?;
        // Some program that knows nothing of reservations may listen there.
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        Some(Self { number, _reservation: reservation })
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
