//! The settings of one HAProxy: its policy, and the management of its process.

use std::sync::Arc;

use crate::decide::base::{self, BaseLayout};
use crate::decide::capabilities::Capabilities;
use crate::decide::descriptors;
use crate::decide::update_strategy::{ChosenStrategy, choose};
use crate::model::{ProxyManagement, ProxyPolicy, ProxyVersion, ServiceDefinition, Word};

/// The settings of one HAProxy.
#[derive(Debug)]
pub struct Settings {
    /// The policy: how HAProxy is managed.
    pub policy: Arc<ProxyPolicy>,
    /// The management of the process. One of `haproxy.targets` is always external.
    pub management: ProxyManagement,
    /// The version of the HAProxy binary, where it is known before the first start.
    pub binary: Option<ProxyVersion>,
    /// The base configuration of the policy.
    pub base: Arc<BaseLayout>,
    /// The `default-server` arguments of the `defaults` section, which servers added at run time do not inherit. Those
    /// of an external HAProxy are not known.
    pub inherited: Vec<Word>,
}

impl Settings {
    /// Creates the settings of the primary HAProxy, or of a target.
    pub fn new(policy: ProxyPolicy, is_target: bool, binary: Option<ProxyVersion>) -> Self {
        let management = if is_target { ProxyManagement::External } else { policy.base_config.management };
        let base = Arc::new(base::layout(&policy.base_config));
        let inherited = inherited(&base, management);
        Self { policy: Arc::new(policy), management, binary, base, inherited }
    }

    /// Applies settings that were read again.
    pub fn update(&mut self, policy: Arc<ProxyPolicy>) {
        self.base = Arc::new(base::layout(&policy.base_config));
        self.inherited = inherited(&self.base, self.management);
        self.policy = policy;
    }

    /// Returns whether this HAProxy is external, so that it can only be changed at run time.
    pub fn is_external(&self) -> bool {
        self.management == ProxyManagement::External
    }

    /// Returns whether the daemon supervises HAProxy's process, so that its log lines report the health of its servers.
    pub fn is_supervised(&self) -> bool {
        self.management == ProxyManagement::Supervised
    }

    /// Returns how many descriptors the services may need together, in a HAProxy of this version.
    pub fn descriptors_max(&self, version: Option<ProxyVersion>) -> Option<u64> {
        descriptors::for_services(&self.policy.base_config, version, self.policy.descriptors_max)
    }

    /// Returns the strategy for a service with this definition, on a HAProxy of this version.
    pub fn strategy_of(&self, definition: &ServiceDefinition, version: Option<ProxyVersion>) -> ChosenStrategy {
        choose(definition, self.policy.update, version.map(Capabilities::of), self.is_external())
    }
}

fn inherited(base: &BaseLayout, management: ProxyManagement) -> Vec<Word> {
    match management {
        ProxyManagement::External => Vec::new(),
        ProxyManagement::Supervised | ProxyManagement::Delegated => base.default_server_words(),
    }
}
