//! The Runtime API socket that HAProxy inherits. Blocks.
//!
//! Each launch gets its own listener beside the socket's path (`PATH.next`) and a connection to it, both opened before
//! the process exists: what is sent there waits in the listener's queue until HAProxy runs. Once the new process
//! answers, its listener is renamed to the path; until then the path leads to the previous process.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use proxymgr_actors::decide::haproxy_config::STATS_DESCRIPTOR;
use proxymgr_actors::decide::loaded_config::{InheritedStatsSocket, inherited_stats_socket};
use proxymgr_actors::limits::LISTEN_BACKLOG;
use rustix::io::fcntl_dupfd_cloexec;

use crate::atomic_file::beside;

/// The Runtime API is accessible only to the user that runs proxymgr, like `mode 600` on a socket that HAProxy opens.
const MODE: u32 = 0o600;

/// The socket of one HAProxy.
#[derive(Clone)]
pub(super) struct StatsSocket {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// The process whose listener has not been renamed to the path yet.
    unpublished: Mutex<Option<u32>>,
    /// Reserves the number that the listener has in HAProxy, so that no listening socket of a service gets it: HAProxy
    /// inherits those under their own numbers.
    _reserved: Option<OwnedFd>,
}

/// A listener for one process, and a connection to it.
pub(super) struct Prepared {
    /// The listener that HAProxy inherits. It must be closed here once the process has been started: otherwise
    /// connections would still be accepted, and never answered, after the process has ended.
    pub(super) listener: OwnedFd,
    /// Connected to the listener.
    pub(super) client: UnixStream,
    /// Whether the next process can request listening sockets of the process there.
    pub(super) exposes_listeners: bool,
}

impl StatsSocket {
    /// Returns the socket at `path`. Nothing is opened there yet.
    pub(super) fn at(path: PathBuf) -> Self {
        let reserved = File::open("/dev/null").and_then(|file| Ok(fcntl_dupfd_cloexec(file, STATS_DESCRIPTOR)?));
        // Another number means that this one is already in use, which serves the same purpose.
        let reserved = reserved.ok().filter(|descriptor| descriptor.as_raw_fd() == STATS_DESCRIPTOR);
        let shared = Shared { path, unpublished: Mutex::default(), _reserved: reserved };
        Self { shared: Arc::new(shared) }
    }

    /// The path that clients connect to.
    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The path of a new process's listener until the process answers.
    pub(super) fn next_path(&self) -> PathBuf {
        beside(&self.shared.path, "next")
    }

    /// Opens a listener beside the path for a process of the file at `config`; one that an earlier launch left is
    /// replaced. Returns `None` if the file names a socket that HAProxy opens itself.
    ///
    /// # Errors
    /// The file could not be read or the socket could not be opened.
    pub(super) fn prepare(&self, config: &Path) -> Result<Option<Prepared>, String> {
        let inherited = inherited_by(config).map_err(|error| format!("cannot read {}: {error}", config.display()))?;
        let Some(InheritedStatsSocket { exposes_listeners }) = inherited else { return Ok(None) };
        let next = self.next_path();
        let mut unpublished = self.unpublished();
        *unpublished = None;
        let prepared = listening(&next)
            .and_then(|listener| Ok(Prepared { listener, client: UnixStream::connect(&next)?, exposes_listeners }))
            .and_then(|prepared| prepared.client.set_nonblocking(true).map(|()| prepared));
        prepared.map(Some).map_err(|error| {
            remove_quietly(&next);
            format!("cannot open the Runtime API socket {}: {error}", next.display())
        })
    }

    /// Records that the listener that was prepared last belongs to this process.
    pub(super) fn belongs_to(&self, pid: u32) {
        *self.unpublished() = Some(pid);
    }

    /// Makes the path lead to this process, which answers now. Does nothing if the path needs no change.
    ///
    /// # Errors
    /// The socket could not be renamed.
    pub(super) fn publish(&self, pid: u32) -> Result<(), String> {
        let mut unpublished = self.unpublished();
        if *unpublished != Some(pid) {
            return Ok(());
        }
        self.rename()?;
        *unpublished = None;
        Ok(())
    }

    /// Removes a listener beside the path that no process serves: nothing was started, or this process has ended.
    pub(super) fn discard(&self, pid: Option<u32>) {
        let mut unpublished = self.unpublished();
        if *unpublished == pid {
            *unpublished = None;
            remove_quietly(&self.next_path());
        }
    }

    /// Renames the listener that a process of an earlier daemon has beside the path, to the path.
    ///
    /// # Errors
    /// The socket could not be renamed.
    pub(super) fn rename(&self) -> Result<(), String> {
        let (next, path) = (self.next_path(), self.path());
        fs::rename(&next, path)
            .map_err(|error| format!("cannot rename the socket {} to {}: {error}", next.display(), path.display()))
    }

    fn unpublished(&self) -> MutexGuard<'_, Option<u32>> {
        // The value is replaced as a whole, so a panic cannot leave it half written.
        self.shared.unpublished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a socket for `haproxy -c` to inherit in place of a listener: HAProxy only queries its family.
pub(super) fn stand_in() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

fn inherited_by(config: &Path) -> io::Result<Option<InheritedStatsSocket>> {
    let mut problem = None;
    let lines = BufReader::new(File::open(config)?).lines().map_while(|line| line.map_err(|e| problem = Some(e)).ok());
    let inherited = inherited_stats_socket(lines);
    problem.map_or(Ok(inherited), Err)
}

/// Opens a listener. No client can connect before its mode is set, because the socket does not listen until then.
fn listening(path: &Path) -> io::Result<OwnedFd> {
    remove_quietly(path);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    listen(&socket, Backlog::new(LISTEN_BACKLOG)?)?;
    Ok(socket)
}

fn remove_quietly(path: &Path) {
    // If it cannot be removed, opening the next listener there fails with the reason.
    let _ = fs::remove_file(path);
}
