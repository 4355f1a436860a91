//! The listening sockets of the world in memory.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use proxymgr_actors::port::{HeldSocket, ListeningSockets};

use super::World;

struct Socket {
    address: SocketAddr,
    world: World,
}

impl HeldSocket for Socket {
    fn descriptor(&self) -> Option<RawFd> {
        Some(i32::from(self.address.port()))
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.world.with(|things| things.open_sockets.remove(&self.address));
    }
}

impl ListeningSockets for World {
    fn open(&self, address: SocketAddr) -> Result<Box<dyn HeldSocket>, String> {
        if self.with(|things| things.taken_ports.contains(&address.port())) {
            return Err(format!("{address} is in use"));
        }
        self.with(|things| things.open_sockets.insert(address));
        Ok(Box::new(Socket { address, world: self.clone() }))
    }

    fn adopt(&self, _: u32) -> Result<Vec<Box<dyn HeldSocket>>, String> {
        Ok(Vec::new())
    }
}
