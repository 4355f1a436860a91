//! Decides which draining processes exceed the limits in number and age, and when the next one will.

use std::time::Duration;

use actix::SpawnHandle;
use tokio::time::Instant;

use crate::model::OldProcessLimits;

/// The limits of draining processes, and the timers for them.
pub(super) struct Governor {
    pub(super) limits: OldProcessLimits,
    /// Fires when the next process reaches the maximum age.
    pub(super) timer: Option<SpawnHandle>,
    /// Whether the usage of these processes is being measured regularly.
    pub(super) is_measuring: bool,
}

impl Governor {
    /// Creates a governor without timers.
    pub(super) fn new(limits: OldProcessLimits) -> Self {
        Self { limits, timer: None, is_measuring: false }
    }

    /// Returns the processes that exceed the limits, and the reason. `draining` is ordered, the oldest process first.
    pub(super) fn beyond_limits(&self, draining: &[(Instant, u32)]) -> Vec<(u32, String)> {
        let OldProcessLimits { count_max, .. } = self.limits;
        let too_many = draining.len().saturating_sub(count_max);
        let beyond = draining.iter().enumerate().filter_map(|(at, (since, pid))| {
            let reason = match self.limits.age_max {
                _ if at < too_many => {
                    format!("{} processes drain, haproxy.max_old_processes is {count_max}", draining.len())
                }
                Some(age_max) if since.elapsed() >= age_max => {
                    format!("haproxy.old_process_timeout ({} s) is over", age_max.as_secs())
                }
                _ => return None,
            };
            Some((*pid, reason))
        });
        beyond.collect()
    }

    /// Returns the time until a process that drains since then reaches the maximum age; `None` without such a limit.
    pub(super) fn time_left(&self, since: Instant) -> Option<Duration> {
        Some((since + self.limits.age_max?).saturating_duration_since(Instant::now()))
    }
}
