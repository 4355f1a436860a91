//! The Runtime API socket that HAProxy inherits. Blocks.
//!
//! Each launch gets a listener of its own beside the socket's path (`PATH.next`) and a connection to it, both opened
//! before the process exists: what is sent there waits in the listener's queue until HAProxy runs. Once the new process
//! answers, its listener is renamed over the path; until then the path leads to the process before.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use proxymgr_actors::decide::haproxy_config::STATS_DESCRIPTOR;
use proxymgr_actors::decide::loaded_config::inherits_stats_socket;
use proxymgr_actors::limits::LISTEN_BACKLOG;
use rustix::io::fcntl_dupfd_cloexec;

use crate::atomic_file::beside;

/// The Runtime API is for the user that runs proxymgr, as `mode 600` says where HAProxy opens the socket.
const MODE: u32 = 0o600;

/// The socket of one HAProxy.
#[derive(Clone)]
pub(super) struct StatsSocket {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// The process whose listener is still beside the path.
    unpublished: Mutex<Option<u32>>,
    /// Keeps the number that the listener has in HAProxy from being given to a listening socket of a service, which
    /// HAProxy inherits under its own number.
    _reserved: Option<OwnedFd>,
}

/// A listener for one process, and a connection to it.
pub(super) struct Prepared {
    /// What HAProxy inherits. It has to be closed here once the process has been started: otherwise connections would
    /// still be taken, and never answered, after the process has ended.
    pub(super) listener: OwnedFd,
    /// Connected to the listener.
    pub(super) client: UnixStream,
}

impl StatsSocket {
    /// The socket at `path`. Nothing is opened there yet.
    pub(super) fn at(path: PathBuf) -> Self {
        let reserved = File::open("/dev/null").and_then(|file| Ok(fcntl_dupfd_cloexec(file, STATS_DESCRIPTOR)?));
        // Another number means that this one has been taken already, which serves the purpose as well.
        let reserved = reserved.ok().filter(|descriptor| descriptor.as_raw_fd() == STATS_DESCRIPTOR);
        let shared = Shared { path, unpublished: Mutex::default(), _reserved: reserved };
        Self { shared: Arc::new(shared) }
    }

    /// Where clients connect to.
    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Where the listener of a new process is until it answers.
    pub(super) fn next_path(&self) -> PathBuf {
        beside(&self.shared.path, "next")
    }

    /// Opens a listener for a process of the file at `config`, which is in nobody's way: what an earlier launch left is
    /// replaced. None where the file names a socket that HAProxy opens itself.
    ///
    /// # Errors
    /// What could not be read or opened, and why.
    pub(super) fn prepare(&self, config: &Path) -> Result<Option<Prepared>, String> {
        if !is_inherited_by(config).map_err(|error| format!("cannot read {}: {error}", config.display()))? {
            return Ok(None);
        }
        let next = self.next_path();
        let mut unpublished = self.unpublished();
        *unpublished = None;
        let prepared = listening(&next)
            .and_then(|listener| Ok(Prepared { listener, client: UnixStream::connect(&next)? }))
            .and_then(|prepared| prepared.client.set_nonblocking(true).map(|()| prepared));
        prepared.map(Some).map_err(|error| {
            remove_quietly(&next);
            format!("cannot open the Runtime API socket {}: {error}", next.display())
        })
    }

    /// The listener that was prepared last belongs to this process.
    pub(super) fn belongs_to(&self, pid: u32) {
        *self.unpublished() = Some(pid);
    }

    /// The process answers: the path leads to it from now on. Does nothing where the path needs no change.
    ///
    /// # Errors
    /// Why the socket could not be renamed.
    pub(super) fn publish(&self, pid: u32) -> Result<(), String> {
        let mut unpublished = self.unpublished();
        if *unpublished != Some(pid) {
            return Ok(());
        }
        self.rename()?;
        *unpublished = None;
        Ok(())
    }

    /// Nothing was started, or this process has ended: nobody answers at a listener of it that is still beside the path.
    pub(super) fn discard(&self, pid: Option<u32>) {
        let mut unpublished = self.unpublished();
        if *unpublished == pid {
            *unpublished = None;
            remove_quietly(&self.next_path());
        }
    }

    /// Moves the listener beside the path, of a process that a daemon before this one started, to the path.
    ///
    /// # Errors
    /// Why the socket could not be renamed.
    pub(super) fn rename(&self) -> Result<(), String> {
        let (next, path) = (self.next_path(), self.path());
        fs::rename(&next, path)
            .map_err(|error| format!("cannot rename the socket {} to {}: {error}", next.display(), path.display()))
    }

    fn unpublished(&self) -> MutexGuard<'_, Option<u32>> {
        // It is replaced as a whole, so it cannot be left half done.
        self.shared.unpublished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that `haproxy -c` can inherit in place of a listener: it is only asked for its family.
pub(super) fn stand_in() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

fn is_inherited_by(config: &Path) -> io::Result<bool> {
    let mut problem = None;
    let lines = BufReader::new(File::open(config)?).lines().map_while(|line| line.map_err(|e| problem = Some(e)).ok());
    let is_inherited = inherits_stats_socket(lines);
    problem.map_or(Ok(is_inherited), Err)
}

/// Nobody can connect before the mode is right, because the socket does not listen yet.
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
    // What cannot be removed shows when the next listener is opened there.
    let _ = fs::remove_file(path);
}
