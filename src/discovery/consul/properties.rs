//! What holds for every answer of Consul.

use std::collections::BTreeMap;

use proxymgr_actors::decide::option_policy::OptionPolicy;

use super::catalog;
use super::hosts::{Entry, read_host};
use super::key_value::{self, Pair};
use crate::discovery::property_checks;

pub(in crate::discovery) fn instances(bytes: &[u8]) {
    let Ok(entries) = serde_json::from_slice::<Vec<Entry>>(bytes) else { return };
    entries.iter().for_each(|entry| property_checks::host(&read_host(entry, &OptionPolicy::default())));
}

/// A definition does not depend on the order of the tags.
pub(in crate::discovery) fn services(bytes: &[u8]) {
    let Ok(services) = serde_json::from_slice::<BTreeMap<String, Vec<String>>>(bytes) else { return };
    for (service, tags) in services {
        let reversed = tags.iter().rev().cloned().collect();
        let (name, raw) = catalog::definition(&service, tags, "proxymgr");
        assert_eq!(catalog::definition(&service, reversed, "proxymgr").1, raw);
        property_checks::definition(&name, &raw);
    }
}

pub(in crate::discovery) fn keys(bytes: &[u8]) {
    let Ok(pairs) = serde_json::from_slice::<Vec<Pair>>(bytes) else { return };
    for (name, raw) in pairs.iter().filter_map(|pair| key_value::definition("services/", pair)) {
        property_checks::definition(&name, &raw);
    }
}
