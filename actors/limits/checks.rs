//! Limits of health checks.

use std::time::Duration;

/// The shortest interval of health checks that a service may choose.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// The most variables of a service's health checks: each may hold 16 KiB, for every host at once.
pub const CHECK_VARIABLES_MAX: usize = 4;

/// The most time of HAProxy that the health checks of one service may take per second, estimated. Hosts with which they take
/// more are not deployed.
pub const CHECK_LOAD_MAX: Duration = Duration::from_millis(500);
