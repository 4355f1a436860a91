//! Limits of a restart in place.

use std::time::Duration;

/// The timeout for the trial of a new program: it reads the settings and the saved state and queries HAProxy's version.
pub const RESTART_TRIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a restart waits for a reload that is under way. After that, the next program reloads HAProxy again.
pub const RESTART_DEPLOYMENT_WAIT: Duration = Duration::from_secs(20);

/// The interval at which a restart looks whether the daemon is ready.
pub const RESTART_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a restart waits for clients of the status listener. Event streams never end by themselves; the page opens
/// them again.
pub const RESTART_STATUS_WAIT: Duration = Duration::from_millis(300);
