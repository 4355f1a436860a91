//! The limit of open files that HAProxy inherits.

use rustix::process::{Resource, getrlimit};

/// The descriptors that HAProxy opens for each of its threads, of which it has one per processor.
const PER_THREAD: u64 = 5;

/// Returns the limit without what the threads need; `None` where there is none. The daemon raises its soft limit to the hard one.
pub(super) fn of_haproxy() -> Option<u64> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = u64::try_from(threads).unwrap_or(u64::MAX);
    Some(getrlimit(Resource::Nofile).maximum?.saturating_sub(threads.saturating_mul(PER_THREAD)))
}
