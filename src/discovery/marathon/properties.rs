//! What holds for every answer of Marathon.

use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use serde_json::json;

use super::cluster::Apps;
use super::definitions::{definition, name};
use super::events::is_relevant;
use super::health::{Health, HealthMemory};
use super::{HostPorts, PortChoice};
use crate::discovery::property_checks;

/// Every task has a health, which a second look at the same apps does not change, and every port is found by its index.
pub(in crate::discovery) fn apps(bytes: &[u8]) {
    let mut memory = HealthMemory::default();
    let Ok(apps) = Apps::parse(bytes, &mut memory) else { return };
    let again = Apps::parse(bytes, &mut memory).expect("it was read before");
    assert_eq!(apps.health, again.health);
    for app in apps.apps.values() {
        for (index, port) in app.ports().into_iter().enumerate() {
            assert_eq!(app.port(&PortChoice::Index(index)).as_ref(), Some(&port));
            property_checks::definition(&name(&app.id, &port), &definition(app, &port));
            for (task, ports) in app.tasks.iter().zip([HostPorts::Assigned, HostPorts::Service].into_iter().cycle()) {
                let _: Health = apps.health[task.id.as_str()];
                if let Ok((address, port)) = task.endpoint(&port, ports) {
                    let record = json!({"address": address, "port": port, "state": "ready"});
                    property_checks::host(&host_record::from_json_value(&record, &OptionPolicy::default()));
                }
            }
        }
    }
}

pub(in crate::discovery) fn event(bytes: &[u8]) {
    // A name that matters is in the text as it is, or with escapes.
    assert!(is_relevant(bytes) != Ok(true) || bytes.contains(&b'_') || bytes.contains(&b'\\'));
}
