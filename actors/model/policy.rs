//! What the operator has decided about HAProxy: the validated part of the settings that actors act upon.

use std::path::PathBuf;
use std::time::Duration;

/// The parts of haproxy.cfg that do not come from services. The operator's own lines, trusted as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyFrame {
    /// Lines of the `global` section.
    pub global: Vec<String>,
    /// Lines of the `defaults` section.
    pub defaults: Vec<String>,
    /// Where HAProxy is to open its Runtime API socket.
    pub socket_path: PathBuf,
}

/// How HAProxy is driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPolicy {
    /// What surrounds the services in haproxy.cfg.
    pub frame: ProxyFrame,
    /// The least time between two reloads. The first goes at once.
    pub reload_interval: Duration,
    /// How long HAProxy may go on serving open connections after the daemon was told to stop.
    pub stop_timeout: Duration,
    /// How often the running state is compared with the desired one.
    pub observe_interval: Duration,
}
