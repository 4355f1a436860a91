//! Annotations: additions to a service's definition from another source, without a change of the definition itself.
//!
//! `{"domains": ["www.example.org"], "listen_options": [...], "server_options": [...], "protocol": "http", "path":
//! "/api"}`. Lists are appended to those of the definition; a protocol or a path replaces that of the definition. An
//! annotation that makes the definition invalid is ignored and reported: it never affects the service.

use serde_json::{Map, Value, json};

use super::json_value::{shown, strings_from};
use super::option_policy::OptionPolicy;
use super::request_match;
use super::service_definition::{self, ParsedDefinition};
use super::text::json_from;
use crate::model::RawDefinition;

/// The keys that an annotation adds to; each is a list.
const LISTS: [&str; 3] = ["domains", "listen_options", "server_options"];

/// Reads a definition together with its annotation, if it has one.
///
/// # Errors
/// Every mistake of the definition at once, each with its key and value.
pub fn parse(name: &str, raw: &RawDefinition, policy: &OptionPolicy) -> Result<ParsedDefinition, Vec<String>> {
    let mut plain = service_definition::parse(name, raw, policy)?;
    let Some(annotation) = &raw.annotation else { return Ok(plain) };
    let text = match &annotation.problem {
        Some(problem) => Err(vec![problem.to_string()]),
        None => annotated(&raw.text, &annotation.text),
    };
    let annotated =
        text.and_then(|text| service_definition::parse(name, &RawDefinition::new(text, raw.origin.clone()), policy));
    Ok(annotated.unwrap_or_else(|mistakes| {
        let named = |mistake| format!("its annotation ({}): {mistake}; it is left out", annotation.origin);
        plain.warnings.extend(mistakes.into_iter().map(named));
        plain
    }))
}

/// Reads an annotation on its own. The definition with the annotation may still be invalid.
///
/// # Errors
/// Every mistake at once, each with its key and value.
pub fn read(text: &str) -> Result<Map<String, Value>, Vec<String>> {
    let keys = match json_from(text) {
        Ok(Value::Object(keys)) => keys,
        Ok(other) => return Err(vec![format!("an annotation is a JSON object, not {}", shown(&other))]),
        Err(error) => return Err(vec![error]),
    };
    let mistakes = Vec::from_iter(keys.iter().filter_map(|(key, value)| mistake(key, value)));
    if mistakes.is_empty() { Ok(keys) } else { Err(mistakes) }
}

fn mistake(key: &str, value: &Value) -> Option<String> {
    match key {
        key if LISTS.contains(&key) => strings_from(value).err().map(|reason| format!("{key:?}: {reason}")),
        "protocol" if ["http", "tcp"].iter().any(|protocol| value == protocol) => None,
        "protocol" => Some(format!("\"protocol\": {} is neither \"http\" nor \"tcp\"", shown(value))),
        "path" if value.as_str().is_some_and(|path| path.starts_with('/')) => None,
        "path" => Some(format!("\"path\": {} is not the beginning of a path, such as \"/api\"", shown(value))),
        _ => Some(format!("{key:?} is not a key of an annotation: {}, protocol, path", LISTS.join(", "))),
    }
}

/// Merges the annotation into the definition. A definition that is not an object was refused before.
fn annotated(definition: &str, annotation: &str) -> Result<String, Vec<String>> {
    let annotation = read(annotation)?;
    let definition = json_from(definition).map_err(|error| vec![error])?;
    let mut keys = definition.as_object().cloned().unwrap_or_default();
    // The mistakes of the definition were reported before.
    request_match::unite(&mut keys);
    for (key, value) in &annotation {
        match key.as_str() {
            "protocol" => choose_mode(&mut keys, value.as_str().unwrap_or_default()),
            "path" => drop(keys.insert("path_prefix".to_owned(), value.clone())),
            list => append(&mut keys, list, value),
        }
    }
    Ok(Value::Object(keys).to_string())
}

fn append(keys: &mut Map<String, Value>, list: &str, more: &Value) {
    let mut entries = strings(keys.get(list));
    for entry in strings(Some(more)) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    keys.insert(list.to_owned(), json!(entries));
}

fn choose_mode(keys: &mut Map<String, Value>, protocol: &str) {
    let mut lines = strings(keys.get("listen_options"));
    lines.retain(|line| line.split_whitespace().next() != Some("mode"));
    lines.insert(0, format!("mode {protocol}"));
    keys.insert("listen_options".to_owned(), json!(lines));
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value.filter(|value| !value.is_null()).and_then(|value| strings_from(value).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Annotation;

    fn parsed(definition: &Value, annotation: &str) -> ParsedDefinition {
        let annotation = Annotation::new(annotation, "znode /annotations/web");
        let raw =
            RawDefinition { annotation: Some(annotation), ..RawDefinition::new(definition.to_string(), "a test") };
        parse("web", &raw, &OptionPolicy::default()).unwrap()
    }

    fn definition() -> Value {
        json!({
            "type": "static", "hosts": [], "port": 80, "domains": ["a.example"],
            "listen_options": ["mode tcp", "balance roundrobin"], "server_options": "check",
        })
    }

    #[test]
    fn lists_are_added_to_and_the_protocol_is_replaced() {
        let annotation = json!({
            "domains": ["www.example", "a.example"], "listen_options": ["option forwardfor"],
            "server_options": ["inter 5s"], "protocol": "http", "path": "/api",
        });
        let ParsedDefinition { definition, warnings } = parsed(&definition(), &annotation.to_string());
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            Vec::from_iter(definition.requests.domains.iter().map(ToString::to_string)),
            ["a.example", "www.example"]
        );
        let lines = definition
            .listen_options
            .iter()
            .map(|words| Vec::from_iter(words.iter().map(|word| word.as_str())).join(" "));
        assert_eq!(Vec::from_iter(lines), ["mode http", "balance roundrobin", "option forwardfor"]);
        assert_eq!(definition.requests.path_prefix.as_ref().map(|path| path.as_str()), Some("/api"));
        let options = Vec::from_iter(definition.server_options.iter().map(|word| word.as_str()));
        assert_eq!(options, ["check", "inter", "5s"]);
    }

    #[test]
    fn annotation_adds_to_match() {
        let within = json!({"domains": ["a.example"], "path_prefix": "/a", "methods": ["GET"]});
        let annotation = json!({"domains": ["b.example"], "path": "/b"}).to_string();
        let definition = json!({"type": "static", "port": 80, "match": within});
        let ParsedDefinition { definition, warnings } = parsed(&definition, &annotation);
        assert_eq!(warnings, Vec::<String>::new());
        let requests = definition.requests;
        assert_eq!(Vec::from_iter(requests.domains.iter().map(ToString::to_string)), ["a.example", "b.example"]);
        assert_eq!(requests.path_prefix.unwrap().as_str(), "/b");
        assert_eq!(requests.conditions.methods.len(), 1);
    }

    #[test]
    fn invalid_annotation_is_reported_and_ignored() {
        let plain = parsed(&definition(), "{}");
        assert_eq!(plain.warnings, Vec::<String>::new());
        for (annotation, reason) in [
            ("", "it has no data"),
            ("{", "it is not JSON: it ends within an object"),
            ("[]", "an annotation is a JSON object"),
            (r#"{"port": 81}"#, "\"port\" is not a key of an annotation"),
            (r#"{"domains": [7]}"#, "\"domains\": "),
            (r#"{"domains": ["not a name"]}"#, "\"domains\": "),
            (r#"{"protocol": "udp"}"#, "\"protocol\": \"udp\" is neither"),
            (r#"{"path": "api"}"#, "\"path\": \"api\" is not the beginning of a path"),
            (r#"{"listen_options": ["frontend x"]}"#, "\"listen_options\": "),
            (r#"{"server_options": ["ca-file /etc/shadow"]}"#, "\"server_options\": "),
        ] {
            let ParsedDefinition { definition, warnings } = parsed(&definition(), annotation);
            assert_eq!(definition, plain.definition, "{annotation}");
            let [warning] = &*warnings else { panic!("{annotation}: {warnings:?}") };
            assert!(
                warning.starts_with("its annotation (znode /annotations/web): ") && warning.contains(reason),
                "{warning}"
            );
        }
    }

    #[test]
    fn annotated_definition_must_be_valid_itself() {
        let annotation = Some(Annotation::new("{}", "there"));
        let raw = RawDefinition { annotation, ..RawDefinition::new("{", "here") };
        assert!(parse("web", &raw, &OptionPolicy::default()).is_err());
    }
}
