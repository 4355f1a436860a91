//! Auto Scaling groups of AWS as a source of hosts: `{"type": "aws", "groups": ["web-a"], "remote_port": 8080}`.
//!
//! - `api`: requests to AWS, with its official client. The only file that uses the client.
//! - `groups`: which instances are hosts, at which addresses, and the polling.
//!
//! AWS has no requests that wait for changes, so it is polled. Its client takes minutes to build: it requires the cargo
//! feature `aws`, without which a definition of this type is refused.

#[cfg(feature = "aws")]
mod api;
#[cfg(feature = "aws")]
mod groups;

use std::time::Duration;

use proxymgr_actors::model::DefinitionKey;
use proxymgr_actors::model::definition_key::key;

#[cfg(feature = "aws")]
pub use groups::Aws;

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[DefinitionKey] = &[
    key("groups", "list of names", "Auto Scaling groups, whose healthy instances in service are the hosts. Required."),
    key("remote_port", "1 to 65535", "The port that the instances listen on. Required."),
    key("region", "text", "The region of the groups. Default: `aws.region`."),
    key("address", "`private` or `public`", "Which address of an instance is used. Default: `private`."),
    key("family", "`ipv4` or `ipv6`", "Which kind of address is used. Default: `ipv4`."),
];

/// Options for AWS. Credentials come from the usual chain: environment, shared files, the role of the machine or
/// container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsOptions {
    /// The region of services without one; none: that of the usual chain.
    pub region: Option<String>,
    /// A server in place of AWS.
    pub endpoint: Option<String>,
    /// The polling interval of a service.
    pub interval: Duration,
    /// How many services are polled at once.
    pub requests_max: usize,
}

impl Default for AwsOptions {
    fn default() -> Self {
        Self { region: None, endpoint: None, interval: Duration::from_secs(15), requests_max: 4 }
    }
}

/// AWS, in a build without its client.
#[cfg(not(feature = "aws"))]
pub struct Aws;

#[cfg(not(feature = "aws"))]
impl Aws {
    /// Ignores the options.
    pub fn new(_: AwsOptions) -> Self {
        Self
    }

    /// Always an error.
    pub(super) fn open<Spec, Policy, Watcher>(
        &self,
        _: Spec,
        _: Policy,
        _: Watcher,
    ) -> Result<super::snapshot_watch::SnapshotWatch, String> {
        Err("\"type\" is \"aws\", but this proxymgr was built without AWS; build it with `cargo build --release \
             --features aws`"
            .to_owned())
    }
}
