//! A service: one `listen` section, and the source of its hosts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    CertificateName, DefinitionKey, HostLabels, InBase, ListenAddress, Requests, SectionFrame, ServiceName, ServiceTls,
    ServiceUpdate, Word,
};
use crate::limits::{GUARD_DEFAULT_SHARE, GUARD_DEFAULT_SHARE_FROM, GUARD_WINDOW};

/// A raw definition from its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawDefinition {
    /// The JSON or YAML text (JSON is YAML; sources pass JSON).
    pub text: Arc<str>,
    /// Its origin, for messages: a file's path, or `znode /service_config/web`.
    pub origin: Arc<str>,
    /// Its annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<Annotation>,
    /// Further definitions of the same service, from other files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rivals: Vec<Self>,
    /// Why there is no text: the file cannot be read, or another one defines the same service and runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Arc<str>>,
}

impl RawDefinition {
    /// Creates a definition without an annotation.
    pub fn new(text: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), origin: origin.into(), annotation: None, rivals: Vec::new(), problem: None }
    }

    /// Creates a definition that its source cannot use. It affects no other definition.
    pub fn unreadable(problem: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        Self { problem: Some(problem.into()), ..Self::new("", origin) }
    }
}

/// A raw annotation: additions to a service's definition from another source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The JSON text.
    pub text: Arc<str>,
    /// Its origin, for messages: `znode /annotations/web`.
    pub origin: Arc<str>,
    /// Why there is no text: the znode cannot be read, or is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Arc<str>>,
}

impl Annotation {
    /// Creates an annotation.
    pub fn new(text: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), origin: origin.into(), problem: None }
    }

    /// Creates an annotation that its source cannot use.
    pub fn unreadable(problem: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        Self { problem: Some(problem.into()), ..Self::new("", origin) }
    }
}

/// The source of a service's hosts. Only the adapter for this kind of source reads the keys, so that a new kind needs
/// no change of the actors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// `zookeeper`, `campanjazk`, `file`, `static`, ...
    pub kind: String,
    /// All keys of the definition that belong to the source.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The labels that those of its hosts have which belong to the service.
    #[serde(default, skip_serializing_if = "HostLabels::is_empty")]
    pub labels: HostLabels,
}

impl SourceSpec {
    /// Returns a source with these settings, all of whose hosts belong to the service.
    pub fn new(kind: impl Into<String>, settings: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { kind: kind.into(), settings, labels: HostLabels::default() }
    }
}

/// A kind of source of hosts, declared by its adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceKind {
    /// The value of a definition's `type`.
    pub name: &'static str,
    /// The keys of a definition that it reads.
    pub keys: &'static [DefinitionKey],
    /// Whether the order of its entries is significant.
    pub is_ordered: bool,
}

/// The guard's limits for the hosts of one service.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    /// A list that shrinks below this number of serving hosts is blocked. 0 allows a service without hosts.
    pub min_hosts: usize,
    /// The largest share of the baseline that may be removed.
    #[serde(default, skip_serializing_if = "MaxRemoval::is_by_size")]
    pub max_removal: MaxRemoval,
    /// The length of the guard's window.
    #[serde(default = "default_guard_window")]
    pub window: Duration,
}

/// The largest share of a guard's baseline that may be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Option<f64>", into = "Option<f64>")]
pub enum MaxRemoval {
    /// Not configured: [`GUARD_DEFAULT_SHARE`] of a baseline of [`GUARD_DEFAULT_SHARE_FROM`] entries or more, and
    /// everything of a smaller one.
    #[default]
    BySize,
    /// This share, 0 to 1, of any baseline. 1 allows the removal of everything.
    Share(f64),
}

impl MaxRemoval {
    /// Returns the share of this baseline, 0 to 1.
    pub fn share_of(self, baseline: usize) -> f64 {
        match self {
            Self::Share(share) => share,
            Self::BySize if baseline >= GUARD_DEFAULT_SHARE_FROM => GUARD_DEFAULT_SHARE,
            Self::BySize => 1.0,
        }
    }

    fn is_by_size(&self) -> bool {
        *self == Self::BySize
    }
}

impl From<Option<f64>> for MaxRemoval {
    fn from(share: Option<f64>) -> Self {
        share.map_or(Self::BySize, Self::Share)
    }
}

impl From<MaxRemoval> for Option<f64> {
    fn from(max_removal: MaxRemoval) -> Self {
        match max_removal {
            MaxRemoval::BySize => None,
            MaxRemoval::Share(share) => Some(share),
        }
    }
}

impl Default for Removal {
    fn default() -> Self {
        Self { min_hosts: 1, max_removal: MaxRemoval::BySize, window: default_guard_window() }
    }
}

fn default_guard_window() -> Duration {
    GUARD_WINDOW
}

/// The handling of added and removed servers of one service, where it differs from the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLifeCycle {
    /// How long a server whose host is gone may drain before it goes into maintenance.
    pub drain_timeout: Option<Duration>,
    /// How long a new server's weight ramps up to its own.
    pub ramp_up: Option<Duration>,
}

/// What the section of a service has beside its first address and its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionSettings {
    /// The named `defaults` section of the base configuration that applies to it; the last one where there is none. Without
    /// files of the operator, `http` and `tcp` are the last one in that mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ServiceName>,
    /// Further addresses that clients connect to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<ListenAddress>,
    /// The options of every `bind` line, checked against the allow-list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bind_options: Vec<Word>,
    /// TLS on its listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServiceTls>,
    /// Whether it also listens on port 80, where it redirects requests to its listener with TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirects_to_https: bool,
}

/// A valid definition of a service, completely checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDefinition {
    /// The name of the `listen` section.
    pub name: ServiceName,
    /// The origin of the definition, for messages.
    pub origin: Arc<str>,
    /// The address that clients connect to; `None` where the service has no port.
    pub listen: Option<SocketAddr>,
    /// What its section has beside its address and its lines.
    #[serde(flatten)]
    pub section: SectionSettings,
    /// The section's lines, each split into words, each checked against the allow-list.
    pub listen_options: Vec<Vec<Word>>,
    /// Options of every server of the section, checked against the allow-list.
    pub server_options: Vec<Word>,
    /// The requests that it gets.
    #[serde(flatten)]
    pub requests: Requests,
    /// Whether the operator has granted it its domains by their names, also where others have them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub domains_granted: bool,
    /// The source of its hosts.
    pub source: SourceSpec,
    /// The guard's limits.
    pub removal: Removal,
    /// The handling of added and removed servers.
    #[serde(default)]
    pub life_cycle: ServiceLifeCycle,
    /// The strategy for changes of the running HAProxy.
    #[serde(default)]
    pub update: ServiceUpdate,
    /// What the base configuration says of it; `None` where that does not mention it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_base: Option<Arc<InBase>>,
}

/// The port of requests that are redirected to HTTPS.
pub const HTTP_PORT: u16 = 80;

impl ServiceDefinition {
    /// Returns the section of the base configuration that gets its servers; `None` where it has a section of its own.
    pub fn frame(&self) -> Option<&SectionFrame> {
        self.in_base.as_ref()?.frame.as_ref()
    }

    /// Returns the certificates of its listeners; none without TLS.
    pub fn certificates(&self) -> &[CertificateName] {
        self.section.tls.as_ref().map_or(&[], |tls| &tls.certificates)
    }

    /// Returns the lines that apply to its section, each split into words.
    pub fn lines(&self) -> &[Vec<Word>] {
        match self.in_base.as_deref() {
            Some(InBase { frame: Some(frame), .. }) => &frame.lines,
            Some(InBase { lines: Some(lines), .. }) => lines,
            _ => &self.listen_options,
        }
    }

    /// Returns the name of the `defaults` section that its section derives from; `None` for the last one.
    pub fn named_defaults(&self) -> Option<&ServiceName> {
        let is_mode = self.in_base.as_ref().is_some_and(|in_base| in_base.chosen_http.is_some());
        self.section.defaults.as_ref().filter(|_| !is_mode)
    }

    /// Returns whether [`ServiceDefinition::lines`] include those of the `defaults` section that applies to it.
    pub fn includes_defaults(&self) -> bool {
        self.in_base.as_ref().is_some_and(|in_base| in_base.frame.is_some() || in_base.lines.is_some())
    }

    /// Returns the addresses that its own section listens on. Those of a section of the base configuration belong to the
    /// base.
    pub fn addresses(&self) -> impl Iterator<Item = ListenAddress> {
        let own = self.frame().is_none().then(|| self.listen.map(ListenAddress::from).into_iter());
        let further = self.frame().is_none().then(|| self.section.binds.iter().cloned());
        let redirect = self.redirect_from().map(ListenAddress::from);
        own.into_iter().flatten().chain(further.into_iter().flatten()).chain(redirect)
    }

    /// Returns the address without TLS at which it redirects requests to HTTPS.
    pub fn redirect_from(&self) -> Option<SocketAddr> {
        let redirects = self.section.redirects_to_https && self.section.tls.is_some() && self.frame().is_none();
        self.listen.filter(|_| redirects).map(|listen| SocketAddr::new(listen.ip(), HTTP_PORT))
    }

    /// Returns the last line of its section with this keyword, which is the effective one.
    pub fn last_line(&self, keyword: &str) -> Option<&[Word]> {
        let mut lines = self.lines().iter().rev();
        lines.find(|line| line.first().is_some_and(|word| word.as_str() == keyword)).map(Vec::as_slice)
    }
}
