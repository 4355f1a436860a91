//! Finds the process that listens on a port, by /proc. Descriptors of other users' processes are visible to root only.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxymgr_actors::limits::PORT_HOLDER_SEARCH;
use tokio::time::Instant;

/// A listening TCP socket, from /proc/net/tcp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) inode: u64,
}

/// Returns the listening TCP sockets in the network namespace of process `pid`, or of this process.
pub(super) fn listeners(pid: Option<u32>) -> Vec<Listener> {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")).ok())
        .flat_map(|table| table.lines().filter_map(listener).collect::<Vec<_>>())
        .collect()
}

/// Returns the inodes of the listening unix sockets with a path in the network namespace of process `pid`.
pub(super) fn unix_listeners(pid: u32) -> Vec<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    table.lines().skip(1).filter_map(unix_listener).collect()
}

/// One line of /proc/net/unix (proc(5)): `Num RefCount Protocol Flags Type St Inode Path`. The flag 0x10000 marks a
/// socket that listens (`__SO_ACCEPTCON` of the kernel).
fn unix_listener(line: &str) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, _, _, flags, _, _, inode, path] = fields[..] else { return None };
    let listens = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & 0x1_0000 != 0);
    inode.parse().ok().filter(|_| listens && path.starts_with('/'))
}

/// Returns the inodes of the TCP sockets in the network namespace of process `pid` that do not listen.
pub(super) fn connections(pid: u32) -> Vec<u64> {
    let tables = ["tcp", "tcp6"].iter().filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok());
    let inodes = |table: String| table.lines().skip(1).filter_map(connection).collect::<Vec<_>>();
    tables.flat_map(inodes).collect()
}

/// Returns the process that listens where `address` cannot be bound, by name and number. `None` if it is not found: its
/// descriptors are not visible, or the search of all processes exceeds [`PORT_HOLDER_SEARCH`].
pub(super) fn holder(address: SocketAddr) -> Option<String> {
    holding_process(address).map(name_and_number)
}

/// Whether one of these processes listens where `address` cannot be bound, or may do so because its descriptors are not
/// visible.
pub(super) fn may_be_held_by(address: SocketAddr, mut pids: impl Iterator<Item = u32>) -> bool {
    let inodes = conflicting_sockets(address);
    pids.any(|pid| match sockets(pid) {
        Ok(held) => has_any(&held, &inodes),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    })
}

/// Returns the inodes of the listening sockets that conflict with `address`.
fn conflicting_sockets(address: SocketAddr) -> Vec<u64> {
    listeners(None).into_iter().filter(|held| conflicts(held.address, address)).map(|held| held.inode).collect()
}

fn has_any(held: &[(i32, u64)], inodes: &[u64]) -> bool {
    held.iter().any(|(_, inode)| inodes.contains(inode))
}

fn holding_process(address: SocketAddr) -> Option<u32> {
    let inodes = conflicting_sockets(address);
    let holds = |pid: u32| sockets(pid).is_ok_and(|held| has_any(&held, &inodes));
    // This process first: on a busy machine the search may time out before it gets here, and a child that is being
    // started shares our descriptors until it executes its own program.
    if holds(std::process::id()) {
        return Some(std::process::id());
    }
    let deadline = Instant::now() + PORT_HOLDER_SEARCH;
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut in_time = pids.take_while(|_| Instant::now() < deadline);
    in_time.find(|pid| holds(*pid))
}

fn name_and_number(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let own = if pid == std::process::id() { ", this daemon itself" } else { "" };
    format!("{} (process {pid}{own})", name.trim_end())
}

/// Returns the sockets of process `pid`: descriptor and inode.
pub(super) fn sockets(pid: u32) -> io::Result<Vec<(i32, u64)>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let socket = |entry: fs::DirEntry| {
        let descriptor = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((descriptor, inode))
    };
    Ok(entries.filter_map(|entry| socket(entry.ok()?)).collect())
}

/// Whether the ports are equal and one address covers the other. A wildcard IPv6 socket may cover IPv4 as well.
fn conflicts(held: SocketAddr, wanted: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| a == b || (a.is_unspecified() && (a.is_ipv6() || b.is_ipv4()));
    held.port() == wanted.port() && (covers(held.ip(), wanted.ip()) || covers(wanted.ip(), held.ip()))
}

/// TCP_LISTEN, as the kernel prints it.
const LISTEN: &str = "0A";

/// One line of /proc/net/tcp or tcp6 (proc_net_tcp.txt of the kernel): `sl local_address rem_address st ... inode`.
fn listener(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    (state == LISTEN).then_some(())?;
    let (address, port) = local.split_once(':')?;
    let address = SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?);
    Some(Listener { address, inode })
}

/// Returns the inode of a socket that does not listen.
fn connection(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    (fields.nth(3)? != LISTEN).then_some(())?;
    fields.nth(5)?.parse().ok()
}

/// Parses an address: hexadecimal words of 32 bits, each in the machine's byte order.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut octets = [0; 16];
            for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn own_port_holder_is_found() {
        for text in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(text).unwrap();
            let address = listener.local_addr().unwrap();
            assert!(listeners(None).iter().any(|held| held.address == address), "{address} is not in /proc/net");
            assert!(!sockets(std::process::id()).unwrap().is_empty());
            let said = holder(address).unwrap();
            assert!(said.contains(&format!("(process {}, this daemon itself)", std::process::id())), "{said}");
        }
    }

    #[test]
    fn wildcard_conflicts_with_every_address() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(conflicts(address("0.0.0.0:80"), address("10.0.0.1:80")));
        assert!(conflicts(address("10.0.0.1:80"), address("0.0.0.0:80")));
        assert!(conflicts(address("[::]:80"), address("10.0.0.1:80")));
        assert!(!conflicts(address("10.0.0.2:80"), address("10.0.0.1:80")));
        assert!(!conflicts(address("0.0.0.0:80"), address("[::1]:80")));
        assert!(!conflicts(address("0.0.0.0:81"), address("0.0.0.0:80")));
    }
}
