//! Reads a process's memory and connections from /proc. Blocks.

use std::collections::BTreeSet;
use std::fs;

use proxymgr_actors::port::ProcessUsage;

use super::port_holder;

/// Returns the usage of process `pid`; `None` if it is gone or its descriptors are visible to root only.
pub(super) fn of(pid: u32) -> Option<ProcessUsage> {
    let memory_bytes = resident_bytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?;
    let connected: BTreeSet<u64> = port_holder::connections(pid).into_iter().collect();
    let sockets = port_holder::sockets(pid).ok()?;
    let connections = sockets.iter().filter(|(_, inode)| connected.contains(inode)).count();
    Some(ProcessUsage { connections: u64::try_from(connections).ok()?, memory_bytes })
}

/// Reads the line `VmRSS:  1234 kB` of /proc/PID/status (proc(5)).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn this_process_has_memory_and_both_ends_of_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = of(std::process::id()).unwrap();
        let ends = (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept().unwrap());
        let with_it = of(std::process::id()).unwrap();
        assert!(with_it.memory_bytes > 1_000_000);
        assert!(with_it.connections >= before.connections + 2, "{before:?} {with_it:?}");
        drop(ends);
    }

    #[test]
    fn the_memory_is_read_in_kilobytes() {
        assert_eq!(resident_bytes("VmSize:\t  9 kB\nVmRSS:\t    12 kB\n"), Some(12_288));
    }
}
