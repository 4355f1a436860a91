//! The operator's policy for HAProxy: the validated settings that actors use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::UpdateChoice;
use crate::limits::{
    ALL_SLOTS_DEFAULT, ALL_TABLE_ENTRIES_DEFAULT, HOSTS_DEFAULT, HOSTS_PER_SERVICE_DEFAULT, OLD_PROCESSES_DEFAULT,
    SERVICES_DEFAULT,
};

/// The parts of haproxy.cfg that do not come from services: the operator's own lines, which are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseConfig {
    /// The operator's own configuration files, in the order in which HAProxy reads them. Where there are any, there are
    /// no lines in `global` and `defaults`.
    pub files: Vec<BaseFile>,
    /// Lines of the `global` section.
    pub global: Vec<String>,
    /// Lines of the `defaults` section.
    pub defaults: Vec<String>,
    /// The path of HAProxy's Runtime API socket.
    pub socket_path: PathBuf,
    /// The map file with the service of each domain.
    pub map_path: PathBuf,
    /// The state file with the health of servers for the next process; `None` where it uses none.
    pub state_file: Option<PathBuf>,
    /// How HAProxy's process is managed.
    pub management: ProxyManagement,
}

impl BaseConfig {
    /// Returns the directory of the certificates that HAProxy reads, beside the map.
    pub fn certificates_path(&self) -> PathBuf {
        certificates_path_of(&self.map_path)
    }
}

/// Returns the directory of the certificates that HAProxy reads, beside this map.
pub fn certificates_path_of(map_path: &Path) -> PathBuf {
    map_path.with_extension(CERTIFICATES_EXTENSION)
}

/// The extension that the directory of certificates has in place of that of the map.
const CERTIFICATES_EXTENSION: &str = "certs";

/// A file of the operator's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    /// Its path, for messages.
    pub path: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
    /// The texts of the map files by which its lines choose backends, by their paths.
    pub maps: BTreeMap<Arc<str>, Arc<str>>,
}

impl BaseFile {
    /// Creates a file without maps.
    pub fn new(path: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { path: path.into(), text: text.into(), maps: BTreeMap::new() }
    }
}

/// Returns the path of the map of domains for this haproxy.cfg.
pub fn map_path_of(config_path: &Path) -> PathBuf {
    let mut path = config_path.as_os_str().to_owned();
    path.push(".domains");
    path.into()
}

/// How HAProxy's process is managed, and so which changes are possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyManagement {
    /// This daemon starts the process, holds its listening sockets, and stops it when it stops itself.
    #[default]
    Supervised,
    /// A process manager starts and reloads it on request of this daemon. HAProxy binds its ports itself and outlives this
    /// daemon.
    Delegated,
    /// The daemon can neither start nor reload it, and changes it only at run time.
    External,
}

/// What happens to a HAProxy that this daemon runs when the daemon stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnStop {
    /// It refuses new clients, finishes its requests and exits.
    #[default]
    Stop,
    /// It keeps serving, and the next daemon adopts it.
    Leave,
}

/// How HAProxy is managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPolicy {
    /// The base configuration in haproxy.cfg.
    pub base_config: BaseConfig,
    /// The minimum time between two reloads. The first one is immediate.
    pub reload_interval: Duration,
    /// How long HAProxy may keep serving open connections while the daemon stops.
    pub stop_timeout: Duration,
    /// What happens to HAProxy when the daemon stops.
    pub on_stop: OnStop,
    /// The interval of observations.
    pub observe_interval: Duration,
    /// The defaults for added and removed servers.
    pub life_cycle: LifeCyclePolicy,
    /// The default strategy for changes of the running HAProxy.
    pub update: UpdateChoice,
    /// The limits of draining processes.
    pub old_processes: OldProcessLimits,
    /// The limit of open files of a HAProxy that the daemon starts, without those of its threads; `None` where there is none.
    pub descriptors_max: Option<u64>,
}

/// How discovery is read, and how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryPolicy {
    /// How often each source is read again in case its watch lost a change.
    pub confirm_interval: Duration,
    /// Whether hosts that flap are kept out.
    pub damping: bool,
    /// The bounds of what is used.
    pub quotas: Quotas,
}

/// Bounds that keep the author of one definition from using up what all services share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// The most services.
    pub services: usize,
    /// The most hosts of one service.
    pub hosts_per_service: usize,
    /// The most hosts of all services together.
    pub hosts: usize,
    /// The most slots that the definitions of all services ask for together.
    pub slots: usize,
    /// The most entries that the stick tables of all services have together.
    pub stick_table_entries: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            services: SERVICES_DEFAULT,
            hosts_per_service: HOSTS_PER_SERVICE_DEFAULT,
            hosts: HOSTS_DEFAULT,
            slots: ALL_SLOTS_DEFAULT,
            stick_table_entries: ALL_TABLE_ENTRIES_DEFAULT,
        }
    }
}

/// The handling of added and removed servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LifeCyclePolicy {
    /// How long a server whose host is gone may drain before it goes into maintenance; zero: not at all.
    pub drain_timeout: Duration,
    /// How long a new server's weight ramps up to its own; zero: no ramp-up.
    pub ramp_up: Duration,
}

/// The limits of draining processes. Processes that exceed them are ended, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldProcessLimits {
    /// The maximum number.
    pub count_max: usize,
    /// The maximum time for draining; `None` without a limit.
    pub age_max: Option<Duration>,
}

impl Default for OldProcessLimits {
    fn default() -> Self {
        Self { count_max: OLD_PROCESSES_DEFAULT, age_max: None }
    }
}
