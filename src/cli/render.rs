//! `proxymgr render`: prints the desired haproxy.cfg.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::base::{self, BoundBase, ServiceTexts};
use proxymgr_actors::decide::earlier_file::listeners;
use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::haproxy_config::{self, SectionStyle};
use proxymgr_actors::decide::loaded_config::line_sets_in;
use proxymgr_actors::decide::{line_sets, listener_certificates};
use proxymgr_actors::model::{
    BaseConfig, CertificateLists, Descriptors, ProxyManagement, ProxyVersion, ServiceDefinition, ServiceName,
    StapledCertificates,
};

use super::desired::{DesiredService, Placed, gather_desired};
use super::{block_on, output, quiet_log};
use crate::failure::Failure;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::settings::Settings;

/// Prints the file to standard output, and remarks on its origin to standard error.
pub fn render(settings: &Settings, timeout: Duration) -> Result<(), Failure> {
    let logging = quiet_log(settings);
    let (desired, version) = block_on(async {
        let binary = HaproxyBinary::of(&settings.haproxy);
        let version = binary.version().await;
        (gather_desired(settings, timeout, logging.root()).await, version)
    });
    let desired = desired?;
    for remark in &desired.remarks {
        output::remark(&format!("# {remark}"));
    }
    for change in &desired.blocked {
        output::remark(&format!("# not in the file, because a guard blocks it: {change}"));
    }
    if let Err(error) = &version {
        output::remark(&format!("# {error}; the file is written for the oldest supported version"));
    }
    let version = version.ok().map(|(version, _)| version);
    let map_path = &settings.haproxy.policy.base_config.map_path;
    let rendered = rendered(settings, version, map_path, None, desired.services.values());
    output::print_lines(&rendered.pieces.concat());
    Ok(())
}

/// haproxy.cfg in pieces.
pub(super) struct Rendered {
    /// Its text: the base configuration with the sections in it, the other services, the shared frontends.
    pub(super) pieces: Vec<Arc<str>>,
    /// The pieces of services.
    pub(super) sections: BTreeMap<ServiceName, Arc<str>>,
    /// Where the operator's files have each line of the base; `None` for other lines.
    pub(super) places: Vec<Option<Arc<str>>>,
    /// The files with the certificates of its listeners.
    pub(super) lists: CertificateLists,
    /// Whether it has shared frontends, which need the map.
    pub(super) has_frontends: bool,
}

/// Renders the file: as the daemon would write it in place of the file `in_place_of`, with the descriptors that HAProxy
/// inherits; or for a HAProxy that opens its own sockets. Addresses that are not open yet are shown as addresses.
pub(super) fn rendered<'a>(
    settings: &Settings,
    version: Option<ProxyVersion>,
    map_path: &Path,
    in_place_of: Option<&str>,
    services: impl Iterator<Item = &'a DesiredService>,
) -> Rendered {
    let (management, descriptors) = match in_place_of {
        Some(text) => (settings.haproxy.run.management(), descriptors_in(text)),
        None => (ProxyManagement::Delegated, Descriptors::new()),
    };
    let base_config =
        &BaseConfig { management, map_path: map_path.to_owned(), ..settings.haproxy.policy.base_config.clone() };
    let layout = Arc::new(base::layout(base_config));
    let style = SectionStyle { own_binds: true, ..SectionStyle::of(&layout, version) };
    let applied: Vec<_> = services.map(|service| (service, layout.applied_to(&service.definition))).collect();
    let section = |(service, definition): &(&DesiredService, Arc<ServiceDefinition>)| {
        let Placed { servers, ids, .. } = service.placed(settings, version, false);
        (definition.name.clone(), haproxy_config::section(definition, &descriptors, &servers, &ids, style))
    };
    let sections: BTreeMap<ServiceName, Arc<str>> = applied.iter().map(section).collect();
    let frontends = frontends(applied.iter().map(|(_, definition)| (&**definition, &descriptors)), style, map_path);
    let base = BoundBase::new(layout.clone(), descriptors.clone());
    let has_frontends = !frontends.is_empty();
    let lists =
        listener_certificates::files(applied.iter().map(|(_, definition)| &**definition), &StapledCertificates::new());
    let mut line_sets = line_sets::of_all(applied.iter().map(|(_, definition)| &**definition), style);
    // The daemon keeps those without a section until the next reload: services may come from them.
    line_sets.extend(in_place_of.map(line_sets_in).unwrap_or_default());
    let texts = ServiceTexts {
        sections: sections.iter().map(|(name, text)| (name, text.clone())).collect(),
        frontends: frontends.into_values().collect(),
        line_sets,
        have_guids: style.guids,
    };
    let pieces = base.pieces(&texts);
    let places = base.places(&texts.sections);
    Rendered { pieces, sections, places, lists, has_frontends }
}

/// Returns the descriptors of the addresses in a file that proxymgr wrote.
pub(super) fn descriptors_in(text: &str) -> Descriptors {
    let listeners = listeners(text).into_iter().flatten();
    listeners.flat_map(|listener| listener.sockets).map(|(address, descriptor)| (address, Some(descriptor))).collect()
}
