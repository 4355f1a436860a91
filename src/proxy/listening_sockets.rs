//! Opens the listening sockets, which every HAProxy inherits, and closes one once no HAProxy needs it any more.
//!
//! A socket on `[::]:80` accepts IPv4 clients as well, like `bind :::80` in HAProxy, unless another one on `0.0.0.0:80` gets
//! them. `SO_REUSEPORT` is set only where one owner has overlapping addresses, so
//! that otherwise only one process can hold a port.
//! The file of a unix socket is created under a temporary name and renamed, so that a file of an earlier process is
//! replaced and clients always find one; it stays when the socket is closed, and clients are refused.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::rc::{Rc, Weak};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, getsockname, listen,
    setsockopt, shutdown, socket,
};
use proxymgr_actors::limits::{LISTEN_BACKLOG, PORT_HOLDER_KEEP};
use proxymgr_actors::model::ListenAddress;
use proxymgr_actors::port::{HeldSocket, ListeningSockets};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tokio::time::Instant;

use super::port_holder;

/// The kernel's listening sockets.
#[derive(Default)]
pub struct KernelListeningSockets {
    /// The last result of the search for the process that holds a port, with its time.
    holders: RefCell<BTreeMap<SocketAddr, (Instant, Option<String>)>>,
    open: OpenSockets,
    /// The sockets from before a restart in place, until they are held; `None` where there was none.
    continued: Option<RefCell<Vec<Held>>>,
}

/// The sockets that are open now, for a restart in place.
#[derive(Clone, Default)]
pub struct OpenSockets(Rc<RefCell<Vec<Weak<OwnedFd>>>>);

impl OpenSockets {
    /// Returns them.
    pub fn all(&self) -> Vec<Rc<OwnedFd>> {
        self.0.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    fn add(&self, socket: &Rc<OwnedFd>) {
        let mut open = self.0.borrow_mut();
        open.retain(|socket| socket.strong_count() > 0);
        open.push(Rc::downgrade(socket));
    }
}

impl KernelListeningSockets {
    /// Returns an instance without open sockets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an instance that still has these sockets, which were open before a restart in place.
    pub fn continuing(sockets: Vec<Rc<OwnedFd>>) -> Self {
        let sockets = sockets.into_iter().filter_map(|socket| Held::of(socket).ok().flatten()).collect();
        Self { continued: Some(RefCell::new(sockets)), ..Self::default() }
    }

    /// Returns the open sockets, now and later.
    pub fn open_sockets(&self) -> OpenSockets {
        self.open.clone()
    }

    fn held(&self, socket: OwnedFd, address: ListenAddress) -> Box<dyn HeldSocket> {
        self.boxed(Held { socket: Rc::new(socket), address })
    }

    fn boxed(&self, held: Held) -> Box<dyn HeldSocket> {
        self.open.add(&held.socket);
        Box::new(held)
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
    fn open(&self, address: &ListenAddress, beside: &[&dyn HeldSocket]) -> Result<Box<dyn HeldSocket>, String> {
        match address {
            ListenAddress::Ip(address) => {
                let listener = listening(*address, false).or_else(|error| match error {
                    Errno::EADDRINUSE if !beside.is_empty() => {
                        beside.iter().for_each(|socket| socket.share_port());
                        listening(*address, true)
                    }
                    error => Err(error),
                });
                let listener = listener.map_err(|error| self.failure(*address, error))?;
                self.holders.borrow_mut().remove(address);
                let address = listener.local_addr().map_err(|error| format!("cannot read back {address}: {error}"))?;
                Ok(self.held(listener.into(), address.into()))
            }
            ListenAddress::Unix(path) => Ok(self.held(listening_at(path)?, address.clone())),
        }
    }

    fn adopt(&self, pid: u32) -> Result<Vec<Box<dyn HeldSocket>>, String> {
        if self.continued.is_some() {
            // Copies would be of the sockets that are held already.
            return Ok(Vec::new());
        }
        let what = format!("cannot take over the listening sockets of HAProxy process {pid}");
        let process =
            i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| format!("{what}: no such process"))?;
        let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(|error| format!("{what}: {error}"))?;
        let mut listening: Vec<u64> = port_holder::listeners(Some(pid))
            .into_iter()
            .map(|listener| listener.inode)
            .chain(port_holder::unix_listeners(pid))
            .collect();
        let sockets = port_holder::sockets(pid).map_err(|error| format!("{what}: {}", refused(&error)))?;
        let mut held: Vec<Box<dyn HeldSocket>> = Vec::new();
        for (descriptor, inode) in sockets {
            // Taken out once used: a socket may have several descriptors, and one copy is enough.
            let Some(place) = listening.iter().position(|candidate| *candidate == inode) else { continue };
            listening.swap_remove(place);
            let copy = pidfd_getfd(&pidfd, descriptor, PidfdGetfdFlags::empty())
                .map_err(|error| format!("{what}: {}", refused(&error.into())))?;
            let copy = Held::of(Rc::new(copy)).map_err(|error| format!("{what}: {error}"))?;
            held.extend(copy.map(|held| self.boxed(held)));
        }
        held.sort_by_key(|socket| socket.address());
        Ok(held)
    }

    fn continued(&self) -> Vec<Box<dyn HeldSocket>> {
        let continued = self.continued.iter().flat_map(RefCell::take);
        continued.map(|held| self.boxed(held)).collect()
    }
}

/// Opens a socket that is non-blocking, as HAProxy expects, and close-on-exec: only the intended child inherits it.
fn listening(address: SocketAddr, shares_port: bool) -> nix::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    // Connections of an earlier HAProxy in TIME_WAIT must not keep the port in use.
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, ReusePort, &shares_port)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        setsockopt(&socket, Ipv6V6Only, &false)?;
    }
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

/// Opens a unix socket that every local user can connect to, as HAProxy does without a `mode`.
fn listening_at(path: &str) -> Result<OwnedFd, String> {
    let failed = |error: io::Error| format!("cannot listen on unix@{path}: {error}");
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(format!("cannot listen on unix@{path}: a file that is no socket has this path; remove it"));
    }
    let temporary = format!("{path}.new");
    let listener = unix_listener(&temporary).map_err(failed)?;
    let renamed = fs::set_permissions(&temporary, fs::Permissions::from_mode(UNIX_SOCKET_MODE))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = renamed {
        drop(fs::remove_file(&temporary));
        return Err(failed(error));
    }
    Ok(listener)
}

const UNIX_SOCKET_MODE: u32 = 0o666;

fn unix_listener(path: &str) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(LISTEN_BACKLOG)?)?;
    Ok(socket)
}

struct Held {
    socket: Rc<OwnedFd>,
    address: ListenAddress,
}

impl Held {
    /// Returns a listening socket by its name in the kernel; `None` where its address cannot be held: that of a unix socket
    /// without a file, or of the Runtime API.
    fn of(socket: Rc<OwnedFd>) -> io::Result<Option<Self>> {
        let name: SockaddrStorage = getsockname(socket.as_raw_fd())?;
        let address = match (name.as_sockaddr_in(), name.as_sockaddr_in6(), name.as_unix_addr()) {
            (Some(ip), ..) => Some(SocketAddr::from(SocketAddrV4::from(*ip)).into()),
            (_, Some(ip), _) => Some(SocketAddr::from(SocketAddrV6::from(*ip)).into()),
            (.., Some(unix)) => unix.path().and_then(Path::to_str).and_then(bound_path),
            _ => None,
        };
        Ok(address.map(|address| Self { socket, address }))
    }
}

/// Returns the address of a socket that was bound under a temporary name; `None` where another socket has its file now.
fn bound_path(path: &str) -> Option<ListenAddress> {
    ListenAddress::unix(path.strip_suffix(".new")?)
}

impl HeldSocket for Held {
    fn descriptor(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn address(&self) -> ListenAddress {
        self.address.clone()
    }

    fn refuse_clients(&self) {
        // shutdown(2) ends the listening of the socket itself, for all processes that have it: closing this copy would
        // leave that of a frozen HAProxy. An error means that it does not listen any more.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    fn share_port(&self) {
        // Where it fails, as for a unix socket, the other socket cannot be bound and says so.
        let _ = setsockopt(&self.socket, ReusePort, &true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(address: &ListenAddress) -> Result<Box<dyn HeldSocket>, String> {
        KernelListeningSockets::new().open(address, &[])
    }

    fn any_port() -> ListenAddress {
        ListenAddress::Ip("127.0.0.1:0".parse().unwrap())
    }

    fn connects(held: &ListenAddress) -> bool {
        match held {
            ListenAddress::Ip(address) => std::net::TcpStream::connect(address).is_ok(),
            ListenAddress::Unix(path) => std::os::unix::net::UnixStream::connect(&**path).is_ok(),
        }
    }

    #[test]
    fn socket_accepts_connections_until_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        for wanted in [any_port(), ListenAddress::unix(path.to_str().unwrap()).unwrap()] {
            let held = opened(&wanted).unwrap();
            let address = held.address();
            assert!(connects(&address), "{address}");
            drop(held);
            assert!(!connects(&address), "{address}");
        }
    }

    #[test]
    fn refused_clients_are_refused_by_all_copies() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        for wanted in [any_port(), ListenAddress::unix(path.to_str().unwrap()).unwrap()] {
            let held = opened(&wanted).unwrap();
            let copy = KernelListeningSockets::new().adopt(std::process::id()).unwrap();
            assert!(connects(&held.address()));
            held.refuse_clients();
            assert!(!connects(&held.address()) && !copy.is_empty(), "{}", held.address());
        }
    }

    #[test]
    fn file_of_a_unix_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let address = ListenAddress::unix(path.to_str().unwrap()).unwrap();
        let _held = opened(&address).unwrap();
        assert!(connects(&address));
        let copies = KernelListeningSockets::new().adopt(std::process::id()).unwrap();
        assert!(copies.iter().any(|copy| copy.address() == address));
    }

    #[test]
    fn other_file_at_the_path_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        fs::write(&path, "x").unwrap();
        let error = opened(&ListenAddress::unix(path.to_str().unwrap()).unwrap()).err().unwrap();
        assert!(error.contains("no socket") && fs::read_to_string(&path).unwrap() == "x", "{error}");
    }

    #[test]
    fn a_port_in_use_names_its_holder() {
        let held = opened(&any_port()).unwrap();
        let error = opened(&held.address()).err().unwrap();
        assert!(error.contains("in use by") && error.contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn overlapping_addresses_of_one_owner_are_all_opened() {
        let free = opened(&any_port()).unwrap().address().ip().unwrap().port();
        let sockets = KernelListeningSockets::new();
        let address = |ip: &str| format!("{ip}:{free}").parse::<ListenAddress>().unwrap();
        let all = sockets.open(&address("0.0.0.0"), &[]).unwrap();
        assert!(sockets.open(&address("127.0.0.1"), &[]).is_err(), "another owner has the port");
        let v6 = sockets.open(&address("[::]"), &[&*all]).unwrap();
        let one = sockets.open(&address("127.0.0.1"), &[&*all, &*v6]).unwrap();
        for (target, held) in [("127.0.0.1", &one), ("127.0.0.2", &all), ("[::1]", &v6)] {
            let _client = std::net::TcpStream::connect(format!("{target}:{free}")).unwrap();
            let accepted = nix::sys::socket::accept(held.descriptor().unwrap());
            let accepted = accepted.unwrap_or_else(|error| panic!("{target}: {error}"));
            nix::unistd::close(accepted).unwrap();
        }
    }

    #[test]
    fn foreign_address_is_reported() {
        let error = opened(&"192.0.2.1:8080".parse().unwrap()).err().unwrap();
        assert!(error.contains("192.0.2.1 is not an address of this machine"), "{error}");
    }

    #[test]
    fn a_process_that_is_gone_has_no_sockets() {
        assert!(KernelListeningSockets::new().adopt(u32::MAX).is_err());
    }
}
