//! Loopback ports that no other test uses, in any process.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports of outgoing connections (from 32768), so that a free port stays free.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// A port, reserved until dropped.
///
/// The reservation is an abstract unix socket with the name of the port: it has the same scope as the
/// port (the network namespace), leaves no file, and ends with the process.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UnixListener,
}

impl Port {
    /// Reserves a port without a listener.
    pub fn reserve() -> Self {
        // Processes begin at different ports, so that they rarely collide.
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
        // A program without a reservation may listen there.
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        Some(Self { number, _reservation: reservation })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
