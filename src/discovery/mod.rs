//! Where hosts and service definitions come from: one adapter per kind of source.
//!
//! An adapter promises a level ("these are the hosts now"), never an edge, and says when it cannot tell. To add a kind
//! of source: write its file here, add its line to [`Sources`], and have `tests/discovery_contract.rs` run over it. One
//! that is read over HTTP has a client in [`http`], and what it tells is told by `followed`.

pub mod annotations;
pub mod aws;
mod backoff;
pub mod consul;
mod directory_watch;
pub mod dns;
pub mod etcd;
pub mod file;
mod followed;
pub mod http;
pub mod marathon;
pub mod mesos;
mod settings;
mod static_hosts;
mod watched_files;
pub mod zookeeper;

use std::cell::RefCell;
use std::sync::Arc;

use actix::Recipient;
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
use marathon::{Marathon, MarathonOptions};
use mesos::MesosOptions;

/// Every kind of source that a definition's `type` may name, with the keys that its adapter reads.
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
    dns: Dns,
    marathon: Marathon,
    mesos: MesosOptions,
    options: RefCell<Arc<OptionPolicy>>,
}

impl Sources {
    /// Sources whose entries keep to `options`. `default_server` is the ensemble of definitions that name none.
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
            dns: Dns::new(DnsOptions::default()),
            marathon: Marathon::new(MarathonOptions::default(), log),
            mesos: MesosOptions::default(),
            options: RefCell::new(Arc::new(options)),
        }
    }

    /// Asks DNS in this way.
    pub fn with_dns(self, options: DnsOptions) -> Self {
        Self { dns: Dns::new(options), ..self }
    }

    /// The same, asking AWS in this way.
    pub fn with_aws(self, options: AwsOptions) -> Self {
        Self { aws: Aws::new(options), ..self }
    }

    /// The same, with these Consul agents for definitions that name none.
    pub fn with_consul(self, consul: Consul) -> Self {
        Self { consul, ..self }
    }

    /// The same, with this etcd cluster for definitions that name none.
    pub fn with_etcd(self, etcd: Etcd) -> Self {
        Self { etcd, ..self }
    }

    /// The same, with apps from this Marathon.
    pub fn with_marathon(self, marathon: Marathon) -> Self {
        Self { marathon, ..self }
    }

    /// The same, asking masters of Mesos in this way.
    pub fn with_mesos(self, mesos: MesosOptions) -> Self {
        Self { mesos, ..self }
    }

    fn options(&self) -> Arc<OptionPolicy> {
        self.options.borrow().clone()
    }

    fn open_zookeeper(
        &self,
        registrations: Registrations,
        spec: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<self::zookeeper::OpenLevel, String> {
        self::zookeeper::open(
            registrations,
            spec,
            &self.ensembles,
            self.default_server.as_ref(),
            &self.options(),
            watcher,
        )
    }
}

impl HostSources for Sources {
    fn open(
        &self,
        _service: &ServiceName,
        spec: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String> {
        Ok(match spec.kind.as_str() {
            "zookeeper" => Box::new(self.open_zookeeper(Registrations::InData, spec, watcher)?),
            "campanjazk" => Box::new(self.open_zookeeper(Registrations::InName, spec, watcher)?),
            "aws" => Box::new(self.aws.open(spec, &self.options(), watcher)?),
            "consul" => Box::new(self::consul::open(spec, &self.consul, &self.options(), watcher)?),
            "dns" => Box::new(self.dns.open(spec, &self.options(), watcher)?),
            "etcd" => Box::new(self::etcd::open(spec, &self.etcd, &self.options(), watcher)?),
            "file" => Box::new(file::open(spec, &self.directories, &self.options(), watcher)?),
            "marathon" => Box::new(self.marathon.open(spec, &self.options(), watcher)?),
            "mesos" => Box::new(mesos::open(spec, &self.mesos, &self.options(), watcher)?),
            "static" => Box::new(static_hosts::open(spec, &self.options(), watcher)?),
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
    let meant = nearest(kind, kind_names()).map(|near| format!("; {near:?} may be meant")).unwrap_or_default();
    format!("\"type\" is {kind:?}, which is not a kind of source: {}{meant}", kind_names().join(", "))
}
