//! What the daemon's own process is given before it starts anything.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::stat::{Mode, umask};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slog::{Logger, debug, warn};

/// Sets what HAProxy and every file written inherit. SIGPIPE is ignored by the Rust runtime already.
pub fn prepare(log: &Logger) {
    // Nothing that is written is for everyone: haproxy.cfg may hold passwords of the operator's own lines.
    umask(Mode::from_bits_truncate(0o027));
    raise_descriptor_limit(log);
}

/// One descriptor per service, and HAProxy inherits the limit: the soft one is for programs that use select(2).
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

/// Milliseconds since 1970, from the system's clock: read once, the daemon counts on from there.
pub fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
