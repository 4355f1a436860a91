//! What holds for every host and every definition that is read from a source, for the tests and for the fuzz targets.

use proxymgr_actors::decide::haproxy_config::{SectionStyle, section_header, server_line};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::split_line;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{Endpoint, Host, HostRecord, RawDefinition, ServerName, ServiceDefinition, ServiceName};

/// The words that begin something which no line of a section may contain, in any spelling.
const STRUCTURE: [&str; 7] = ["global", "defaults", "listen", "frontend", "backend", "peers", "server"];

/// A host is the same after it was saved and read again, and is one line of haproxy.cfg. A reason has no
/// control characters.
pub(super) fn host(read: &Result<HostRecord, String>) {
    let host = match read {
        Ok(record) => &*record.host,
        Err(reason) => return assert!(is_plain(reason), "{reason:?}"),
    };
    assert_eq!(Endpoint::parse(&host.endpoint.to_string()).as_ref(), Some(&host.endpoint));
    let saved = serde_json::to_string(host).expect("a host is JSON");
    assert_eq!(serde_json::from_str::<Host>(&saved).ok().as_ref(), Some(host), "{saved}");
    let name = host.name.clone().unwrap_or_else(|| ServerName::new("a").expect("a good name"));
    let line = server_line(&any_service(), &name, host, None, SectionStyle::default());
    let words = split_line(line.trim_start()).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert!(is_plain(&line) && words.len() >= 3 && words[1].as_str() == name.as_str(), "{line:?}");
    let endpoint = host.endpoint.to_string();
    assert!(!endpoint.contains([' ', ';', '<', '\\']) && is_plain(&endpoint), "{endpoint:?} ends a command");
}

/// A definition is the same after it was saved and read again, and its section is made of lines that begin no other. A
/// mistake has no control characters.
pub(super) fn definition(name: &str, raw: &RawDefinition) {
    let definition = match service_definition::parse(name, raw, &OptionPolicy::default()) {
        Ok(parsed) => parsed.definition,
        Err(mistakes) => return assert!(mistakes.iter().all(|mistake| is_plain(mistake)), "{mistakes:?}"),
    };
    let saved = serde_json::to_string(&definition).expect("a definition is JSON");
    let again = serde_json::from_str::<ServiceDefinition>(&saved);
    assert_eq!(again.ok().as_ref(), Some(&definition), "{saved}");
    let section = section_header(&definition, SectionStyle::default());
    let mut lines = section.split_terminator('\n');
    let header = lines.next().unwrap_or_default();
    let header = Vec::from_iter(header.split(' '));
    assert!(matches!(header[..], ["listen" | "backend", section, ..] if section == name), "{section:?}");
    for line in lines {
        assert!(is_plain(line), "{line:?}");
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = split_line(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let first = words.first().map(|word| word.as_str().to_ascii_lowercase()).unwrap_or_default();
        assert!(!STRUCTURE.contains(&&*first), "{line:?}");
    }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn any_service() -> ServiceDefinition {
    let raw = RawDefinition::new(r#"{"type": "static"}"#, "a test");
    let parsed = service_definition::parse("web", &raw, &OptionPolicy::default()).expect("a good definition");
    assert_eq!(parsed.definition.name, ServiceName::new("web").expect("a good name"));
    parsed.definition
}
