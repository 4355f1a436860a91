//! Removes credentials.

use std::sync::Arc;

use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{Annotation, Host, RawDefinition, ServiceDefinition, Word};
use proxymgr_actors::operator::{Order, SetServer};
use serde_json::{Map, Value};

/// A word that contains one of these is followed by a credential.
const TELLTALES: &[&str] = &["auth", "passw", "secret", "token", "credential", "api-key", "apikey", "bearer"];

/// The replacement for a credential.
const LEFT_OUT: &str = "left-out";

/// The text up to and including the first word that announces a credential.
pub fn without_credentials(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let Some(found) = TELLTALES.iter().filter_map(|word| lower.find(word)).min() else { return text.to_owned() };
    // `token=x` and `Authorization:x` are one word.
    let end = text[found..].find([' ', '\t', '=', ':']).map_or(text.len(), |length| found + length);
    if text[end..].trim().is_empty() {
        return text.to_owned();
    }
    let separator = &text[end..=end];
    format!("{}{separator}{LEFT_OUT}", &text[..end])
}

/// Removes credentials from all texts in a value.
pub(super) fn in_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_credentials(text),
        Value::Array(values) => values.iter_mut().for_each(in_value),
        Value::Object(keys) => keys.values_mut().for_each(in_value),
        _ => {}
    }
}

/// The definition with only the service's own keys, without those of its source.
pub(super) fn definition(raw: &RawDefinition) -> RawDefinition {
    let text = match serde_json::from_str::<Map<String, Value>>(&raw.text) {
        Ok(mut keys) => {
            keys.retain(|key, _| service_definition::is_own_key(key));
            keys.values_mut().for_each(in_value);
            Value::Object(keys).to_string()
        }
        Err(_) => format!("not a JSON object, {} bytes", raw.text.len()),
    };
    let annotation = raw.annotation.clone().map(annotation);
    let problem = raw.problem.as_deref().map(|problem| without_credentials(problem).into());
    RawDefinition { annotation, problem, ..RawDefinition::new(text, raw.origin.clone()) }
}

/// An annotation without credentials.
fn annotation(annotation: Annotation) -> Annotation {
    let text = match serde_json::from_str::<Value>(&annotation.text) {
        Ok(mut keys) => {
            in_value(&mut keys);
            keys.to_string()
        }
        Err(_) => format!("not JSON, {} bytes", annotation.text.len()),
    };
    let problem = annotation.problem.as_deref().map(|problem| without_credentials(problem).into());
    Annotation { problem, ..Annotation::new(text, annotation.origin) }
}

/// A host without credentials in its options.
pub(super) fn host(host: &Host) -> Host {
    Host { options: words(&host.options), ..host.clone() }
}

/// An order without credentials in its reason. Names are always kept, because a replay needs them.
pub(super) fn order(mut order: Order) -> Order {
    if let Order::Reload { reason } | Order::SetServer(SetServer { reason, .. }) = &mut order {
        *reason = reason.as_deref().map(without_credentials);
    }
    order
}

/// A parsed definition without credentials.
pub(super) fn read_definition(definition: &ServiceDefinition) -> Arc<ServiceDefinition> {
    let mut definition = definition.clone();
    definition.source.settings.clear();
    definition.listen_options.iter_mut().for_each(|line| *line = words(line));
    definition.server_options = words(&definition.server_options);
    Arc::new(definition)
}

/// The words up to the first that announces a credential, and a replacement for the rest.
fn words(words: &[Word]) -> Vec<Word> {
    let mut kept = Vec::new();
    for word in words {
        let clean = without_credentials(word.as_str());
        let announces = TELLTALES.iter().any(|telltale| clean.to_ascii_lowercase().contains(telltale));
        kept.extend(Word::new(&clean).ok());
        if announces {
            if kept.len() < words.len() {
                kept.extend(Word::new(LEFT_OUT).ok());
            }
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_after_a_telltale_is_removed() {
        for (text, kept) in [
            ("http-check send hdr Authorization \"Basic c2VjcmV0\"", "http-check send hdr Authorization left-out"),
            ("option httpchk GET /health?token=c2VjcmV0", "option httpchk GET /health?token=left-out"),
            ("timeout server 30s", "timeout server 30s"),
            ("http-request auth", "http-request auth"),
        ] {
            assert_eq!(without_credentials(text), kept);
        }
    }

    #[test]
    fn only_own_keys_of_a_definition_are_kept() {
        let text = r#"{"type": "consul", "port": 80, "token": "c2VjcmV0", "server": "u:c2VjcmV0@h",
            "listen_options": ["mode http", "http-check send hdr authorization c2VjcmV0"]}"#;
        let kept = definition(&RawDefinition::new(text, "here"));
        assert!(!kept.text.contains("c2VjcmV0"), "{}", kept.text);
        assert!(kept.text.contains("mode http") && kept.text.contains("consul"), "{}", kept.text);
        let broken = definition(&RawDefinition::new(r#"{"token": "c2VjcmV0"#, "here"));
        assert!(!broken.text.contains("c2VjcmV0"), "{}", broken.text);
    }

    #[test]
    fn options_after_a_credential_are_removed() {
        let line: Vec<Word> = ["check", "password", "c2VjcmV0", "weight"].map(|word| Word::new(word).unwrap()).to_vec();
        let kept: Vec<String> = words(&line).iter().map(|word| word.as_str().to_owned()).collect();
        assert_eq!(kept, ["check", "password", "left-out"]);
    }
}
