//! Unknown keys of definitions and hosts: they have no effect, and are reported as warnings.
//!
//! Without the warnings, a definition from another tool or a misspelt key could silently result in a service without
//! TLS or without limits. Keys that begin with `x-` or `_` are reserved for other tools and not reported.

use std::collections::BTreeMap;

use super::definition_keys::{HOST_KEYS, SERVICE_KEYS};
use super::json_value::is_free_key;
use super::nearest::nearest;
use crate::limits::UNKNOWN_KEYS_SHOWN_MAX;
use crate::model::{DefinitionKey, SeenHost, SourceKind, SourceSpec};

/// Returns each unknown key of a definition with its warning. Empty for a kind of source that is not among `kinds`,
/// because its keys are not known.
pub fn of_definition<'a>(source: &'a SourceSpec, kinds: &[SourceKind]) -> Vec<(&'a str, String)> {
    let Some(kind) = kinds.iter().find(|kind| kind.name == source.kind) else { return Vec::new() };
    let unknown = source
        .settings
        .keys()
        .map(String::as_str)
        .filter(|key| !DefinitionKey::is_in(key, kind.keys) && !is_free_key(key));
    unknown.map(|key| (key, definition_warning(key, *kind, kinds))).collect()
}

/// Returns the warnings of [`of_definition`]; the last one counts those beyond the limit.
pub fn in_definition(source: &SourceSpec, kinds: &[SourceKind]) -> Vec<String> {
    let unknown = of_definition(source, kinds);
    let more = unknown.len().saturating_sub(UNKNOWN_KEYS_SHOWN_MAX);
    let mut warnings: Vec<String> =
        unknown.into_iter().take(UNKNOWN_KEYS_SHOWN_MAX).map(|(_, warning)| warning).collect();
    if more > 0 {
        warnings.push(format!("{more} more keys are not known and have no effect"));
    }
    warnings
}

fn definition_warning(key: &str, kind: SourceKind, kinds: &[SourceKind]) -> String {
    let known = SERVICE_KEYS.iter().chain(kind.keys).map(|key| key.name);
    if let Some(meant) = nearest(key, known) {
        return format!("the key {key:?} is not known and has no effect; did you mean {meant:?}?");
    }
    let others: Vec<&str> =
        kinds.iter().filter(|other| DefinitionKey::is_in(key, other.keys)).map(|other| other.name).collect();
    if !others.is_empty() {
        let (kind, others) = (kind.name, others.join(", "));
        return format!("the key {key:?} has no effect: it is not a key of sources of type {kind}, but of {others}");
    }
    let consequence = if speaks_of_tls(key) { "; TLS on listeners is configured by \"tls\"" } else { "" };
    format!(
        "the key {key:?} is not known and has no effect{consequence} (proxymgr ignores keys that begin with x- or _)"
    )
}

/// Returns whether a key of another tool may configure TLS, which the service then lacks.
fn speaks_of_tls(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["tls", "ssl", "crt", "cert", "https", "bind"].iter().any(|part| key.contains(part))
}

/// Returns one warning for all unknown keys of a service's hosts, each with the first entry that has it; `None` where
/// all are known.
pub fn in_hosts(seen: &[SeenHost]) -> Option<String> {
    let mut entries: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in seen {
        for key in entry.record.iter().flat_map(|record| &record.unknown_keys) {
            entries.entry(key).or_insert(&entry.key);
        }
    }
    let shown = entries.iter().take(UNKNOWN_KEYS_SHOWN_MAX).map(|(key, entry)| {
        let meant = nearest(key, HOST_KEYS.iter().map(|key| key.name))
            .map(|meant| format!("; did you mean {meant:?}?"))
            .unwrap_or_default();
        format!("{key:?} (of {entry}{meant})")
    });
    let shown = Vec::from_iter(shown).join(", ");
    let more = match entries.len().saturating_sub(UNKNOWN_KEYS_SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!entries.is_empty()).then(|| format!("keys that are not known and have no effect: {shown}{more}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::model::definition_key::key;
    use crate::model::{Address, Endpoint, Host, HostRecord};

    const SERVER: DefinitionKey = key("server", "", "");
    const PATH: DefinitionKey = key("path", "", "");
    const KINDS: [SourceKind; 2] = [
        SourceKind { name: "zookeeper", keys: &[SERVER, PATH, key("format", "", "")], is_ordered: false },
        SourceKind { name: "campanjazk", keys: &[SERVER, PATH, key("remote_port", "", "")], is_ordered: false },
    ];

    fn warnings(kind: &str, keys: &[&str]) -> Vec<String> {
        let settings: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), Value::from(1))).collect();
        in_definition(&SourceSpec::new(kind, settings), &KINDS)
    }

    #[test]
    fn known_and_free_keys_are_not_reported() {
        assert_eq!(warnings("zookeeper", &["server", "path", "format", "x-team", "_comment"]), Vec::<String>::new());
        assert_eq!(warnings("campanjazk", &["path", "remote_port"]), Vec::<String>::new());
        assert_eq!(warnings("eureka", &["anything"]), Vec::<String>::new());
    }

    #[test]
    fn misspelt_key_is_reported_with_the_nearest() {
        for (key, meant) in [
            ("listen_option", "listen_options"),
            ("Server_Options", "server_options"),
            ("bnd", "bind"),
            ("formats", "format"),
            ("pth", "path"),
        ] {
            let warnings = warnings("zookeeper", &[key]);
            let [warning] = warnings.as_slice() else { panic!("{key}: {warnings:?}") };
            assert!(warning.contains(key) && warning.contains(&format!("did you mean {meant:?}?")), "{warning}");
        }
    }

    #[test]
    fn key_of_another_kind_or_tool_is_reported() {
        for (key, part) in
            [("remote_port", "campanjazk"), ("backend", "not known"), ("ssl_certificate", "configured by \"tls\"")]
        {
            let warnings = warnings("zookeeper", &["path", key]);
            let [warning] = warnings.as_slice() else { panic!("{key}: {warnings:?}") };
            assert!(warning.contains(&format!("{key:?}")) && warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn number_of_reported_keys_is_bounded() {
        let keys = Vec::from_iter((0..100).map(|number| format!("unheard-{number}")));
        let keys = Vec::from_iter(keys.iter().map(String::as_str));
        assert_eq!(warnings("zookeeper", &keys).len(), UNKNOWN_KEYS_SHOWN_MAX + 1);
        let seen = Vec::from_iter(keys.iter().map(|key| seen(key, &[key])));
        assert_eq!(in_hosts(&seen).unwrap().matches("(of ").count(), UNKNOWN_KEYS_SHOWN_MAX);
    }

    fn seen(key: &str, unknown_keys: &[&str]) -> SeenHost {
        let endpoint = Endpoint::Tcp { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() };
        let unknown_keys = unknown_keys.iter().map(|key| (*key).into()).collect();
        SeenHost::of_record(key, Ok(HostRecord { unknown_keys, ..Host::at(endpoint).into() }))
    }

    #[test]
    fn hosts_with_one_unknown_key_make_one_warning() {
        assert_eq!(in_hosts(&[seen("a", &[]), SeenHost::new("b", Err("bad".to_owned()))]), None);
        let warning = in_hosts(&[seen("a", &["wieght"]), seen("b", &["wieght", "zone"])]).unwrap();
        assert_eq!(warning.matches("wieght").count(), 1, "{warning}");
        assert!(warning.contains("did you mean \"weight\"?") && warning.contains("\"zone\" (of b)"), "{warning}");
    }
}
