//! Auto Scaling groups of AWS as a source of hosts: `{"type": "aws", "groups": ["web-a"], "remote_port": 8080}`.
//!
//! - `api`: what AWS is asked, by its official client, and why it could not be. The only file that names the client.
//! - `groups`: which instances are hosts, where they are reached, and when to ask again.
//!
//! AWS has no question that waits for news, so it is asked from time to time. Its client takes minutes to build, which is
//! why it stands behind the cargo feature `aws`; without it, a definition of this type is refused with these words.

#[cfg(feature = "aws")]
mod api;
#[cfg(feature = "aws")]
mod groups;

use std::time::Duration;

#[cfg(feature = "aws")]
pub use groups::Aws;

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[&str] = &["groups", "remote_port", "region", "address", "family"];

/// How AWS is asked. Credentials come by the usual chain: environment, shared files, the machine's or container's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsOptions {
    /// The region of services that name none; without it that of the usual chain.
    pub region: Option<String>,
    /// A server in the place of AWS's own.
    pub endpoint: Option<String>,
    /// How often the groups of a service are asked for.
    pub interval: Duration,
    /// How many services are asked for at once.
    pub requests_max: usize,
}

impl Default for AwsOptions {
    fn default() -> Self {
        Self { region: None, endpoint: None, interval: Duration::from_secs(15), requests_max: 4 }
    }
}

/// AWS, in a build that cannot ask it.
#[cfg(not(feature = "aws"))]
pub struct Aws;

#[cfg(not(feature = "aws"))]
impl Aws {
    /// Takes what would be the way to ask.
    pub fn new(_: AwsOptions) -> Self {
        Self
    }

    /// Refuses.
    pub(super) fn open<Spec, Policy, Watcher>(
        &self,
        _: Spec,
        _: Policy,
        _: Watcher,
    ) -> Result<super::followed::OpenFollowed, String> {
        Err("\"type\" is \"aws\", and this proxymgr was built without AWS: build it with `cargo build --release \
             --features aws`"
            .to_owned())
    }
}
