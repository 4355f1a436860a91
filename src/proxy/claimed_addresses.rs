//! The service addresses that HAProxy binds itself. Each address belongs to one service and must not be in use by
//! another program.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;
use std::path::PathBuf;

use proxymgr_actors::model::ListenAddress;
use proxymgr_actors::port::{HeldSocket, ListeningSockets};

use super::{port_holder, process_lookup};

/// Addresses that HAProxy binds.
pub struct ClaimedAddresses {
    /// The configuration file that our HAProxy runs on this machine; `None` if HAProxy may run on another machine,
    /// whose ports cannot be checked.
    here_on: Option<PathBuf>,
}

impl ClaimedAddresses {
    /// Returns the addresses. With `here_on`, the file of a HAProxy on this machine, an address in use by another
    /// program is refused.
    pub fn new(here_on: Option<PathBuf>) -> Self {
        Self { here_on }
    }

    /// Whether our HAProxy cannot bind the address. HAProxy binds all of its addresses or none, so an address in use by
    /// another process must not get into its file.
    fn is_taken(&self, address: SocketAddr) -> bool {
        let Some(config) = &self.here_on else { return false };
        // A bind can also fail because this daemon lacks a privilege that HAProxy has; only EADDRINUSE counts.
        TcpListener::bind(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
            && !port_holder::may_be_held_by(address, process_lookup::all_running(config))
    }
}

impl ListeningSockets for ClaimedAddresses {
    fn open(&self, address: &ListenAddress, _: &[&dyn HeldSocket]) -> Result<Box<dyn HeldSocket>, String> {
        if let Some(address) = address.ip().filter(|address| self.is_taken(*address)) {
            let holder = port_holder::holder(address).unwrap_or_else(|| "another process".to_owned());
            return Err(format!(
                "HAProxy cannot listen on {address}: the port is in use by {holder}; stop it or choose another port"
            ));
        }
        Ok(Box::new(Claim(address.clone())))
    }

    fn adopt(&self, _: u32) -> Result<Vec<Box<dyn HeldSocket>>, String> {
        Ok(Vec::new())
    }
}

struct Claim(ListenAddress);

impl HeldSocket for Claim {
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    fn address(&self) -> ListenAddress {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;

    fn claims() -> ClaimedAddresses {
        ClaimedAddresses::new(Some("/nonexistent/haproxy.cfg".into()))
    }

    #[test]
    fn free_address_is_claimed() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(claims().open(&free.into(), &[]).is_ok());
    }

    #[test]
    fn address_of_an_unidentified_process_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // On its way from one process to another a socket is in no process's list of descriptors.
        let (sender, _receiver) = UnixStream::pair().unwrap();
        let message = [IoSlice::new(b"x")];
        let descriptors = [listener.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(sender.as_raw_fd(), &message, &rights, MsgFlags::empty(), None).unwrap();
        drop(listener);
        assert_eq!(port_holder::holder(address), None);
        assert!(claims().open(&address.into(), &[]).is_err());
        assert!(ClaimedAddresses::new(None).open(&address.into(), &[]).is_ok());
    }
}
