//! The model: hosts, services, servers, versions. Plain values without behaviour beyond their own validation.

pub mod address;
pub mod backend_command;
pub mod blocked_change;
pub mod blocker;
pub mod certificate;
pub mod definition_key;
pub mod domain;
pub mod host;
pub mod host_labels;
pub mod in_base;
pub mod latency;
pub mod listen_address;
pub mod moment;
pub mod name;
pub mod operator_choice;
pub mod persistent_id;
pub mod plan_class;
pub mod policy;
pub mod proxy;
pub mod reload_cause;
pub mod requests;
pub mod revision;
pub mod route;
pub mod runtime_command;
pub mod server_state;
pub mod service;
pub mod socket_path;
pub mod update;
pub mod word;

pub use address::{Address, Endpoint};
pub use backend_command::BackendCommand;
pub use blocked_change::{BlockedChange, NameSample};
pub use blocker::Blocker;
pub use certificate::{
    CertificateChange, CertificateLists, CertificateName, Certificates, GoodCertificate, InvalidCertificateName,
    Secret, SeenCertificate, ServiceTls, StapledCertificates, TlsVersion,
};
pub use definition_key::DefinitionKey;
pub use domain::{Domain, InvalidDomain};
pub use host::{AdminState, Host, HostList, HostRecord, SeenHost};
pub use host_labels::HostLabels;
pub use in_base::{BaseLine, BindAddress, BindLine, InBase, LineContent, SectionFrame};
pub use latency::LatencyHistogram;
pub use listen_address::{Descriptors, InvalidListenAddress, ListenAddress};
pub use moment::Moment;
pub use name::{InvalidName, ServerName, ServiceName};
pub use operator_choice::{OperatorChoice, Orderer};
pub use persistent_id::{InvalidPersistentId, PersistentId};
pub use plan_class::PlanClass;
pub use policy::{
    BaseConfig, BaseFile, DiscoveryPolicy, LifeCyclePolicy, OldProcessLimits, OnStop, ProxyManagement, ProxyPolicy,
    Quotas, certificates_path_of, map_path_of,
};
pub use proxy::{
    AgentState, Observation, ObservedServer, ObservedServers, ProcessInfo, ProxyVersion, SectionTraffic, ServerId,
    ServerTraffic, Traffic, TrafficFigures,
};
pub use reload_cause::{ReloadCause, ReloadReason};
pub use requests::{Conditions, HeaderName, HeaderValue, InvalidCondition, Method, Requests, SourceNetwork};
pub use revision::{ChangeId, Revision};
pub use route::{InvalidPathPrefix, ObservedRoutes, PathPrefix, RouteCommand, RouteKey, Routes};
pub use runtime_command::RuntimeCommand;
pub use server_state::ServerState;
pub use service::{
    Annotation, HTTP_PORT, MaxRemoval, RawDefinition, Removal, SectionSettings, ServiceDefinition, ServiceLifeCycle,
    SourceKind, SourceSpec,
};
pub use socket_path::{InvalidSocketPath, SocketPath};
pub use update::{ServiceUpdate, SlotRules, UpdateChoice, UpdateStrategy};
pub use word::{InvalidWord, Word};
