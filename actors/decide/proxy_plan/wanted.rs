//! What a plan is made for: a service as it should be, and what surrounds it.

use crate::decide::capabilities::Capabilities;
use crate::decide::overlay::Overlay;
use crate::decide::section_style::SectionStyle;
use crate::decide::server_ids::ServerIds;
use crate::decide::slots::SlotTable;
use crate::model::{HostList, ServerName, ServiceDefinition, UpdateStrategy, Word};

/// What a service should be.
#[derive(Debug, Clone, Copy)]
pub struct WantedService<'a> {
    /// Its definition.
    pub definition: &'a ServiceDefinition,
    /// Its servers: under the names of their slots, where it has slots, with the free ones.
    pub hosts: &'a HostList,
    /// Their ids.
    pub ids: &'a ServerIds,
    /// What is wanted of single servers for a time.
    pub overlay: &'a Overlay,
    /// How its changes may be made.
    pub strategy: UpdateStrategy,
    /// Its slots; none where its servers have the names of their hosts.
    pub slots: Option<&'a SlotTable>,
}

impl WantedService<'_> {
    pub(super) fn is_free_slot(&self, server: &ServerName) -> bool {
        self.slots.is_some_and(|slots| slots.is_free(server))
    }
}

/// What surrounds every service's plan.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// What this HAProxy can do.
    pub capabilities: Capabilities,
    /// The `default-server` words of the `defaults` section.
    pub inherited: &'a [Word],
    /// What the frame means for every section.
    pub style: SectionStyle,
    /// Whether it is external: which ids its file gives is not known before they are observed.
    pub is_external: bool,
}
