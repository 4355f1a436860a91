//! What a deployment is asked for, and what comes of it: a new HAProxy process with a new configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::haproxy_config::{self, SectionStyle};
use super::loaded_config::{inherited_descriptors, parse_sections};
use super::routing::Routing;
use super::server_ids::ServerIds;
use crate::model::{Blocker, HostList, Observation, ProcessInfo, Routes, ServiceDefinition, ServiceName};

/// Everything in the file that is not a service's section.
#[derive(Debug, Clone)]
pub struct ConfigContext {
    /// The text before the sections: `global` and `defaults`.
    pub base: Arc<str>,
    /// What the base means for every section.
    pub style: SectionStyle,
    /// The map file that the shared frontends look up.
    pub map_path: PathBuf,
    /// Which service each domain belonged to before.
    pub previous_routes: Routes,
}

/// What a section is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SectionSpec {
    /// The definition.
    pub definition: Arc<ServiceDefinition>,
    /// The hosts.
    pub hosts: Arc<HostList>,
    /// Their ids.
    pub ids: ServerIds,
}

impl SectionSpec {
    /// Whether both give the same section. That of values which are shared is told at a glance.
    pub fn is(&self, other: &Self) -> bool {
        let same_definition = Arc::ptr_eq(&self.definition, &other.definition) || self.definition == other.definition;
        let same_hosts = Arc::ptr_eq(&self.hosts, &other.hosts) || self.hosts == other.hosts;
        same_definition && same_hosts && self.ids == other.ids
    }
}

/// A section with its listening socket.
#[derive(Debug, Clone)]
pub struct BoundSection {
    /// What it is made of.
    pub spec: SectionSpec,
    /// The descriptor it listens on; none where it has no port, or HAProxy binds it.
    pub descriptor: Option<RawFd>,
    /// Its text, where it was rendered in the same style before.
    pub text: Option<Arc<str>>,
}

impl BoundSection {
    /// A section that was not rendered yet.
    pub fn new(spec: SectionSpec, descriptor: Option<RawFd>) -> Self {
        Self { spec, descriptor, text: None }
    }

    /// Its text, rendered only once.
    pub fn render(&mut self, style: SectionStyle) -> Arc<str> {
        let Self { spec: SectionSpec { definition, hosts, ids }, descriptor, text } = self;
        text.get_or_insert_with(|| haproxy_config::section(definition, *descriptor, hosts, ids, style)).clone()
    }
}

/// The section of one service: as it should be, and as it was.
#[derive(Debug, Clone)]
pub struct ServiceSection {
    /// As its definition and its hosts ask.
    pub desired: SectionSpec,
    /// As HAProxy last accepted it. One of an earlier run of the daemon has no socket yet.
    pub last_good: Option<BoundSection>,
    /// Whether the process that serves has it like that now.
    pub is_running: bool,
    /// HAProxy's message, where it refused the desired section before, with the same base. It is tried again only where a
    /// section changes that it refers to.
    pub refused: Option<String>,
}

/// Who knows the health of the servers, and which servers it is about.
#[derive(Debug, Clone)]
pub enum HealthSource {
    /// The process that serves.
    Process {
        /// The sections of that process.
        sections: BTreeMap<ServiceName, SectionSpec>,
    },
    /// The state file that the last process left.
    File {
        /// Where it is.
        path: PathBuf,
        /// The sections of that process.
        sections: BTreeMap<ServiceName, SectionSpec>,
    },
}

/// What identifies the live file as the one that the last process ran on.
#[derive(Debug, Clone)]
pub struct LastFile {
    /// The descriptors that it names.
    pub descriptors: BTreeSet<RawFd>,
    /// The services that it has sections for.
    pub services: BTreeSet<ServiceName>,
}

impl LastFile {
    /// Whether `text` is that file. Servers may differ, because they are updated in it; anything else means that somebody
    /// else wrote it.
    pub fn is(&self, text: &str) -> bool {
        inherited_descriptors(text) == self.descriptors
            && parse_sections(text).into_keys().eq(self.services.iter().cloned())
    }
}

/// A deployment that is asked for.
#[derive(Debug, Clone)]
pub struct DeployOrder {
    /// What surrounds the sections.
    pub context: ConfigContext,
    /// The services.
    pub services: BTreeMap<ServiceName, ServiceSection>,
    /// The services that it is for; none where a new process is needed in any case.
    pub only_for: Option<BTreeSet<ServiceName>>,
    /// The file to fall back to, where the last process has ended and its file is still in place; none while one serves.
    pub last_file: Option<LastFile>,
    /// Where the new process reads the health of its servers; none where it reads no such file.
    pub state_file: Option<PathBuf>,
    /// Who knows that health; none where nobody does.
    pub health_source: Option<HealthSource>,
}

/// What came of a deployment.
#[derive(Debug)]
pub enum Deployed {
    /// A new process serves the new file.
    Serving(Box<ServingProcess>),
    /// A new process serves the file of the last one, because no new file could be had.
    OnLastFile(Box<RestartedProcess>),
    /// Nothing was started: every service that it was for is blocked and would go on just as it is.
    NothingToGain(BTreeMap<ServiceName, Blocker>),
}

/// A process that serves a new file.
#[derive(Debug)]
pub struct ServingProcess {
    /// The process.
    pub process: ProcessInfo,
    /// The text before its sections.
    pub base: Arc<str>,
    /// What the base means for every section.
    pub style: SectionStyle,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, BoundSection>,
    /// Its shared frontends.
    pub frontends: BTreeMap<SocketAddr, Arc<str>>,
    /// Which service each domain belongs to.
    pub routing: Routing,
    /// Why services are not served as their definitions ask.
    pub blockers: BTreeMap<ServiceName, Blocker>,
    /// What HAProxy warned of when it checked the file.
    pub warnings: Warnings,
    /// What the process reports; none where it did not answer.
    pub observation: Option<Observation>,
    /// What an orphaned HAProxy reported that this process took over from; none where there was none or it did not answer.
    pub orphan_observation: Option<Observation>,
}

/// What HAProxy warned of when it accepted a file, in its words, with the line and its key where they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// About the base, or about nothing that can be told.
    pub base: Vec<String>,
    /// About services.
    pub services: BTreeMap<ServiceName, Vec<String>>,
}

/// A process that serves the file of the one before it.
#[derive(Debug)]
pub struct RestartedProcess {
    /// The process.
    pub process: ProcessInfo,
    /// What the process reports; none where it did not answer.
    pub observation: Option<Observation>,
    /// Why it does not serve what was asked for.
    pub failure: DeployFailure,
}

/// Why a deployment brought no new process, or not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployFailure {
    /// What happened.
    pub error: String,
    /// Whether the base of the file may be at fault, so that another attempt with it is of no use: not where a disk was full.
    pub suspects_base: bool,
    /// Whether the live file may be newer than what runs: it was replaced for a process that does not serve.
    pub file_is_ahead: bool,
    /// The servers that take traffic in a process that serves the file of an earlier run meanwhile; none where none does.
    pub unmanaged: Option<BTreeMap<ServiceName, Arc<HostList>>>,
}

impl From<String> for DeployFailure {
    fn from(error: String) -> Self {
        Self { error, suspects_base: false, file_is_ahead: false, unmanaged: None }
    }
}
