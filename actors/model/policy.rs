//! What the operator has decided about HAProxy: the validated part of the settings that actors act upon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::UpdateChoice;
use crate::limits::OLD_PROCESSES_DEFAULT;

/// The parts of haproxy.cfg that do not come from services. The operator's own lines, trusted as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyFrame {
    /// Lines of the `global` section.
    pub global: Vec<String>,
    /// Lines of the `defaults` section.
    pub defaults: Vec<String>,
    /// Where HAProxy is to open its Runtime API socket.
    pub socket_path: PathBuf,
    /// The map that tells HAProxy which service a domain belongs to.
    pub map_path: PathBuf,
    /// Where the next process finds the health that servers had; none where it is to find out itself.
    pub state_file: Option<PathBuf>,
    /// Who runs HAProxy.
    pub run_by: RunBy,
}

/// The map of domains that belongs to this haproxy.cfg.
pub fn map_path_of(config_path: &Path) -> PathBuf {
    let mut path = config_path.as_os_str().to_owned();
    path.push(".domains");
    path.into()
}

/// Who runs HAProxy, and so what may be done with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunBy {
    /// This daemon: it starts the process, holds its listening sockets, and ends it with itself.
    #[default]
    Us,
    /// Somebody who starts and reloads it when we say so. HAProxy binds its ports itself and outlives this daemon.
    OurOrder,
    /// Somebody whom we cannot tell anything. All that we can do is done at run time.
    Others,
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
    /// How servers come and go, where a service does not say it itself.
    pub life_cycle: LifeCyclePolicy,
    /// How changes reach the running HAProxy, where a service does not say it itself.
    pub update: UpdateChoice,
    /// What processes may do that only finish what they have.
    pub old_processes: OldProcessLimits,
}

/// How servers come and go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LifeCyclePolicy {
    /// How long a server whose host is gone may finish its sessions before it goes into maintenance; zero: none.
    pub drain_timeout: Duration,
    /// How long a newcomer's weight takes to rise to its own; zero: no time.
    pub ramp_up: Duration,
}

/// The limits of processes that only finish what they have. What is beyond them ends, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldProcessLimits {
    /// How many there may be.
    pub count_max: usize,
    /// How old each may become, from when it was told to finish; none without a limit.
    pub age_max: Option<Duration>,
}

impl Default for OldProcessLimits {
    fn default() -> Self {
        Self { count_max: OLD_PROCESSES_DEFAULT, age_max: None }
    }
}
