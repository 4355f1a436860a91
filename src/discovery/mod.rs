//! Sources of hosts and service definitions: one adapter per kind of source.
//!
//! An adapter reports complete snapshots ("these are the hosts now"), never single changes, and reports when it cannot
//! read its source. To add a kind of source: add its file here, its line to [`Sources`], and its case to
//! `tests/discovery_contract.rs`. Sources that use HTTP share the client in [`http`] and the watch in
//! `snapshot_watch`.

pub mod annotations;
pub mod aws;
mod backoff;
pub mod consul;
mod directory_watch;
pub mod dns;
pub mod etcd;
pub mod file;
mod file_roots;
pub mod http;
pub mod marathon;
pub mod mesos;
pub mod operator_files;
#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(any(test, fuzzing))]
mod property_checks;
mod settings;
mod snapshot_watch;
pub mod static_hosts;
mod watched_files;
pub mod zookeeper;

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_networks::HostNetworks;
use proxymgr_actors::decide::nearest::nearest;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::model::{ServiceName, SourceKind, SourceSpec};
use proxymgr_actors::port::{HostSources, OpenSource};
use slog::Logger;

use self::aws::{Aws, AwsOptions};
use self::consul::{Consul, ConsulOptions};
use self::etcd::{Etcd, EtcdOptions};
use self::zookeeper::{ConnectString, Ensembles, Registrations};
use directory_watch::DirectoryWatches;
use dns::{Dns, DnsOptions};
pub use file_roots::FileRoots;
use marathon::{Marathon, MarathonOptions};
use mesos::MesosOptions;

/// The kinds of sources (`type` in a definition), with the keys that each adapter reads.
pub const KINDS: [SourceKind; 10] = [
    SourceKind { name: "zookeeper", keys: self::zookeeper::HOST_KEYS, is_ordered: false },
    SourceKind { name: "campanjazk", keys: self::zookeeper::CAMPANJA_KEYS, is_ordered: false },
    SourceKind { name: "aws", keys: aws::KEYS, is_ordered: false },
    SourceKind { name: "consul", keys: consul::KEYS, is_ordered: false },
    SourceKind { name: "dns", keys: dns::KEYS, is_ordered: false },
    SourceKind { name: "etcd", keys: etcd::KEYS, is_ordered: false },
    SourceKind { name: "file", keys: file::KEYS, is_ordered: true },
    SourceKind { name: "marathon", keys: marathon::KEYS, is_ordered: false },
    SourceKind { name: "mesos", keys: mesos::KEYS, is_ordered: false },
    SourceKind { name: "static", keys: static_hosts::KEYS, is_ordered: true },
];

/// The names of all kinds of sources.
pub fn kind_names() -> [&'static str; KINDS.len()] {
    KINDS.map(|kind| kind.name)
}

/// Opens the sources of hosts of every kind.
pub struct Sources {
    ensembles: Ensembles,
    default_server: Option<ConnectString>,
    aws: Aws,
    consul: Consul,
    etcd: Etcd,
    directories: DirectoryWatches,
    file_roots: Arc<FileRoots>,
    networks: HostNetworks,
    dns: Dns,
    marathon: Marathon,
    mesos: MesosOptions,
    options: RefCell<Arc<OptionPolicy>>,
}

impl Sources {
    /// Sources whose hosts may use `options`. `default_server` is the ensemble of definitions without `server`.
    pub fn new(
        ensembles: Ensembles,
        default_server: Option<ConnectString>,
        options: OptionPolicy,
        log: &Logger,
    ) -> Self {
        Self {
            ensembles,
            default_server,
            aws: Aws::new(AwsOptions::default()),
            consul: Consul::new(ConsulOptions::default()),
            etcd: Etcd::new(EtcdOptions::default()),
            directories: DirectoryWatches::new(log),
            file_roots: Arc::default(),
            networks: HostNetworks::default(),
            dns: Dns::new(DnsOptions::default()),
            marathon: Marathon::new(MarathonOptions::default(), log),
            mesos: MesosOptions::default(),
            options: RefCell::new(Arc::new(options)),
        }
    }

    /// Sets the directories of files that definitions may name; none by default.
    pub fn with_file_roots(self, roots: FileRoots) -> Self {
        Self { file_roots: Arc::new(roots), ..self }
    }

    /// Sets the addresses that servers named by definitions may have.
    pub fn with_networks(self, networks: HostNetworks) -> Self {
        Self { networks, ..self }
    }

    /// Sets the options for DNS.
    pub fn with_dns(self, options: DnsOptions) -> Self {
        Self { dns: Dns::new(options), ..self }
    }

    /// Sets the options for AWS.
    pub fn with_aws(self, options: AwsOptions) -> Self {
        Self { aws: Aws::new(options), ..self }
    }

    /// Sets the Consul agents of definitions without `server`.
    pub fn with_consul(self, consul: Consul) -> Self {
        Self { consul, ..self }
    }

    /// Sets the etcd cluster of definitions without `server`.
    pub fn with_etcd(self, etcd: Etcd) -> Self {
        Self { etcd, ..self }
    }

    /// Sets the Marathon.
    pub fn with_marathon(self, marathon: Marathon) -> Self {
        Self { marathon, ..self }
    }

    /// Sets the options for Mesos.
    pub fn with_mesos(self, mesos: MesosOptions) -> Self {
        Self { mesos, ..self }
    }

    fn options(&self, service: &ServiceName) -> Arc<OptionPolicy> {
        let common = self.options.borrow();
        match common.of_service(service.as_str()) {
            Cow::Borrowed(_) => common.clone(),
            Cow::Owned(own) => Arc::new(own),
        }
    }

    fn open_zookeeper(
        &self,
        registrations: Registrations,
        spec: &SourceSpec,
        options: &Arc<OptionPolicy>,
        watcher: Recipient<HostsSeen>,
    ) -> Result<self::zookeeper::OpenLevel, String> {
        self::zookeeper::open(registrations, spec, &self.ensembles, self.default_server.as_ref(), options, watcher)
    }
}

impl HostSources for Sources {
    fn open(
        &self,
        service: &ServiceName,
        spec: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String> {
        settings::check_servers(spec, &self.networks)?;
        let options = &self.options(service);
        Ok(match spec.kind.as_str() {
            "zookeeper" => Box::new(self.open_zookeeper(Registrations::InData, spec, options, watcher)?),
            "campanjazk" => Box::new(self.open_zookeeper(Registrations::InName, spec, options, watcher)?),
            "aws" => Box::new(self.aws.open(spec, options, watcher)?),
            "consul" => Box::new(self::consul::open(spec, &self.consul, options, watcher)?),
            "dns" => Box::new(self.dns.open(spec, options, watcher)?),
            "etcd" => Box::new(self::etcd::open(spec, &self.etcd, options, watcher)?),
            "file" => Box::new(file::open(spec, &self.file_roots, &self.directories, options, watcher)?),
            "marathon" => Box::new(self.marathon.open(spec, options, watcher)?),
            "mesos" => Box::new(mesos::open(spec, &self.mesos, options, watcher)?),
            "static" => Box::new(static_hosts::open(spec, options, watcher)?),
            unknown => return Err(unknown_kind(unknown)),
        })
    }

    fn kinds(&self) -> &[SourceKind] {
        &KINDS
    }

    fn change_options(&self, options: &OptionPolicy) {
        self.options.replace(Arc::new(options.clone()));
    }
}

fn unknown_kind(kind: &str) -> String {
    let hint = nearest(kind, kind_names()).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    format!("\"type\" is {kind:?}, which is not a kind of source: {}{hint}", kind_names().join(", "))
}
