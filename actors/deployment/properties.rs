//! What holds for every list of messages about a candidate, for the tests and for the fuzz targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::candidate::ConfigPart;
use super::complaint::CheckedText;
use crate::decide::option_policy::OptionPolicy;
use crate::decide::service_definition;
use crate::limits::{CONFIG_LINE_CHARS_MAX, CONFIG_MESSAGE_CHARS_MAX};
use crate::model::{RawDefinition, ServiceDefinition, ServiceName};
use crate::port::{ConfigMessage, ConfigText};

/// The base: lines 1 to 7, of which 1 to 6 are from a file of the operator.
const BASE: &str = "global\n    maxconn 100\n\ndefaults http\n    mode http\n\n# The services, one section each.\n";

/// The sections, from line 8 on.
const SECTIONS: [&str; 2] = [
    "listen web\n    bind 127.0.0.1:80\n    option httpchk\n    server a 10.0.0.1:80 check\n\n",
    "backend api\n    option httpchk\n    server b 10.0.0.2:80\n\n",
];

/// The longest text about a message, in characters: the message, a line, its place and its key.
const TEXT_CHARS_MAX: usize = CONFIG_MESSAGE_CHARS_MAX + CONFIG_LINE_CHARS_MAX + 200;

/// Messages are attributed to services of the text only, none is lost, and one with a line in a section belongs to the
/// service of that section. A text is bounded, and is as plain as its message.
pub fn attribution(messages: &[ConfigMessage]) {
    let part = part();
    let checked = CheckedText::new(&part);
    let definitions = BTreeMap::from(["web", "api"].map(|name| (service(name), definition(name))));
    let named = checked.named(messages);
    assert!(named.iter().all(|name| definitions.contains_key(name)), "{named:?}");
    let attributed = checked.attributed(messages, |name| definitions.get(name));
    assert_eq!(attributed.values().flatten().count(), messages.len());
    assert!(attributed.keys().flatten().all(|name| definitions.contains_key(name)), "{attributed:?}");
    for message in messages {
        let one = std::slice::from_ref(message);
        let of_line = message.line.and_then(|line| match line {
            8..=12 => Some("web"),
            13..=15 => Some("api"),
            _ => None,
        });
        if let (Some(expected), false) = (of_line, message.text.trim_start().starts_with('[')) {
            assert_eq!(Vec::from_iter(checked.named(one)), [service(expected)], "{message:?}");
        }
        let texts = definitions.iter().map(|(name, definition)| checked.about(name, definition, one));
        for text in texts.chain([checked.about_base(one)]) {
            assert!(text.chars().count() <= TEXT_CHARS_MAX, "{text:?}");
            assert!(text.contains(&message.text) && !text.chars().any(char::is_control), "{text:?}");
        }
    }
}

fn part() -> ConfigPart {
    let pieces = [BASE].into_iter().chain(SECTIONS).map(Arc::from).collect();
    let place = |number: usize| (number <= 6).then(|| format!("/etc/haproxy.cfg:{number}").into());
    ConfigPart {
        text: ConfigText { pieces, ..ConfigText::default() },
        places: (1..=BASE.lines().count()).map(place).collect(),
        ..ConfigPart::default()
    }
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a good name")
}

fn definition(name: &str) -> ServiceDefinition {
    let raw = RawDefinition::new(r#"{"type": "static", "listen_options": ["option httpchk"]}"#, "a test");
    service_definition::parse(name, &raw, &OptionPolicy::default()).expect("a good definition").definition
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = ConfigMessage> {
        let word = proptest::sample::select(vec![
            "proxy",
            "'web'",
            "'server web/a'",
            "'server api/b'",
            "backend",
            "'api'",
            "'",
            "web",
            "line 9",
            "[WARNING]",
            "[ALERT]",
            "certificate",
            "/x.pem",
            "é",
        ]);
        let text = proptest::collection::vec(word, 0..6).prop_map(|words| words.join(" "));
        (proptest::option::of(0..20_usize), text).prop_map(|(line, text)| ConfigMessage { line, text })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn messages_are_attributed_to_their_services(messages in proptest::collection::vec(message(), 0..5)) {
            attribution(&messages);
        }
    }
}
