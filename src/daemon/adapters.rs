//! Creates the adapters that the settings select. A new kind of adapter is one line here.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use proxymgr_actors::decide::host_networks::HostNetworks;
use proxymgr_actors::model::{ProxyManagement, ProxyVersion};
use proxymgr_actors::port::{
    ConfigFile, DefinitionSource, HostSources, ListeningSockets, ProxyProcesses, SavedJournal, SavedState,
};
use proxymgr_actors::wiring::{Orders, Outside, RuntimeTarget};
use slog::{Logger, o};

use super::host_networks;
use super::restart::inheritance::Kept;
use crate::discovery::annotations::{AnnotatedDefinitions, Annotations, SavedAnnotations};
use crate::discovery::aws::AwsOptions;
use crate::discovery::consul::{Consul, ConsulCatalogDefinitions, ConsulKeyDefinitions, ConsulOptions, TOKEN_HEADER};
use crate::discovery::dns::DnsOptions;
use crate::discovery::etcd::{Etcd, EtcdDefinitions, EtcdOptions, EtcdUser};
use crate::discovery::file::FileDefinitions;
use crate::discovery::http::{Credentials, HttpOptions};
use crate::discovery::marathon::{self, Callback, HostPorts, Marathon, MarathonDefinitions, MarathonOptions};
use crate::discovery::mesos::MesosOptions;
use crate::discovery::zookeeper::{
    ConnectString, DigestAuth, Ensembles, TlsFiles, TlsIdentityFiles, ZookeeperAnnotations, ZookeeperDefinitions,
    ZookeeperOptions,
};
use crate::discovery::{FileRoots, Sources};
use crate::failure::Failure;
use crate::logging;
use crate::proxy::claimed_addresses::ClaimedAddresses;
use crate::proxy::config_file::HaproxyConfigFile;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::proxy::haproxy_process::{HaproxyProcesses, KeptProcesses};
use crate::proxy::haproxy_socket::HaproxySocket;
use crate::proxy::listening_sockets::{KernelListeningSockets, OpenSockets};
use crate::proxy::name_resolver::SystemResolver;
use crate::proxy::ordered_processes::OrderedProcesses;
use crate::proxy::run_by_others::NotOurs;
use crate::proxy::{outputs, run_by_binary, run_by_command, run_by_systemd};
use crate::saved_state::SavedStateFile;
use crate::settings::{
    AnnotationSettings, AwsSettings, CommandLine, ConsulSettings, ConsulToken, DnsSettings, EtcdSettings,
    HaproxySettings, MarathonSettings, MesosSettings, RunWay, RuntimeAddress, ServiceConfigSettings, Settings,
    StatusSettings, Target, ZookeeperSettings,
};
use crate::status::access::{Access, TokenSource};
use crate::status::callbacks;
use crate::status::part::Part;
use crate::status::tls::CertificateFiles;
use crate::token::Token;

/// Sources of services and hosts.
pub struct Discovery {
    /// Service definitions.
    pub definitions: Rc<dyn DefinitionSource>,
    /// Hosts of services.
    pub hosts: Rc<dyn HostSources>,
    /// Annotations, if enabled.
    pub annotations: Option<Annotations>,
    /// Marathon; its callback is removed when the daemon stops.
    pub marathon: Marathon,
}

impl Discovery {
    /// Discovery for one read that stores nothing. Connections are made when a source is opened.
    pub fn to_look(settings: &Settings, log: &Logger) -> Result<Self, Failure> {
        Self::of(settings, None, AnnotationCopy::Nowhere, log)
    }

    /// Discovery for the daemon: Marathon posts events to `callback`, and the last annotations are stored for the next run.
    pub fn to_serve(settings: &Settings, callback: Option<Callback>, log: &Logger) -> Result<Self, Failure> {
        Self::of(settings, callback, AnnotationCopy::InStateDir, log)
    }

    fn of(
        settings: &Settings,
        callback: Option<Callback>,
        keep: AnnotationCopy,
        log: &Logger,
    ) -> Result<Self, Failure> {
        let log = logging::component(log, "discovery");
        let ensembles = Ensembles::new(zookeeper_options(&settings.zookeeper)?, &log);
        let consul = Consul::new(consul_options(&settings.consul));
        let etcd = Etcd::new(etcd_options(&settings.etcd)?);
        let marathon = Marathon::new(marathon_options(&settings.marathon, callback), &log);
        let wrong = |key: &str, error| Failure::CannotStart(format!("service_config.{key}: {error}"));
        let bad_path = |error| wrong("path", error);
        let mut default_server = None;
        let definitions: Rc<dyn DefinitionSource> = match &settings.service_config {
            ServiceConfigSettings::Zookeeper { servers, path } => {
                let connect: ConnectString = servers.parse().map_err(|error| wrong("servers", error))?;
                default_server = Some(connect.clone());
                Rc::new(ZookeeperDefinitions::new(ensembles.clone(), connect, path).map_err(bad_path)?)
            }
            ServiceConfigSettings::Consul { path } => {
                Rc::new(ConsulKeyDefinitions::new(consul.clone(), path).map_err(bad_path)?)
            }
            ServiceConfigSettings::ConsulCatalog { tag } => Rc::new(ConsulCatalogDefinitions::new(consul.clone(), tag)),
            ServiceConfigSettings::Etcd { path } => {
                Rc::new(EtcdDefinitions::new(etcd.clone(), path).map_err(bad_path)?)
            }
            ServiceConfigSettings::Marathon => Rc::new(MarathonDefinitions::new(marathon.clone())),
            ServiceConfigSettings::File { path } => Rc::new(FileDefinitions::new(path.clone(), &log)),
        };
        let (definitions, annotations) = annotated(definitions, settings, &ensembles, keep, &log)?;
        let DnsSettings { servers, interval, interval_max } = settings.dns.clone();
        let hosts = Sources::new(ensembles, default_server, settings.haproxy.options.clone(), &log)
            .with_file_roots(FileRoots::new(settings.discovery.file_roots.clone()))
            .with_networks(host_networks::of(settings))
            .with_aws(aws_options(&settings.aws))
            .with_consul(consul)
            .with_etcd(etcd)
            .with_dns(DnsOptions { servers, interval, interval_max })
            .with_marathon(marathon.clone())
            .with_mesos(mesos_options(&settings.mesos));
        Ok(Self { definitions, hosts: Rc::new(hosts), annotations, marathon })
    }
}

/// Where the last annotations are stored for the next run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AnnotationCopy {
    Nowhere,
    InStateDir,
}

/// The definitions, with annotations if they are enabled.
fn annotated(
    definitions: Rc<dyn DefinitionSource>,
    settings: &Settings,
    ensembles: &Ensembles,
    keep: AnnotationCopy,
    log: &Logger,
) -> Result<(Rc<dyn DefinitionSource>, Option<Annotations>), Failure> {
    let Some(AnnotationSettings { servers, path }) = &settings.annotations else { return Ok((definitions, None)) };
    let wrong = |key: &str, error| Failure::CannotStart(format!("annotations.{key}: {error}"));
    let connect: ConnectString = servers.parse().map_err(|error| wrong("servers", error))?;
    let store = ZookeeperAnnotations::new(ensembles.clone(), connect, path);
    let store = store.map_err(|error| wrong("path", error))?;
    let copy = saved_state_path(settings).with_extension("annotations.json");
    let annotated = AnnotatedDefinitions::new(
        definitions,
        store,
        SavedAnnotations::at(copy, keep == AnnotationCopy::InStateDir),
        log,
    );
    let annotations = annotated.annotations();
    Ok((Rc::new(annotated), Some(annotations)))
}

fn aws_options(settings: &AwsSettings) -> AwsOptions {
    let AwsSettings { region, endpoint, interval, requests_max } = settings.clone();
    AwsOptions { region, endpoint, interval, requests_max }
}

fn consul_options(settings: &ConsulSettings) -> ConsulOptions {
    let token = match &settings.token {
        None => Credentials::None,
        Some(ConsulToken::Text(secret)) => Credentials::Header { name: TOKEN_HEADER, value: secret.clone() },
        Some(ConsulToken::File(path)) => Credentials::HeaderFromFile { name: TOKEN_HEADER, path: path.clone() },
    };
    ConsulOptions {
        servers: settings.servers.clone(),
        token,
        tls: settings.tls.clone(),
        datacenter: settings.datacenter.clone(),
        connections_max: settings.connections_max,
    }
}

fn etcd_options(settings: &EtcdSettings) -> Result<EtcdOptions, Failure> {
    let wrong = |error| Failure::CannotStart(format!("etcd.auth: {error}"));
    let user = settings.auth.as_ref().map(|secret| EtcdUser::parse(secret.reveal()).map_err(wrong)).transpose()?;
    Ok(EtcdOptions { servers: settings.servers.clone(), user, tls: settings.tls.clone() })
}

fn marathon_options(settings: &MarathonSettings, callback: Option<Callback>) -> MarathonOptions {
    let auth = settings.auth.as_ref().and_then(|secret| secret.reveal().split_once(':'));
    let credentials = match (auth, &settings.token) {
        (Some((user, password)), _) => Credentials::Basic { user: user.to_owned(), password: password.into() },
        (None, Some(token)) => Credentials::Bearer(token.clone()),
        (None, None) => Credentials::None,
    };
    MarathonOptions {
        servers: settings.servers.clone(),
        http: HttpOptions { tls: settings.tls.clone(), credentials, ..HttpOptions::default() },
        interval: settings.interval,
        callback,
        host_ports: if settings.use_service_ports { HostPorts::Service } else { HostPorts::Assigned },
    }
}

/// The URL to which Marathon posts events, with a secret for this run; none if the event stream is used.
pub fn marathon_callback(settings: &Settings) -> Result<Option<Callback>, Failure> {
    let wrong = |error| Failure::CannotStart(format!("marathon.callback: {error}"));
    let server = settings.marathon.callback.as_ref();
    server.map(|server| Callback::new(server, callbacks::MARATHON)).transpose().map_err(wrong)
}

/// The endpoint for events of Marathon.
pub fn marathon_part(callback: &Callback, marathon: &Marathon) -> Part {
    let changed = marathon.changed();
    let take = move |body: &[u8]| {
        if marathon::is_relevant(body)? {
            changed.notify_one();
        }
        Ok(())
    };
    callbacks::part(callbacks::MARATHON, callback.secret(), Arc::new(take))
}

fn mesos_options(settings: &MesosSettings) -> MesosOptions {
    let http = HttpOptions { tls: settings.tls.clone(), ..HttpOptions::default() };
    MesosOptions { http, interval: settings.interval }
}

fn zookeeper_options(settings: &ZookeeperSettings) -> Result<ZookeeperOptions, Failure> {
    let wrong = |error| Failure::CannotStart(format!("zookeeper.auth: {error}"));
    let auth = settings.auth.as_ref().map(|secret| DigestAuth::parse(secret.reveal()).map_err(wrong)).transpose()?;
    let tls = settings.tls.as_ref().map(|tls| TlsFiles {
        ca: tls.ca.clone(),
        identity: tls.identity.clone().map(|(certificate, key)| TlsIdentityFiles { certificate, key }),
    });
    Ok(ZookeeperOptions { session_timeout: settings.session_timeout, auth, tls })
}

/// All adapters of the daemon, and what a restart in place has to keep. `inherited` is what the last one kept.
pub fn outside(
    settings: &Settings,
    discovery: &Discovery,
    binary: &HaproxyBinary,
    inherited: Option<&Kept>,
    log: &Logger,
) -> (Outside, Keeping) {
    let haproxy = &settings.haproxy;
    let root = log.clone();
    let log = logging::component(log, "haproxy");
    let HaproxyAdapters { config_file, processes, sockets, keeping } =
        haproxy_adapters(haproxy, binary, inherited, &log);
    let outside = Outside {
        definitions: discovery.definitions.clone(),
        host_sources: discovery.hosts.clone(),
        runtime: Rc::new(runtime(haproxy, &log)),
        config_file,
        names: Rc::new(SystemResolver),
        processes,
        sockets,
        state_store: Rc::new(SavedStateFile::new(saved_state_path(settings))),
        targets: haproxy.targets.iter().map(|settings| target(settings, &root)).collect(),
        outputs: outputs::open(&settings.outputs, &root),
    };
    (outside, keeping)
}

/// The Runtime API of the first HAProxy.
pub fn runtime(haproxy: &HaproxySettings, log: &Logger) -> HaproxySocket {
    match &haproxy.socket {
        RuntimeAddress::Unix(path) if haproxy.run.management() != ProxyManagement::External => {
            HaproxySocket::new(path, log.clone())
        }
        address => HaproxySocket::of_others(address, log.clone()),
    }
}

fn target(Target { name, address }: &Target, log: &Logger) -> RuntimeTarget {
    let log = logging::component(log, "target").new(o!("target" => name.clone()));
    RuntimeTarget { name: name.clone(), runtime: Rc::new(HaproxySocket::of_others(address, log)) }
}

/// Adapters that depend on `haproxy.run`.
struct HaproxyAdapters {
    config_file: Rc<dyn ConfigFile>,
    processes: Rc<dyn ProxyProcesses>,
    sockets: Rc<dyn ListeningSockets>,
    keeping: Keeping,
}

/// What a restart in place has to keep of the adapters.
#[derive(Default)]
pub struct Keeping {
    sockets: OpenSockets,
    /// HAProxy's processes, where the daemon starts them itself.
    processes: Option<HaproxyProcesses>,
}

impl Keeping {
    /// The open listening sockets.
    pub fn listening(&self) -> Vec<Rc<OwnedFd>> {
        self.sockets.all()
    }

    /// The processes; `serving` is the one that runs the live file.
    pub fn processes(&self, serving: Option<u32>) -> KeptProcesses {
        let kept = self.processes.as_ref().map(HaproxyProcesses::kept).unwrap_or_default();
        KeptProcesses { serving, ..kept }
    }
}

/// Creates the adapters for `haproxy.run`.
fn haproxy_adapters(
    haproxy: &HaproxySettings,
    binary: &HaproxyBinary,
    inherited: Option<&Kept>,
    log: &Logger,
) -> HaproxyAdapters {
    let (config, socket) = (haproxy.config_path.as_path(), haproxy.policy.base_config.socket_path.as_path());
    let (limit, log) = (haproxy.run.timeout, log.clone());
    let file = |checker: Option<&CommandLine>| {
        let checker = checker.map(|line| (line.clone(), limit));
        Rc::new(HaproxyConfigFile::checked_by(checker, binary.clone(), config, log.clone()))
    };
    let kept = inherited.map(|kept| kept.processes.clone()).unwrap_or_default();
    let serving = kept.serving;
    let ordered =
        |checker: Option<&CommandLine>, processes: OrderedProcesses, claimed: Option<&Path>| HaproxyAdapters {
            config_file: file(checker),
            processes: Rc::new(processes.continuing(serving)),
            sockets: Rc::new(ClaimedAddresses::new(claimed.map(Path::to_owned))),
            keeping: Keeping::default(),
        };
    match &haproxy.run.way {
        RunWay::Supervise => {
            let sockets = match inherited {
                Some(inherited) => KernelListeningSockets::continuing(inherited.listening.clone()),
                None => KernelListeningSockets::new(),
            };
            let processes =
                HaproxyProcesses::continuing(kept, binary.clone(), config, Some(socket.to_owned()), log.clone());
            let keeping = Keeping { sockets: sockets.open_sockets(), processes: Some(processes.clone()) };
            HaproxyAdapters {
                config_file: file(None),
                processes: Rc::new(processes),
                sockets: Rc::new(sockets),
                keeping,
            }
        }
        RunWay::Systemd { unit } => {
            ordered(None, run_by_systemd::processes(unit, limit, config, socket, log.clone()), Some(config))
        }
        RunWay::Binary { pid_file } => {
            ordered(None, run_by_binary::processes(binary, pid_file, limit, config, socket, log.clone()), Some(config))
        }
        RunWay::Command { start, check, reload } => ordered(
            check.as_ref(),
            run_by_command::processes(start.as_ref(), reload, limit, config, socket, log.clone()),
            None,
        ),
        RunWay::External => HaproxyAdapters {
            config_file: Rc::new(NotOurs),
            processes: Rc::new(NotOurs),
            sockets: Rc::new(ClaimedAddresses::new(None)),
            keeping: Keeping::default(),
        },
    }
}

/// Returns the addresses that hosts of services may have, apart from grants.
pub fn networks_of_hosts(settings: &Settings) -> HostNetworks {
    host_networks::of(settings)
}

/// Settings and restored state for the actors. The version is none if the HAProxy binary is not on this machine.
pub fn orders(
    settings: &Settings,
    version: Option<ProxyVersion>,
    restored: SavedState,
    journal: SavedJournal,
) -> Orders {
    Orders {
        policy: settings.haproxy.policy.clone(),
        binary: version,
        options: settings.haproxy.options.clone(),
        services_removal_max: settings.haproxy.services_removal_max,
        discovery: settings.discovery.policy,
        host_networks: host_networks::of(settings),
        restored,
        journal,
    }
}

/// Access settings of the status listener.
pub fn status_access(settings: &StatusSettings) -> Result<Access, String> {
    let token = match (&settings.token, &settings.token_file) {
        (Some(secret), _) => {
            let token = Token::new(secret.reveal()).map_err(|error| format!("status.token {error}"))?;
            TokenSource::Given(token)
        }
        (None, Some(file)) => TokenSource::File(file.clone()),
        (None, None) => TokenSource::None,
    };
    let tls = settings.tls.clone().map(|(certificate, key)| CertificateFiles { certificate, key });
    Ok(Access {
        hosts: settings.hosts.clone(),
        token,
        tokens: settings.tokens.clone(),
        reads_need_token: settings.reads_need_token,
        tls,
        ..Access::default()
    })
}

/// Path of the saved state. It contains the path of haproxy.cfg, so that daemons can share a directory.
pub fn saved_state_path(settings: &Settings) -> PathBuf {
    settings.state_dir.join(format!("{}.json", file_name_of(&settings.haproxy.config_path)))
}

/// A path as one file name: `/etc/haproxy/haproxy.cfg` as `etc-haproxy-haproxy.cfg`, unique for each path.
fn file_name_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut name = String::with_capacity(text.len());
    for char in text.trim_start_matches('/').chars() {
        match char {
            '/' => name.push('-'),
            char if char.is_ascii_alphanumeric() || matches!(char, '.' | '_') => name.push(char),
            char => char.to_string().bytes().for_each(|byte| name.push_str(&format!("%{byte:02x}"))),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_state_is_unique_per_configuration() {
        assert_eq!(file_name_of(Path::new("/etc/haproxy/haproxy.cfg")), "etc-haproxy-haproxy.cfg");
        assert_ne!(file_name_of(Path::new("/a/b-c")), file_name_of(Path::new("/a-b/c")));
    }
}
