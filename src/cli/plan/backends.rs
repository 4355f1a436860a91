//! Services whose backends can come and go at run time.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use proxymgr_actors::decide::base::BaseLayout;
use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section_header};
use proxymgr_actors::decide::line_sets::LineSets;
use proxymgr_actors::decide::loaded_config::{LoadedSection, line_sets_in};
use proxymgr_actors::decide::proxy_plan::AppliedService;
use proxymgr_actors::decide::runtime_backends::{BackendGround, NeedsReload, addition};
use proxymgr_actors::model::{
    BackendCommand, Descriptors, PlanClass, ProcessInfo, ServiceDefinition, ServiceName, UpdateStrategy,
};

use super::Desired;
use crate::cli::render::descriptors_in;

/// The running process and its file, as far as they decide on that.
pub(super) struct Backends<'a> {
    process: &'a ProcessInfo,
    style: SectionStyle,
    base: &'a BaseLayout,
    sections: &'a BTreeMap<ServiceName, LoadedSection>,
    map_path: &'a Path,
    line_sets: LineSets,
    frontends: BTreeMap<SocketAddr, Arc<str>>,
    /// The definitions of the services that stay.
    staying: Vec<Arc<ServiceDefinition>>,
    descriptors: Descriptors,
}

impl<'a> Backends<'a> {
    /// Creates the view of a process of this file, which has these sections.
    pub(super) fn of(
        desired: &Desired,
        (base, map_path): (&'a BaseLayout, &'a Path),
        (process, style): (&'a ProcessInfo, SectionStyle),
        (file, sections): (&str, &'a BTreeMap<ServiceName, LoadedSection>),
    ) -> Self {
        let services = desired.services.iter().filter(|(name, _)| sections.contains_key(*name));
        let staying: Vec<_> = services.map(|(_, service)| base.applied_to(&service.definition)).collect();
        let descriptors = descriptors_in(file);
        let mut frontends = frontends(staying.iter().map(|definition| (&**definition, &descriptors)), style, map_path);
        frontends.retain(|_, text| file.contains(&**text));
        let line_sets = line_sets_in(file);
        Self { process, style, base, sections, map_path, line_sets, frontends, staying, descriptors }
    }

    /// Returns the set of lines from which the backend of a new service can be added, or why it needs a reload.
    pub(super) fn set_for(
        &self,
        definition: &ServiceDefinition,
        strategy: UpdateStrategy,
    ) -> Result<Arc<str>, NeedsReload> {
        let staying = self.staying.iter().map(|definition| (&**definition, &self.descriptors));
        self.ground().set_for(definition, strategy, staying)
    }

    /// Returns the state of a backend that was just added.
    pub(super) fn just_added(&self, definition: &ServiceDefinition) -> AppliedService {
        AppliedService {
            header: section_header(definition, self.style),
            servers: BTreeMap::new(),
            in_base: definition.in_base.clone(),
        }
    }

    /// Returns whether the backend of a removed service can be deleted.
    pub(super) fn can_delete(&self, name: &ServiceName, section: &LoadedSection) -> bool {
        let stays = |other: &ServiceName| self.staying.iter().any(|definition| definition.name == *other);
        let others = self.sections.iter().filter(|(other, _)| stays(other)).map(|(_, section)| section);
        !self.base.services.contains_key(name) && self.ground().can_delete_section(section, others)
    }

    fn ground(&self) -> BackendGround<'_> {
        let Self { process, style, map_path, line_sets, frontends, .. } = self;
        BackendGround { process, style: *style, line_sets, frontends, map_path }
    }
}

/// Appends what brings a backend into the process before its servers, and after them.
pub(super) fn push_arrival(text: &mut String, name: &ServiceName, set: Arc<str>, style: SectionStyle, servers: &str) {
    push(text, PlanClass::RuntimeEnable, name, "the service is new", addition(name, set, style));
    text.push_str(servers);
    push(text, PlanClass::RuntimeEnable, name, "once its servers are there", BackendCommand::Publish(name.clone()));
}

/// Appends what takes a backend out of the process.
pub(super) fn push_departure(text: &mut String, name: &ServiceName) {
    let (unpublish, delete) = (BackendCommand::Unpublish(name.clone()), BackendCommand::Delete(name.clone()));
    push(text, PlanClass::RuntimeDisable, name, "the service was removed", unpublish);
    push(text, PlanClass::RuntimeDisable, name, "once its servers are deleted", delete);
}

fn push(text: &mut String, class: PlanClass, name: &ServiceName, reason: &str, command: BackendCommand) {
    let _ = writeln!(text, "{} {name}: {reason}\n    {command}", class.as_str());
}
