//! Search for services by their hosts.

use serde::Serialize;

use crate::status::known::Known;
use crate::status::report::StatusReport;

/// The shortest text that is searched for: shorter ones match nearly every address.
const TEXT_CHARS_MIN: usize = 3;

/// What a text finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The services with a server whose name or address contains the text.
    pub services: Vec<String>,
    /// The address, if the text is that of a host, as [`Known::servers_at`] understands it.
    pub host: Option<String>,
}

/// Searches all hosts. Case does not matter.
pub fn by_host(report: &StatusReport, text: &str) -> Found {
    let text = text.trim();
    if text.chars().count() < TEXT_CHARS_MIN {
        return Found::default();
    }
    let known = Known::of(&report.actors);
    let part = text.to_lowercase();
    let contains = |whole: String| whole.to_lowercase().contains(&part);
    let services = known.services().filter(|(_, service)| {
        service.servers().any(|(name, host)| {
            contains(name.to_string()) || host.is_some_and(|host| contains(host.endpoint.to_string()))
        })
    });
    Found {
        services: services.map(|(name, _)| name.to_owned()).collect(),
        host: (!known.servers_at(text).is_empty()).then(|| text.to_owned()),
    }
}
