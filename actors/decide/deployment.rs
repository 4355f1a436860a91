//! The request for a deployment and its result: a new HAProxy process with a new configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::base::{BaseLayout, BoundBase};
use super::haproxy_config::{self, SectionStyle};
use super::line_sets::LineSets;
use super::loaded_config::{inherited_descriptors, parse_sections};
use super::routing::Routing;
use super::server_ids::ServerIds;
use crate::model::{
    Blocker, Descriptors, HostList, ListenAddress, ProcessInfo, Routes, ServiceDefinition, ServiceName,
    StapledCertificates,
};

/// The context of the sections: everything in the file that is not a service's section.
#[derive(Debug, Clone)]
pub struct ConfigContext {
    /// The base configuration.
    pub base: Arc<BaseLayout>,
    /// The effect of the base on every section.
    pub style: SectionStyle,
    /// The map file that the shared frontends look up.
    pub map_path: PathBuf,
    /// The previous assignment of domains to services.
    pub previous_routes: Routes,
    /// How many descriptors the services may need together; `None` without a limit.
    pub descriptors_max: Option<u64>,
    /// The certificates for which HAProxy fetches OCSP responses.
    pub stapled: Arc<StapledCertificates>,
}

/// The inputs of a section.
#[derive(Debug, Clone)]
pub struct SectionSpec {
    /// The definition.
    pub definition: Arc<ServiceDefinition>,
    /// The hosts.
    pub hosts: Arc<HostList>,
    /// Their ids.
    pub ids: ServerIds,
}

impl PartialEq for SectionSpec {
    /// Returns whether both render to the same section. Shared values are compared by pointer first.
    fn eq(&self, other: &Self) -> bool {
        let same_definition = Arc::ptr_eq(&self.definition, &other.definition) || self.definition == other.definition;
        let same_hosts = Arc::ptr_eq(&self.hosts, &other.hosts) || self.hosts == other.hosts;
        same_definition && same_hosts && self.ids == other.ids
    }
}

/// A section with its listening sockets.
#[derive(Debug, Clone)]
pub struct BoundSection {
    /// Its inputs.
    pub spec: SectionSpec,
    /// The descriptors of its addresses; `None` where they are not known yet.
    pub descriptors: Option<Descriptors>,
    /// Its text, where it was rendered in the same style before.
    pub text: Option<Arc<str>>,
}

impl BoundSection {
    /// Creates a section that is not rendered yet.
    pub fn new(spec: SectionSpec, descriptors: Option<Descriptors>) -> Self {
        Self { spec, descriptors, text: None }
    }

    /// Returns its text, rendered only once.
    pub fn render(&mut self, style: SectionStyle) -> Arc<str> {
        let Self { spec: SectionSpec { definition, hosts, ids }, descriptors, text } = self;
        let none = Descriptors::new();
        let descriptors = descriptors.as_ref().unwrap_or(&none);
        text.get_or_insert_with(|| haproxy_config::section(definition, descriptors, hosts, ids, style)).clone()
    }
}

/// The section of one service: the desired and the last good one.
#[derive(Debug, Clone)]
pub struct ServiceSection {
    /// The section of its current definition and hosts.
    pub desired: SectionSpec,
    /// The section that HAProxy last accepted. One of an earlier run of the daemon has no socket yet.
    pub last_good: Option<BoundSection>,
    /// The addresses that it had in an earlier run of the daemon.
    pub earlier_listens: BTreeSet<ListenAddress>,
    /// Whether the process that serves runs the last good section.
    pub is_running: bool,
    /// HAProxy's message, where it refused the desired section before, with the same base. It is retried only when a
    /// section that it refers to changes.
    pub refused: Option<String>,
}

/// The source of server health, with the sections that it covers.
#[derive(Debug, Clone)]
pub enum HealthSource {
    /// The process that serves.
    Process {
        /// The sections of that process.
        sections: BTreeMap<ServiceName, SectionSpec>,
    },
    /// The state file of the last process.
    File {
        /// Its path.
        path: PathBuf,
        /// The sections of that process.
        sections: BTreeMap<ServiceName, SectionSpec>,
    },
}

/// The properties that identify the live file as the one that the last process ran with.
#[derive(Debug, Clone)]
pub struct LastFile {
    /// The descriptors in it.
    pub descriptors: BTreeSet<RawFd>,
    /// The services with a section in it.
    pub services: BTreeSet<ServiceName>,
}

impl LastFile {
    /// Returns whether `text` is that file. Servers may differ, because they are updated in it; any other difference
    /// means that the file was written outside this daemon.
    pub fn is(&self, text: &str) -> bool {
        inherited_descriptors(text) == self.descriptors
            && parse_sections(text).into_keys().eq(self.services.iter().cloned())
    }
}

/// A request for a deployment.
#[derive(Debug, Clone)]
pub struct DeployOrder {
    /// The context of the sections.
    pub context: ConfigContext,
    /// The services.
    pub services: BTreeMap<ServiceName, ServiceSection>,
    /// The services that need it; `None` where a new process is needed in any case.
    pub only_for: Option<BTreeSet<ServiceName>>,
    /// The file to fall back to, where the last process has ended and its file is still in place; `None` while one
    /// serves.
    pub last_file: Option<LastFile>,
    /// The state file that the new process reads; `None` where it reads none.
    pub state_file: Option<PathBuf>,
    /// The file with counters that the new process reads; `None` where it reads none.
    pub stats_file: Option<PathBuf>,
    /// The source of server health; `None` where there is none.
    pub health_source: Option<HealthSource>,
}

/// The result of a deployment.
#[derive(Debug)]
pub enum Deployed {
    /// A new process serves the new file.
    Serving(Box<ServingProcess>),
    /// No process was started: the one that the daemon had before it restarted in place serves this file.
    Continuing(Box<ServingProcess>),
    /// A new process serves the file of the last one, because no new file was usable.
    OnLastFile(Box<RestartedProcess>),
    /// No process was started: every service that needed it is blocked and would keep its section.
    NothingToGain(BTreeMap<ServiceName, Blocker>),
}

/// A process that serves a new file.
#[derive(Debug)]
pub struct ServingProcess {
    /// The process.
    pub process: ProcessInfo,
    /// The base of its file.
    pub base: BoundBase,
    /// The effect of the base on every section.
    pub style: SectionStyle,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, BoundSection>,
    /// Its shared frontends.
    pub frontends: BTreeMap<SocketAddr, Arc<str>>,
    /// The sets of lines in its file.
    pub line_sets: LineSets,
    /// The assignment of domains to services.
    pub routing: Routing,
    /// The reasons why services do not run with their current definitions.
    pub blockers: BTreeMap<ServiceName, Blocker>,
    /// HAProxy's warnings from its check of the file.
    pub warnings: Warnings,
}

/// HAProxy's warnings about an accepted file, in its words, with the line and its key where they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// Warnings about the base configuration, or without a known section.
    pub base: Vec<String>,
    /// Warnings by service.
    pub services: BTreeMap<ServiceName, Vec<String>>,
}

/// A process that serves the file of the previous one.
#[derive(Debug)]
pub struct RestartedProcess {
    /// The process.
    pub process: ProcessInfo,
    /// Why the requested file was not deployed.
    pub failure: DeployFailure,
}

/// Why a deployment started no new process, or one without the requested file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployFailure {
    /// What happened.
    pub error: String,
    /// Whether the base of the file may be the cause, so that another attempt with it is useless. False for errors such
    /// as a full disk.
    pub suspects_base: bool,
    /// Whether the live file may be newer than the running configuration: it was replaced for a process that does not
    /// serve.
    pub file_is_ahead: bool,
    /// The servers that take traffic in a process that still serves the file of an earlier run; `None` where there is
    /// no such process.
    pub unmanaged: Option<BTreeMap<ServiceName, Arc<HostList>>>,
}

impl From<String> for DeployFailure {
    fn from(error: String) -> Self {
        Self { error, suspects_base: false, file_is_ahead: false, unmanaged: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::decide::base;
    use crate::decide::haproxy_config::section;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition;
    use crate::model::{Address, BaseConfig, Endpoint, Host, ProxyManagement, RawDefinition, ServerName};

    fn definition(name: &str) -> Arc<ServiceDefinition> {
        let raw = RawDefinition::new(r#"{"type": "static", "port": 80}"#, "a test");
        Arc::new(service_definition::parse(name, &raw, &OptionPolicy::default()).unwrap().definition)
    }

    fn hosts(numbers: &[u8]) -> Arc<HostList> {
        let host = |number: &u8| {
            let address = Address::parse(&format!("10.0.0.{number}")).unwrap();
            let host = Host::at(Endpoint::Tcp { address, port: 80.try_into().unwrap() });
            (ServerName::new(&format!("s{number}")).unwrap(), Arc::new(host))
        };
        Arc::new(numbers.iter().map(host).collect())
    }

    fn spec(name: &str, numbers: &[u8]) -> SectionSpec {
        SectionSpec { definition: definition(name), hosts: hosts(numbers), ids: ServerIds::default() }
    }

    #[test]
    fn equal_inputs_render_to_the_same_section() {
        let web = spec("web", &[1]);
        assert!(web == web.clone() && web == spec("web", &[1]));
        assert!(web != spec("web", &[2]) && web != spec("api", &[1]));
    }

    #[test]
    fn last_file_has_its_services_and_descriptors() {
        let base = BaseConfig {
            files: Vec::new(),
            global: Vec::new(),
            defaults: Vec::new(),
            socket_path: "/run/haproxy.sock".into(),
            map_path: "/etc/haproxy.domains".into(),
            state_file: None,
            management: ProxyManagement::Supervised,
        };
        let style = SectionStyle::default();
        let file = |name: &str, descriptor, numbers: &[u8]| {
            let SectionSpec { definition, hosts, ids } = spec(name, numbers);
            let descriptors = definition.addresses().map(|address| (address, Some(descriptor))).collect();
            format!("{}{}", base::text(&base), section(&definition, &descriptors, &hosts, &ids, style))
        };
        let web = ServiceName::new("web").unwrap();
        let last = LastFile { descriptors: BTreeSet::from([7]), services: BTreeSet::from([web]) };
        assert!(last.is(&file("web", 7, &[1])) && last.is(&file("web", 7, &[1, 2])), "servers may differ");
        assert!(!last.is(&file("api", 7, &[1])) && !last.is(&file("web", 8, &[1])) && !last.is(""));
    }
}
