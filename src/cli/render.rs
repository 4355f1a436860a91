//! `proxymgr render`: prints the desired haproxy.cfg.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::base::{self, BoundBase};
use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::haproxy_config::{self, SectionStyle};
use proxymgr_actors::model::{BaseConfig, Descriptors, ProxyManagement};

use super::desired::{Placed, gather_desired};
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
    if let Err(error) = &version {
        output::remark(&format!("# {error}; the file is written for the oldest supported version"));
    }
    // The file of the daemon refers to inherited descriptors; this one is for a HAProxy that opens its own sockets.
    let base_config =
        &BaseConfig { management: ProxyManagement::Delegated, ..settings.haproxy.policy.base_config.clone() };
    let version = version.ok().map(|(version, _)| version);
    let layout = Arc::new(base::layout(base_config));
    let style = SectionStyle::of(&layout, version);
    let none = Descriptors::new();
    let mut sections = BTreeMap::new();
    for (name, service) in &desired.services {
        let Placed { servers, ids, .. } = service.placed(settings, version, false);
        let definition = layout.applied_to(&service.definition);
        sections.insert(name, haproxy_config::section(&definition, &none, &servers, &ids, style));
    }
    let services = desired.services.values().map(|service| (&*service.definition, &none));
    let mut pieces = BoundBase::new(layout.clone(), none.clone()).pieces(&sections);
    pieces.extend(frontends(services, style, &base_config.map_path).into_values());
    output::print_lines(&pieces.concat());
    Ok(())
}
