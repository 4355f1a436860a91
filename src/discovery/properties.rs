//! What holds for every answer of a source, for the tests and for the fuzz targets.

use std::path::Path;

use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::host_registration::{RegistrationFormat, RegistrationRules, from_registration};
use proxymgr_actors::decide::option_policy::OptionPolicy;

use super::http::LineBuffer;
use super::property_checks;
use super::zookeeper::ConnectString;
use super::{consul, dns, etcd, file, marathon, mesos};

/// Reads one kind of answer and asserts what holds for it.
type Property = fn(&[u8]);

/// The kinds of answers, by the first line of a text.
const PROPERTIES: [(&str, Property); 20] = [
    ("consul instances", consul::properties::instances),
    ("consul keys", consul::properties::keys),
    ("consul services", consul::properties::services),
    ("dns message", dns::properties::message),
    ("dns rotation", dns::properties::rotation),
    ("etcd host", etcd::properties::host),
    ("etcd range", etcd::properties::range),
    ("etcd watch", etcd::properties::watch),
    ("file of hosts", hosts_file),
    ("json definition", json_definition),
    ("lines", lines),
    ("marathon apps", marathon::properties::apps),
    ("marathon event", marathon::properties::event),
    ("mesos location", mesos_location),
    ("mesos state", mesos_state),
    ("proxym definition", json_definition),
    ("yaml definition", yaml_definition),
    ("zookeeper child", zookeeper_child),
    ("zookeeper registration", zookeeper_registration),
    ("zookeeper servers", zookeeper_servers),
];

/// Reads an answer. Its first line names its kind; any other first line chooses one.
pub fn answer(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    let (first, rest) = at.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 1..]));
    let named = PROPERTIES.iter().find(|(name, _)| name.as_bytes() == first);
    let chosen = || &PROPERTIES[usize::from(first.first().copied().unwrap_or_default()) % PROPERTIES.len()];
    named.unwrap_or_else(chosen).1(rest);
}

/// A file has at most as many hosts as lines.
fn hosts_file(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let hosts = file::read_hosts(Path::new("/h/web"), text, &OptionPolicy::default());
    assert!(hosts.len() <= text.lines().count());
    hosts.iter().for_each(|seen| property_checks::host(&seen.record));
}

fn json_definition(bytes: &[u8]) {
    definition_in("/d/web.json", bytes);
}

fn yaml_definition(bytes: &[u8]) {
    definition_in("/d/web.yml", bytes);
}

fn definition_in(path: &str, bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (name, raw) = file::read_definition(Path::new(path), Ok(text.into()));
    property_checks::definition(&name, &raw);
}

/// Lines are the same in whatever pieces they arrive, and together they are the text.
fn lines(bytes: &[u8]) {
    let lines_of = |size: usize| {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for piece in bytes.chunks(size) {
            buffer.push(piece);
            lines.extend(std::iter::from_fn(|| buffer.pop()));
        }
        (lines, buffer.take_rest())
    };
    let whole = lines_of(bytes.len().max(1));
    assert!([1, 2, 5].into_iter().all(|size| lines_of(size) == whole));
    let expected = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let expected = expected.map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    assert!(whole.0.iter().eq(expected));
}

/// A leader is the same in a location that is made from it.
fn mesos_location(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some((host, port)) = mesos::authority(text) {
        assert_eq!(mesos::authority(&format!("//[{host}]:{port}/")), Some((host, port)));
    }
}

fn mesos_state(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice(bytes) else { return };
    if let Some((host, _)) = mesos::leader_in(state) {
        let record = serde_json::json!({"address": host, "port": 5050});
        property_checks::host(&host_record::from_json_value(&record, &OptionPolicy::default()));
    }
}

/// The name of the child is the first line, the rest is its data.
fn zookeeper_child(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (name, data) = text.split_once('\n').unwrap_or((text, ""));
    for port in [None, 80.try_into().ok()] {
        let host = host_record::from_child(name, data.as_bytes(), port, &OptionPolicy::default());
        property_checks::host(&host);
    }
}

fn zookeeper_registration(bytes: &[u8]) {
    let formats = ["proxymgr", "nerve", "curator", "serverset"].map(|name| RegistrationFormat::named(name).ok());
    for format in [None].into_iter().chain(formats) {
        for (endpoint, shard) in [(None, None), (Some("http".to_owned()), Some(1))] {
            let rules = RegistrationRules { format, endpoint, shard };
            if let Some(host) = from_registration(bytes, &rules, &OptionPolicy::default()).transpose() {
                property_checks::host(&host);
            }
        }
    }
}

/// A connect string in its normal form is in its normal form, and paths have no empty part.
fn zookeeper_servers(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(connect) = text.parse::<ConnectString>() else { return };
    let normal = connect.to_string();
    assert_eq!(normal.parse().as_ref(), Ok(&connect), "{normal}");
    let path = connect.path("/a/").expect("a good path");
    assert!(path.ends_with("/a") && !path.contains("//"), "{path}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seed_texts::{mutated, seeds};

    #[test]
    fn properties_hold_for_the_seeds() {
        seeds("source_answers").iter().for_each(|text| answer(text));
    }

    #[test]
    fn every_kind_of_answer_has_a_seed() {
        let seeds = seeds("source_answers");
        for (name, _) in PROPERTIES {
            let line = format!("{name}\n");
            assert!(seeds.iter().any(|text| text.starts_with(line.as_bytes())), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn properties_hold_for_changed_answers(text in mutated("source_answers")) {
            answer(&text);
        }
    }
}
