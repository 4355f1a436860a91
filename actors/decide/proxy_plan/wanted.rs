//! The inputs of a plan: the desired state of a service, and its context.

use crate::decide::capabilities::Capabilities;
use crate::decide::overlay::Overlay;
use crate::decide::section_style::SectionStyle;
use crate::decide::server_ids::ServerIds;
use crate::decide::slots::SlotTable;
use crate::model::{HostList, ServerName, ServiceDefinition, UpdateStrategy, Word};

/// The desired state of a service.
#[derive(Debug, Clone, Copy)]
pub struct WantedService<'a> {
    /// Its definition.
    pub definition: &'a ServiceDefinition,
    /// Its servers: by the names of their slots, including free ones, where it has slots.
    pub hosts: &'a HostList,
    /// Their ids.
    pub ids: &'a ServerIds,
    /// Temporary deviations of single servers.
    pub overlay: &'a Overlay,
    /// The strategy for its changes.
    pub strategy: UpdateStrategy,
    /// Its slots; `None` where its servers have the names of their hosts.
    pub slots: Option<&'a SlotTable>,
}

impl WantedService<'_> {
    pub(super) fn is_free_slot(&self, server: &ServerName) -> bool {
        self.slots.is_some_and(|slots| slots.is_free(server))
    }
}

/// The context of every service's plan.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The capabilities of this HAProxy.
    pub capabilities: Capabilities,
    /// The `default-server` arguments of the `defaults` section.
    pub inherited: &'a [Word],
    /// The effect of the base configuration on every section.
    pub style: SectionStyle,
    /// Whether it is external: the server ids in its file are unknown until they are observed.
    pub is_external: bool,
}
