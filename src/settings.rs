//! The settings: defaults, overridden by the file, the environment and flags.
//!
//! Raw layers (`layer`) are merged by figment and read key by key against one table (`key`) into [`Settings`], in which
//! everything is validated. All mistakes are reported together, each with its key and place.

mod aws;
mod base_config;
mod command_line;
mod descriptor_limit;
mod discovery;
mod dns;
mod entry;
mod grants;
mod guards;
mod haproxy_run;
mod http;
mod key;
mod layer;
mod log;
mod mesosphere;
mod mistake;
mod outputs;
pub mod own_places;
mod reader;
pub mod reference;
mod service_config;
mod status;
mod targets;
mod template_code;
mod value;
mod zookeeper;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::own_places::OwnPlaces;
use proxymgr_actors::model::{BaseConfig, BaseFile, ProxyManagement, ProxyPolicy, UpdateChoice, map_path_of};

use crate::atomic_file::beside;

pub use self::zookeeper::{TlsSettings, ZookeeperSettings};
pub use aws::AwsSettings;
pub use command_line::{CANDIDATE, CommandLine};
pub use discovery::DiscoverySettings;
pub use dns::DnsSettings;
pub use haproxy_run::{RunSettings, RunWay};
pub use http::{ConsulSettings, ConsulToken, EtcdSettings};
pub use key::{KEYS, Key, Kind, TakesEffect, Unset};
use layer::Layer;
pub use log::{LogFormat, LogSettings};
pub use mesosphere::{MarathonSettings, MesosSettings};
pub use mistake::Mistakes;
pub use outputs::{HipacheSettings, OutputSettings, StdoutFormat, TemplateSettings};
pub use proxymgr_yaml::Mistake;
use reader::Reader;
pub use service_config::{AnnotationSettings, ServiceConfigSettings};
pub use status::{StatusSettings, StatusSocket};
pub use targets::{RuntimeAddress, Target};

/// The default path of the settings file.
pub const DEFAULT_FILE: &str = "/etc/proxymgr/proxymgr.yml";

/// All settings, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// HAProxy and how it is managed.
    pub haproxy: HaproxySettings,
    /// The source of definitions.
    pub service_config: ServiceConfigSettings,
    /// The annotations, if any.
    pub annotations: Option<AnnotationSettings>,
    /// Discovery in general.
    pub discovery: DiscoverySettings,
    /// ZooKeeper, for definitions and hosts.
    pub zookeeper: ZookeeperSettings,
    /// AWS.
    pub aws: AwsSettings,
    /// Consul, for definitions and hosts.
    pub consul: ConsulSettings,
    /// etcd, for definitions and hosts.
    pub etcd: EtcdSettings,
    /// DNS.
    pub dns: DnsSettings,
    /// Marathon.
    pub marathon: MarathonSettings,
    /// Mesos.
    pub mesos: MesosSettings,
    /// The status listener.
    pub status: StatusSettings,
    /// Further outputs.
    pub outputs: Vec<OutputSettings>,
    /// The directory for saved state.
    pub state_dir: PathBuf,
    /// How long a new program may take to be ready after a restart in place.
    pub restart_timeout: Duration,
    /// The file of the recording, if any.
    pub record: Option<PathBuf>,
    /// Settings of the log.
    pub log: LogSettings,
    /// Every value as text, to detect changes.
    effective: Effective,
}

/// HAProxy and how it is managed.
#[derive(Debug, Clone, PartialEq)]
pub struct HaproxySettings {
    /// The binary. A bare name is looked up in PATH.
    pub binary: PathBuf,
    /// The file that proxymgr writes.
    pub config_path: PathBuf,
    /// The operator's own file, or a directory of them.
    pub base_config: Option<PathBuf>,
    /// The operator's directory of certificates.
    pub certificates: Option<PathBuf>,
    /// Whether HAProxy fetches OCSP responses for them.
    pub ocsp_update: bool,
    /// How HAProxy is run.
    pub run: RunSettings,
    /// The address of its Runtime API.
    pub socket: RuntimeAddress,
    /// Targets: further external HAProxies.
    pub targets: Vec<Target>,
    /// The policy for the actors.
    pub policy: ProxyPolicy,
    /// Which options definitions may use, and their defaults.
    pub options: OptionPolicy,
    /// The largest share of the services that definitions may remove at once.
    pub services_removal_max: f64,
}

/// The value of every key as text. It includes secrets and is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
struct Effective(BTreeMap<&'static str, String>);

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<values>")
    }
}

/// The layers above the defaults.
#[derive(Debug, Clone, Default)]
pub struct SettingsSources {
    /// The YAML file.
    pub file: Option<PathBuf>,
    /// The environment; only names that begin with `PROXYMGR_` are used.
    pub environment: Vec<(String, String)>,
    /// Flags: key, value, and the name of the flag.
    pub flags: Vec<(String, String, String)>,
    /// Files in place of those of `haproxy.base_config`.
    pub base_files: Option<Vec<BaseFile>>,
}

impl SettingsSources {
    /// The file at `path`, and the environment of this process.
    pub fn at(path: &Path) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(layer::ENVIRONMENT_PREFIX))
            .collect();
        Self { file: Some(path.to_owned()), environment, ..Self::default() }
    }

    /// The merged layers, the error if the file cannot be read, and the ignored names in the environment.
    fn merged(&self) -> (Figment, Option<Mistake>, Vec<String>) {
        let (file, unread) = match self.file.as_deref().map(Layer::file) {
            Some(Ok(layer)) => (layer, None),
            Some(Err(mistake)) => (Layer::default(), Some(mistake)),
            None => (Layer::default(), None),
        };
        let (environment, ignored) = Layer::environment(self.environment.iter().cloned());
        let flags = Layer::texts("flags", self.flags.iter().cloned());
        let figment = Figment::from(Layer::defaults()).merge(file).merge(environment).merge(flags);
        (figment, unread, ignored)
    }
}

/// Settings, with remarks.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What was ignored, for the log.
    pub remarks: Vec<String>,
}

impl Settings {
    /// Merges the layers and validates them.
    pub fn load(sources: &SettingsSources) -> Result<Loaded, Mistakes> {
        let (figment, unread, ignored) = sources.merged();
        let mut reader = Reader::new(figment);
        let mut unread: Vec<Mistake> = unread.into_iter().collect();
        let file_is_missing = !unread.is_empty();
        let settings = read(&mut reader, sources.base_files.as_deref());
        let (mistakes, effective) = reader.finish();
        // Without the file, missing keys are not mistakes.
        let mistakes = mistakes.into_iter().filter(|mistake| !(file_is_missing && mistake.place.is_empty()));
        unread.extend(mistakes);
        match settings {
            Some(settings) if unread.is_empty() => {
                let remarks = ignored
                    .into_iter()
                    .map(|name| format!("environment variable {name} is not a setting and was ignored"));
                Ok(Loaded {
                    settings: Settings { effective: Effective(effective), ..settings },
                    remarks: remarks.collect(),
                })
            }
            _ => Err(Mistakes(unread)),
        }
    }

    /// The log settings, as far as they can be read, for reporting mistakes in the settings.
    pub fn log_despite_mistakes(sources: &SettingsSources) -> LogSettings {
        log::read(&mut Reader::new(sources.merged().0)).unwrap_or_default()
    }

    /// Applies the settings of `newer` that can change while the daemon runs. The remaining ones need a restart.
    pub fn adopt(&mut self, newer: Self) -> Changed {
        let differs = |key: &&Key| self.effective.0.get(key.path) != newer.effective.0.get(key.path);
        let (applied, need_restart): (Vec<&Key>, Vec<&Key>) =
            KEYS.iter().filter(differs).partition(|key| key.takes_effect == TakesEffect::OnReload);
        for key in &applied {
            match newer.effective.0.get(key.path) {
                Some(value) => self.effective.0.insert(key.path, value.clone()),
                None => self.effective.0.remove(key.path),
            };
        }
        let BaseConfig { socket_path, map_path, management, .. } = self.haproxy.policy.base_config.clone();
        let config_path = &self.haproxy.config_path;
        self.haproxy.policy = newer.haproxy.policy;
        self.haproxy.base_config = newer.haproxy.base_config;
        let own = std::mem::take(&mut self.haproxy.options.own);
        self.haproxy.options = OptionPolicy { own, ..newer.haproxy.options };
        self.haproxy.services_removal_max = newer.haproxy.services_removal_max;
        self.haproxy.policy.base_config.socket_path = socket_path;
        self.haproxy.policy.base_config.map_path = map_path;
        self.haproxy.policy.base_config.management = management;
        if let Some(state_file) = &mut self.haproxy.policy.base_config.state_file {
            *state_file = beside(config_path, STATE_FILE_SUFFIX);
        }
        self.log = LogSettings { format: self.log.format, ..newer.log };
        let paths = |keys: Vec<&Key>| keys.into_iter().map(|key| key.path).collect();
        Changed { applied: paths(applied), need_restart: paths(need_restart) }
    }
}

/// The keys that changed when the settings were read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// These are applied.
    pub applied: Vec<&'static str>,
    /// These need a restart.
    pub need_restart: Vec<&'static str>,
}

/// Reads every key, even after a mistake, so that all mistakes are found.
fn read(reader: &mut Reader, base_files: Option<&[BaseFile]>) -> Option<Settings> {
    let haproxy = read_haproxy(reader, base_files);
    let service_config = service_config::read(reader);
    let annotations = service_config::read_annotations(reader, service_config.as_ref());
    let discovery = discovery::read(reader, service_config.as_ref());
    let zookeeper = self::zookeeper::read(reader);
    let aws = aws::read(reader);
    let consul = http::read_consul(reader);
    let etcd = http::read_etcd(reader);
    let dns = dns::read(reader);
    let marathon = mesosphere::read_marathon(reader);
    let mesos = mesosphere::read_mesos(reader);
    let state_dir = reader.path("state_dir");
    let status = status::read(reader, state_dir.as_deref());
    if let Some(haproxy) = &haproxy {
        base_config::check(reader, &haproxy.policy.base_config, status.listen);
    }
    let haproxy = haproxy.map(|mut haproxy| {
        haproxy.options.own = own_places::of(status.listen, status.socket.path.as_deref(), &haproxy);
        let networks = discovery.as_ref().and_then(|discovery| discovery.host_networks.clone());
        networks.into_iter().for_each(|networks| haproxy.options.own.limit_checks(networks));
        haproxy
    });
    if status.listen.is_none() && reader.is_set("marathon.callback") {
        reader.refuse("marathon.callback", "needs the status listener, which is turned off (status.listen)");
    }
    let environment = haproxy.as_ref().map(|haproxy| haproxy.run.environment.clone()).unwrap_or_default();
    let outputs = outputs::read(reader, &environment);
    let restart_timeout = reader.duration("restart_timeout");
    let record = reader.path("record");
    let log = log::read(reader);
    Some(Settings {
        haproxy: haproxy?,
        service_config: service_config?,
        annotations,
        discovery: discovery?,
        zookeeper: zookeeper?,
        aws: aws?,
        consul: consul?,
        etcd: etcd?,
        dns: dns?,
        marathon: marathon?,
        mesos: mesos?,
        status,
        outputs,
        state_dir: state_dir?,
        restart_timeout: restart_timeout?,
        record,
        log: log?,
        effective: Effective::default(),
    })
}

/// The suffix that HAProxy's state file has in addition to the name of haproxy.cfg.
const STATE_FILE_SUFFIX: &str = "state";

fn read_haproxy(reader: &mut Reader, base_files: Option<&[BaseFile]>) -> Option<HaproxySettings> {
    let binary = reader.path("haproxy.path");
    let config_path = reader.path("haproxy.config_path");
    if let Some(path) = &config_path
        && (!path.is_absolute() || path.file_name().is_none())
    {
        reader.refuse("haproxy.config_path", format!("{} must be the absolute path of a file", path.display()));
    } else if let Some(path) = &config_path
        && path.to_str().is_none_or(|text| text.contains(is_special_in_config))
    {
        let why = "the names of the map and the certificates beside it are used in HAProxy's files";
        let problem = format!(
            "{path:?} must not contain white space, quotes, backslashes, '#', '$', ',', parentheses or brackets: {why}"
        );
        reader.refuse("haproxy.config_path", problem);
    }
    let socket_path = reader.path("haproxy.socket_path");
    if let Some(path) = &socket_path {
        check_socket_path(reader, path);
    }
    let run = haproxy_run::read(reader, config_path.as_deref());
    let (base_config, files) = base_config::read(reader, base_files);
    let certificates = haproxy_run::read_certificates(reader, run.as_ref());
    let ocsp_update = haproxy_run::read_ocsp_update(reader, certificates.is_some());
    let mut global = reader.lines("haproxy.global");
    haproxy_run::push_user(reader, &mut global);
    if run.as_ref().is_none_or(|run| run.management() == ProxyManagement::Supervised) {
        refuse_own_processes(reader, &global);
    }
    let defaults = reader.lines("haproxy.defaults");
    let has_state_file = reader.switch("haproxy.state_file");
    let reload_interval = reader.duration("haproxy.reload_interval");
    let stop_timeout = reader.duration("haproxy.stop_timeout");
    let on_stop = haproxy_run::read_on_stop(reader);
    let observe_interval = reader.duration("haproxy.observe_interval");
    let life_cycle = guards::read_life_cycle(reader);
    let update = reader.choice("haproxy.update").and_then(UpdateChoice::parse);
    let old_processes = guards::read_old_processes(reader);
    let extra = reader.lines("haproxy.extra_options");
    let grants = grants::read(reader);
    let removal = guards::read_removal(reader);
    let services_removal_max = reader.share("guards.max_services_removal");
    let mut targets = targets::read(reader);
    let (config_path, run) = (config_path?, run?);
    let management = run.management();
    let is_elsewhere = management == ProxyManagement::External && socket_path.is_none() && !targets.is_empty();
    let socket_path = socket_path.unwrap_or_else(|| config_path.with_file_name("haproxy.sock"));
    let socket = if is_elsewhere { targets.remove(0).address } else { RuntimeAddress::Unix(socket_path.clone()) };
    if let Some(at) = targets.iter().position(|target| target.address == socket) {
        reader.refuse_line("haproxy.targets", at, "is haproxy.socket_path, which is managed anyway".to_owned());
    }
    let map_path = map_path_of(&config_path);
    let state_file = has_state_file?.then(|| beside(&config_path, STATE_FILE_SUFFIX));
    Some(HaproxySettings {
        binary: binary?,
        config_path,
        base_config,
        certificates,
        ocsp_update,
        run,
        socket,
        targets,
        policy: ProxyPolicy {
            base_config: BaseConfig { files, global, defaults, socket_path, map_path, state_file, management },
            reload_interval: reload_interval?,
            stop_timeout: stop_timeout?,
            on_stop: on_stop?,
            observe_interval: observe_interval?,
            life_cycle: life_cycle?,
            update: update?,
            old_processes: old_processes?,
            descriptors_max: descriptor_limit::of_haproxy(),
        },
        options: OptionPolicy { extra, removal: removal?, grants, own: OwnPlaces::default() },
        services_removal_max: services_removal_max?,
    })
}

/// With `-db`, HAProxy ignores `daemon` but not these: it would fork, and the process that answers on the socket would
/// not be the one that proxymgr started.
fn refuse_own_processes(reader: &mut Reader, global: &[String]) {
    for (at, line) in global.iter().enumerate() {
        if let Some(keyword @ ("master-worker" | "nbproc")) = line.split_whitespace().next() {
            let problem = format!(
                "{keyword} is not allowed: proxymgr starts, reloads and supervises the process of HAProxy itself"
            );
            reader.refuse_line("haproxy.global", at, problem);
        }
    }
}

fn is_special_in_config(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "\"'\\#$,()[]".contains(character)
}

/// HAProxy parses the path as one argument, and binds it first under a longer, temporary name.
fn check_socket_path(reader: &mut Reader, path: &Path) {
    const LENGTH_MAX: usize = 92;
    let text = path.to_string_lossy();
    let problem = if text == "none" {
        "cannot be turned off: the Runtime API is needed".to_owned()
    } else if !path.is_absolute() {
        format!("{text} must be an absolute path")
    } else if text.len() > LENGTH_MAX {
        format!("{text} has {} bytes; the path of a unix socket may have {LENGTH_MAX}", text.len())
    } else if text.chars().any(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '#' | '$' | ',')) {
        format!("{text:?} must not contain white space, quotes, backslashes, '#', '$' or ','")
    } else {
        return;
    };
    reader.refuse("haproxy.socket_path", problem);
}
