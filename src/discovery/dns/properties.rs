//! What holds for every answer of a DNS server.

use std::collections::BTreeSet;
use std::time::Duration;

use proxymgr_actors::limits::DNS_ROTATION_ANSWERS;
use tokio::time::Instant;

use super::lookup::targets;
use super::name_servers::{Found, RecordKind, found_in};
use super::rotation::Rotation;

/// The name that is asked for.
const NAME: &str = "a.example.";

/// Records are sorted and without duplicates. Of the targets of a service some are active, with a weight of HAProxy.
pub(in crate::discovery) fn message(bytes: &[u8]) {
    for kind in [RecordKind::A, RecordKind::Aaaa, RecordKind::Srv] {
        let Some(Ok(found)) = found_in(bytes, NAME, kind) else { continue };
        assert!(found.is_sorted() && BTreeSet::from_iter(&found).len() == found.len(), "{found:?}");
        let is_of_kind = |found: &Found| matches!(found, Found::Service { .. }) == (kind == RecordKind::Srv);
        assert!(found.iter().all(is_of_kind), "{found:?}");
        let targets = targets(found);
        assert!(targets.is_empty() || targets.iter().any(|target| !target.backup), "{targets:?}");
        for target in targets {
            assert!(target.weight.is_none_or(|weight| (1..=256).contains(&weight)), "{target:?}");
            assert!(!target.name.is_empty() && !target.name.chars().any(char::is_control), "{target:?}");
        }
    }
}

/// The records to use are those of the answer, or more while the answers rotate. Once the answers stay the same, they are
/// those of the answer again. A byte is a record, a line feed ends an answer.
pub(in crate::discovery) fn rotation(bytes: &[u8]) {
    let (mut rotation, mut now) = (Rotation::default(), Instant::now());
    let mut settle = |answer: &[u8]| {
        now += Duration::from_secs(5);
        let found = BTreeSet::from_iter(answer.iter().map(|byte| Found::Address([10, 0, 0, *byte].into())));
        let used = BTreeSet::from_iter(rotation.settle(Vec::from_iter(found.iter().cloned()), now));
        assert!(used.is_superset(&found));
        assert!(used == found || rotation.report().is_some());
        used == found
    };
    let mut last = &bytes[..0];
    for answer in bytes.split(|byte| *byte == b'\n').take(200) {
        settle(answer);
        last = answer;
    }
    // A record of an earlier answer is absent from up to seven times as many answers as all records fill.
    let is_settled = (0..8 * 256 + DNS_ROTATION_ANSWERS).any(|_| settle(last));
    assert!(is_settled);
}
