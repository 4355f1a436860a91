//! The addresses of services where HAProxy opens its sockets itself: only that no two services want the same one, and no
//! other program has it, is seen to here.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;
use std::path::PathBuf;

use proxymgr_actors::port::{HeldSocket, ListeningSockets};

use super::{port_holder, process_lookup};

/// Addresses that HAProxy binds.
pub struct ClaimedAddresses {
    /// The file that our HAProxy on this machine runs; none where it may be on another, of which nothing is known.
    here_on: Option<PathBuf>,
}

impl ClaimedAddresses {
    /// With `here_on`, the file of a HAProxy on this machine, an address that another program has is not to be had.
    pub fn new(here_on: Option<PathBuf>) -> Self {
        Self { here_on }
    }
}

impl ListeningSockets for ClaimedAddresses {
    fn open(&self, address: SocketAddr) -> Result<Box<dyn HeldSocket>, String> {
        if let Some(config) = &self.here_on
            && TcpListener::bind(address).is_err()
            && let Some(pid) = port_holder::holding_process(address)
            && !process_lookup::runs(pid, config)
        {
            let holder = port_holder::in_words(pid);
            return Err(format!(
                "HAProxy cannot listen on {address}: the port is in use by {holder}; stop it or choose another port"
            ));
        }
        Ok(Box::new(Claim(address)))
    }

    fn adopt(&self, _: u32) -> Result<Vec<Box<dyn HeldSocket>>, String> {
        Ok(Vec::new())
    }
}

struct Claim(SocketAddr);

impl HeldSocket for Claim {
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    fn address(&self) -> SocketAddr {
        self.0
    }
}
