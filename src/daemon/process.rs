//! Settings of the process of the daemon: file mode mask, limits, clock.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::stat::{Mode, umask};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slog::{Logger, debug, warn};

/// Sets what HAProxy and new files inherit. The Rust runtime ignores SIGPIPE already.
pub fn prepare(log: &Logger) {
    // New files are not readable by every user: haproxy.cfg may contain passwords in the operator's lines.
    umask(Mode::from_bits_truncate(0o027));
    raise_descriptor_limit(log);
}

/// Raises the soft limit of open files: every service needs a descriptor, and HAProxy inherits the limit.
fn raise_descriptor_limit(log: &Logger) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => debug!(log, "limit of open files raised"; "from" => limit.current, "to" => limit.maximum),
        Err(errno) => warn!(log, "the limit of open files cannot be raised";
            "limit" => limit.current, "error" => %errno),
    }
}

/// Milliseconds since 1970, from the clock of the system; read once at the start of the daemon.
pub fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
