//! Opens the listening sockets, which every HAProxy inherits, and closes one once no HAProxy needs it any more.
//!
//! An IPv6 socket keeps the kernel's default (`net.ipv6.bindv6only`, normally 0), so that `[::]:80` accepts IPv4
//! clients as well, like `bind :::80` in HAProxy. `SO_REUSEPORT` is not set: only one process can hold a port.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket};
use proxymgr_actors::limits::{LISTEN_BACKLOG, PORT_HOLDER_KEEP};
use proxymgr_actors::port::{HeldSocket, ListeningSockets};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tokio::time::Instant;

use super::port_holder;

/// The kernel's listening TCP sockets.
#[derive(Default)]
pub struct KernelListeningSockets {
    /// The last result of the search for the process that holds a port, with its time.
    holders: RefCell<BTreeMap<SocketAddr, (Instant, Option<String>)>>,
}

impl KernelListeningSockets {
    /// Returns an instance without open sockets.
    pub fn new() -> Self {
        Self::default()
    }

    fn failure(&self, address: SocketAddr, error: Errno) -> String {
        let what = format!("cannot listen on {address}");
        match error {
            Errno::EADDRINUSE => match self.holder(address) {
                Some(holder) => format!("{what}: the port is in use by {holder}; stop it or choose another port"),
                None => format!("{what}: the port is in use by another process; `ss -ltnp` run by root names it"),
            },
            Errno::EACCES if address.port() < 1_024 => format!(
                "{what}: ports below 1024 need root, CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities), \
                 or a lower net.ipv4.ip_unprivileged_port_start"
            ),
            Errno::EACCES => format!("{what}: permission denied; a security policy (SELinux, AppArmor) forbids it"),
            Errno::EADDRNOTAVAIL => {
                format!("{what}: {} is not an address of this machine; add it or choose another bind", address.ip())
            }
            Errno::EAFNOSUPPORT => format!("{what}: this machine has no IPv6; choose an IPv4 bind"),
            Errno::EMFILE | Errno::ENFILE => {
                format!("{what}: too many open descriptors; raise LimitNOFILE (ulimit -n) of proxymgr")
            }
            other => format!("{what}: {other}"),
        }
    }

    /// Returns the process that holds the port. The answer is cached, because a scan of /proc takes milliseconds and a
    /// bind is retried every second.
    fn holder(&self, address: SocketAddr) -> Option<String> {
        let mut holders = self.holders.borrow_mut();
        holders.retain(|_, (found_at, _)| found_at.elapsed() < PORT_HOLDER_KEEP);
        let (_, holder) = holders.entry(address).or_insert_with(|| (Instant::now(), port_holder::holder(address)));
        holder.clone()
    }
}

impl ListeningSockets for KernelListeningSockets {
    fn open(&self, address: SocketAddr) -> Result<Box<dyn HeldSocket>, String> {
        let listener = listening(address).map_err(|error| self.failure(address, error))?;
        self.holders.borrow_mut().remove(&address);
        let address = listener.local_addr().map_err(|error| format!("cannot read back {address}: {error}"))?;
        Ok(Box::new(Held { listener, address }))
    }

    fn adopt(&self, pid: u32) -> Result<Vec<Box<dyn HeldSocket>>, String> {
        let what = format!("cannot take over the listening sockets of HAProxy process {pid}");
        let process =
            i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| format!("{what}: no such process"))?;
        let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(|error| format!("{what}: {error}"))?;
        let mut listening: Vec<u64> =
            port_holder::listeners(Some(pid)).into_iter().map(|listener| listener.inode).collect();
        let sockets = port_holder::sockets(pid).map_err(|error| format!("{what}: {}", refused(&error)))?;
        let mut held: Vec<Box<dyn HeldSocket>> = Vec::new();
        for (descriptor, inode) in sockets {
            // Taken out once used: a socket may have several descriptors, and one copy is enough.
            let Some(place) = listening.iter().position(|candidate| *candidate == inode) else { continue };
            listening.swap_remove(place);
            let copy = pidfd_getfd(&pidfd, descriptor, PidfdGetfdFlags::empty())
                .map_err(|error| format!("{what}: {}", refused(&error.into())))?;
            held.push(Box::new(Held::from_copy(copy).map_err(|error| format!("{what}: {error}"))?));
        }
        held.sort_by_key(|socket| socket.address());
        Ok(held)
    }
}

/// Opens a socket that is non-blocking, as HAProxy expects, and close-on-exec: only the intended child inherits it.
fn listening(address: SocketAddr) -> nix::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    // Connections of an earlier HAProxy in TIME_WAIT must not keep the port in use.
    setsockopt(&socket, ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(LISTEN_BACKLOG)?)?;
    Ok(TcpListener::from(socket))
}

fn refused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{error}; run proxymgr as root or as HAProxy's user, with kernel.yama.ptrace_scope 0 or CAP_SYS_PTRACE"
        ),
        io::ErrorKind::Unsupported => format!("{error}; it needs Linux 5.6"),
        io::ErrorKind::NotFound => "the process has ended".to_owned(),
        _ => error.to_string(),
    }
}

struct Held {
    listener: TcpListener,
    address: SocketAddr,
}

impl Held {
    fn from_copy(copy: OwnedFd) -> io::Result<Self> {
        let listener = TcpListener::from(copy);
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }
}

impl HeldSocket for Held {
    fn descriptor(&self) -> Option<RawFd> {
        Some(self.listener.as_raw_fd())
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> Result<Box<dyn HeldSocket>, String> {
        KernelListeningSockets::new().open(text.parse().unwrap())
    }

    #[test]
    fn socket_accepts_connections_until_dropped() {
        let held = opened("127.0.0.1:0").unwrap();
        let address = held.address();
        std::net::TcpStream::connect(address).unwrap();
        drop(held);
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_port_in_use_names_its_holder() {
        let held = opened("127.0.0.1:0").unwrap();
        let error = opened(&held.address().to_string()).err().unwrap();
        assert!(error.contains("in use by") && error.contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn foreign_address_is_reported() {
        let error = opened("192.0.2.1:8080").err().unwrap();
        assert!(error.contains("192.0.2.1 is not an address of this machine"), "{error}");
    }

    #[test]
    fn a_process_that_is_gone_has_no_sockets() {
        assert!(KernelListeningSockets::new().adopt(u32::MAX).is_err());
    }
}
