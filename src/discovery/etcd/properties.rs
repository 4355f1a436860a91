//! What holds for every answer of etcd.

use proxymgr_actors::decide::option_policy::OptionPolicy;

use super::hosts;
use super::message::{KeyValue, Range, WatchLine};
use crate::discovery::property_checks;

pub(in crate::discovery) fn host(bytes: &[u8]) {
    if let Some(host) = hosts::host(bytes, &OptionPolicy::default()).transpose() {
        property_checks::host(&host);
    }
}

pub(in crate::discovery) fn range(bytes: &[u8]) {
    let Ok(range) = serde_json::from_slice::<Range>(bytes) else { return };
    pairs(range.kvs.iter());
}

pub(in crate::discovery) fn watch(bytes: &[u8]) {
    let Ok(line) = serde_json::from_slice::<WatchLine>(bytes) else { return };
    pairs(line.result.iter().flat_map(|answer| &answer.events).map(|event| &event.kv));
}

fn pairs<'a>(pairs: impl Iterator<Item = &'a KeyValue>) {
    pairs.for_each(|pair| host(&pair.value));
}
