//! `proxymgr render`: the haproxy.cfg that would be written.

use std::time::Duration;

use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::haproxy_config::{self, SectionStyle};

use super::desired::gather_desired;
use super::{block_on, output, quiet_log};
use crate::failure::Failure;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::settings::Settings;

/// Prints the file to standard output, and where it is not from live discovery, to standard error.
pub fn render(settings: &Settings, timeout: Duration) -> Result<(), Failure> {
    let logging = quiet_log(settings);
    let (desired, version) = block_on(async {
        let binary = HaproxyBinary::new(&settings.haproxy.binary);
        let version = binary.version().await;
        (gather_desired(settings, timeout, logging.root()).await, version)
    });
    let desired = desired?;
    for remark in &desired.remarks {
        output::remark(&format!("# {remark}"));
    }
    if let Err(error) = &version {
        output::remark(&format!("# {error}; the file is for an old one"));
    }
    let frame = &settings.haproxy.policy.frame;
    let version = version.ok().map(|(version, _)| version);
    // The daemon holds the sockets itself and writes the number of the descriptor that HAProxy inherits.
    let style = SectionStyle { own_binds: true, ..SectionStyle::of(frame, version) };
    let mut text = haproxy_config::frame(frame).to_string();
    for service in desired.services.values() {
        let servers = service.placed(settings, version, false).servers;
        text.push_str(&haproxy_config::section(&service.definition, None, &servers, style));
    }
    let services = desired.services.values().map(|service| (&*service.definition, None));
    for frontend in frontends(services, style, &frame.map_path).values() {
        text.push_str(frontend);
    }
    output::print(&text);
    Ok(())
}
